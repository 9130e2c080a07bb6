//! The latest record of a key, and in which partition it is looked for.

use std::time::Duration;

/// A record as it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since the epoch.
    pub timestamp: i64,
    /// Its value; `None` for a tombstone, which says that the key is deleted.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a key cannot be looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyLookupError {
    /// No such topic.
    #[error("there is no topic {topic:?}")]
    UnknownTopic { topic: String },
    /// No such partition.
    #[error("topic {topic:?} has no partition {partition}: its partitions are 0 to {}", count - 1)]
    UnknownPartition { topic: String, partition: i32, count: i32 },
    /// Only compacted topics have a key index.
    #[error(
        "topic {topic:?} is not compacted, so nothing keeps track of its keys: read the topic, or set cleanup.policy=compact"
    )]
    NotCompacted { topic: String },
    /// It is compacted without one.
    #[error("the key index is off for topic {topic:?}: read the topic, or turn the index on for it")]
    IndexOff { topic: String },
    /// The index does not know the newest records yet.
    #[error(
        "the key index of {topic}-{partition} is being built: {behind} records are still to be indexed; try again in {} s",
        retry_in.as_secs().max(1)
    )]
    NotReady { topic: String, partition: i32, behind: i64, retry_in: Duration },
    /// The log or the index cannot be read.
    #[error("{topic}-{partition} cannot be read: {reason}")]
    Unavailable { topic: String, partition: i32, reason: String },
}

/// Finds records by key. Every call may block on the disk.
pub trait KeyLookup: Send + Sync + 'static {
    /// How many partitions a topic has.
    ///
    /// # Errors
    /// [`KeyLookupError::UnknownTopic`]; or why no key of the topic can be looked up.
    fn partitions(&self, topic: &str) -> Result<i32, KeyLookupError>;

    /// The latest committed record with exactly this key in a partition that exists; `None` when there is none, or when
    /// compaction has removed its tombstone.
    ///
    /// # Errors
    /// [`KeyLookupError`].
    fn latest(&self, topic: &str, partition: i32, key: &[u8]) -> Result<Option<FoundRecord>, KeyLookupError>;
}

/// What was found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The partition it is in.
    pub partition: i32,
    /// The partition that Java's default partitioner chooses for the key.
    pub default_partition: i32,
    /// The record.
    pub record: FoundRecord,
}

/// The latest record of a key. Without `partition` the one that Java's default partitioner chooses is looked at first, then
/// the others: other clients distribute keys in other ways (librdkafka by CRC32). A record with a value is preferred to a
/// tombstone elsewhere.
///
/// # Errors
/// [`KeyLookupError`].
pub fn find(
    lookup: &dyn KeyLookup,
    topic: &str,
    key: &[u8],
    partition: Option<i32>,
) -> Result<Option<Found>, KeyLookupError> {
    let count = lookup.partitions(topic)?;
    let default_partition = default_partition(key, count);
    let look = |partition| {
        let found = lookup.latest(topic, partition, key)?;
        Ok(found.map(|record| Found { partition, default_partition, record }))
    };
    if let Some(partition) = partition {
        if !(0..count).contains(&partition) {
            return Err(KeyLookupError::UnknownPartition { topic: topic.to_owned(), partition, count });
        }
        return look(partition);
    }
    let mut deleted = None;
    for partition in [default_partition].into_iter().chain((0..count).filter(|at| *at != default_partition)) {
        match look(partition)? {
            Some(found) if found.record.value.is_some() => return Ok(Some(found)),
            found => deleted = deleted.or(found),
        }
    }
    Ok(deleted)
}

/// The partition that Java clients choose for a key (`BuiltInPartitioner.partitionForKey`), given at least one.
pub fn default_partition(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions.max(1)
}

/// The hash of Kafka's `Utils.murmur2`.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(M);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(M) ^ mixed.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// What Kafka's own tests (`UtilsTest.testMurmur2`) expect.
    #[test]
    fn the_hash_is_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
        assert_eq!(default_partition(b"21", 7), (-973_932_308 & i32::MAX) % 7);
        assert_eq!(default_partition(b"", 1), 0);
    }

    /// Four partitions with these values, and `None` for a tombstone.
    struct Topic(HashMap<(i32, &'static [u8]), Option<&'static str>>);

    impl KeyLookup for Topic {
        fn partitions(&self, topic: &str) -> Result<i32, KeyLookupError> {
            match topic {
                "t" => Ok(4),
                other => Err(KeyLookupError::UnknownTopic { topic: other.to_owned() }),
            }
        }

        fn latest(&self, _: &str, partition: i32, key: &[u8]) -> Result<Option<FoundRecord>, KeyLookupError> {
            let found = self.0.iter().find(|((at, known), _)| (*at, *known) == (partition, key));
            Ok(found.map(|(_, value)| FoundRecord {
                offset: partition.into(),
                timestamp: 0,
                value: value.map(|value| value.as_bytes().to_vec()),
                headers: Vec::new(),
            }))
        }
    }

    #[test]
    fn the_default_partition_is_looked_at_first_and_a_value_is_preferred_to_a_tombstone() {
        let key: &[u8] = b"foobar";
        let first = default_partition(key, 4);
        let (second, third) = ((first + 1) % 4, (first + 2) % 4);
        let find = |rows: &[(i32, Option<&'static str>)], partition| {
            let topic = Topic(rows.iter().map(|(at, value)| ((*at, key), *value)).collect());
            let found = find(&topic, "t", key, partition).unwrap();
            found.map(|found| {
                assert_eq!(found.default_partition, first);
                (found.partition, found.record.value.is_some())
            })
        };
        assert_eq!(find(&[], None), None);
        assert_eq!(find(&[(first, Some("a")), (second, Some("b"))], None), Some((first, true)));
        assert_eq!(find(&[(first, Some("a")), (second, Some("b"))], Some(second)), Some((second, true)));
        assert_eq!(find(&[(first, None), (third, Some("b"))], None), Some((third, true)));
        assert_eq!(find(&[(first, None), (third, None)], None), Some((first, false)));
        assert_eq!(find(&[(third, None)], None), Some((third, false)));
        assert_eq!(find(&[(third, Some("b"))], Some(first)), None);
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let topic = Topic(HashMap::new());
        let no_topic = find(&topic, "x", b"k", None).unwrap_err();
        assert_eq!(no_topic.to_string(), "there is no topic \"x\"");
        for partition in [-1, 4] {
            let refused = find(&topic, "t", b"k", Some(partition)).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("no partition {partition}")) && refused.contains("0 to 3"),
                "{refused}"
            );
        }
    }
}
