//! One offset of a transaction that is open: a row of [`KeySpace::PendingOffsets`](crate::storage::KeySpace::PendingOffsets).
//!
//! ```text
//!   value  version u8 = 1 | producer epoch i16 | order u64 | the commit, as in a committed offset's row
//! ```

use uuid::Uuid;

use super::committed_offset;
use crate::groups::offsets::{CommittedOffset, OffsetKey};
use crate::groups::pending::PendingOffset;
use crate::storage::codec::{BadRow, Reader};

const KIND: &str = "pending offset";
const VERSION: u8 = 1;
/// Bytes of a key that are not the group id: shard, length, producer id, topic id, partition.
const KEY_BYTES: usize = 3 + 8 + 16 + 4;
/// Bytes of a committed offset's key and value that are neither group id nor metadata.
const COMMITTED_BYTES: usize = (3 + 16 + 4) + (1 + 8 + 8 + 4 + 8 + 8 + 4);

/// The key of a row.
pub fn key(group: &str, producer_id: i64, of: OffsetKey) -> Vec<u8> {
    let mut out = super::prefix(group);
    out.extend_from_slice(&producer_id.to_be_bytes());
    out.extend_from_slice(of.topic.as_bytes());
    out.extend_from_slice(&of.partition.to_be_bytes());
    out
}

/// The group, the producer id and the partition in a key.
///
/// # Errors
/// [`BadRow`] when no pending offset has such a key.
pub fn read_key(key: &[u8]) -> Result<(&str, i64, OffsetKey), BadRow> {
    let (group, rest) = super::split_key(KIND, key)?;
    let mut reader = Reader::new(KIND, rest);
    let producer_id = reader.i64()?;
    let topic = Uuid::from_bytes(reader.array()?);
    let partition = reader.i32()?;
    reader.end()?;
    Ok((group, producer_id, OffsetKey { topic, partition }))
}

/// The value of a row.
pub fn value(pending: &PendingOffset) -> Vec<u8> {
    let mut out = Vec::with_capacity(43 + pending.committed.metadata.len());
    out.push(VERSION);
    out.extend_from_slice(&pending.producer_epoch.to_be_bytes());
    out.extend_from_slice(&pending.order.to_be_bytes());
    committed_offset::put(&mut out, &pending.committed);
    out
}

/// Reads a value. Whether the commit is to be compared with its log is the caller's to say.
///
/// # Errors
/// [`BadRow`] when the bytes are not what [`value`] writes.
pub fn read_value(value: &[u8]) -> Result<PendingOffset, BadRow> {
    let mut reader = Reader::new(KIND, value);
    reader.version(VERSION)?;
    let producer_epoch = i16::from_be_bytes(reader.array()?);
    let order = reader.u64()?;
    let committed: CommittedOffset = committed_offset::read(&mut reader)?;
    reader.end()?;
    Ok(PendingOffset { committed, producer_epoch, order, unverified: false })
}

/// Most bytes that a batch needs to end a transaction which has `count` offsets with `metadata` bytes of metadata in this
/// group: each is removed here and put among the committed ones.
pub fn ending_bytes(group: &str, count: usize, metadata: usize) -> usize {
    count.saturating_mul(KEY_BYTES + COMMITTED_BYTES + 2 * group.len()).saturating_add(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pending(offset: i64, metadata: &str) -> PendingOffset {
        let committed = CommittedOffset {
            offset,
            leader_epoch: 3,
            metadata: metadata.into(),
            committed_at_ms: 4,
            expires_at_ms: None,
        };
        PendingOffset { committed, producer_epoch: 7, order: 9, unverified: false }
    }

    proptest! {
        #[test]
        fn round_trip(
            group in ".{0,30}", producer_id: i64, topic: u128, partition: i32, producer_epoch: i16, order: u64,
            offset: i64, leader_epoch: i32, committed_at_ms: i64, metadata in ".{0,50}",
        ) {
            let of = OffsetKey { topic: Uuid::from_u128(topic), partition };
            let row_key = key(&group, producer_id, of);
            prop_assert_eq!(read_key(&row_key), Ok((group.as_str(), producer_id, of)));
            for end in 0..row_key.len() {
                prop_assert!(read_key(&row_key[..end]).is_err());
            }
            let committed = CommittedOffset {
                offset, leader_epoch, committed_at_ms, expires_at_ms: None, metadata: metadata.into(),
            };
            let pending = PendingOffset { committed, producer_epoch, order, unverified: false };
            let bytes = value(&pending);
            // What its end takes is what was reckoned with.
            let moved = committed_offset::value(&pending.committed, order).len();
            let moved = moved + row_key.len() + committed_offset::key(&group, of).len();
            prop_assert_eq!(ending_bytes(&group, 1, pending.committed.metadata.len()), moved);
            prop_assert_eq!(read_value(&bytes), Ok(pending));
            for end in 0..bytes.len() {
                prop_assert!(read_value(&bytes[..end]).is_err());
            }
            prop_assert!(read_value(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes: Vec<u8>) {
            if let Ok((group, producer_id, of)) = read_key(&bytes) {
                prop_assert_eq!(key(group, producer_id, of), bytes.clone());
            }
            bytes.insert(0, VERSION);
            if let Ok(pending) = read_value(&bytes) {
                prop_assert!(pending.committed.metadata.len() < bytes.len());
            }
        }
    }

    #[test]
    fn bytes_on_disk() {
        let mut expected = vec![1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 4]);
        expected.extend([0xff; 8]);
        expected.extend([0, 0, 0, 1, b'm']);
        assert_eq!(value(&pending(258, "m")), expected);
        let of = OffsetKey { topic: Uuid::from_u128(5), partition: 6 };
        let mut expected = vec![47, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 1, 1];
        expected.extend([0; 15]);
        expected.extend([5, 0, 0, 0, 6]);
        assert_eq!(key("a", 257, of), expected);
    }
}
