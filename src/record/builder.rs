//! Writes a version 2 batch record by record.

use bytes::{Bytes, BytesMut};

use super::compress::compress;
use super::header::{
    BatchHeader, CONTROL_BIT, Compression, LOG_APPEND_TIME_BIT, MAGIC_V2, NO_TIMESTAMP, TRANSACTIONAL_BIT,
};

/// Why no batch came out of a [`BatchBuilder`].
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No record was given, and no last offset that an empty batch would stand for.
    #[error("a batch needs a record")]
    Empty,
    /// A length, count or offset delta beyond 32 bits.
    #[error("the batch or one of its records is too large for the format")]
    TooLarge,
    /// The codec failed.
    #[error("the records could not be compressed: {0}")]
    Compress(#[from] std::io::Error),
}

/// Collects records into one batch. Without further calls: offsets from 0, no compression, no producer, create time.
///
/// The base timestamp is that of the first record, as in Kafka's `MemoryRecordsBuilder`.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    level: Option<i32>,
    log_append_time: Option<i64>,
    last_offset_delta: Option<i32>,
    payload: BytesMut,
    overflow: bool,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        BatchBuilder {
            header: BatchHeader {
                base_offset: 0,
                batch_length: 0,
                partition_leader_epoch: -1,
                magic: MAGIC_V2,
                crc: 0,
                attributes: 0,
                last_offset_delta: -1,
                base_timestamp: NO_TIMESTAMP,
                max_timestamp: NO_TIMESTAMP,
                producer_id: -1,
                producer_epoch: -1,
                base_sequence: -1,
                record_count: 0,
            },
            compression: Compression::None,
            level: None,
            log_append_time: None,
            last_offset_delta: None,
            payload: BytesMut::new(),
            overflow: false,
        }
    }

    /// Offset of the first record; 0 in what a producer sends.
    pub fn base_offset(mut self, offset: i64) -> Self {
        self.header.base_offset = offset;
        self
    }

    /// Leader epoch; -1 in what a producer sends.
    pub fn leader_epoch(mut self, epoch: i32) -> Self {
        self.header.partition_leader_epoch = epoch;
        self
    }

    /// Codec and level (`None`: Kafka's default level) of the records.
    pub fn compression(mut self, codec: Compression, level: Option<i32>) -> Self {
        self.compression = codec;
        self.level = level;
        self
    }

    /// Producer id, its epoch, and the sequence number of the first record.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    fn flag(mut self, bit: i16, on: bool) -> Self {
        self.header.attributes &= !bit;
        if on {
            self.header.attributes |= bit;
        }
        self
    }

    /// Marks the batch as part of a transaction.
    pub fn transactional(self, on: bool) -> Self {
        self.flag(TRANSACTIONAL_BIT, on)
    }

    /// Marks the batch as a broker's marker.
    pub fn control(self, on: bool) -> Self {
        self.flag(CONTROL_BIT, on)
    }

    /// Makes `now_ms` the timestamp of every record, as a broker does for `message.timestamp.type=LogAppendTime`.
    pub fn log_append_time(mut self, now_ms: i64) -> Self {
        self.log_append_time = Some(now_ms);
        self.flag(LOG_APPEND_TIME_BIT, true)
    }

    /// Sets the moment from which the tombstones in the batch may go, as the log cleaner does (KIP-534). It takes the place
    /// of the base timestamp; call it before the first record.
    pub fn delete_horizon(mut self, horizon_ms: i64) -> Self {
        self.header.set_delete_horizon(horizon_ms);
        self
    }

    /// Last offset minus base offset, for batches that lost their last records to compaction and keep their range.
    /// A batch with this and without records stands for an empty range, as the log cleaner leaves it.
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = Some(delta);
        self
    }

    /// Adds a record without headers at the next offset; `timestamp` in milliseconds.
    pub fn record(self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        self.record_with_headers(timestamp, key, value, &[])
    }

    /// Adds a record at the next offset. Header keys may repeat.
    pub fn record_with_headers(
        self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Self {
        match self.header.last_offset_delta.checked_add(1) {
            Some(next) => self.record_at(next, timestamp, key, value, headers),
            None => BatchBuilder { overflow: true, ..self },
        }
    }

    /// Adds a record at an offset of its own, so that gaps stay gaps.
    pub fn record_at(
        mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Self {
        if self.header.record_count == 0 && !self.header.has_delete_horizon() {
            self.header.base_timestamp = timestamp;
        }
        let timestamp_delta = timestamp.wrapping_sub(self.header.base_timestamp);
        let mut body = BytesMut::new();
        body.extend_from_slice(&[0]);
        put_varlong(&mut body, timestamp_delta);
        put_varlong(&mut body, i64::from(offset_delta));
        let mut fits = put_bytes(&mut body, key) & put_bytes(&mut body, value);
        fits &= put_len(&mut body, headers.len());
        for (key, value) in headers {
            fits &= put_bytes(&mut body, Some(*key)) & put_bytes(&mut body, *value);
        }
        fits &= put_len(&mut self.payload, body.len());
        self.payload.extend_from_slice(&body);
        self.overflow |= !fits || self.header.record_count == i32::MAX;
        self.header.record_count = self.header.record_count.saturating_add(1);
        self.header.last_offset_delta = self.header.last_offset_delta.max(offset_delta);
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
        self
    }

    /// The batch, compressed and with its CRC.
    ///
    /// # Errors
    /// No records, sizes beyond 32 bits, or a codec that failed.
    pub fn build(self) -> Result<Bytes, BuildError> {
        let mut header = self.header;
        if header.record_count == 0 && self.last_offset_delta.is_none() {
            return Err(BuildError::Empty);
        }
        if self.overflow {
            return Err(BuildError::TooLarge);
        }
        if let Some(delta) = self.last_offset_delta {
            header.last_offset_delta = delta;
        }
        if let Some(now) = self.log_append_time {
            header.max_timestamp = now;
        }
        header.set_compression(self.compression);
        // Nothing to compress is written as nothing, as Kafka's writeEmptyHeader does.
        if self.compression == Compression::None || header.record_count == 0 {
            header.set_compression(Compression::None);
            return header.seal(&self.payload).ok_or(BuildError::TooLarge);
        }
        let folded = compress(self.compression, self.level, &self.payload)?;
        header.seal(&folded).ok_or(BuildError::TooLarge)
    }
}

/// Zigzag and base 128. A 32-bit value has the same encoding as a varint and as a varlong.
fn put_varlong(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.extend_from_slice(&[(rest & 0x7f) as u8 | 0x80]);
        rest >>= 7;
    }
    out.extend_from_slice(&[rest as u8]);
}

/// Whether the length fits the format; it is written only then.
fn put_len(out: &mut BytesMut, len: usize) -> bool {
    let fits = i32::try_from(len);
    if let Ok(len) = fits {
        put_varlong(out, i64::from(len));
    }
    fits.is_ok()
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&[u8]>) -> bool {
    match bytes {
        None => {
            put_varlong(out, -1);
            true
        }
        Some(bytes) => {
            let fits = put_len(out, bytes.len());
            out.extend_from_slice(bytes);
            fits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batches, HEADER_LEN, crc_matches};
    use kafka_protocol::indexmap::IndexMap;
    use kafka_protocol::protocol::StrBytes;
    use kafka_protocol::records as oracle;
    use proptest::prelude::*;

    type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Option<Vec<u8>>>);

    fn oracle_batch(rows: &[Row], transactional: bool) -> Bytes {
        let records: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(i, (timestamp, key, value, headers))| oracle::Record {
                transactional,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: 4,
                producer_id: 77,
                producer_epoch: 2,
                timestamp_type: oracle::TimestampType::Creation,
                offset: 100 + i as i64,
                sequence: 9 + i as i32,
                timestamp: *timestamp,
                key: key.clone().map(Bytes::from),
                value: value.clone().map(Bytes::from),
                headers: headers
                    .iter()
                    .enumerate()
                    .map(|(i, v)| (StrBytes::from_string(format!("h{i}")), v.clone().map(Bytes::from)))
                    .collect::<IndexMap<_, _>>(),
            })
            .collect();
        let mut out = BytesMut::new();
        let options = oracle::RecordEncodeOptions { version: 2, compression: oracle::Compression::None };
        oracle::RecordBatchEncoder::encode(&mut out, &records, &options).unwrap();
        out.freeze()
    }

    proptest! {
        #[test]
        fn same_records_as_another_encoder_writes(
            rows in prop::collection::vec((
                0i64..1 << 50,
                any::<Option<Vec<u8>>>(),
                any::<Option<Vec<u8>>>(),
                prop::collection::vec(any::<Option<Vec<u8>>>(), 0..4),
            ), 1..12),
            transactional: bool,
        ) {
            let mut builder = BatchBuilder::new()
                .base_offset(100)
                .leader_epoch(4)
                .producer(77, 2, 9)
                .transactional(transactional);
            for (timestamp, key, value, headers) in &rows {
                let names: Vec<_> = (0..headers.len()).map(|i| format!("h{i}")).collect();
                let headers: Vec<_> = names.iter().map(String::as_bytes).zip(headers.iter().map(Option::as_deref)).collect();
                builder = builder.record_with_headers(*timestamp, key.as_deref(), value.as_deref(), &headers);
            }
            let ours = builder.build().unwrap();
            prop_assert!(crc_matches(&ours));
            let theirs = oracle_batch(&rows, transactional);
            let read = |buf: &mut Bytes| oracle::RecordBatchDecoder::decode(buf).unwrap().records;
            prop_assert_eq!(read(&mut ours.clone()), read(&mut theirs.clone()));
            // The oracle bases timestamps on the smallest one; bytes are equal where that is the first, as in Kafka.
            if rows.iter().all(|row| row.0 >= rows[0].0) {
                prop_assert_eq!(&ours, &theirs);
            }
        }
    }

    #[test]
    fn gaps_and_empty_ranges_keep_their_offsets() {
        let gap = BatchBuilder::new()
            .base_offset(50)
            .record_at(3, 1, Some(b"k"), None, &[])
            .last_offset_delta(9)
            .build()
            .unwrap();
        let (header, _) = Batches::new(&gap).next().unwrap().unwrap();
        assert_eq!((header.last_offset(), header.record_count), (59, 1));
        let empty =
            BatchBuilder::new().compression(Compression::Zstd, None).last_offset_delta(9).build().unwrap();
        assert_eq!(empty.len(), HEADER_LEN);
        assert!(matches!(BatchBuilder::new().build(), Err(BuildError::Empty)));
    }
}
