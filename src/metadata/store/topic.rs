//! A topic's row in [`KeySpace::Topics`](crate::storage::KeySpace::Topics).
//!
//! ```text
//!   key    name, UTF-8
//!   value  version u8 = 1 | id 16 bytes | partitions i32 | created version u64
//! ```

use std::sync::Arc;

use uuid::Uuid;

use crate::metadata::error::BadRow;
use crate::metadata::image::Topic;
use crate::metadata::topics;
use crate::storage::codec::Reader;

const KIND: &str = "topic";
const VERSION: u8 = 1;

/// What a row's value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRow {
    /// The topic's id.
    pub id: Uuid,
    /// Number of partitions, at least 1.
    pub partitions: i32,
    /// The image version that created the topic.
    pub created_version: u64,
}

/// The key of the topic of this name.
pub fn key(name: &str) -> &[u8] {
    name.as_bytes()
}

/// The name in a key. Held to the same rule as a client's, since it becomes a directory.
pub fn read_key(key: &[u8]) -> Result<Arc<str>, BadRow> {
    let name = std::str::from_utf8(key).ok().filter(|name| topics::validate_name(name).is_ok());
    name.map(Arc::from).ok_or(BadRow { kind: KIND, reason: "its key is no topic name" })
}

/// The value of a topic.
pub fn value(topic: &Topic) -> Vec<u8> {
    let mut out = Vec::with_capacity(29);
    out.push(VERSION);
    out.extend_from_slice(topic.id.as_bytes());
    out.extend_from_slice(&topic.partitions.to_be_bytes());
    out.extend_from_slice(&topic.created_version.to_be_bytes());
    out
}

/// Reads a value.
pub fn read_value(value: &[u8]) -> Result<TopicRow, BadRow> {
    let mut reader = Reader::new(KIND, value);
    reader.version(VERSION)?;
    let id = reader.uuid()?;
    let partitions = reader.i32()?;
    if partitions < 1 {
        return Err(reader.bad("it has no partitions"));
    }
    let created_version = reader.u64()?;
    reader.end()?;
    Ok(TopicRow { id, partitions, created_version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(name in "[a-zA-Z0-9_-]{1,249}", id: u128, partitions in 1.., created_version: u64) {
            let row = TopicRow { id: Uuid::from_u128(id), partitions, created_version };
            let topic = Topic {
                name: name.as_str().into(),
                id: row.id,
                partitions,
                overrides: Arc::default(),
                created_version,
            };
            prop_assert_eq!(read_key(key(&name)), Ok(topic.name.clone()));
            let bytes = value(&topic);
            prop_assert_eq!(read_value(&bytes), Ok(row));
            prop_assert!(read_value(&bytes[..bytes.len() - 1]).is_err());
            prop_assert!(read_value(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            if let Ok(row) = read_value(&bytes) {
                prop_assert!(row.partitions > 0);
            }
        }
    }

    #[test]
    fn bytes_on_disk() {
        let topic = Topic {
            name: "a".into(),
            id: Uuid::from_u128(0x0102),
            partitions: 3,
            overrides: Arc::default(),
            created_version: 7,
        };
        let expected =
            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(value(&topic), expected);
    }
}
