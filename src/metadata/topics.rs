//! The rules for topics: which names, how many partitions. Pure; the state is passed in.
//!
//! Names follow `org.apache.kafka.common.internals.Topic`; the collision rule follows
//! `ReplicationControlManager.validateNewTopicNames`.

use std::sync::Arc;

use uuid::Uuid;

use super::change::Change;
use super::error::{CreatePartitionsError, CreateTopicError, InvalidTopicName, SetOverridesError};
use super::image::{MetadataImage, Overrides, Topic};

/// Longest topic name in bytes, as in Kafka: leaves room in a 255-byte directory name for `-<partition>`
/// and the suffix of a deletion.
pub const NAME_BYTES_MAX: usize = 249;
/// Most overrides one topic may carry: several times the number of topic keys Kafka knows.
pub const OVERRIDES_MAX: usize = 256;
/// Most bytes of override keys and values together on one topic: 64 KiB.
pub const OVERRIDE_BYTES_MAX: usize = 64 * 1024;

/// How many partitions may exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionLimit {
    /// Partitions of all topics on this broker together.
    pub per_broker: u32,
}

/// A topic somebody asks for, with defaults already filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// The wanted name.
    pub name: String,
    /// Number of partitions; a request's -1 ("the broker's default") is resolved by the caller.
    pub partitions: i32,
    /// Overrides, already checked key by key.
    pub overrides: Overrides,
}

/// Kafka's rule for names: 1 to 249 of `[a-zA-Z0-9._-]`, and neither "." nor "..".
pub fn validate_name(name: &str) -> Result<(), InvalidTopicName> {
    if name.is_empty() {
        return Err(InvalidTopicName::Empty);
    }
    if name == "." || name == ".." {
        return Err(InvalidTopicName::DirectoryName);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(InvalidTopicName::TooLong { bytes: name.len() });
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.bytes().all(legal) {
        return Err(InvalidTopicName::IllegalCharacter);
    }
    Ok(())
}

/// The form of `name` in metric names, where '.' becomes '_'; `None` when the name holds neither, and so
/// can collide with no other name.
pub fn metric_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

/// Decides on a new topic: the change that creates it, or why it cannot be.
pub fn plan_create(
    image: &MetadataImage,
    new: NewTopic,
    id: Uuid,
    limit: PartitionLimit,
) -> Result<Change, CreateTopicError> {
    validate_name(&new.name)?;
    if image.topic(&new.name).is_some() {
        return Err(CreateTopicError::Exists { name: new.name });
    }
    if let Some(other) = image.colliding_topic(&new.name) {
        return Err(CreateTopicError::NameCollision { name: new.name, other: Arc::clone(other) });
    }
    if new.partitions < 1 {
        return Err(CreateTopicError::PartitionCount { asked: new.partitions });
    }
    if let Some(room) = lacks_room(image, new.partitions, limit) {
        return Err(CreateTopicError::TooManyPartitions {
            asked: new.partitions,
            room,
            limit: limit.per_broker,
        });
    }
    if !overrides_fit(&new.overrides) {
        return Err(CreateTopicError::OverridesTooLarge);
    }
    Ok(Change::TopicCreated {
        name: new.name.into(),
        id,
        partitions: new.partitions,
        overrides: Arc::new(new.overrides),
    })
}

/// Decides on a higher partition count: the change, or why it cannot be.
pub fn plan_partitions(
    image: &MetadataImage,
    topic: &Topic,
    total: i32,
    limit: PartitionLimit,
) -> Result<Change, CreatePartitionsError> {
    let current = topic.partitions;
    if total <= current {
        return Err(CreatePartitionsError::NotMore { current, asked: total });
    }
    // Both are positive here, so the difference cannot overflow.
    if let Some(room) = lacks_room(image, total - current, limit) {
        let limit = limit.per_broker;
        return Err(CreatePartitionsError::TooManyPartitions { asked: total, room, limit });
    }
    Ok(Change::PartitionsAdded { id: topic.id, total })
}

/// Decides on a topic's new overrides.
pub fn plan_overrides(topic: &Topic, overrides: Overrides) -> Result<Change, SetOverridesError> {
    if !overrides_fit(&overrides) {
        return Err(SetOverridesError::TooLarge);
    }
    Ok(Change::ConfigsReplaced { id: topic.id, overrides: Arc::new(overrides) })
}

/// The topic in which Kafka keeps groups and their offsets. Here it is an empty topic that clients expect to find.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// Whether a topic belongs to the broker (Kafka's `Topic.isInternal`): clients are told, and may not write to it.
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | "__transaction_state" | "__share_group_state")
}

/// Groups that may have overrides: they cost memory whether or not the group exists.
pub const CONFIGURED_GROUPS_MAX: usize = 100_000;

/// Decides on a group's new overrides; `known` groups have some already.
pub fn plan_group_overrides(
    group: Arc<str>,
    overrides: Overrides,
    known: usize,
) -> Result<Change, SetOverridesError> {
    if !overrides_fit(&overrides) || (known >= CONFIGURED_GROUPS_MAX && !overrides.is_empty()) {
        return Err(SetOverridesError::TooLarge);
    }
    Ok(Change::GroupConfigsReplaced { group, overrides: Arc::new(overrides) })
}

/// `Some(how many more may exist)` when `more` do not fit. Compared before anything is allocated or
/// created, so a count near 2^31 costs nothing.
fn lacks_room(image: &MetadataImage, more: i32, limit: PartitionLimit) -> Option<u64> {
    let room = u64::from(limit.per_broker).saturating_sub(image.partition_count());
    let more = u64::try_from(more).unwrap_or(u64::MAX);
    (more > room).then_some(room)
}

fn overrides_fit(overrides: &Overrides) -> bool {
    let bytes: usize = overrides.iter().map(|(key, value)| key.len() + value.len()).sum();
    overrides.len() <= OVERRIDES_MAX && bytes <= OVERRIDE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::change::apply;

    const LIMIT: PartitionLimit = PartitionLimit { per_broker: 100 };

    fn new_topic(name: &str, partitions: i32) -> NewTopic {
        NewTopic { name: name.into(), partitions, overrides: Overrides::new() }
    }

    fn with(names: &[(&str, i32)]) -> MetadataImage {
        let mut image = MetadataImage::empty("c", 1);
        for (position, (name, partitions)) in names.iter().enumerate() {
            let id = Uuid::from_u128(position as u128 + 1);
            let change = plan_create(&image, new_topic(name, *partitions), id, LIMIT);
            image = apply(&image, &[change.expect("legal")]);
        }
        image
    }

    #[test]
    fn names() {
        let longest = "a".repeat(NAME_BYTES_MAX);
        for legal in ["a", "...", "_", "-", "A.b_c-9", "__consumer_offsets", &longest] {
            assert_eq!(validate_name(legal), Ok(()), "{legal}");
        }
        assert_eq!(validate_name(""), Err(InvalidTopicName::Empty));
        assert_eq!(validate_name("."), Err(InvalidTopicName::DirectoryName));
        assert_eq!(validate_name(".."), Err(InvalidTopicName::DirectoryName));
        let too_long = "a".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(validate_name(&too_long), Err(InvalidTopicName::TooLong { bytes: 250 }));
        for illegal in ["a b", "a/b", "../x", "a\0", "é", "a\n", "a:b", "a\\b"] {
            assert_eq!(validate_name(illegal), Err(InvalidTopicName::IllegalCharacter), "{illegal}");
        }
    }

    #[test]
    fn a_dot_and_an_underscore_collide() {
        let image = with(&[("a.b_c", 1)]);
        for name in ["a_b_c", "a.b.c", "a_b.c"] {
            let refused = plan_create(&image, new_topic(name, 1), Uuid::from_u128(9), LIMIT);
            assert!(matches!(refused, Err(CreateTopicError::NameCollision { .. })), "{name}");
        }
        let same = plan_create(&image, new_topic("a.b_c", 1), Uuid::from_u128(9), LIMIT);
        assert!(matches!(same, Err(CreateTopicError::Exists { .. })), "{same:?}");
        assert!(plan_create(&image, new_topic("a-b-c", 1), Uuid::from_u128(9), LIMIT).is_ok());
    }

    #[test]
    fn partition_counts() {
        let image = with(&[("a", 90)]);
        let plan = |count| plan_create(&image, new_topic("b", count), Uuid::from_u128(9), LIMIT);
        assert!(plan(10).is_ok());
        for count in [0, -1, i32::MIN] {
            assert_eq!(plan(count), Err(CreateTopicError::PartitionCount { asked: count }));
        }
        for count in [11, i32::MAX] {
            let expected = CreateTopicError::TooManyPartitions { asked: count, room: 10, limit: 100 };
            assert_eq!(plan(count), Err(expected));
        }

        let topic = image.topic("a").expect("topic");
        let grow = |total| plan_partitions(&image, topic, total, LIMIT);
        assert!(grow(100).is_ok());
        for total in [i32::MIN, 0, 89, 90] {
            let expected = CreatePartitionsError::NotMore { current: 90, asked: total };
            assert_eq!(grow(total), Err(expected));
        }
        for total in [101, i32::MAX] {
            let refused = grow(total);
            let full = matches!(refused, Err(CreatePartitionsError::TooManyPartitions { .. }));
            assert!(full, "{refused:?}");
        }
    }

    #[test]
    fn overrides_are_bounded() {
        let image = with(&[("a", 1)]);
        let topic = image.topic("a").expect("topic");
        let many = |count: usize| (0..count).map(|n| (n.to_string(), String::new())).collect();
        assert!(plan_overrides(topic, many(OVERRIDES_MAX)).is_ok());
        assert_eq!(plan_overrides(topic, many(OVERRIDES_MAX + 1)), Err(SetOverridesError::TooLarge));
        let long = Overrides::from([("k".to_owned(), "v".repeat(OVERRIDE_BYTES_MAX))]);
        assert_eq!(plan_overrides(topic, long), Err(SetOverridesError::TooLarge));
    }
}
