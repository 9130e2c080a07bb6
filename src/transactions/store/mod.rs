//! The rows of transactions: one file per kind, and here the keys they share.
//!
//! ```text
//!   Transactions        shard u8 | id length u16 | transactional id
//!   TransactionEndings  shard u8 | id length u16 | transactional id | serial u64
//! ```
//!
//! The shard is first, so that one scan finds all of it. It follows from the id as Kafka's partition of
//! `__transaction_state` does, and never changes.

pub mod ending;
pub mod transaction;

use std::collections::BTreeMap;

use super::transaction::TopicPartition;
use crate::groups;
use crate::storage::codec::{BadRow, Reader};

/// Shards of the coordinator, as many as Kafka's `__transaction_state` has partitions by default. Part of the disk format.
pub const SHARDS: u8 = 50;
/// Longest transactional id, bytes: what the protocol's older versions can carry.
pub const TRANSACTIONAL_ID_BYTES_MAX: usize = i16::MAX as usize;

/// The shard of a transactional id: Kafka's `abs(transactionalId.hashCode) % 50`, as for groups.
pub fn shard_of(transactional_id: &str) -> u8 {
    const { assert!(SHARDS == groups::store::SHARDS) };
    groups::store::shard_of(transactional_id)
}

/// The beginning of all keys of a transactional id, in either key space; the whole key of its row.
fn prefix(transactional_id: &str) -> Vec<u8> {
    let length = u16::try_from(transactional_id.len()).expect("transactional ids are bounded below 64 KiB");
    let mut out = Vec::with_capacity(3 + transactional_id.len() + 8);
    out.push(shard_of(transactional_id));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(transactional_id.as_bytes());
    out
}

/// The transactional id in a key, and what follows it.
fn split_key<'a>(kind: &'static str, key: &'a [u8]) -> Result<(&'a str, &'a [u8]), BadRow> {
    let bad = |reason| BadRow { kind, reason };
    let (&[shard, high, low], rest) = key.split_first_chunk().ok_or(bad("its key is cut short"))?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (id, rest) = rest.split_at_checked(length).ok_or(bad("its key is cut short"))?;
    let id = std::str::from_utf8(id).map_err(|_| bad("its transactional id is not UTF-8"))?;
    if shard_of(id) != shard {
        return Err(bad("it is in the wrong shard"));
    }
    Ok((id, rest))
}

/// Writes partitions, each topic's id once:
///
/// ```text
///   topics u32 { topic id 16 | partitions u32 { partition i32 | what is kept of it } }
/// ```
fn put_partitions<T>(
    out: &mut Vec<u8>,
    partitions: impl Iterator<Item = (TopicPartition, T)>,
    put: impl Fn(&mut Vec<u8>, T),
) {
    let mut topics: BTreeMap<_, Vec<(i32, T)>> = BTreeMap::new();
    for (of, kept) in partitions {
        topics.entry(of.topic).or_default().push((of.partition, kept));
    }
    put_count(out, topics.len());
    for (topic, partitions) in topics {
        out.extend_from_slice(topic.as_bytes());
        put_count(out, partitions.len());
        for (partition, kept) in partitions {
            out.extend_from_slice(&partition.to_be_bytes());
            put(out, kept);
        }
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("there are far fewer than 2^32 partitions and groups");
    out.extend_from_slice(&count.to_be_bytes());
}

/// Reads partitions as [`put_partitions`] wrote them.
fn read_partitions<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, BadRow>,
) -> Result<BTreeMap<TopicPartition, T>, BadRow> {
    let mut partitions = BTreeMap::new();
    for _ in 0..reader.count(20)? {
        let topic = reader.uuid()?;
        for _ in 0..reader.count(4)? {
            let of = TopicPartition { topic, partition: reader.i32()? };
            let kept = read(reader)?;
            if partitions.insert(of, kept).is_some() {
                return Err(reader.bad("it names a partition twice"));
            }
        }
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_kafkas_partitions() {
        // Java: Math.abs("…".hashCode()) % 50.
        for (id, shard) in [("a", 47), ("flights", 9), ("polygenelubricants", 0), ("ü", 2)] {
            assert_eq!(shard_of(id), shard, "{id}");
        }
    }

    #[test]
    fn keys_on_disk() {
        assert_eq!(transaction::key("a"), [47, 0, 1, b'a']);
        assert_eq!(ending::key("a", 258), [47, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 1, 2]);
        assert!(transaction::read_key(&[46, 0, 1, b'a']).is_err(), "the shard must be the id's");
        assert!(transaction::read_key(&[47, 0, 1, b'a', 0]).is_err());
        assert!(ending::read_key(&[47, 0, 1, b'a']).is_err());
        let longest = "x".repeat(TRANSACTIONAL_ID_BYTES_MAX);
        assert_eq!(transaction::read_key(&transaction::key(&longest)), Ok(longest.as_str()));
    }
}
