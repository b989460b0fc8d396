//! Packages and modules that nobody would build: an error each time, never a panic, and no more than was sent.

use super::bzimage::BzImage;
use super::deb::{self, DebError};
use super::lz4::LegacyReader;
use super::modules::ModuleInfo;
use super::vmlinux;
use crate::samples;
use banger_damage::fuzz::fuzz;
use proptest::prelude::*;
use std::io::{Read, Seek, Write};

/// A Debian package with one file.
fn package() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "./boot/vmlinuz-6.1", &b"hello"[..]).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar.into_inner().unwrap()).unwrap();
    let mut deb = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", b"2.0\n".to_vec()), ("data.tar.gz", gzip.finish().unwrap())] {
        deb.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).as_bytes());
        deb.extend(&content);
        deb.resize(deb.len().next_multiple_of(2), b'\n');
    }
    deb
}

fn files(deb: &[u8]) -> Result<Vec<(String, Vec<u8>)>, DebError> {
    let mut files = Vec::new();
    deb::for_each_file(deb, |path, content| {
        let mut bytes = Vec::new();
        content.take(1 << 20).read_to_end(&mut bytes).map_err(DebError::Read)?;
        files.push((path.to_owned(), bytes));
        Ok::<_, DebError>(())
    })?;
    Ok(files)
}

#[test]
fn a_package_is_read_and_one_that_was_cut_off_is_not() {
    let deb = package();
    assert_eq!(files(&deb).unwrap(), [("boot/vmlinuz-6.1".to_owned(), b"hello".to_vec())]);
    for cut in 0..deb.len() / 2 {
        assert!(files(&deb[..cut]).is_err(), "cut off after {cut} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn changed_packages(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..5), cut: usize) {
        let mut deb = package();
        let length = deb.len();
        changes.iter().for_each(|(at, byte)| deb[at % length] = *byte);
        let _any = files(&deb);
        let _any = files(&deb[..cut % length]);
    }

    #[test]
    fn blocks_of_lz4_that_say_anything(bytes in prop::collection::vec(any::<u8>(), 0..300), size: u32) {
        let stream = [&0x184c_2102_u32.to_le_bytes()[..], &size.to_le_bytes(), &bytes].concat();
        for stream in [&stream, &bytes] {
            let mut out = Vec::new();
            let _any = LegacyReader::new(stream.as_slice()).take(64 << 20).read_to_end(&mut out);
        }
    }

    #[test]
    fn modules_of_anything(bytes in prop::collection::vec(any::<u8>(), 0..600), elf: bool) {
        let head: &[u8] = if elf { b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0\x01\0\0\0" } else { b"" };
        let _any = ModuleInfo::parse(&[head, &bytes].concat());
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]
fn fuzzed_packages_boot_images_and_modules() {
    let deb = [package(), samples::package()];
    println!(
        "{}",
        fuzz("deb", &deb, &[b"data.tar.xz", b"debian-binary", b"`\n"], 96 << 20, |bytes| {
            let _any = files(bytes);
        })
    );
    let image = [samples::boot_image(&samples::vmlinux())];
    let magic: [&[u8]; 4] = [b"HdrS", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"\x1f\x8b\x08"];
    println!(
        "{}",
        fuzz("bzImage", &image, &magic, 96 << 20, |bytes| {
            let _any = BzImage::parse(bytes).and_then(|image| image.unpack(&mut std::io::sink()));
        })
    );
    println!(
        "{}",
        fuzz("kernel module", &[samples::module()], &[b".modinfo", b"__crc_"], 1 << 20, |bytes| {
            let _any = ModuleInfo::parse(bytes);
        })
    );
    let mut file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).unwrap();
    println!(
        "{}",
        fuzz("vmlinux", &[samples::vmlinux()], &[b"Linux version ", b"Xen"], 4 << 20, |bytes| {
            file.set_len(0).unwrap();
            file.rewind().and_then(|()| file.write_all(bytes)).and_then(|()| file.rewind()).unwrap();
            let _any = vmlinux::inspect(&file);
            let _any = vmlinux::release(&file);
        })
    );
}
