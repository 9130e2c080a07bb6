//! Record batches: well-formed ones, deliberately broken ones, and what is in those that come back.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tidelog::record::{BatchBuilder, BatchHeader, Batches, Compression, HEADER_LEN, Records, decompress};

/// Room to unpack what a test itself has packed.
const UNPACKED_MAX: usize = 64 << 20;

/// Now, milliseconds since the epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64
}

/// A builder with these values, all stamped with one time.
pub fn builder(timestamp: i64, values: &[&str]) -> BatchBuilder {
    values
        .iter()
        .fold(BatchBuilder::new(), |batch, value| batch.record(timestamp, None, Some(value.as_bytes())))
}

/// A plain batch with these values, stamped now.
pub fn of(values: &[&str]) -> Bytes {
    at(now_ms(), values)
}

/// A plain batch with these values, stamped with this time.
pub fn at(timestamp: i64, values: &[&str]) -> Bytes {
    builder(timestamp, values).build().expect("a batch")
}

/// A batch of an idempotent producer.
pub fn sequenced(producer_id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    builder(now_ms(), values).producer(producer_id, epoch, base_sequence).build().expect("a batch")
}

/// One batch of about `bytes` bytes.
pub fn sized(bytes: usize) -> Bytes {
    of(&["x".repeat(bytes - HEADER_LEN).as_str()])
}

/// The batch with another header; length and CRC are made right again.
pub fn changed(batch: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(batch).expect("a well-formed batch");
    change(&mut header);
    header.seal(&batch[HEADER_LEN..]).expect("a batch that fits")
}

/// The batch with one byte exchanged and nothing made right again.
pub fn with_byte(batch: &[u8], at: usize, byte: u8) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at] = byte;
    bytes.into()
}

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    pub offset: i64,
    pub timestamp: i64,
    pub leader_epoch: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Consumed {
    /// The value as text; a null value reads as "null".
    pub fn value_text(&self) -> String {
        self.value.as_ref().map_or("null".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
    }
}

/// Headers of the whole batches in `bytes`.
pub fn headers(bytes: &[u8]) -> Vec<BatchHeader> {
    Batches::new(bytes).map(|batch| batch.expect("whole batches only").0).collect()
}

/// All records of the whole batches in `bytes`.
pub fn records(bytes: &[u8]) -> Vec<Consumed> {
    let mut all = Vec::new();
    for batch in Batches::new(bytes) {
        let (header, batch) = batch.expect("whole batches only");
        assert!(tidelog::record::crc_matches(batch), "the CRC of the batch at {}", header.base_offset);
        let codec = header.compression().expect("a known codec");
        let payload = match codec {
            Compression::None => batch[HEADER_LEN..].to_vec(),
            codec => decompress(codec, &batch[HEADER_LEN..], UNPACKED_MAX).expect("records that unpack"),
        };
        for record in Records::new(&payload, header.record_count) {
            let record = record.expect("a well-formed record");
            let headers = record.headers_iter().map(|header| {
                let header = header.expect("a well-formed header");
                (header.key.to_vec(), header.value.map(<[u8]>::to_vec))
            });
            all.push(Consumed {
                offset: header.base_offset + i64::from(record.offset_delta),
                timestamp: match header.is_log_append_time() {
                    true => header.max_timestamp,
                    false => header.base_timestamp + record.timestamp_delta,
                },
                leader_epoch: header.partition_leader_epoch,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: headers.collect(),
            });
        }
    }
    all
}
