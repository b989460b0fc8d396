//! Opening a compressed stream by its first bytes.
//!
//! Owns: the compressions that kernels, modules and Debian packages come in. Must not: know what is inside. Every decoder has
//! a bounded window, so hostile input costs bounded memory; callers bound the output.

use std::io::{self, BufRead, Read};

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Xz,
    Zstd,
    Lz4Legacy,
    Bzip2,
    Lzma,
    Lzo,
}

/// The most memory a decoder may take for its window.
const DECODER_MEMORY: u64 = 192 << 20;

impl Compression {
    /// What `head`, the first bytes of a stream, announces; `None` for anything else.
    pub(crate) fn detect(head: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Compression); 7] = [
            (&[0x1f, 0x8b], Compression::Gzip),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
            (&[0x02, 0x21, 0x4c, 0x18], Compression::Lz4Legacy),
            (b"BZh", Compression::Bzip2),
            (&[0x5d, 0, 0], Compression::Lzma),
            (&[0x89, b'L', b'Z', b'O'], Compression::Lzo),
        ];
        MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, compression)| *compression)
    }

    /// The name people know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4Legacy => "lz4",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Lzo => "lzo",
        }
    }
}

/// A reader of the plain bytes of `input`; `None` for the compressions that are not supported here.
pub(crate) fn decoder<'a>(
    compression: Compression,
    input: impl BufRead + 'a,
) -> io::Result<Option<Box<dyn Read + 'a>>> {
    Ok(Some(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(DECODER_MEMORY, 0)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Compression::Lz4Legacy => Box::new(super::lz4::LegacyReader::new(input)),
        Compression::Bzip2 | Compression::Lzma | Compression::Lzo => return Ok(None),
    }))
}
