//! The ELF inside a bzImage, which Firecracker needs.

/// Takes it out: the payload of the setup header (Linux boot protocol 2.08), LZ4 in its legacy frames or zstd.
pub(crate) fn elf_of(bzimage: &[u8]) -> Vec<u8> {
    let number = |at: usize| usize::try_from(u32::from_le_bytes(*bzimage[at..].first_chunk().unwrap())).unwrap();
    let start = (usize::from(bzimage[0x1f1]) + 1) * 512 + number(0x248);
    // The last four bytes say how long the ELF is.
    let payload = &bzimage[start..start + number(0x24c) - 4];
    let elf = match payload {
        [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => unlz4(blocks),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::decode_all(payload).unwrap(),
        other => panic!("a kernel packed in a way that this test does not know: {:02x?}", &other[..4]),
    };
    assert!(elf.starts_with(b"\x7fELF"));
    elf
}

/// Blocks behind their lengths, each of at most 8 MiB once unpacked.
fn unlz4(mut blocks: &[u8]) -> Vec<u8> {
    let mut elf = Vec::new();
    while let Some((length, rest)) = blocks.split_first_chunk::<4>() {
        let (block, rest) = rest.split_at(usize::try_from(u32::from_le_bytes(*length)).unwrap());
        elf.extend(lz4_flex::block::decompress(block, 8 << 20).unwrap());
        blocks = rest;
    }
    elf
}
