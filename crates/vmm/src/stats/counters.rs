//! The sums of Firecracker's counters.
//!
//! Firecracker writes a line of JSON each minute, and when asked: what it counted since the line before. The file would grow
//! for ever, so what has been added up is written down beside it and its lines are let go. Whatever moment we die at, no line
//! is counted twice: the sums say up to which byte of the file they go.
//!
//! Formats: `src/vmm/src/logger/metrics.rs` of Firecracker's source, and the `metrics.rs` of its devices. The names used
//! here are the same in 1.12 to 1.16.

use super::{DiskUsage, StreamUsage};
use crate::config::disk_id;
use crate::record::{Identity, replace};
use crate::trim::{self, Reader};
use banger_model::ByteSize;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Longest line that is read, in bytes; it writes some 4 KiB. What is longer is none of its.
const LONGEST_LINE: usize = 256 * 1024;
/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;
/// Prefix of a disk's counters.
const DISK: &str = "block_";

/// Everything that one process has counted, as far as it has been read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Total {
    /// Whose it is: another process begins at nothing.
    process: Option<Identity>,
    /// Up to which byte of its file.
    up_to: u64,
    #[serde(default)]
    disks: BTreeMap<String, Disk>,
    #[serde(default)]
    vsock: Vsock,
}

/// `block_ID`, as far as it is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Disk {
    read_bytes: u64,
    write_bytes: u64,
    read_count: u64,
    write_count: u64,
}

/// `vsock`. What it receives is what the guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Vsock {
    rx_bytes_count: u64,
    tx_bytes_count: u64,
}

impl Total {
    /// In the order in which it was told of them.
    pub(super) fn disks(&self) -> Vec<DiskUsage> {
        let known = (0..).map_while(|index| self.disks.get(&disk_id(index)));
        let usage = known.map(|disk| DiskUsage {
            read: ByteSize(disk.read_bytes),
            written: ByteSize(disk.write_bytes),
            reads: disk.read_count,
            writes: disk.write_count,
        });
        usage.collect()
    }

    pub(super) fn vsock(&self) -> StreamUsage {
        StreamUsage { to_guest: ByteSize(self.vsock.rx_bytes_count), from_guest: ByteSize(self.vsock.tx_bytes_count) }
    }

    /// A line that is not what it should be counts nothing.
    fn add(&mut self, line: &[u8]) {
        let Ok(line) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(line) else { return };
        for (name, counters) in line {
            if let Some(id) = name.strip_prefix(DISK) {
                // Nobody has more disks than that: a VMM that says so was taken over.
                let known = self.disks.contains_key(id) || self.disks.len() < 64;
                let Ok(new) = serde_json::from_value::<Disk>(counters) else { continue };
                if known {
                    let sum = self.disks.entry(id.to_owned()).or_default();
                    sum.read_bytes = sum.read_bytes.saturating_add(new.read_bytes);
                    sum.write_bytes = sum.write_bytes.saturating_add(new.write_bytes);
                    sum.read_count = sum.read_count.saturating_add(new.read_count);
                    sum.write_count = sum.write_count.saturating_add(new.write_count);
                }
            } else if name == "vsock" {
                let new: Vsock = serde_json::from_value(counters).unwrap_or_default();
                self.vsock.rx_bytes_count = self.vsock.rx_bytes_count.saturating_add(new.rx_bytes_count);
                self.vsock.tx_bytes_count = self.vsock.tx_bytes_count.saturating_add(new.tx_bytes_count);
            }
        }
    }
}

/// Adds up what the file holds since the last time, and lets go of it. Blocks.
pub(crate) fn add_up(metrics: &Path, total: &Path, process: &Identity) -> io::Result<Total> {
    // Two at a time could each let go of what the other has not counted.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sums = kept(total).filter(|kept| kept.process.as_ref() == Some(process)).unwrap_or_default();
    sums.process = Some(process.clone());
    let begin = sums.up_to;
    let mut reader = Reader::open_at(metrics, begin)?;
    let mut line = Vec::new();
    loop {
        let chunk = reader.next(CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        let mut rest = reader.position().saturating_sub(chunk.len() as u64);
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            rest = rest.saturating_add(piece.len() as u64);
            if line.len() <= LONGEST_LINE {
                line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                sums.add(&line);
                line.clear();
                sums.up_to = rest;
            }
        }
    }
    if sums.up_to != begin {
        replace(total, &serde_json::to_vec(&sums)?)?;
        trim::let_go(metrics, sums.up_to)?;
    }
    Ok(sums)
}

/// Sums that cannot be read are none.
fn kept(total: &Path) -> Option<Total> {
    serde_json::from_slice(&std::fs::read(total).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    fn process(pid: i32) -> Identity {
        Identity { boot_id: "b".into(), pid, start_time: 1 }
    }

    /// As 1.12.1 writes it, but for most of its counters.
    fn line(read: u64) -> String {
        format!(
            "{{\"utc_timestamp_ms\":1,\"block_disk0\":{{\"read_bytes\":{read},\"write_bytes\":2,\"read_count\":1,\"write_count\":1,\
             \"read_agg\":{{\"min_us\":0}}}},\"block\":{{\"read_bytes\":{read}}},\"vsock\":{{\"rx_bytes_count\":3,\"tx_bytes_count\":4}}}}\n"
        )
    }

    #[test]
    fn lines_are_counted_once_whoever_looks_and_the_file_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, total) = (folder.path().join("m"), folder.path().join("t"));
        std::fs::write(&metrics, "").unwrap();
        let mut file = OpenOptions::new().append(true).open(&metrics).unwrap();
        let look = |pid| add_up(&metrics, &total, &process(pid)).unwrap();
        assert_eq!(look(1).disks(), []);
        for round in 1..=2000_u64 {
            file.write_all(line(10).as_bytes()).unwrap();
            if round % 100 == 0 {
                assert_eq!((look(1), look(1).disks()[0].read), (look(1), ByteSize(10 * round)));
            }
        }
        let disks = look(1).disks();
        assert_eq!(disks, [DiskUsage { read: ByteSize(20_000), written: ByteSize(4000), reads: 2000, writes: 2000 }]);
        assert_eq!(look(1).vsock(), StreamUsage { to_guest: ByteSize(6000), from_guest: ByteSize(8000) });
        let meta = std::fs::metadata(&metrics).unwrap();
        assert!(meta.len() > 300_000 && meta.blocks() * 512 <= 128 * 1024, "{} bytes of disk", meta.blocks() * 512);

        // Half a line is not there yet.
        let late = line(7);
        let (half, rest) = late.split_at(50);
        file.write_all(half.as_bytes()).unwrap();
        assert_eq!(look(1).disks()[0].read, ByteSize(20_000));
        file.write_all(rest.as_bytes()).unwrap();
        assert_eq!(look(1).disks()[0].read, ByteSize(20_007));
        // The next process begins at nothing, with a file of its own.
        std::fs::write(&metrics, line(5)).unwrap();
        assert_eq!(look(2).disks()[0].read, ByteSize(5));
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]
    fn fuzzed_lines() {
        let words: [&[u8]; 4] = [b"\"block_\":", b"\"block_x\":{\"read_bytes\":", b"null", b"18446744073709551615"];
        println!(
            "{}",
            banger_damage::fuzz::fuzz("metrics", &[line(5).into_bytes()], &words, 1 << 20, |bytes| {
                let mut sums = Total::default();
                (0..3).for_each(|_| sums.add(bytes));
                assert!(sums.disks.len() <= 64);
            })
        );
    }

    #[test]
    fn rubbish_counts_nothing_and_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, total) = (folder.path().join("m"), folder.path().join("t"));
        let huge = format!("{{\"block_disk0\":{{\"read_bytes\":{}}}}}\n", u64::MAX);
        let rubbish = [
            "\n\0\u{1}\n{}\n[1]\n{\"vsock\":7}\n{\"block_disk0\":{\"read_bytes\":-1}}\n{\"block_disk0\":[]}\n"
                .to_owned(),
            "x".repeat(LONGEST_LINE * 2) + "\n",
            huge.repeat(2),
            line(1),
        ];
        std::fs::write(&metrics, rubbish.concat()).unwrap();
        std::fs::write(&total, "{\"up_to\":99999999").unwrap();
        let sums = add_up(&metrics, &total, &process(1)).unwrap();
        assert_eq!((sums.disks()[0].read, sums.disks()[0].written), (ByteSize(u64::MAX), ByteSize(2)));
    }
}
