//! One decided transaction whose markers may not be in all logs yet: a row of
//! [`KeySpace::TransactionEndings`](crate::storage::KeySpace::TransactionEndings).
//!
//! ```text
//!   value  version u8 = 1 | producer id i64 | producer epoch i16 | outcome u8: 0 abort, 1 commit
//!          | partitions, each with first offset i64: -1 nothing is open, -2 not known
//! ```
//!
//! Offsets of groups need no row: they are committed or removed by the write that decides.

use std::collections::BTreeMap;

use super::{prefix, put_partitions, read_partitions, split_key};
use crate::record::TransactionOutcome;
use crate::storage::codec::{BadRow, Reader};
use crate::transactions::transaction::{Ending, TopicPartition};

const KIND: &str = "transaction ending";
const VERSION: u8 = 1;
const ABORT: u8 = 0;
const COMMIT: u8 = 1;
const NOTHING: i64 = -1;
const NOT_KNOWN: i64 = -2;

/// Where the transaction begins that is open in a partition when its end is decided. It tells that transaction from a
/// later one of the same producer, so that a marker is written at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenFrom {
    /// At this offset, 0 or more.
    Offset(i64),
    /// The partition was enlisted, and nothing was written to it.
    Nothing,
    /// The log could not be asked.
    NotKnown,
}

/// What is still to be done for a decided transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndingRow {
    /// Whose markers.
    pub producer_id: i64,
    /// The epoch of the markers.
    pub producer_epoch: i16,
    /// How it ends.
    pub outcome: TransactionOutcome,
    /// Each gets a marker, unless it has it already.
    pub partitions: BTreeMap<TopicPartition, OpenFrom>,
}

impl EndingRow {
    /// The row of an ending, given where its transaction begins in each partition.
    pub fn new(ending: &Ending, open_from: impl Fn(TopicPartition) -> OpenFrom) -> EndingRow {
        EndingRow {
            producer_id: ending.producer_id,
            producer_epoch: ending.producer_epoch,
            outcome: ending.outcome,
            partitions: ending.partitions.iter().map(|of| (*of, open_from(*of))).collect(),
        }
    }
}

/// The key of a row. The keys of one transactional id are in the order of its transactions.
pub fn key(transactional_id: &str, serial: u64) -> Vec<u8> {
    let mut out = prefix(transactional_id);
    out.extend_from_slice(&serial.to_be_bytes());
    out
}

/// The transactional id and the serial number in a key.
///
/// # Errors
/// [`BadRow`] when no ending has such a key.
pub fn read_key(key: &[u8]) -> Result<(&str, u64), BadRow> {
    let (id, rest) = split_key(KIND, key)?;
    let mut reader = Reader::new(KIND, rest);
    let serial = reader.u64()?;
    reader.end()?;
    Ok((id, serial))
}

/// The value of a row.
pub fn value(ending: &EndingRow) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + 32 * ending.partitions.len());
    out.push(VERSION);
    out.extend_from_slice(&ending.producer_id.to_be_bytes());
    out.extend_from_slice(&ending.producer_epoch.to_be_bytes());
    out.push(match ending.outcome {
        TransactionOutcome::Abort => ABORT,
        TransactionOutcome::Commit => COMMIT,
    });
    put_partitions(&mut out, ending.partitions.iter().map(|(of, from)| (*of, *from)), |out, from| {
        let offset = match from {
            OpenFrom::Offset(offset) => offset,
            OpenFrom::Nothing => NOTHING,
            OpenFrom::NotKnown => NOT_KNOWN,
        };
        out.extend_from_slice(&offset.to_be_bytes());
    });
    out
}

/// Reads a value.
///
/// # Errors
/// [`BadRow`] when the bytes are not what [`value`] writes.
pub fn read_value(value: &[u8]) -> Result<EndingRow, BadRow> {
    let mut reader = Reader::new(KIND, value);
    reader.version(VERSION)?;
    let ending = EndingRow {
        producer_id: reader.i64()?,
        producer_epoch: i16::from_be_bytes(reader.array()?),
        outcome: match reader.array()? {
            [ABORT] => TransactionOutcome::Abort,
            [COMMIT] => TransactionOutcome::Commit,
            _ => return Err(reader.bad("its outcome is unknown")),
        },
        partitions: read_partitions(&mut reader, |reader| match reader.i64()? {
            NOTHING => Ok(OpenFrom::Nothing),
            NOT_KNOWN => Ok(OpenFrom::NotKnown),
            offset if offset >= 0 => Ok(OpenFrom::Offset(offset)),
            _ => Err(reader.bad("an offset is negative")),
        })?,
    };
    reader.end()?;
    Ok(ending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn any_from() -> impl Strategy<Value = OpenFrom> {
        prop_oneof![(0i64..).prop_map(OpenFrom::Offset), Just(OpenFrom::Nothing), Just(OpenFrom::NotKnown)]
    }

    proptest! {
        #[test]
        fn round_trip(
            id in ".{0,40}", serial: u64, producer_id: i64, producer_epoch: i16, commits: bool,
            partitions in prop::collection::btree_map((0u128..4, any::<i32>()), any_from(), 0..12),
        ) {
            let row_key = key(&id, serial);
            prop_assert_eq!(read_key(&row_key), Ok((id.as_str(), serial)));
            prop_assert!(read_key(&row_key[..row_key.len() - 1]).is_err());
            let partitions = partitions.into_iter().map(|((topic, partition), from)| {
                (TopicPartition { topic: Uuid::from_u128(topic), partition }, from)
            });
            let outcome = if commits { TransactionOutcome::Commit } else { TransactionOutcome::Abort };
            let ending = EndingRow { producer_id, producer_epoch, outcome, partitions: partitions.collect() };
            let bytes = value(&ending);
            prop_assert_eq!(read_value(&bytes), Ok(ending));
            prop_assert!(read_value(&bytes[..bytes.len() - 1]).is_err());
            prop_assert!(read_value(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes: Vec<u8>) {
            if let Ok((id, serial)) = read_key(&bytes) {
                prop_assert_eq!(key(id, serial), bytes.clone());
            }
            bytes.insert(0, VERSION);
            let _ = read_value(&bytes);
        }

        #[test]
        fn endings_are_read_in_the_order_of_their_transactions(id in ".{0,40}", a: u64, b: u64) {
            prop_assert_eq!(key(&id, a).cmp(&key(&id, b)), a.cmp(&b));
        }
    }

    #[test]
    fn bytes_on_disk() {
        let of = |partition| TopicPartition { topic: Uuid::from_u128(1), partition };
        let partitions =
            [(of(0), OpenFrom::Offset(258)), (of(1), OpenFrom::Nothing), (of(2), OpenFrom::NotKnown)];
        let ending = EndingRow {
            producer_id: 7,
            producer_epoch: 3,
            outcome: TransactionOutcome::Commit,
            partitions: partitions.into(),
        };
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 3, 1, 0, 0, 0, 1];
        expected.extend([0; 15]);
        expected.extend([1, 0, 0, 0, 3]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        expected.extend([0, 0, 0, 1]);
        expected.extend([0xff; 8]);
        expected.extend([0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(value(&ending), expected);
    }

    #[test]
    fn a_partition_is_asked_where_its_transaction_begins() {
        let mut transaction = crate::transactions::testing::ongoing(3);
        let Ok(Some(ending)) = transaction.fence(None, 0) else { panic!("{transaction:?}") };
        let row = EndingRow::new(&ending, |of| OpenFrom::Offset(of.partition.into()));
        assert_eq!(row.producer_epoch, 4);
        let partitions: Vec<_> = row.partitions.into_iter().collect();
        assert_eq!(partitions, [(crate::transactions::testing::partition(0), OpenFrom::Offset(0))]);
    }
}
