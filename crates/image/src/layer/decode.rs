//! Unpacking a layer's stored bytes.

use crate::source::Encoding;
use std::io::{self, BufRead, Read};

/// The most memory for xz, in bytes: `xz -9` wants 65 MiB.
const XZ_MEMORY: u64 = 80 << 20;
/// The largest window for zstd, as a power of two: 64 MiB. `zstd -19` wants 8 MiB.
const ZSTD_WINDOW: u32 = 26;

/// The tar inside. Streams of several members are read to the last.
pub(super) fn decoder<'r>(encoding: Encoding, stored: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match encoding {
        Encoding::None => Box::new(stored),
        Encoding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stored)),
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(stored)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Encoding::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
                .map_err(io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(stored, stream))
        }
    })
}
