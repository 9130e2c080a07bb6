//! What a broker checks, and changes, before it appends what a producer sent: the work of Kafka's
//! `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords` and `LogValidator`, in that order.
//!
//! A batch that needs no change comes back as the very bytes that came in, and an uncompressed one that is accepted
//! costs no allocation. Offsets and leader epoch are not assigned here; see [`super::patch_prefix`].

use std::borrow::Cow;

use bytes::Bytes;

use super::compress::{DecompressError, compress, decompress};
use super::header::{
    BatchHeader, Compression, HEADER_LEN, HeaderError, LOG_APPEND_TIME_BIT, LOG_OVERHEAD, MAGIC_AT,
    NO_TIMESTAMP, crc_matches,
};
use super::iterate::{MIN_RECORD_LEN, RecordError, Records};

/// Smallest length field of any message format (Kafka `LegacyRecord.RECORD_OVERHEAD_V0`).
const MIN_BATCH_LENGTH: i32 = 14;
/// At most this many offending records are named in an answer: enough to find the fault, and a batch of a million bad
/// records does not buy a reply of megabytes.
const MAX_REPORTED_RECORDS: usize = 1_000;

/// The codec a topic keeps its batches in (`compression.type` and `compression.<codec>.level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetCompression {
    /// Whatever the producer chose.
    Producer,
    /// This codec; a batch that already uses it is kept as it is, whatever its level. `None`: the codec's default.
    Codec(Compression, Option<i32>),
}

/// What applies to one append: the topic's configuration, the request's version and the time.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `max.message.bytes`: largest batch, header included.
    pub max_message_bytes: usize,
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    pub target: TargetCompression,
    /// Now, in milliseconds since the epoch.
    pub now_ms: i64,
    /// Produce version 7 or later (KIP-110).
    pub zstd_allowed: bool,
    /// Budget for the unfolded records of a compressed batch, in bytes.
    pub max_decompressed_bytes: usize,
}

/// A batch that may be appended.
#[derive(Clone, Debug)]
pub struct Validated {
    /// The header of `bytes`, after any change.
    pub header: BatchHeader,
    /// The one batch; shares the input's memory when nothing had to change.
    pub bytes: Bytes,
}

/// The answer to a producer, as Kafka names its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InvalidKind {
    /// CORRUPT_MESSAGE (2): retriable, bytes changed on the way.
    CorruptMessage,
    /// INVALID_RECORD (87).
    InvalidRecord,
    /// MESSAGE_TOO_LARGE (10).
    MessageTooLarge,
    /// UNSUPPORTED_COMPRESSION_TYPE (76).
    UnsupportedCompressionType,
    /// INVALID_TIMESTAMP (32).
    InvalidTimestamp,
    /// UNSUPPORTED_FOR_MESSAGE_FORMAT (43). Kafka gives it where a topic is kept in an older format than the batch
    /// needs; with format 2 alone no batch earns it.
    UnsupportedForMessageFormat,
}

/// Why a batch may not be appended. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBatch {
    /// Not even one complete batch.
    #[error("a produce request must have one complete record batch per partition")]
    Empty,
    /// A length field that cannot be.
    #[error("the batch framing is invalid: {0}")]
    Malformed(HeaderError),
    /// Bytes behind the batch that are not another one. Kafka cuts them off in silence; refusing them loses nothing.
    #[error("{0} bytes are left behind the record batch")]
    TrailingBytes(usize),
    /// Another message format than 2.
    #[error("message format {0} is not supported, only 2 is")]
    UnsupportedMagic(i8),
    /// More than one batch for one partition.
    #[error("a produce request must have exactly one record batch per partition")]
    TooManyBatches,
    /// The stored CRC is not that of the bytes.
    #[error("the record batch is corrupt (stored crc {stored})")]
    BadCrc { stored: u32 },
    /// The header's count is not positive, or not the number of records there are or can be.
    #[error("the batch announces {0} records, which its offsets or bytes do not bear out")]
    RecordCount(i32),
    /// The control bit from a client.
    #[error("clients are not allowed to write control records")]
    Control,
    /// A producer id without a sequence number.
    #[error("invalid sequence number {base_sequence} in a batch of producer {producer_id}")]
    MissingSequence { producer_id: i64, base_sequence: i32 },
    /// Larger than `max.message.bytes`, as sent or after recompression.
    #[error("the record batch takes {size} bytes, which exceeds the maximum of {max}")]
    TooLarge { size: usize, max: usize },
    /// A codec id that no codec has.
    #[error("compression id {0} is not supported")]
    UnsupportedCompression(u8),
    /// zstd in a request version whose readers may not know it.
    #[error("produce requests before version 7 are not allowed to use zstd")]
    ZstdTooOld,
    /// The records do not unfold, or to too much.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The records could not be brought into the topic's codec.
    #[error("the batch could not be recompressed: {0}")]
    Recompress(std::io::Error),
    /// A record that is not one.
    #[error("a record is malformed: {0}")]
    Record(RecordError),
    /// Records without a key in a compacted topic; the first of them, by place in the batch.
    #[error("a compacted topic cannot accept records without a key")]
    NullKey { batch_indices: Vec<i32> },
    /// Timestamps out of the topic's range, or LogAppendTime claimed by the producer; the first such records.
    #[error("one or more records have been rejected due to invalid timestamp")]
    Timestamp { batch_indices: Vec<i32> },
    /// A base offset other than 0, or records that are not numbered 0, 1, 2, ...
    #[error("the offsets of the batch do not run from 0 without gaps")]
    BadOffsets,
}

impl InvalidBatch {
    /// The error code family Kafka answers with.
    pub fn kind(&self) -> InvalidKind {
        use InvalidBatch as B;
        match self {
            B::Malformed(_) | B::TrailingBytes(_) | B::BadCrc { .. } => InvalidKind::CorruptMessage,
            // The older formats are a valid thing in the wrong place; any other number is not a format at all.
            B::UnsupportedMagic(0 | 1) => InvalidKind::InvalidRecord,
            B::UnsupportedMagic(_) => InvalidKind::CorruptMessage,
            B::Decompress(DecompressError::TooLarge { .. }) | B::TooLarge { .. } => {
                InvalidKind::MessageTooLarge
            }
            B::Decompress(DecompressError::Corrupt { .. }) => InvalidKind::CorruptMessage,
            B::UnsupportedCompression(_) | B::ZstdTooOld | B::Recompress(_) => {
                InvalidKind::UnsupportedCompressionType
            }
            B::Timestamp { .. } => InvalidKind::InvalidTimestamp,
            B::Empty
            | B::TooManyBatches
            | B::RecordCount(_)
            | B::Control
            | B::MissingSequence { .. }
            | B::Record(_)
            | B::NullKey { .. }
            | B::BadOffsets => InvalidKind::InvalidRecord,
        }
    }
}

/// Checks the one batch in `records`, and brings it into the form the topic keeps.
///
/// The records of an uncompressed batch are walked. A compressed one is unfolded only where the header cannot answer:
/// for keys in a compacted topic, for another codec, for timestamps that may be out of range.
///
/// # Errors
/// [`InvalidBatch`]; its [`kind`](InvalidBatch::kind) is what the producer hears.
pub fn validate(records: &Bytes, rules: &Rules) -> Result<Validated, InvalidBatch> {
    let (mut header, codec) = check_frame(records, rules)?;
    check_header(&header, records, rules, codec)?;
    let payload = &records[HEADER_LEN..];
    let (target, level) = match rules.target {
        TargetCompression::Producer => (codec, None),
        TargetCompression::Codec(target, level) => (target, level),
    };

    let unfolded = match codec {
        Compression::None => Some(Cow::Borrowed(payload)),
        _ if target != codec || rules.compacted || !header_decides_timestamps(&header, rules) => {
            Some(Cow::Owned(decompress(codec, payload, rules.max_decompressed_bytes)?))
        }
        _ => None,
    };
    let mut max_timestamp = header.max_timestamp;
    if let Some(plain) = &unfolded {
        max_timestamp = check_records(&header, plain, rules)?;
    }

    let before = header;
    if rules.log_append_time {
        header.attributes |= LOG_APPEND_TIME_BIT;
        header.max_timestamp = rules.now_ms;
    } else {
        header.max_timestamp = max_timestamp;
    }
    let folded = match &unfolded {
        Some(plain) if target != codec => {
            header.set_compression(target);
            Some(compress(target, level, plain).map_err(InvalidBatch::Recompress)?)
        }
        _ => None,
    };
    if header == before {
        return Ok(Validated { header, bytes: records.clone() });
    }
    let too_large = |size| InvalidBatch::TooLarge { size, max: rules.max_message_bytes };
    let payload = folded.as_deref().unwrap_or(payload);
    let size = HEADER_LEN.saturating_add(payload.len());
    if size > rules.max_message_bytes {
        return Err(too_large(size));
    }
    let bytes = header.seal(payload).ok_or_else(|| too_large(size))?;
    Ok(Validated { header, bytes })
}

/// Exactly one batch, of format 2, in a codec the request may use.
fn check_frame(records: &[u8], rules: &Rules) -> Result<(BatchHeader, Compression), InvalidBatch> {
    let size = next_batch_size(records)?.ok_or(InvalidBatch::Empty)?;
    let header = BatchHeader::parse(records).map_err(|e| match e {
        HeaderError::UnsupportedMagic(magic) => InvalidBatch::UnsupportedMagic(magic),
        other => InvalidBatch::Malformed(other),
    })?;
    let codec = header.compression().map_err(|e| match e {
        HeaderError::UnknownCompression(id) => InvalidBatch::UnsupportedCompression(id),
        other => InvalidBatch::Malformed(other),
    })?;
    if codec == Compression::Zstd && !rules.zstd_allowed {
        return Err(InvalidBatch::ZstdTooOld);
    }
    let rest = &records[size..];
    if next_batch_size(rest)?.is_some() {
        return Err(InvalidBatch::TooManyBatches);
    }
    if !rest.is_empty() {
        return Err(InvalidBatch::TrailingBytes(rest.len()));
    }
    Ok((header, codec))
}

/// Size of the complete batch at the start of `buf`, of whatever format; `None` when no complete one is there
/// (Kafka `ByteBufferLogInputStream.nextBatch`).
fn next_batch_size(buf: &[u8]) -> Result<Option<usize>, InvalidBatch> {
    let Some(length) = buf.get(8..LOG_OVERHEAD).and_then(<[u8]>::first_chunk) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    if length < MIN_BATCH_LENGTH {
        return Err(InvalidBatch::Malformed(HeaderError::BadLength(length)));
    }
    let Some(magic) = buf.get(MAGIC_AT).map(|b| b.cast_signed()) else {
        return Ok(None);
    };
    if !(0..=2).contains(&magic) {
        return Err(InvalidBatch::UnsupportedMagic(magic));
    }
    let size = LOG_OVERHEAD.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    Ok((size <= buf.len()).then_some(size))
}

/// What the header alone can be wrong about.
fn check_header(
    header: &BatchHeader,
    batch: &[u8],
    rules: &Rules,
    codec: Compression,
) -> Result<(), InvalidBatch> {
    if header.base_offset != 0 {
        return Err(InvalidBatch::BadOffsets);
    }
    if batch.len() > rules.max_message_bytes {
        return Err(InvalidBatch::TooLarge { size: batch.len(), max: rules.max_message_bytes });
    }
    if !crc_matches(batch) {
        return Err(InvalidBatch::BadCrc { stored: header.crc });
    }
    let count = header.record_count;
    // A count that the bytes cannot hold would take offsets that no record has, even where records are not walked.
    let bytes_at_most = match codec {
        Compression::None => batch.len() - HEADER_LEN,
        _ => rules.max_decompressed_bytes,
    };
    let possible = usize::try_from(count).is_ok_and(|n| n <= bytes_at_most / MIN_RECORD_LEN);
    if count <= 0 || !possible || header.last_offset_delta != count - 1 {
        return Err(InvalidBatch::RecordCount(count));
    }
    if header.is_control() {
        return Err(InvalidBatch::Control);
    }
    if header.has_producer() && header.base_sequence < 0 {
        return Err(InvalidBatch::MissingSequence {
            producer_id: header.producer_id,
            base_sequence: header.base_sequence,
        });
    }
    if header.is_log_append_time() {
        // The broker alone stamps; every record of the batch is at fault.
        let batch_indices = (0..count).take(MAX_REPORTED_RECORDS).collect();
        return Err(InvalidBatch::Timestamp { batch_indices });
    }
    Ok(())
}

fn timestamp_allowed(timestamp: i64, rules: &Rules) -> bool {
    rules.log_append_time
        || timestamp == NO_TIMESTAMP
        || (rules.now_ms.saturating_sub(timestamp) <= rules.timestamp_before_max_ms
            && timestamp.saturating_sub(rules.now_ms) <= rules.timestamp_after_max_ms)
}

/// Whether the header shows that every timestamp is in range. It bounds them from above only: the base timestamp is
/// the first record's, and later records may be older.
fn header_decides_timestamps(header: &BatchHeader, rules: &Rules) -> bool {
    rules.log_append_time
        || (rules.timestamp_before_max_ms == i64::MAX
            && timestamp_allowed(header.base_timestamp, rules)
            && timestamp_allowed(header.max_timestamp, rules))
}

/// Walks the unfolded records; gives their largest timestamp.
fn check_records(header: &BatchHeader, plain: &[u8], rules: &Rules) -> Result<i64, InvalidBatch> {
    let mut max_timestamp = NO_TIMESTAMP;
    let mut bad_timestamp = false;
    let mut batch_indices = Vec::new();
    for (record, index) in Records::new(plain, header.record_count).zip(0i32..) {
        let record = record.map_err(InvalidBatch::Record)?;
        if record.offset_delta != index {
            return Err(InvalidBatch::BadOffsets);
        }
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        let in_range = timestamp_allowed(timestamp, rules);
        let keyless = rules.compacted && record.key.is_none();
        // As in Kafka, a record without a key is not asked for its timestamp, and one bad timestamp names the error.
        bad_timestamp |= !in_range && !keyless;
        if (keyless || !in_range) && batch_indices.len() < MAX_REPORTED_RECORDS {
            batch_indices.push(index);
        }
    }
    match (batch_indices.is_empty(), bad_timestamp) {
        (true, _) => Ok(max_timestamp),
        (false, true) => Err(InvalidBatch::Timestamp { batch_indices }),
        (false, false) => Err(InvalidBatch::NullKey { batch_indices }),
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
