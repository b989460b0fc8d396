//! Compressed streams that are none, or were damaged on their way: an error or other bytes, and never without end.

use super::decode::decoder;
use crate::source::Encoding;
use proptest::prelude::*;
use std::io::{Read, Write};

/// More than comes out of anything here; a bomb would reach it.
const BOUND: u64 = 64 << 20;

fn plain() -> Vec<u8> {
    (0..4000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect()
}

fn packed(encoding: Encoding) -> Vec<u8> {
    let plain = plain();
    match encoding {
        Encoding::None => plain,
        Encoding::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&plain).unwrap();
            gzip.finish().unwrap()
        }
        Encoding::Zstd => zstd::encode_all(plain.as_slice(), 1).unwrap(),
        Encoding::Xz => {
            let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
            xz.write_all(&plain).unwrap();
            xz.finish().unwrap()
        }
    }
}

fn unpack(encoding: Encoding, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    decoder(encoding, bytes)?.take(BOUND).read_to_end(&mut out)?;
    assert!((out.len() as u64) < BOUND, "{} bytes became {} or more", bytes.len(), out.len());
    Ok(out)
}

const ENCODINGS: [Encoding; 3] = [Encoding::Gzip, Encoding::Zstd, Encoding::Xz];

#[test]
fn what_was_packed_is_unpacked_and_what_was_cut_off_is_not() {
    for encoding in ENCODINGS {
        let packed = packed(encoding);
        assert_eq!(unpack(encoding, &packed).unwrap(), plain());
        for cut in 1..packed.len() {
            assert!(unpack(encoding, &packed[..cut]).is_err(), "{encoding:?} cut off after {cut} bytes");
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]
fn fuzzed_streams() {
    for encoding in ENCODINGS {
        let name = encoding.name().unwrap_or_default();
        let corpus = [packed(encoding), packed(encoding).repeat(2)];
        // Windows are bounded by the decoders, and what comes out by who reads.
        println!(
            "{}",
            banger_damage::fuzz::fuzz(name, &corpus, &[], 160 << 20, |bytes| {
                let _any =
                    decoder(encoding, bytes).and_then(|out| std::io::copy(&mut out.take(BOUND), &mut std::io::sink()));
            })
        );
    }
}

/// A frame that wants a window of two gigabytes is refused before anything is allocated for it.
#[test]
fn a_window_beyond_the_bound_is_refused() {
    // Magic, a frame header without checksum or size, and the window: 2^(10 + 21) bytes (RFC 8878, 3.1.1.1.2).
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    assert!(unpack(Encoding::Zstd, &frame).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes(which in 0_usize..3, bytes in prop::collection::vec(any::<u8>(), 0..300), magic: bool) {
        let encoding = ENCODINGS[which];
        let head: &[u8] = match encoding {
            Encoding::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
            Encoding::Xz => &[0xfd, b'7', b'z', b'X', b'Z', 0],
            _ => &[0x1f, 0x8b, 8],
        };
        let _any = unpack(encoding, &if magic { [head, &bytes].concat() } else { bytes });
    }

    #[test]
    fn changed_bytes(which in 0_usize..3, changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut bytes = packed(ENCODINGS[which]);
        let length = bytes.len();
        changes.iter().for_each(|(at, byte)| bytes[at % length] = *byte);
        let _any = unpack(ENCODINGS[which], &bytes);
    }
}
