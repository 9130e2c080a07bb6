//! One committed offset: a row of [`KeySpace::Offsets`](crate::storage::KeySpace::Offsets).
//!
//! ```text
//!   value  version u8 = 2 | order u64 | offset i64 | leader epoch i32 | committed at i64 | expires at i64, or -1 | metadata, UTF-8
//! ```
//!
//! The order says which of the group's commits it is: a transaction that ends compares it with its own
//! (`groups/group_offsets.rs`). Version 1 had none; nothing was committed in transactions then, so that every commit of
//! theirs came later.

use uuid::Uuid;

use crate::groups::offsets::{CommittedOffset, OffsetKey};
use crate::storage::codec::{BadRow, Reader, put_string};

const KIND: &str = "committed offset";
const VERSION: u8 = 2;
/// Without an order.
const VERSION_1: u8 = 1;
const NEVER: i64 = -1;

/// The key of a row.
pub fn key(group: &str, of: OffsetKey) -> Vec<u8> {
    let mut out = super::prefix(group);
    out.extend_from_slice(of.topic.as_bytes());
    out.extend_from_slice(&of.partition.to_be_bytes());
    out
}

/// The group and the partition in a key.
///
/// # Errors
/// [`BadRow`] when no offset has such a key.
pub fn read_key(key: &[u8]) -> Result<(&str, OffsetKey), BadRow> {
    let (group, rest) = super::split_key(KIND, key)?;
    let mut reader = Reader::new(KIND, rest);
    let topic = Uuid::from_bytes(reader.array()?);
    let partition = reader.i32()?;
    reader.end()?;
    Ok((group, OffsetKey { topic, partition }))
}

/// The value of a row.
pub fn value(committed: &CommittedOffset, order: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(41 + committed.metadata.len());
    out.push(VERSION);
    out.extend_from_slice(&order.to_be_bytes());
    put(&mut out, committed);
    out
}

/// Reads a value: the commit and its order.
///
/// # Errors
/// [`BadRow`] when the bytes are not what [`value`] writes, or wrote in version 1.
pub fn read_value(value: &[u8]) -> Result<(CommittedOffset, u64), BadRow> {
    let mut reader = Reader::new(KIND, value);
    let order = match reader.array()? {
        [VERSION] => reader.u64()?,
        [VERSION_1] => 0,
        _ => return Err(reader.bad("its format version is unknown")),
    };
    let committed = read(&mut reader)?;
    reader.end()?;
    Ok((committed, order))
}

/// Writes the commit itself, as every row has it that holds one.
pub(super) fn put(out: &mut Vec<u8>, committed: &CommittedOffset) {
    out.extend_from_slice(&committed.offset.to_be_bytes());
    out.extend_from_slice(&committed.leader_epoch.to_be_bytes());
    out.extend_from_slice(&committed.committed_at_ms.to_be_bytes());
    out.extend_from_slice(&committed.expires_at_ms.unwrap_or(NEVER).to_be_bytes());
    put_string(out, &committed.metadata);
}

/// Reads what [`put`] wrote.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<CommittedOffset, BadRow> {
    Ok(CommittedOffset {
        offset: reader.i64()?,
        leader_epoch: reader.i32()?,
        committed_at_ms: reader.i64()?,
        expires_at_ms: Some(reader.i64()?).filter(|at| *at != NEVER),
        metadata: reader.string()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(
            group in ".{0,30}", topic: u128, partition: i32, order: u64, offset: i64, leader_epoch: i32,
            committed_at_ms: i64, expires_at_ms in prop::option::of(0i64..), metadata in ".{0,50}",
        ) {
            let of = OffsetKey { topic: Uuid::from_u128(topic), partition };
            let row_key = key(&group, of);
            prop_assert_eq!(read_key(&row_key), Ok((group.as_str(), of)));
            prop_assert!(read_key(&row_key[..row_key.len() - 1]).is_err());
            let committed = CommittedOffset {
                offset, leader_epoch, committed_at_ms, expires_at_ms, metadata: metadata.into(),
            };
            let bytes = value(&committed, order);
            prop_assert_eq!(read_value(&bytes), Ok((committed, order)));
            prop_assert!(read_value(&bytes[..bytes.len() - 1]).is_err());
            prop_assert!(read_value(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes: Vec<u8>, version in VERSION_1..=VERSION) {
            let _ = read_key(&bytes);
            bytes.insert(0, version);
            if let Ok((committed, _)) = read_value(&bytes) {
                prop_assert!(committed.metadata.len() < bytes.len());
            }
        }
    }

    #[test]
    fn bytes_on_disk() {
        let committed = CommittedOffset {
            offset: 258,
            leader_epoch: 3,
            committed_at_ms: 4,
            expires_at_ms: None,
            metadata: "m".into(),
        };
        let mut expected = vec![0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4];
        expected.extend([0xff; 8]);
        expected.extend([0, 0, 0, 1, b'm']);
        assert_eq!(value(&committed, 9), [&[2, 0, 0, 0, 0, 0, 0, 0, 9][..], &expected].concat());
        assert_eq!(read_value(&[&[1][..], &expected].concat()), Ok((committed, 0)));
        assert!(read_value(&[&[3][..], &expected].concat()).is_err());
        let of = OffsetKey { topic: Uuid::from_u128(5), partition: 6 };
        let mut expected = vec![47, 0, 1, b'a'];
        expected.extend([0; 15]);
        expected.extend([5, 0, 0, 0, 6]);
        assert_eq!(key("a", of), expected);
    }
}
