//! What `/proc` tells of a process.

use banger_model::ByteSize;
use std::io;
use std::time::Duration;

/// What a process uses of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostUsage {
    /// Processor time of all its threads since it was started, to a hundredth of a second.
    pub cpu: Duration,
    /// Memory of the host that it has mapped and that is there, shared or not.
    pub resident: ByteSize,
    /// The same with each shared page divided by the number of those who share it; none where the system does not tell.
    pub proportional: Option<ByteSize>,
}

impl HostUsage {
    /// Of the process with that id. Blocks: the kernel walks its page tables.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}"));
        let unreadable = || io::Error::from(io::ErrorKind::InvalidData);
        let cpu = cpu(&read("stat")?, rustix::param::clock_ticks_per_second()).ok_or_else(unreadable)?;
        let resident = Self::resident_of(pid).ok_or_else(unreadable)?;
        let rollup = read("smaps_rollup").ok();
        let proportional = rollup.and_then(|text| kib(&String::from_utf8_lossy(&text), "Pss:"));
        Ok(Self { cpu, resident, proportional })
    }

    /// The memory alone, which is to be had quickly; none when there is no such process.
    pub fn resident_of(pid: u32) -> Option<ByteSize> {
        let status = std::fs::read(format!("/proc/{pid}/status")).ok()?;
        kib(&String::from_utf8_lossy(&status), "VmRSS:")
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, in clock ticks: proc(5). The second field may hold anything; the last `)` ends it.
fn cpu(stat: &[u8], ticks_per_second: u64) -> Option<Duration> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ms = user.checked_add(system)?.checked_mul(1000)?.checked_div(ticks_per_second)?;
    Some(Duration::from_millis(ms))
}

/// The figure behind that word, which the kernel gives in KiB.
fn kib(text: &str, word: &str) -> Option<ByteSize> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    let figure: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(ByteSize(figure.checked_mul(1024)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_program_with_a_vile_name() {
        let stat = b"12 (a) R 1 (b)) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 17 18 4711 0 0\n";
        assert_eq!(cpu(stat, 100), Some(Duration::from_secs(2)));
        assert_eq!(cpu(b"12 (a) S 1 2 3", 100), None);
        assert_eq!(kib("Rss:  12 kB\nPss:   10 kB\n", "Pss:"), Some(ByteSize(10 << 10)));
        assert_eq!(kib("Rss:  12 kB\n", "Pss:"), None);
    }

    #[test]
    fn we_use_something_and_more_after_work() {
        let before = HostUsage::of(std::process::id()).unwrap();
        assert!(before.resident.0 > 1 << 20 && before.proportional.is_some_and(|size| size <= before.resident));
        let start = std::time::Instant::now();
        let mut sum = 0_u64;
        while start.elapsed() < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(HostUsage::of(std::process::id()).unwrap().cpu > before.cpu);
    }
}
