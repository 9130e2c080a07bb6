//! Control batches: the markers that end transactions (KIP-98; Kafka `EndTransactionMarker`, `ControlRecordType`).
//!
//! ```text
//!   batch   attributes transactional | control, base sequence -1, one record
//!   key     version i16 = 0 | type i16: 0 abort, 1 commit
//!   value   version i16 = 0 | coordinator epoch i32
//! ```

use bytes::Bytes;

use super::builder::BatchBuilder;
use super::header::{BatchHeader, Compression, HEADER_LEN};
use super::iterate::Records;

const VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;
/// Size in bytes of the batch of a marker: header, and a record of 17 bytes.
pub const MARKER_LEN: usize = HEADER_LEN + 17;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionOutcome {
    /// Its records count.
    Commit,
    /// Its records are passed over by readers at read_committed.
    Abort,
}

/// The marker that ends the transaction of one producer in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndMarker {
    /// Whose transaction.
    pub producer_id: i64,
    /// The producer's epoch; with the second transaction protocol the one after the transaction's (KIP-890).
    pub producer_epoch: i16,
    /// Epoch of the transaction coordinator.
    pub coordinator_epoch: i32,
    /// How it ended.
    pub outcome: TransactionOutcome,
}

impl EndMarker {
    /// The batch, with base offset 0 and no leader epoch.
    pub fn to_batch(self, now_ms: i64) -> Bytes {
        let kind = match self.outcome {
            TransactionOutcome::Abort => ABORT,
            TransactionOutcome::Commit => COMMIT,
        };
        let mut key = [0; 4];
        key[..2].copy_from_slice(&VERSION.to_be_bytes());
        key[2..].copy_from_slice(&kind.to_be_bytes());
        let mut value = [0; 6];
        value[..2].copy_from_slice(&VERSION.to_be_bytes());
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        BatchBuilder::new()
            .producer(self.producer_id, self.producer_epoch, -1)
            .transactional(true)
            .control(true)
            .record(now_ms, Some(&key), Some(&value))
            .build()
            .expect("a marker is one small record")
    }

    /// The marker in a whole batch with this header. `None` for a batch that ends no transaction: one that is not a control
    /// batch, one whose record compaction removed, or a control record of another kind.
    pub fn parse(header: &BatchHeader, batch: &[u8]) -> Option<EndMarker> {
        if !header.is_control() || header.compression() != Ok(Compression::None) {
            return None;
        }
        let payload = batch.get(HEADER_LEN..header.size_in_bytes())?;
        let record = Records::new(payload, header.record_count).next()?.ok()?;
        let (key, value) = (record.key?, record.value?);
        // A later version may append fields.
        let kind = i16::from_be_bytes(*key.get(2..)?.first_chunk()?);
        let outcome = match kind {
            ABORT => TransactionOutcome::Abort,
            COMMIT => TransactionOutcome::Commit,
            _ => return None,
        };
        Some(EndMarker {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            coordinator_epoch: i32::from_be_bytes(*value.get(2..)?.first_chunk()?),
            outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::crc_matches;
    use proptest::prelude::*;

    #[test]
    fn has_the_bytes_that_kafka_writes() {
        let marker = EndMarker {
            producer_id: 7,
            producer_epoch: 3,
            coordinator_epoch: 5,
            outcome: TransactionOutcome::Commit,
        };
        let batch = marker.to_batch(1000);
        assert_eq!(batch.len(), MARKER_LEN);
        assert!(crc_matches(&batch));
        let header = BatchHeader::parse(&batch).unwrap();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.base_sequence, header.last_offset_delta, header.record_count), (-1, 0, 1));
        assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 1000));
        // length 16, attributes, timestamp delta, offset delta, key of 4, value of 6, no headers
        let record = [32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 5, 0];
        assert_eq!(batch[HEADER_LEN..], record);
    }

    #[test]
    fn other_batches_end_nothing() {
        let data = BatchBuilder::new().producer(7, 3, 0).transactional(true).record(1, None, Some(b"x"));
        let data = data.build().unwrap();
        assert_eq!(EndMarker::parse(&BatchHeader::parse(&data).unwrap(), &data), None);
        for key in [&[0, 0, 0, 2][..], &[0, 0, 0], &[]] {
            let other = BatchBuilder::new().producer(7, 3, -1).transactional(true).control(true);
            let other = other.record(1, Some(key), Some(&[0, 0, 0, 0, 0, 0])).build().unwrap();
            assert_eq!(EndMarker::parse(&BatchHeader::parse(&other).unwrap(), &other), None);
        }
    }

    proptest! {
        #[test]
        fn round_trips(producer_id in 0i64.., producer_epoch in 0i16.., coordinator_epoch: i32, commit: bool, now in 0i64..1 << 42) {
            let outcome = if commit { TransactionOutcome::Commit } else { TransactionOutcome::Abort };
            let marker = EndMarker { producer_id, producer_epoch, coordinator_epoch, outcome };
            let batch = marker.to_batch(now);
            let header = BatchHeader::parse(&batch).unwrap();
            prop_assert_eq!(EndMarker::parse(&header, &batch), Some(marker));
            // Cut anywhere, it is no marker.
            for end in 0..batch.len() {
                prop_assert_eq!(EndMarker::parse(&header, &batch[..end]), None);
            }
        }
    }
}
