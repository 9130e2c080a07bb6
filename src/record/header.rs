//! The 61 bytes that open every batch, and how to step from one batch to the next.

use bytes::{BufMut, Bytes, BytesMut};

/// Size in bytes of a version 2 batch header (Kafka `DefaultRecordBatch.RECORD_BATCH_OVERHEAD`).
pub const HEADER_LEN: usize = 61;

/// Bytes in front of what `batch_length` counts: base offset and the length itself (Kafka `Records.LOG_OVERHEAD`).
pub(crate) const LOG_OVERHEAD: usize = 12;
/// Where the magic byte stands, in every message format Kafka ever had.
pub(crate) const MAGIC_AT: usize = 16;
/// First byte that the CRC covers: base offset, length, leader epoch, magic and the CRC itself are outside it.
pub(crate) const CRC_FROM: usize = 21;
/// The only message format that is stored.
pub(crate) const MAGIC_V2: i8 = 2;
/// Kafka's `RecordBatch.NO_TIMESTAMP`.
pub(crate) const NO_TIMESTAMP: i64 = -1;

const COMPRESSION_MASK: i16 = 0x07;
pub(crate) const LOG_APPEND_TIME_BIT: i16 = 0x08;
pub(crate) const TRANSACTIONAL_BIT: i16 = 0x10;
pub(crate) const CONTROL_BIT: i16 = 0x20;
pub(crate) const DELETE_HORIZON_BIT: i16 = 0x40;

/// Why bytes are not the header of a version 2 batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer bytes than the header, or the batch it announces, takes.
    #[error("a record batch needs {needed} bytes, {have} are there")]
    TooShort { needed: usize, have: usize },
    /// A message format other than version 2.
    #[error("message format {0} is not supported, only 2 is")]
    UnsupportedMagic(i8),
    /// The length field is smaller than the rest of the header.
    #[error("batch length {0} is smaller than a batch header")]
    BadLength(i32),
    /// Attribute bits 0 to 2 name no codec.
    #[error("compression id {0} is not known")]
    UnknownCompression(u8),
}

/// The codec of a batch's records (attribute bits 0 to 2; Kafka `CompressionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// Every codec, in the order of their ids.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The number in the batch attributes.
    pub const fn id(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec with this id.
    pub const fn from_id(id: u8) -> Result<Self, HeaderError> {
        match id {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            other => Err(HeaderError::UnknownCompression(other)),
        }
    }

    /// Kafka's name of the codec, as `compression.type` and metrics spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// The header of a version 2 batch, field by field in wire order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes that follow the first 12 of the batch.
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub magic: i8,
    /// CRC32C of byte 21 to the end of the batch.
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// Milliseconds; record timestamps are deltas to it.
    pub base_timestamp: i64,
    /// Milliseconds; -1 when no record has a timestamp.
    pub max_timestamp: i64,
    /// -1 when the producer is neither idempotent nor transactional.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

/// `N` bytes at a fixed place of a header whose length was checked.
fn field<const N: usize>(header: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

impl BatchHeader {
    /// Reads the header at the start of `buf`; the records behind it are not looked at and need not be there.
    ///
    /// The magic byte is judged before anything else, because its place is the same in every format and the meaning
    /// of the other bytes depends on it.
    ///
    /// # Errors
    /// Fewer than 61 bytes, another magic than 2, or a length that does not even cover the header.
    pub fn parse(buf: &[u8]) -> Result<BatchHeader, HeaderError> {
        let short = HeaderError::TooShort { needed: HEADER_LEN, have: buf.len() };
        let magic = buf.get(MAGIC_AT).ok_or(short)?.cast_signed();
        if magic != MAGIC_V2 {
            return Err(HeaderError::UnsupportedMagic(magic));
        }
        let h: &[u8; HEADER_LEN] = buf.first_chunk().ok_or(short)?;
        let batch_length = i32::from_be_bytes(field(h, 8));
        if batch_length < (HEADER_LEN - LOG_OVERHEAD) as i32 {
            return Err(HeaderError::BadLength(batch_length));
        }
        Ok(BatchHeader {
            base_offset: i64::from_be_bytes(field(h, 0)),
            batch_length,
            partition_leader_epoch: i32::from_be_bytes(field(h, 12)),
            magic,
            crc: u32::from_be_bytes(field(h, 17)),
            attributes: i16::from_be_bytes(field(h, 21)),
            last_offset_delta: i32::from_be_bytes(field(h, 23)),
            base_timestamp: i64::from_be_bytes(field(h, 27)),
            max_timestamp: i64::from_be_bytes(field(h, 35)),
            producer_id: i64::from_be_bytes(field(h, 43)),
            producer_epoch: i16::from_be_bytes(field(h, 51)),
            base_sequence: i32::from_be_bytes(field(h, 53)),
            record_count: i32::from_be_bytes(field(h, 57)),
        })
    }

    /// The header as its 61 bytes, with the CRC that stands in `self`.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let mut w = &mut out[..];
        w.put_i64(self.base_offset);
        w.put_i32(self.batch_length);
        w.put_i32(self.partition_leader_epoch);
        w.put_i8(self.magic);
        w.put_u32(self.crc);
        w.put_i16(self.attributes);
        w.put_i32(self.last_offset_delta);
        w.put_i64(self.base_timestamp);
        w.put_i64(self.max_timestamp);
        w.put_i64(self.producer_id);
        w.put_i16(self.producer_epoch);
        w.put_i32(self.base_sequence);
        w.put_i32(self.record_count);
        out
    }

    /// Puts header and (encoded, perhaps compressed) records together in a new buffer; `batch_length` and `crc` of
    /// `self` are set to what was written.
    ///
    /// # Errors
    /// `None` when the batch would not fit the 32-bit length field.
    pub fn seal(&mut self, payload: &[u8]) -> Option<Bytes> {
        let rest = payload.len().checked_add(HEADER_LEN - LOG_OVERHEAD)?;
        self.batch_length = i32::try_from(rest).ok()?;
        let covered = crc32c::crc32c(&self.encode()[CRC_FROM..]);
        self.crc = crc32c::crc32c_append(covered, payload);
        let mut out = BytesMut::with_capacity(HEADER_LEN + payload.len());
        out.put_slice(&self.encode());
        out.put_slice(payload);
        Some(out.freeze())
    }

    /// Bytes of the whole batch, header included.
    pub fn size_in_bytes(&self) -> usize {
        LOG_OVERHEAD.saturating_add(usize::try_from(self.batch_length).unwrap_or(0))
    }

    /// Offset of the last record, as the batch stands.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Sequence number of the last record, or -1 when the batch carries none. Sequences wrap from `i32::MAX` to 0
    /// (Kafka `DefaultRecordBatch.incrementSequence`).
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta.max(0));
        // Both terms are at most i32::MAX, so one wrap is enough and the result fits again.
        (last % (i64::from(i32::MAX) + 1)) as i32
    }

    /// The codec of the records.
    ///
    /// # Errors
    /// [`HeaderError::UnknownCompression`] for ids 5 to 7.
    pub fn compression(&self) -> Result<Compression, HeaderError> {
        Compression::from_id((self.attributes & COMPRESSION_MASK) as u8)
    }

    /// Names another codec in the attributes; the records are the caller's business.
    pub fn set_compression(&mut self, codec: Compression) {
        self.attributes = (self.attributes & !COMPRESSION_MASK) | i16::from(codec.id());
    }

    /// Whether the records belong to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch is a marker written by a broker and not for applications.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether every record's timestamp is `max_timestamp`, the moment of the append.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// Whether `base_timestamp` is the moment from which tombstones may go (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// The moment from which tombstones, or a marker without records, may go (KIP-534), milliseconds since the epoch.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Sets the moment from which tombstones may go. It becomes the base timestamp: records must be encoded relative to it.
    pub fn set_delete_horizon(&mut self, horizon_ms: i64) {
        self.attributes |= DELETE_HORIZON_BIT;
        self.base_timestamp = horizon_ms;
    }

    /// The header of the batch when it lost all records and only its range, producer and epochs are kept
    /// (`DefaultRecordBatch.writeEmptyHeader`).
    pub fn emptied(&self) -> BatchHeader {
        BatchHeader {
            attributes: self.attributes & !(COMPRESSION_MASK | DELETE_HORIZON_BIT),
            base_timestamp: NO_TIMESTAMP,
            record_count: 0,
            ..*self
        }
    }

    /// Puts the header in front of the records that stand in `batch` behind [`HEADER_LEN`] bytes left free; `batch_length`
    /// and `crc` of `self` are set to what was written.
    ///
    /// # Errors
    /// `None` when the batch would not fit the 32-bit length field.
    pub fn seal_in_place(&mut self, batch: &mut [u8]) -> Option<()> {
        let (free, payload) = batch.split_at_mut_checked(HEADER_LEN)?;
        self.batch_length = i32::try_from(HEADER_LEN - LOG_OVERHEAD + payload.len()).ok()?;
        let covered = crc32c::crc32c(&self.encode()[CRC_FROM..]);
        self.crc = crc32c::crc32c_append(covered, payload);
        free.copy_from_slice(&self.encode());
        Some(())
    }

    /// Whether the batch comes from an idempotent or transactional producer.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }
}

/// Whether the CRC32C in the header is that of byte 21 to the end of `batch`, which must be exactly one batch.
/// Bytes too few to be a batch do not match.
pub fn crc_matches(batch: &[u8]) -> bool {
    let (Some(stored), Some(covered)) =
        (batch.get(MAGIC_AT + 1..CRC_FROM).and_then(<[u8]>::first_chunk), batch.get(CRC_FROM..))
    else {
        return false;
    };
    batch.len() >= HEADER_LEN && u32::from_be_bytes(*stored) == crc32c::crc32c(covered)
}

/// The first 16 bytes of the batch with the offset and leader epoch that the append assigned. The CRC starts behind
/// them, so a batch can be stored as it came with only these bytes exchanged.
pub fn patch_prefix(header: &BatchHeader, base_offset: i64, leader_epoch: i32) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&base_offset.to_be_bytes());
    out[8..12].copy_from_slice(&header.batch_length.to_be_bytes());
    out[12..].copy_from_slice(&leader_epoch.to_be_bytes());
    out
}

/// Steps through batches that stand one behind the other. Stops after the first error, since nothing tells where a
/// next batch would start. The CRC is not checked.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    buf: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// Starts at the first byte of `buf`.
    pub fn new(buf: &'a [u8]) -> Self {
        Batches { buf, at: 0, failed: false }
    }

    /// Bytes that complete batches took so far: where a torn tail begins, after an error.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.buf.get(self.at..).filter(|rest| !rest.is_empty())?;
        if self.failed {
            return None;
        }
        let step = BatchHeader::parse(rest).and_then(|header| {
            let size = header.size_in_bytes();
            let batch = rest.get(..size).ok_or(HeaderError::TooShort { needed: size, have: rest.len() })?;
            Ok((header, batch))
        });
        match step {
            Ok((_, batch)) => self.at += batch.len(),
            Err(_) => self.failed = true,
        }
        Some(step)
    }
}

impl std::iter::FusedIterator for Batches<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;
    use proptest::prelude::*;

    fn sample() -> Bytes {
        BatchBuilder::new()
            .producer(7, 3, 41)
            .record(1_000, Some(b"k"), Some(b"v"))
            .record(1_005, None, Some(b"w"))
            .build()
            .unwrap()
    }

    #[test]
    fn header_round_trips_and_answers_its_questions() {
        let batch = sample();
        let h = BatchHeader::parse(&batch).unwrap();
        assert_eq!(h.encode(), batch[..HEADER_LEN]);
        assert_eq!(h.size_in_bytes(), batch.len());
        assert_eq!((h.last_offset(), h.last_sequence()), (1, 42));
        assert!(h.has_producer() && !h.is_control() && !h.is_transactional());
        assert_eq!(h.compression(), Ok(Compression::None));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut h = BatchHeader::parse(&sample()).unwrap();
        h.base_sequence = i32::MAX;
        assert_eq!(h.last_sequence(), 0);
        h.base_sequence = i32::MAX - 1;
        assert_eq!(h.last_sequence(), i32::MAX);
        h.base_sequence = -1;
        assert_eq!(h.last_sequence(), -1);
    }

    #[test]
    fn every_flipped_bit_behind_byte_21_breaks_the_crc() {
        let batch = sample();
        assert!(crc_matches(&batch));
        for bit in CRC_FROM * 8..batch.len() * 8 {
            let mut bad = batch.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!crc_matches(&bad), "bit {bit}");
        }
    }

    #[test]
    fn prefix_changes_offset_and_epoch_and_keeps_the_crc_good() {
        let mut batch = sample().to_vec();
        let h = BatchHeader::parse(&batch).unwrap();
        batch[..16].copy_from_slice(&patch_prefix(&h, 900, 12));
        let patched = BatchHeader::parse(&batch).unwrap();
        assert!(crc_matches(&batch));
        assert_eq!(patched, BatchHeader { base_offset: 900, partition_leader_epoch: 12, ..h });
    }

    #[test]
    fn batches_stop_at_a_torn_tail() {
        let one = sample();
        let two = [&one[..], &one[..]].concat();
        assert_eq!(Batches::new(&two).filter(Result::is_ok).count(), 2);
        for cut in one.len() + 1..two.len() {
            let mut batches = Batches::new(&two[..cut]);
            assert!(batches.next().unwrap().is_ok());
            assert!(batches.next().unwrap().is_err(), "cut at {cut}");
            assert!(batches.next().is_none());
            assert_eq!(batches.position(), one.len());
        }
    }

    #[test]
    fn other_formats_are_named_before_lengths_are_judged() {
        let mut batch = sample().to_vec();
        batch[MAGIC_AT] = 1;
        batch.truncate(MAGIC_AT + 1);
        assert_eq!(BatchHeader::parse(&batch), Err(HeaderError::UnsupportedMagic(1)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), v2: bool) {
            if v2 && bytes.len() > MAGIC_AT { bytes[MAGIC_AT] = 2; }
            let _ = crc_matches(&bytes);
            for (h, batch) in Batches::new(&bytes).flatten() {
                prop_assert_eq!(h.size_in_bytes(), batch.len());
                let _ = (h.last_offset(), h.last_sequence(), h.compression());
            }
        }
    }
}
