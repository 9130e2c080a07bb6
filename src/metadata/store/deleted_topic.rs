//! Ids of deleted topics whose directories may still be on the disk, in
//! [`KeySpace::Cluster`](crate::storage::KeySpace::Cluster).
//!
//! ```text
//!   key    "deleted-topic/" | topic id, 16 bytes
//!   value  version u8 = 1
//! ```
//!
//! Written with the change that deletes the topic, dropped when nothing of it is left.

use std::collections::HashSet;

use uuid::Uuid;

use super::each_row;
use crate::metadata::error::{BadRow, LoadError};
use crate::storage::codec::Reader;
use crate::storage::{Durability, KeySpace, StateError, StateStore, WriteBatch};

const KIND: &str = "deleted topic";
const VERSION: u8 = 1;
const PREFIX: &[u8] = b"deleted-topic/";
/// Rows forgotten with one write.
const FORGOTTEN_TOGETHER: usize = 10_000;

/// The key of a deleted topic.
pub fn key(topic: Uuid) -> Vec<u8> {
    [PREFIX, topic.as_bytes()].concat()
}

/// The value of every row.
pub fn value() -> Vec<u8> {
    vec![VERSION]
}

/// All that are noted. Blocks.
///
/// # Errors
/// [`LoadError`] also for a row that cannot be read.
pub fn load(store: &dyn StateStore) -> Result<HashSet<Uuid>, LoadError> {
    let mut topics = HashSet::new();
    each_row(store, KeySpace::Cluster, PREFIX, &mut |key, value| {
        let mut reader = Reader::new(KIND, value);
        reader.version(VERSION)?;
        reader.end()?;
        let id = key.strip_prefix(PREFIX).and_then(|id| Uuid::from_slice(id).ok());
        topics.insert(id.ok_or(BadRow { kind: KIND, reason: "its key is no topic id" })?);
        Ok(())
    })?;
    Ok(topics)
}

/// Drops the notes of `topics`: nothing of them is left. A note that comes back after a power cut does no harm. Blocks.
///
/// # Errors
/// [`StateError`]; some of them may be dropped.
pub fn forget(store: &dyn StateStore, topics: &[Uuid]) -> Result<(), StateError> {
    for topics in topics.chunks(FORGOTTEN_TOGETHER) {
        let mut batch = WriteBatch::new();
        for topic in topics {
            batch.delete(KeySpace::Cluster, key(*topic));
        }
        store.write(batch, Durability::Buffered)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryState;

    #[test]
    fn notes_are_kept_until_they_are_dropped() {
        let store = MemoryState::new();
        let ids = [1, 2, 3].map(Uuid::from_u128);
        let mut batch = WriteBatch::new();
        for id in ids {
            batch.put(KeySpace::Cluster, key(id), value());
        }
        batch.put(KeySpace::Cluster, *b"other", *b"row");
        store.write(batch, Durability::Synced).expect("write");
        assert_eq!(load(&store), Ok(ids.into()));
        forget(&store, &ids[..2]).expect("forget");
        assert_eq!(load(&store), Ok([ids[2]].into()));
        assert_eq!(key(ids[0]), b"deleted-topic/\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
    }

    #[test]
    fn a_bad_note_is_an_error() {
        for (key, value) in
            [(key(Uuid::nil()), vec![9]), (key(Uuid::nil()), vec![]), (b"deleted-topic/x".to_vec(), value())]
        {
            let store = MemoryState::new();
            let mut batch = WriteBatch::new();
            batch.put(KeySpace::Cluster, key, value);
            store.write(batch, Durability::Synced).expect("write");
            assert!(matches!(load(&store), Err(LoadError::Row(_))));
        }
    }
}
