//! The metadata's rows: one file per kind, and here what spans kinds: loading the image, and the rows an
//! entry touches.
//!
//! Every value starts with a version byte of its own kind. Integers are big-endian.

pub mod cluster_id;
pub mod deleted_topic;
pub mod group_override;
pub mod meta_properties;
pub mod producer_block;
pub mod topic;
pub mod topic_override;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use uuid::Uuid;

use super::change::Change;
use super::error::{BadRow, LoadError};
use super::image::{MetadataImage, Overrides, Topic};
use super::journal::Entry;
use crate::storage::{KeySpace, StateError, StateStore, WriteBatch};

/// In [`KeySpace::Cluster`]: the index of the last journalled entry, 8 bytes.
const INDEX_KEY: &[u8] = b"metadata-index";

/// A row of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowKey {
    Topic(Arc<str>),
    /// That the topic was deleted.
    Deleted(Uuid),
    Overrides(Uuid),
    GroupOverrides(Arc<str>),
}

/// The rows in which `before` and `after` may differ.
pub(super) fn rows_of(entry: &Entry<'_>) -> Vec<RowKey> {
    let mut rows = Vec::with_capacity(entry.changes.len() * 2);
    let mut topic_row = |id: Uuid| {
        for image in [entry.before, entry.after] {
            if let Some(topic) = image.topic_by_id(id) {
                rows.push(RowKey::Topic(Arc::clone(&topic.name)));
                break;
            }
        }
    };
    for change in entry.changes {
        match change {
            Change::TopicCreated { id, .. }
            | Change::TopicDeleted { id }
            | Change::PartitionsAdded { id, .. } => topic_row(*id),
            Change::ConfigsReplaced { .. } | Change::GroupConfigsReplaced { .. } => {}
        }
    }
    for change in entry.changes {
        if let Change::TopicDeleted { id } = change {
            rows.push(RowKey::Deleted(*id));
        }
        match change {
            // A topic without overrides has no row for them.
            Change::TopicCreated { overrides, .. } if overrides.is_empty() => {}
            Change::TopicCreated { id, .. }
            | Change::TopicDeleted { id }
            | Change::ConfigsReplaced { id, .. } => rows.push(RowKey::Overrides(*id)),
            Change::PartitionsAdded { .. } => {}
            Change::GroupConfigsReplaced { group, .. } => {
                rows.push(RowKey::GroupOverrides(Arc::clone(group)))
            }
        }
    }
    rows
}

/// Makes one row say what `image` says: the value, or nothing.
pub(super) fn write_row(batch: &mut WriteBatch, row: &RowKey, image: &MetadataImage) {
    match row {
        RowKey::Topic(name) => match image.topic(name) {
            Some(found) => batch.put(KeySpace::Topics, topic::key(name), topic::value(found)),
            None => batch.delete(KeySpace::Topics, topic::key(name)),
        },
        RowKey::Deleted(id) => match image.topic_by_id(*id) {
            Some(_) => batch.delete(KeySpace::Cluster, deleted_topic::key(*id)),
            None => batch.put(KeySpace::Cluster, deleted_topic::key(*id), deleted_topic::value()),
        },
        RowKey::Overrides(id) => match image.topic_by_id(*id).map(|topic| &topic.overrides) {
            Some(overrides) if !overrides.is_empty() => {
                batch.put(KeySpace::Configs, topic_override::key(*id), topic_override::value(overrides))
            }
            _ => batch.delete(KeySpace::Configs, topic_override::key(*id)),
        },
        RowKey::GroupOverrides(group) => match image.group_overrides(group) {
            Some(overrides) => batch.put(
                KeySpace::GroupConfigs,
                group_override::key(group),
                group_override::value(overrides),
            ),
            None => batch.delete(KeySpace::GroupConfigs, group_override::key(group)),
        },
    }
}

/// Records the index of the entry being written.
pub(super) fn write_index(batch: &mut WriteBatch, index: u64) {
    batch.put(KeySpace::Cluster, INDEX_KEY, index.to_be_bytes());
}

/// Reads every row into `empty`. Blocks.
///
/// An unreadable row is an error and not a warning: to start without a topic is to lose it. Overrides of a
/// topic that does not exist are passed over; a create that failed at the last moment can leave them.
pub fn load(store: &dyn StateStore, empty: MetadataImage) -> Result<MetadataImage, LoadError> {
    let mut image = empty;
    image.version = read_index(store)?;
    let mut overrides: HashMap<Uuid, Arc<Overrides>> = HashMap::new();
    each_row(store, KeySpace::Configs, b"", &mut |key, value| {
        let id = topic_override::read_key(key)?;
        overrides.insert(id, Arc::new(topic_override::read_value(value)?));
        Ok(())
    })?;
    each_row(store, KeySpace::GroupConfigs, b"", &mut |key, value| {
        let group = group_override::read_key(key)?;
        image.set_group_overrides(&group, &Arc::new(group_override::read_value(value)?));
        Ok(())
    })?;
    each_row(store, KeySpace::Topics, b"", &mut |key, value| {
        let name = topic::read_key(key)?;
        let row = topic::read_value(value)?;
        if let Some(first) = image.topic_by_id(row.id) {
            return Err(LoadError::DuplicateId { first: Arc::clone(&first.name), second: name });
        }
        image.insert(Arc::new(Topic {
            name,
            id: row.id,
            partitions: row.partitions,
            overrides: overrides.remove(&row.id).unwrap_or_default(),
            created_version: row.created_version,
        }));
        Ok(())
    })?;
    Ok(image)
}

fn read_index(store: &dyn StateStore) -> Result<u64, LoadError> {
    let Some(value) = store.get(KeySpace::Cluster, INDEX_KEY)? else {
        return Ok(0);
    };
    let bytes = <[u8; 8]>::try_from(value.as_slice())
        .map_err(|_| BadRow { kind: "metadata index", reason: "it is not 8 bytes long" })?;
    Ok(u64::from_be_bytes(bytes))
}

/// Takes in one row's key and value.
type ReadRow<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), LoadError> + 'a;

/// Visits every row of a key space whose key begins with `prefix` until the visitor fails.
fn each_row(
    store: &dyn StateStore,
    space: KeySpace,
    prefix: &[u8],
    visit: &mut ReadRow<'_>,
) -> Result<(), LoadError> {
    let mut outcome = Ok(());
    let scanned: Result<(), StateError> = store.scan_prefix(space, prefix, &mut |key, value| {
        outcome = visit(key, value);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    scanned?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Durability, MemoryState};

    fn store_with(space: KeySpace, key: &[u8], value: &[u8]) -> MemoryState {
        let store = MemoryState::new();
        let mut batch = WriteBatch::new();
        batch.put(space, key, value);
        store.write(batch, Durability::Synced).expect("write");
        store
    }

    #[test]
    fn a_bad_row_stops_the_start() {
        for (space, key) in [
            (KeySpace::Topics, &b"t"[..]),
            (KeySpace::Topics, b"\xff"),
            (KeySpace::Configs, b"not an id"),
            (KeySpace::Cluster, INDEX_KEY),
        ] {
            let store = store_with(space, key, b"\x01nonsense");
            let loaded = load(&store, MetadataImage::empty("c", 1));
            assert!(matches!(loaded, Err(LoadError::Row(_))), "{space:?} {loaded:?}");
        }
    }

    #[test]
    fn one_id_under_two_names_stops_the_start() {
        let row = Topic {
            name: "a".into(),
            id: Uuid::from_u128(1),
            partitions: 1,
            overrides: Arc::default(),
            created_version: 1,
        };
        let store = store_with(KeySpace::Topics, b"a", &topic::value(&row));
        let mut batch = WriteBatch::new();
        batch.put(KeySpace::Topics, *b"b", topic::value(&row));
        store.write(batch, Durability::Synced).expect("write");
        let loaded = load(&store, MetadataImage::empty("c", 1));
        assert!(matches!(loaded, Err(LoadError::DuplicateId { .. })), "{loaded:?}");
    }
}
