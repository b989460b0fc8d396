//! Tars that nobody would write: every header with a checksum that is right, and everything else anything.

use super::{BLOCK, EntryKind, Part, Reader};
use proptest::prelude::*;
use std::convert::Infallible;

/// What a tar holds beyond its metadata is never more than what it is long.
fn read_all(bytes: &[u8]) -> Vec<(Vec<u8>, EntryKind)> {
    let mut reader = Reader::new(bytes);
    let (mut entries, mut data) = (Vec::new(), 0);
    while let Ok(Some(entry)) = reader.next_entry() {
        let (size, mut seen) = (if let EntryKind::File(size) = entry.kind { size } else { 0 }, 0_u64);
        let done = reader.content(|part| {
            match part {
                Part::Data(bytes) => {
                    data += bytes.len();
                    seen += bytes.len() as u64;
                }
                Part::Hole(length) => seen += length,
            }
            Ok::<_, Infallible>(())
        });
        assert!(data <= bytes.len(), "{data} bytes came out of {}", bytes.len());
        assert!(entry.path.len() <= super::MAX_PATH && size <= super::MAX_FILE);
        if done.is_err() {
            break;
        }
        assert_eq!(seen, size, "what comes is as long as was said");
        entries.push((entry.path, entry.kind));
    }
    entries
}

fn header(kind: u8, name: &[u8], size: &[u8; 12], target: &[u8], rest: &[(usize, u8)]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    for (at, text) in [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0"), (136, "00000000000\0")] {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[124..136].copy_from_slice(size);
    block[super::header::TYPE_AT] = kind;
    block[157..157 + target.len()].copy_from_slice(target);
    block[257..263].copy_from_slice(b"ustar\0");
    for (at, byte) in rest {
        block[*at] = *byte;
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn octal(size: u64) -> [u8; 12] {
    let mut field = [0; 12];
    field[..11].copy_from_slice(format!("{:011o}", size & 0o77_777_777_777).as_bytes());
    field
}

/// Sizes that fit what follows, and such that do not, in both forms.
fn size_field(length: usize) -> impl Strategy<Value = [u8; 12]> {
    let binary = any::<u64>().prop_map(|size| {
        let mut field = [0; 12];
        field[0] = 0x80;
        field[4..].copy_from_slice(&size.to_be_bytes());
        field
    });
    let edges = prop::sample::select(vec![i64::MAX.unsigned_abs(), u64::MAX, (1 << 44) - 4096, 1 << 20, 511, 0]);
    let edges = edges.prop_map(|size: u64| {
        let mut field = [0; 12];
        field[0] = 0x80;
        field[4..].copy_from_slice(&size.to_be_bytes());
        field
    });
    prop_oneof![6 => Just(octal(length as u64)), 1 => any::<u64>().prop_map(octal), 1 => binary, 1 => edges]
}

/// A pax record with a length that is right.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let length = (1..6).map(|digits| body + digits).find(|length| length.to_string().len() + body == *length);
    [format!("{} {key}=", length.unwrap_or(body)).as_bytes(), value, b"\n"].concat()
}

fn records() -> impl Strategy<Value = Vec<u8>> {
    let keys = vec![
        "path",
        "linkpath",
        "size",
        "uid",
        "gid",
        "mtime",
        "GNU.sparse.name",
        "GNU.sparse.size",
        "GNU.sparse.realsize",
        "GNU.sparse.major",
        "GNU.sparse.minor",
        "GNU.sparse.offset",
        "GNU.sparse.numbytes",
        "GNU.sparse.map",
        "GNU.sparse.numblocks",
        "SCHILY.xattr.user.x",
        "SCHILY.xattr.security.capability",
        "comment",
    ];
    let numbers =
        vec!["0", "1", "512", "1023", "18446744073709551615", "9223372036854775807", "-1", "1.5", "1,2,3,4", ""];
    let value = prop_oneof![
        3 => prop::sample::select(numbers).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => prop::collection::vec(0_u64..3000, 0..9).prop_map(|map| {
            map.iter().map(u64::to_string).collect::<Vec<_>>().join(",").into_bytes()
        }),
    ];
    prop::collection::vec((prop::sample::select(keys), value), 0..5)
        .prop_map(|pairs| pairs.iter().flat_map(|(key, value)| record(key, value)).collect())
}

/// A header with what follows it.
fn entry() -> impl Strategy<Value = Vec<u8>> {
    let kinds = b"\x000123456DLKxgVS7?".to_vec();
    let sparse = prop::collection::vec((386..BLOCK, any::<u8>()), 0..6);
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..1500),
        records(),
        // A map in decimal, as GNU's newest form begins.
        prop::collection::vec(0_u64..2000, 0..12)
            .prop_map(|map| { map.iter().map(|number| format!("{number}\n")).collect::<String>().into_bytes() }),
    ];
    (prop::sample::select(kinds), prop::collection::vec(any::<u8>(), 1..100), sparse, content).prop_flat_map(
        |(kind, name, sparse, content)| {
            size_field(content.len()).prop_map(move |size| {
                // Only GNU's old form has fields there that matter.
                let rest: &[(usize, u8)] = if kind == b'S' { &sparse } else { &[] };
                let mut bytes = header(kind, &name, &size, b"target", rest).to_vec();
                bytes.extend(&content);
                bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
                bytes
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_entries_under_right_checksums(entries in prop::collection::vec(entry(), 1..6), cut in 0_usize..6000) {
        let bytes = entries.concat();
        read_all(&bytes);
        read_all(&bytes[..cut.min(bytes.len())]);
    }

    #[test]
    fn bytes_of_a_good_tar_changed(changes in prop::collection::vec((0_usize..8192, any::<u8>()), 1..8)) {
        let mut bytes = good();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        read_all(&bytes);
    }

    /// What the library writes that others use, in the forms that it chooses by the name's length.
    #[test]
    fn what_others_write_is_read(
        files in prop::collection::vec(("[a-z]{1,40}(/[a-z]{1,90}){0,4}", prop::collection::vec(any::<u8>(), 0..2000)), 0..5)
    ) {
        let mut tar = ::tar::Builder::new(Vec::new());
        for (name, content) in &files {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, content.as_slice()).unwrap();
        }
        let entries = read_all(&tar.into_inner().unwrap());
        let expected =
            files.iter().map(|(name, content)| (name.clone().into_bytes(), EntryKind::File(content.len() as u64)));
        prop_assert_eq!(entries, expected.collect::<Vec<_>>());
    }
}

/// Makes every header's checksum right, as far as what has come up to there leaves headers where they were.
fn checksummed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]
fn fuzzed_tars() {
    let words: [&[u8]; 7] =
        [b"GNU.sparse.map", b"GNU.sparse.realsize", b"30 size=", b"\x80", b"././@LongLink", b"path=", &[0; 512]];
    // What an entry may have in memory is bounded by the reader's own limits.
    println!(
        "{}",
        banger_damage::fuzz::fuzz("tar", &[good()], &words, 4 << 20, |bytes| {
            read_all(bytes);
            read_all(&checksummed(bytes));
        })
    );
}

/// A tar with pax records, a sparse file and a long name of GNU's.
fn good() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |kind: u8, content: &[u8]| {
        bytes.extend(header(kind, b"name", &octal(content.len() as u64), b"target", &[]));
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    };
    put(b'x', &[record("path", b"a/long/one"), record("mtime", b"1.5"), record("SCHILY.xattr.user.x", b"y")].concat());
    put(b'0', b"content");
    let sparse = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "9000"),
    ];
    put(b'x', &sparse.map(|(key, value)| record(key, value.as_bytes())).concat());
    let mut content = b"1\n8192\n5\n".to_vec();
    content.resize(BLOCK, 0);
    content.extend(b"12345");
    put(b'0', &content);
    put(b'L', &[b'g'; 200]);
    put(b'2', b"");
    bytes.extend([0; 2 * BLOCK]);
    bytes
}

#[test]
fn a_good_tar_is_read_to_its_end() {
    let entries = read_all(&good());
    let paths: Vec<_> = entries.iter().map(|(path, _)| path.len()).collect();
    assert_eq!(paths, [10, 1, 200]);
    assert_eq!(entries[1].1, EntryKind::File(9000));
}

#[test]
fn a_size_that_no_stream_can_have_is_no_overflow() {
    for kind in *b"DV0" {
        for size in [u64::MAX, u64::MAX - 511, i64::MAX.unsigned_abs()] {
            let records = record("size", size.to_string().as_bytes());
            let mut bytes = header(b'x', b"pax", &octal(records.len() as u64), b"", &[]).to_vec();
            bytes.extend(&records);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            bytes.extend(header(kind, b"name", &octal(0), b"", &[]));
            bytes.extend([0; BLOCK]);
            read_all(&bytes);
        }
    }
}
