//! The rows of the key index, and their order.
//!
//! ```text
//!   00                                        → format version (be32), secret of the hash (16 bytes)
//!   topic id (16) partition (be32) 'k' hash (16)                 → offset of the key's latest record
//!   topic id (16) partition (be32) 's' run end (be64) chunk (be64) → superseded offsets of that chunk
//!   topic id (16) partition (be32) 'u'                           → indexed up to (be64), leader epoch (be32)
//! ```
//!
//! A run is written in this order: what its keys supersede is known once all of them were merged. Offsets of keys are stored
//! big-endian without leading zeros, which spares three bytes or more of about thirty.

use std::ops::Range;

use crate::storage::key_index::{IndexedPartition, KeyHash, Position};

/// Row of the format: shorter than any other key, and below.
pub(super) const FORMAT: &[u8] = &[0];
/// What is written today.
pub(super) const VERSION: u32 = 1;

const PREFIX_LEN: usize = 20;
const KEY: u8 = b'k';
const SUPERSEDED: u8 = b's';
const UPTO: u8 = b'u';
/// Above every tag, and above the first byte of any partition number.
const END: u8 = 0xff;

type Prefix = [u8; PREFIX_LEN];

fn prefix(partition: IndexedPartition) -> Prefix {
    let mut prefix = [0; PREFIX_LEN];
    prefix[..16].copy_from_slice(&partition.topic_id);
    prefix[16..].copy_from_slice(&partition.partition.to_be_bytes());
    prefix
}

fn tagged(partition: IndexedPartition, tag: u8) -> [u8; PREFIX_LEN + 1] {
    let mut row = [tag; PREFIX_LEN + 1];
    row[..PREFIX_LEN].copy_from_slice(&prefix(partition));
    row
}

/// A key's row.
pub(super) const KEY_ROW_LEN: usize = PREFIX_LEN + 1 + KeyHash::LEN;

pub(super) fn key(partition: IndexedPartition, hash: KeyHash) -> [u8; KEY_ROW_LEN] {
    let mut row = [KEY; KEY_ROW_LEN];
    row[..PREFIX_LEN].copy_from_slice(&prefix(partition));
    row[PREFIX_LEN + 1..].copy_from_slice(&hash.to_bytes());
    row
}

/// All keys of a partition.
pub(super) fn keys(partition: IndexedPartition) -> Range<Vec<u8>> {
    tagged(partition, KEY).to_vec()..tagged(partition, KEY + 1).to_vec()
}

pub(super) fn encode_offset(offset: i64) -> ([u8; 8], usize) {
    (offset.to_be_bytes(), offset.leading_zeros() as usize / 8)
}

pub(super) fn decode_offset(value: &[u8]) -> Option<i64> {
    let mut bytes = [0; 8];
    bytes[8usize.checked_sub(value.len())?..].copy_from_slice(value);
    Some(i64::from_be_bytes(bytes)).filter(|offset| *offset >= 0)
}

pub(super) fn superseded(partition: IndexedPartition, run_end: i64, chunk: i64) -> Vec<u8> {
    let mut row = tagged(partition, SUPERSEDED).to_vec();
    row.extend(run_end.to_be_bytes());
    row.extend(chunk.to_be_bytes());
    row
}

/// What runs ending at or below `end` superseded.
pub(super) fn superseded_upto(partition: IndexedPartition, end: i64) -> Range<Vec<u8>> {
    let start = tagged(partition, SUPERSEDED).to_vec();
    let behind = match end.max(-1).checked_add(1) {
        Some(next) => [&start[..], &next.to_be_bytes()].concat(),
        None => tagged(partition, SUPERSEDED + 1).to_vec(),
    };
    start..behind
}

/// The chunk that a row of [`superseded`] is about.
pub(super) fn chunk_of(row: &[u8]) -> Option<i64> {
    let chunk = row.get(PREFIX_LEN + 1 + 8..)?;
    Some(i64::from_be_bytes(chunk.try_into().ok()?))
}

pub(super) fn position(partition: IndexedPartition) -> [u8; PREFIX_LEN + 1] {
    tagged(partition, UPTO)
}

pub(super) fn encode_position(position: Position) -> [u8; 12] {
    let mut value = [0; 12];
    value[..8].copy_from_slice(&position.upto.to_be_bytes());
    value[8..].copy_from_slice(&position.leader_epoch.to_be_bytes());
    value
}

pub(super) fn decode_position(value: &[u8]) -> Option<Position> {
    let (upto, leader_epoch) = value.split_first_chunk::<8>()?;
    Some(Position {
        upto: i64::from_be_bytes(*upto),
        leader_epoch: i32::from_be_bytes(leader_epoch.try_into().ok()?),
    })
}

/// All rows of a partition.
pub(super) fn of_partition(partition: IndexedPartition) -> Range<Vec<u8>> {
    prefix(partition).to_vec()..tagged(partition, END).to_vec()
}

/// All rows of a topic.
pub(super) fn of_topic(topic_id: [u8; 16]) -> Range<Vec<u8>> {
    topic_id.to_vec()..[&topic_id[..], &[END]].concat()
}

/// The topic that a row belongs to; none for that of the format.
pub(super) fn topic_of(row: &[u8]) -> Option<[u8; 16]> {
    row.first_chunk().copied()
}

pub(super) fn encode_format(secret: [u8; 16]) -> [u8; 20] {
    let mut value = [0; 20];
    value[..4].copy_from_slice(&VERSION.to_be_bytes());
    value[4..].copy_from_slice(&secret);
    value
}

/// The secret, or what is wrong.
pub(super) fn decode_format(value: &[u8]) -> Result<[u8; 16], String> {
    let Some((version, secret)) = value.split_first_chunk::<4>() else {
        return Err("the format row is too short".into());
    };
    match (u32::from_be_bytes(*version), secret.try_into()) {
        (VERSION, Ok(secret)) => Ok(secret),
        (VERSION, Err(_)) => Err("the format row has no secret".into()),
        (version, _) => Err(format!("format version {version} is not known, only {VERSION} is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partition(topic: u8, partition: i32) -> IndexedPartition {
        IndexedPartition { topic_id: [topic; 16], partition }
    }

    #[test]
    fn rows_of_a_partition_are_together_and_in_the_order_they_are_written() {
        let hash = KeyHash::from_bytes([0xff; 16]);
        for owner in [partition(0, 0), partition(7, 3), partition(0xff, i32::MAX)] {
            let rows = [
                key(owner, KeyHash::default()).to_vec(),
                key(owner, hash).to_vec(),
                superseded(owner, 0, 0),
                superseded(owner, 1, 0),
                superseded(owner, 256, 1),
                superseded(owner, i64::MAX, i64::MAX >> 16),
                position(owner).to_vec(),
            ];
            assert!(rows.is_sorted());
            for (at, row) in rows.iter().enumerate() {
                assert!(of_partition(owner).contains(row), "{at}");
                assert!(of_topic(owner.topic_id).contains(row), "{at}");
                assert_eq!(topic_of(row), Some(owner.topic_id));
                assert_eq!(keys(owner).contains(row), at < 2, "{at}");
                assert_eq!(superseded_upto(owner, 255).contains(row), (2..4).contains(&at), "{at}");
                assert_eq!(superseded_upto(owner, 256).contains(row), (2..5).contains(&at), "{at}");
                assert_eq!(superseded_upto(owner, i64::MAX).contains(row), (2..6).contains(&at), "{at}");
                assert!(!superseded_upto(owner, -1).contains(row));
                assert!(!of_partition(partition(7, 4)).contains(row));
                assert!(&row[..] > FORMAT);
            }
        }
        assert_eq!(topic_of(FORMAT), None);
    }

    #[test]
    fn golden_rows() {
        let owner = IndexedPartition { topic_id: *b"0123456789abcdef", partition: 258 };
        let hash = KeyHash::from_bytes(*b"HASH-OF-16-BYTES");
        assert_eq!(key(owner, hash), *b"0123456789abcdef\x00\x00\x01\x02kHASH-OF-16-BYTES");
        let row = superseded(owner, 515, 4);
        assert_eq!(row, *b"0123456789abcdef\x00\x00\x01\x02s\0\0\0\0\0\0\x02\x03\0\0\0\0\0\0\0\x04");
        assert_eq!(position(owner), *b"0123456789abcdef\x00\x00\x01\x02u");
        assert_eq!(
            encode_position(Position { upto: 515, leader_epoch: 3 }),
            *b"\0\0\0\0\0\0\x02\x03\0\0\0\x03"
        );
        let (bytes, from) = encode_offset(515);
        assert_eq!(bytes[from..], *b"\x02\x03");
        assert_eq!(encode_format(*b"SECRET-16-BYTES!"), *b"\0\0\0\x01SECRET-16-BYTES!");
        assert_eq!(decode_format(b"\0\0\0\x01SECRET-16-BYTES!"), Ok(*b"SECRET-16-BYTES!"));
        for damaged in [&b""[..], b"\0\0\0", b"\0\0\0\x01", b"\0\0\0\x02SECRET-16-BYTES!"] {
            assert!(decode_format(damaged).is_err(), "{damaged:?}");
        }
    }

    proptest! {
        #[test]
        fn values_round_trip(offset in 0..=i64::MAX, upto in 0..=i64::MAX, leader_epoch: i32, end in 0..=i64::MAX, chunk in 0..=i64::MAX) {
            let (bytes, from) = encode_offset(offset);
            prop_assert_eq!(decode_offset(&bytes[from..]), Some(offset));
            let at = Position { upto, leader_epoch };
            prop_assert_eq!(decode_position(&encode_position(at)), Some(at));
            prop_assert_eq!(chunk_of(&superseded(partition(1, 2), end, chunk)), Some(chunk));
        }

        #[test]
        fn random_values_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = (decode_offset(&bytes), decode_position(&bytes), chunk_of(&bytes), topic_of(&bytes));
            let _ = decode_format(&bytes);
        }
    }
}
