//! The rows of groups: one file per kind, and here the keys they share.
//!
//! ```text
//!   Groups   shard u8 | group length u16 | group | 0                       the group as a whole
//!            shard u8 | group length u16 | group | 1 | member id           one member of a consumer group
//!   Offsets  shard u8 | group length u16 | group | topic id 16 | partition i32
//!   PendingOffsets
//!            shard u8 | group length u16 | group | producer id i64 | topic id 16 | partition i32
//! ```
//!
//! The shard is first, so that one scan finds all of it. It follows from the group id as Kafka's partition of
//! `__consumer_offsets` does, and never changes.

pub mod classic_group;
pub mod committed_offset;
pub mod consumer_group;
pub mod pending_offset;

use crate::groups::effects::RowKey;
use crate::storage::codec::BadRow;

/// Shards of the coordinator, as many as Kafka's `__consumer_offsets` has partitions by default. Part of the disk format.
pub const SHARDS: u8 = 50;
/// Longest group id, bytes: what the protocol's older versions can carry.
pub const GROUP_ID_BYTES_MAX: usize = i16::MAX as usize;

const HEAD: u8 = 0;
const MEMBER: u8 = 1;

/// The shard of a group: Kafka's `abs(groupId.hashCode) % 50`.
pub fn shard_of(group: &str) -> u8 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    // Kafka's `Utils.abs`: the smallest number has no positive counterpart and counts as 0.
    let positive = hash.checked_abs().unwrap_or(0);
    u8::try_from(positive % i32::from(SHARDS)).expect("a remainder below 50")
}

/// The beginning of all keys of a group, in each of these key spaces.
pub fn prefix(group: &str) -> Vec<u8> {
    let length = u16::try_from(group.len()).expect("group ids are bounded below 64 KiB");
    let mut out = Vec::with_capacity(3 + group.len() + 20);
    out.push(shard_of(group));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(group.as_bytes());
    out
}

/// The key of a row of [`KeySpace::Groups`](crate::storage::KeySpace::Groups).
pub fn key(group: &str, row: &RowKey) -> Vec<u8> {
    let mut out = prefix(group);
    match row {
        RowKey::Head => out.push(HEAD),
        RowKey::Member(id) => {
            out.push(MEMBER);
            out.extend_from_slice(id.as_bytes());
        }
    }
    out
}

/// The group in a key, and what follows it.
pub(super) fn split_key<'a>(kind: &'static str, key: &'a [u8]) -> Result<(&'a str, &'a [u8]), BadRow> {
    let bad = |reason| BadRow { kind, reason };
    let (&[shard, high, low], rest) = key.split_first_chunk().ok_or(bad("its key is cut short"))?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (group, rest) = rest.split_at_checked(length).ok_or(bad("its key is cut short"))?;
    let group = std::str::from_utf8(group).map_err(|_| bad("its group id is not UTF-8"))?;
    if shard_of(group) != shard {
        return Err(bad("it is in the wrong shard"));
    }
    Ok((group, rest))
}

/// The group and the row in a key of [`KeySpace::Groups`](crate::storage::KeySpace::Groups).
///
/// # Errors
/// [`BadRow`] when no group has such a key.
pub fn read_key(key: &[u8]) -> Result<(&str, RowKey), BadRow> {
    let kind = "group";
    let (group, rest) = split_key(kind, key)?;
    match rest.split_first() {
        Some((&HEAD, [])) => Ok((group, RowKey::Head)),
        Some((&MEMBER, id)) => match std::str::from_utf8(id) {
            Ok(id) => Ok((group, RowKey::Member(id.into()))),
            Err(_) => Err(BadRow { kind, reason: "its member id is not UTF-8" }),
        },
        _ => Err(BadRow { kind, reason: "its key names no row" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shards_are_kafkas_partitions() {
        // Java: Math.abs("…".hashCode()) % 50.
        for (group, shard) in
            [("", 0), ("a", 47), ("g1", 42), ("flights", 9), ("polygenelubricants", 0), ("ü", 2)]
        {
            assert_eq!(shard_of(group), shard, "{group}");
        }
    }

    #[test]
    fn keys_on_disk() {
        assert_eq!(key("a", &RowKey::Head), [47, 0, 1, b'a', 0]);
        assert_eq!(key("a", &RowKey::Member("m".into())), [47, 0, 1, b'a', 1, b'm']);
        assert!(read_key(&[46, 0, 1, b'a', 0]).is_err(), "the shard must be the group's");
        assert!(read_key(&[47, 0, 1, b'a', 2]).is_err() && read_key(&[47, 0, 1, b'a']).is_err());
    }

    proptest! {
        #[test]
        fn keys_round_trip(group in ".{0,40}", member in ".{0,40}") {
            for row in [RowKey::Head, RowKey::Member(member.into())] {
                let bytes = key(&group, &row);
                prop_assert_eq!(read_key(&bytes), Ok((group.as_str(), row)));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            if let Ok((group, row)) = read_key(&bytes) {
                prop_assert_eq!(key(group, &row), bytes);
            }
        }
    }
}
