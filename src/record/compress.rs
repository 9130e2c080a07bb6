//! The four codecs as Kafka's clients frame them. Decoding is streamed against an output budget, so that a small
//! batch which unfolds to gigabytes costs no more than the budget.

use std::io::{self, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::header::Compression;

/// What snappy-java's `SnappyOutputStream` puts in front: magic, then version 1 and lowest compatible version 1.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_LEN: usize = 16;
/// snappy-java's default block size, the one Kafka's Java clients use.
const XERIAL_BLOCK: usize = 32 * 1024;
/// Snappy's densest element makes 64 bytes out of 3; a block that claims more than this many times its own size is
/// lying, and memory is not reserved for it.
const SNAPPY_MAX_RATIO: usize = 22;
/// Largest zstd window that is decoded, as a power of two: zstd's own default limit (128 MiB).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Kafka's default `compression.lz4.level`. At that level Kafka uses the fast compressor, not the high one.
const LZ4_DEFAULT_LEVEL: i32 = 9;
/// Highest level that the C library distinguishes.
const LZ4_MAX_LEVEL: i32 = 12;

/// Why compressed records could not be unfolded.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The output would exceed the budget of `max` bytes.
    #[error("the records unfold to more than {max} bytes")]
    TooLarge { max: usize },
    /// The bytes are not (or not completely) what the codec writes.
    #[error("the {} data is corrupt: {source}", codec.name())]
    Corrupt { codec: Compression, source: io::Error },
}

/// Unfolds `data` to at most `max_output` bytes. Memory stays within about twice the budget plus the codec's window.
///
/// # Errors
/// [`DecompressError::TooLarge`] as soon as the budget is exceeded; [`DecompressError::Corrupt`] for bytes the codec
/// rejects, including a stream that ends too early.
pub fn decompress(codec: Compression, data: &[u8], max_output: usize) -> Result<Vec<u8>, DecompressError> {
    let corrupt = |source| DecompressError::Corrupt { codec, source };
    match codec {
        Compression::None if data.len() > max_output => Err(DecompressError::TooLarge { max: max_output }),
        Compression::None => Ok(data.to_vec()),
        // Java's GZIPInputStream reads concatenated members as one stream, hence "multi".
        Compression::Gzip => read_bounded(codec, &mut MultiGzDecoder::new(data), max_output),
        Compression::Snappy => unsnap(data, max_output),
        Compression::Lz4 => {
            let mut decoder = lz4::Decoder::new(data).map_err(corrupt)?;
            let out = read_bounded(codec, &mut decoder, max_output)?;
            // A frame that is cut off reads like one that ended; only `finish` tells them apart.
            if decoder.finish().1.is_err() {
                return Err(corrupt(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(out)
        }
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(data).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
            read_bounded(codec, &mut decoder, max_output)
        }
    }
}

fn read_bounded(codec: Compression, decoder: &mut impl Read, max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    // One byte more than allowed, to tell "exactly the budget" from "more".
    decoder
        .take((max as u64).saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|source| DecompressError::Corrupt { codec, source })?;
    if out.len() > max {
        return Err(DecompressError::TooLarge { max });
    }
    Ok(out)
}

fn bad_snappy(source: io::Error) -> DecompressError {
    DecompressError::Corrupt { codec: Compression::Snappy, source }
}

/// Java's framing, or one raw block as some other clients send it.
fn unsnap(data: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    if !data.starts_with(&XERIAL_MAGIC) {
        unsnap_block(data, max, &mut out)?;
        return Ok(out);
    }
    let eof = || bad_snappy(io::ErrorKind::UnexpectedEof.into());
    let mut rest = data;
    while !rest.is_empty() {
        // The header may come again: streams that were written one behind the other.
        if rest.starts_with(&XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER_LEN..).ok_or_else(eof)?;
            continue;
        }
        let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(eof)?;
        let len = usize::try_from(i32::from_be_bytes(*len))
            .map_err(|e| bad_snappy(io::Error::new(io::ErrorKind::InvalidData, e)))?;
        let (block, tail) = tail.split_at_checked(len).ok_or_else(eof)?;
        unsnap_block(block, max, &mut out)?;
        rest = tail;
    }
    Ok(out)
}

fn unsnap_block(block: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let claimed = snap::raw::decompress_len(block).map_err(|e| bad_snappy(e.into()))?;
    let start = out.len();
    if claimed > max.saturating_sub(start) {
        return Err(DecompressError::TooLarge { max });
    }
    if claimed > block.len().saturating_mul(SNAPPY_MAX_RATIO) {
        return Err(bad_snappy(io::Error::new(
            io::ErrorKind::InvalidData,
            "a block claims more bytes than it can hold",
        )));
    }
    out.resize(start + claimed, 0);
    let written =
        snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(|e| bad_snappy(e.into()))?;
    out.truncate(start + written);
    Ok(())
}

/// Folds `data` the way Kafka's Java client does. `level` is Kafka's `compression.<codec>.level`, brought into the
/// codec's range; `None` is Kafka's default.
///
/// # Errors
/// Only when the codec's library cannot set itself up.
pub fn compress(codec: Compression, level: Option<i32>, data: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(data.to_vec()),
        Compression::Gzip => {
            // Kafka's -1 is zlib's "default".
            let level = match level {
                Some(level @ 0..) => flate2::Compression::new(level.min(9).unsigned_abs()),
                _ => flate2::Compression::default(),
            };
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(data)?;
            encoder.finish()
        }
        Compression::Snappy => {
            let mut out = Vec::with_capacity(XERIAL_HEADER_LEN + data.len() / 2);
            out.extend_from_slice(&XERIAL_MAGIC);
            out.extend_from_slice(&1i32.to_be_bytes());
            out.extend_from_slice(&1i32.to_be_bytes());
            let mut encoder = snap::raw::Encoder::new();
            for chunk in data.chunks(XERIAL_BLOCK) {
                let block = encoder.compress_vec(chunk)?;
                // A block of 32 KiB grows by a sixth at most: the length always fits.
                out.extend_from_slice(&(block.len() as i32).to_be_bytes());
                out.extend_from_slice(&block);
            }
            Ok(out)
        }
        Compression::Lz4 => {
            // Level 0 is the C library's fast compressor.
            let level = match level {
                None | Some(LZ4_DEFAULT_LEVEL) => 0,
                Some(level) => level.clamp(1, LZ4_MAX_LEVEL).unsigned_abs(),
            };
            // As KafkaLZ4BlockOutputStream: independent blocks of 64 KB, no checksums beside the batch's own.
            let mut encoder = lz4::EncoderBuilder::new()
                .level(level)
                .block_size(lz4::BlockSize::Max64KB)
                .block_mode(lz4::BlockMode::Independent)
                .checksum(lz4::ContentChecksum::NoChecksum)
                .block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum)
                .build(Vec::new())?;
            encoder.write_all(data)?;
            let (out, ended) = encoder.finish();
            ended.map(|()| out)
        }
        Compression::Zstd => {
            let range = zstd::compression_level_range();
            let level = level
                .map_or(zstd::DEFAULT_COMPRESSION_LEVEL, |level| level.clamp(*range.start(), *range.end()));
            zstd::encode_all(data, level)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codecs() -> impl Iterator<Item = Compression> {
        Compression::ALL.into_iter().filter(|codec| *codec != Compression::None)
    }

    #[test]
    fn the_budget_is_exact_and_bombs_stop_at_it() {
        let zeros = vec![0u8; 8 << 20];
        for codec in codecs() {
            let bomb = compress(codec, None, &zeros).unwrap();
            assert!(bomb.len() < zeros.len() / 15, "{codec:?}: {}", bomb.len());
            for max in [0, 1, 1 << 16, zeros.len() - 1] {
                assert!(
                    matches!(decompress(codec, &bomb, max), Err(DecompressError::TooLarge { max: m }) if m == max),
                    "{codec:?} with {max}"
                );
            }
            assert_eq!(decompress(codec, &bomb, zeros.len()).unwrap().len(), zeros.len());
        }
    }

    #[test]
    fn cut_streams_are_corrupt() {
        let data: Vec<u8> = (0..2_000u32).flat_map(|i| i.to_le_bytes()).collect();
        for codec in codecs() {
            let folded = compress(codec, None, &data).unwrap();
            for cut in 1..folded.len() {
                match decompress(codec, &folded[..cut], 1 << 20) {
                    Err(_) => {}
                    // Java's snappy framing has no end mark: a cut between blocks only yields less.
                    Ok(out) => {
                        assert!(codec == Compression::Snappy && out.len() < data.len(), "{codec:?} {cut}")
                    }
                }
            }
        }
    }

    #[test]
    fn snappy_is_read_raw_and_in_concatenated_streams() {
        let data = b"tide tide tide tide".repeat(10);
        let raw = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        assert_eq!(decompress(Compression::Snappy, &raw, 1 << 20).unwrap(), data);
        let stream = compress(Compression::Snappy, None, &data).unwrap();
        let twice = [&stream[..], &stream[..]].concat();
        assert_eq!(decompress(Compression::Snappy, &twice, 1 << 20).unwrap(), data.repeat(2));
    }

    #[test]
    fn a_snappy_block_that_claims_too_much_reserves_nothing() {
        // A varint of 64 Mi and no data behind it.
        let lie = [0x80, 0x80, 0x80, 0x20];
        assert!(matches!(
            decompress(Compression::Snappy, &lie, 1 << 30),
            Err(DecompressError::Corrupt { .. })
        ));
    }

    #[test]
    fn lz4_frame_header_is_the_one_kafka_writes() {
        let frame = compress(Compression::Lz4, None, b"x").unwrap();
        // Magic, then version 01 with independent blocks and no checksums, then block size 4 (64 KB).
        assert_eq!(frame[..6], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40]);
    }

    #[test]
    fn zstd_windows_beyond_the_limit_are_refused() {
        // A frame header of its own: magic, no single segment, window descriptor of 2^31, then an empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (31 - 10) << 3, 0x01, 0x00, 0x00];
        assert!(matches!(
            decompress(Compression::Zstd, &frame, 1 << 20),
            Err(DecompressError::Corrupt { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn round_trip(data in prop::collection::vec(0u8..8, 0..100_000), level in prop::option::of(-5i32..30)) {
            for codec in Compression::ALL {
                let folded = compress(codec, level, &data).unwrap();
                prop_assert_eq!(&decompress(codec, &folded, data.len()).unwrap(), &data, "{:?}", codec);
            }
        }

        #[test]
        fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
            for codec in Compression::ALL {
                // Once as they are, once behind a good beginning, so that the inner layers are reached.
                let start = compress(codec, None, b"tide").unwrap();
                for head in [&[][..], &start[..start.len() / 2], &start[..]] {
                    if let Ok(out) = decompress(codec, &[head, &tail].concat(), 4096) {
                        prop_assert!(out.len() <= 4096);
                    }
                }
            }
        }
    }
}
