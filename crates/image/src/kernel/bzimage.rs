//! The boot image that Linux builds for x86 (`vmlinuz`), and the ELF inside it.
//!
//! Owns: reading the setup header (Linux `Documentation/arch/x86/boot.rst`) and unpacking its payload. Must not: touch files;
//! callers bring bytes and take bytes. All input is hostile: every offset is checked, and the payload must unpack to exactly
//! the length that it announces, which is capped.

use super::unpack::{self, Compression};
use std::io::{self, Read, Write};

/// The longest ELF that is unpacked, in bytes. Debian's are 50 to 70 MB.
pub const MAX_VMLINUX: u64 = 512 << 20;

/// Where the setup header's fields lie.
mod field {
    pub(super) const SETUP_SECTS: usize = 0x1f1;
    pub(super) const BOOT_FLAG: usize = 0x1fe;
    pub(super) const MAGIC: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const KERNEL_VERSION: usize = 0x20e;
    pub(super) const PAYLOAD_OFFSET: usize = 0x248;
    pub(super) const PAYLOAD_LENGTH: usize = 0x24c;
}

/// A boot image whose header has been read.
#[derive(Debug, Clone)]
pub struct BzImage<'a> {
    release: String,
    compression: Compression,
    payload: &'a [u8],
    length: u64,
}

/// What is wrong with a boot image.
#[derive(Debug, thiserror::Error)]
pub enum BzImageError {
    /// It is something else.
    #[error("not a Linux boot image for x86: it lacks the setup header")]
    NotBzImage,
    /// Before 2.6.24 the header did not say where the payload is.
    #[error("boot protocol {major}.{minor} is too old: 2.08 or later is needed")]
    TooOld {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// The file was cut off.
    #[error("cut off: its header announces {need} bytes, but only {have} are there")]
    Truncated {
        /// Bytes that the header announces.
        need: u64,
        /// Bytes that there are.
        have: u64,
    },
    /// A field that makes no sense.
    #[error("its header is corrupt: {field} is out of bounds")]
    Field {
        /// Which one.
        field: &'static str,
    },
    /// A payload this program cannot unpack.
    #[error(
        "its payload is compressed with {compression}; gzip, lz4, xz and zstd can be read: import the vmlinux instead"
    )]
    Compression {
        /// The compression's name.
        compression: &'static str,
    },
    /// More than is unpacked.
    #[error("its payload would unpack to {length} bytes; {max} is the most", max = MAX_VMLINUX)]
    TooLarge {
        /// Bytes announced.
        length: u64,
    },
    /// The payload does not unpack.
    #[error("its payload is corrupt")]
    Payload(#[source] io::Error),
    /// The payload unpacks to another length than it announces.
    #[error("its payload is corrupt: it announces {announced} bytes, but {found} came out")]
    Length {
        /// Bytes announced.
        announced: u64,
        /// Bytes that came out, at most one more than announced.
        found: u64,
    },
    /// The other side failed.
    #[error("cannot write the kernel")]
    Write(#[source] io::Error),
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Whether `head`, the first 4 KiB of a file or less, begins a boot image.
pub fn is_bzimage(head: &[u8]) -> bool {
    le16(head, field::BOOT_FLAG) == Some(0xaa55) && head.get(field::MAGIC..field::MAGIC + 4) == Some(b"HdrS")
}

impl<'a> BzImage<'a> {
    /// Reads the header of `image`, a whole file.
    pub fn parse(image: &'a [u8]) -> Result<Self, BzImageError> {
        if !is_bzimage(image) {
            return Err(BzImageError::NotBzImage);
        }
        let have = image.len() as u64;
        let short = |need: u64| BzImageError::Truncated { need, have };
        let header_end = (field::PAYLOAD_LENGTH + 4) as u64;
        let version = le16(image, field::VERSION).ok_or(short(header_end))?;
        if version < 0x0208 {
            let [minor, major] = version.to_le_bytes();
            return Err(BzImageError::TooOld { major, minor });
        }
        let offset = le32(image, field::PAYLOAD_OFFSET).ok_or(short(header_end))?;
        let packed = le32(image, field::PAYLOAD_LENGTH).ok_or(short(header_end))?;
        // No sectors means four, for the sake of very old loaders; the boot sector comes on top.
        let sectors = match image[field::SETUP_SECTS] {
            0 => 4,
            n => u64::from(n),
        };
        let start = (sectors + 1) * 512 + u64::from(offset);
        let end = start + u64::from(packed);
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let payload = range.and_then(|(start, end)| image.get(start..end)).ok_or(short(end))?;
        let compression = Compression::detect(payload).ok_or(BzImageError::Field { field: "the payload's offset" })?;
        // Linux's build appends the plain length to every payload but gzip's, which ends with it by its own format.
        let (packed, length) =
            payload.split_last_chunk::<4>().ok_or(BzImageError::Field { field: "the payload's length" })?;
        let length = u64::from(u32::from_le_bytes(*length));
        if length > MAX_VMLINUX {
            return Err(BzImageError::TooLarge { length });
        }
        let payload = if compression == Compression::Gzip { payload } else { packed };
        Ok(Self { release: release(image)?, compression, payload, length })
    }

    /// What `uname -r` will print, like `6.1.0-44-cloud-amd64`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Writes the kernel's ELF to `out`.
    pub fn unpack(&self, out: &mut impl Write) -> Result<(), BzImageError> {
        let mut plain = unpack::decoder(self.compression, self.payload)
            .map_err(BzImageError::Payload)?
            .ok_or(BzImageError::Compression { compression: self.compression.name() })?
            .take(self.length + 1);
        let mut buffer = vec![0; 256 << 10];
        let mut found: u64 = 0;
        loop {
            let n = match plain.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(BzImageError::Payload(error)),
            };
            found += n as u64;
            if found <= self.length {
                out.write_all(&buffer[..n]).map_err(BzImageError::Write)?;
            }
        }
        if found == self.length { Ok(()) } else { Err(BzImageError::Length { announced: self.length, found }) }
    }
}

/// The first word of the version text, which lies in the setup part of the image.
fn release(image: &[u8]) -> Result<String, BzImageError> {
    let bad = || BzImageError::Field { field: "the kernel's version text" };
    let start = usize::from(le16(image, field::KERNEL_VERSION).ok_or_else(bad)?) + 0x200;
    let text = image.get(start..).ok_or_else(bad)?;
    let end = text.iter().take(super::MAX_RELEASE + 1).position(|b| matches!(b, 0 | b' ')).ok_or_else(bad)?;
    super::valid_release(&text[..end]).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: &[u8] = b"an ELF file, for all that matters here";

    /// A boot image with that payload, as the build would end it.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[field::SETUP_SECTS] = 1;
        image[field::BOOT_FLAG..field::BOOT_FLAG + 2].copy_from_slice(&0xaa55_u16.to_le_bytes());
        image[field::MAGIC..field::MAGIC + 4].copy_from_slice(b"HdrS");
        image[field::VERSION..field::VERSION + 2].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[field::KERNEL_VERSION..field::KERNEL_VERSION + 2].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x320].copy_from_slice(b"6.1.0-9-cloud-amd64 (build) #1\0\0");
        let length = u32::try_from(payload.len()).unwrap();
        image[field::PAYLOAD_LENGTH..field::PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    fn with_length(mut packed: Vec<u8>, length: usize) -> Vec<u8> {
        packed.extend(u32::try_from(length).unwrap().to_le_bytes());
        packed
    }

    fn zstd() -> Vec<u8> {
        with_length(zstd::encode_all(PLAIN, 1).unwrap(), PLAIN.len())
    }

    fn unpack(image: &[u8]) -> Result<Vec<u8>, BzImageError> {
        let mut out = Vec::new();
        BzImage::parse(image)?.unpack(&mut out)?;
        Ok(out)
    }

    #[test]
    fn the_elf_comes_out_of_every_compression() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(PLAIN).unwrap();
        let block = lz4_flex::block::compress(PLAIN);
        let mut lz4 = 0x184c_2102_u32.to_le_bytes().to_vec();
        lz4.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        lz4.extend(block);
        for payload in [zstd(), gzip.finish().unwrap(), with_length(lz4, PLAIN.len())] {
            assert_eq!(unpack(&image(&payload)).unwrap(), PLAIN);
        }
        assert_eq!(BzImage::parse(&image(&zstd())).unwrap().release(), "6.1.0-9-cloud-amd64");
    }

    #[test]
    fn damage_is_told_apart() {
        let good = image(&zstd());
        assert!(matches!(unpack(&good[..good.len() - 1]), Err(BzImageError::Truncated { .. })));
        assert!(matches!(unpack(&good[..0x210]), Err(BzImageError::Truncated { .. })));
        assert!(matches!(unpack(b"MZ"), Err(BzImageError::NotBzImage)));
        let changed = |at: usize, bytes: &[u8]| {
            let mut image = good.clone();
            image[at..at + bytes.len()].copy_from_slice(bytes);
            unpack(&image)
        };
        assert!(matches!(changed(field::VERSION, &[7, 2]), Err(BzImageError::TooOld { major: 2, minor: 7 })));
        assert!(matches!(changed(field::PAYLOAD_OFFSET, &[0xff; 4]), Err(BzImageError::Truncated { .. })));
        assert!(matches!(changed(field::PAYLOAD_LENGTH, &[2, 0, 0, 0]), Err(BzImageError::Field { .. })));
        assert!(matches!(changed(1024, &[0; 4]), Err(BzImageError::Field { .. })));
        assert!(matches!(changed(1024, b"BZh9"), Err(BzImageError::Compression { compression: "bzip2" })));
        assert!(matches!(changed(1024 + 6, &[0xff; 8]), Err(BzImageError::Payload(_) | BzImageError::Length { .. })));
        assert!(matches!(changed(0x300, b"../../x"), Err(BzImageError::Field { .. })));
        for length in [PLAIN.len() - 1, PLAIN.len() + 1] {
            let wrong = with_length(zstd::encode_all(PLAIN, 1).unwrap(), length);
            assert!(matches!(unpack(&image(&wrong)), Err(BzImageError::Length { .. })), "{length}");
        }
        let huge = with_length(zstd::encode_all(PLAIN, 1).unwrap(), usize::try_from(u32::MAX).unwrap());
        assert!(matches!(unpack(&image(&huge)), Err(BzImageError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(at in 0_usize..1100, byte: u8, cut in 0_usize..1200) {
            let mut image = image(&zstd());
            image[at % 1040] = byte;
            let _any = unpack(&image[..cut.min(image.len())]);
            let _any = unpack(&image);
        }
    }
}
