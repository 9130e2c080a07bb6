//! The seam where a change becomes durable. One node writes its state store; a cluster would replicate here.

use std::sync::Arc;

use parking_lot::Mutex;

use super::change::Change;
use super::error::JournalError;
use super::image::MetadataImage;
use super::store::{self, RowKey};
use crate::storage::{Durability, StateError, StateStore, WriteBatch};

/// One list of changes on its way to be durable.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What becomes true.
    pub changes: &'a [Change],
    /// The image before.
    pub before: &'a MetadataImage,
    /// The image after; its version is this entry's index, one above that of `before`.
    pub after: &'a MetadataImage,
}

/// An ordered, durable list of changes.
pub trait Journal: Send + Sync + 'static {
    /// Returns once the whole entry is durable. Blocks. On an error nothing of it may be published; should
    /// the process die before the next successful call, the entry may nonetheless turn up, whole.
    fn append(&self, entry: Entry<'_>) -> Result<(), JournalError>;
}

/// Writes an entry's rows, and its index, as one synced batch. The rows are the image itself, so a start
/// reads the image and does not replay.
///
/// A failed synced write leaves its outcome open: the rows may have reached the log and reappear after a
/// restart. For a deletion that would be a loss, because the topic stays visible and keeps taking records.
/// So no further entry is written until the rows of the failed one have been durably put back.
pub struct StateJournal {
    store: Arc<dyn StateStore>,
    /// Rows whose content on disk is unknown. At most those of one entry.
    uncertain: Mutex<Vec<RowKey>>,
}

impl std::fmt::Debug for StateJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateJournal").field("uncertain", &self.uncertain).finish_non_exhaustive()
    }
}

impl StateJournal {
    /// A journal in `store`.
    pub fn new(store: Arc<dyn StateStore>) -> Self {
        Self { store, uncertain: Mutex::new(Vec::new()) }
    }

    /// Puts back what `image` says about the rows of a failed entry.
    fn put_back(&self, image: &MetadataImage, rows: &mut Vec<RowKey>) -> Result<(), StateError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut batch = WriteBatch::new();
        for row in rows.iter() {
            store::write_row(&mut batch, row, image);
        }
        store::write_index(&mut batch, image.version);
        self.store.write(batch, Durability::Synced)?;
        rows.clear();
        Ok(())
    }
}

impl Journal for StateJournal {
    fn append(&self, entry: Entry<'_>) -> Result<(), JournalError> {
        debug_assert_eq!(entry.after.version, entry.before.version + 1);
        let mut uncertain = self.uncertain.lock();
        self.put_back(entry.before, &mut uncertain)?;

        let rows = store::rows_of(&entry);
        let mut batch = WriteBatch::new();
        for row in &rows {
            store::write_row(&mut batch, row, entry.after);
        }
        store::write_index(&mut batch, entry.after.version);
        batch.check_size()?;
        if let Err(error) = self.store.write(batch, Durability::Synced) {
            *uncertain = rows;
            if let Err(again) = self.put_back(entry.before, &mut uncertain) {
                tracing::error!(%again, "a failed metadata change could not be undone yet; no further change is taken until it is");
            }
            return Err(error.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::change::apply;
    use crate::metadata::store::{deleted_topic, load};
    use crate::storage::MemoryState;
    use crate::storage::hooked_state::{HookedState, disk_error};
    use std::collections::VecDeque;
    use uuid::Uuid;

    /// What becomes of the next writes: whether the rows get through, whether success is reported. Past the end of it,
    /// writes work.
    type Script = Arc<Mutex<VecDeque<(bool, bool)>>>;

    fn scripted() -> (Arc<HookedState>, Script) {
        let script = Script::default();
        let following = script.clone();
        let store = HookedState::new(MemoryState::new(), move |rows, batch, durability| {
            let (gets_through, reports_success) = following.lock().pop_front().unwrap_or((true, true));
            if gets_through {
                rows.write(batch, durability)?;
            }
            if reports_success { Ok(()) } else { Err(disk_error()) }
        });
        (Arc::new(store), script)
    }

    #[test]
    fn a_deletion_that_failed_is_undone_before_anything_else() {
        let (store, script) = scripted();
        let journal = StateJournal::new(store.clone());
        let step = |before: &MetadataImage, change: Change| {
            let after = apply(before, std::slice::from_ref(&change));
            let entry = Entry { changes: &[change], before, after: &after };
            journal.append(entry).map(|()| after.clone())
        };
        let create = |name: &str, id: u128| Change::TopicCreated {
            name: name.into(),
            id: Uuid::from_u128(id),
            partitions: 1,
            overrides: Arc::new([("k".to_owned(), "v".to_owned())].into()),
        };
        let delete = Change::TopicDeleted { id: Uuid::from_u128(1) };
        let empty = MetadataImage::empty("c", 1);
        let image = step(&empty, create("a", 1)).expect("append");

        // The worst case: the deletion reaches the disk, reports failure, and cannot be undone at once.
        script.lock().extend([(true, false), (false, false)]);
        assert!(step(&image, delete.clone()).is_err());
        let on_disk = load(&*store, empty.clone()).expect("load");
        assert_eq!(on_disk.topic_count(), 0, "the failed deletion did reach the disk");
        let deleted = || deleted_topic::load(&*store).expect("load");
        assert_eq!(deleted(), [Uuid::from_u128(1)].into(), "and its note with it");

        // While it cannot be undone, nothing else is written.
        script.lock().push_back((false, false));
        assert!(step(&image, create("b", 2)).is_err());
        assert_eq!(load(&*store, empty.clone()).expect("load"), on_disk);

        let image = step(&image, create("b", 2)).expect("append");
        assert_eq!(load(&*store, empty.clone()).expect("load"), image);
        assert_eq!(image.topic_count(), 2);
        assert_eq!(deleted(), [].into(), "a topic that lives must not be taken for a deleted one");

        // When undoing works at once, the disk is right again before the caller hears of the failure.
        script.lock().push_back((true, false));
        assert!(step(&image, delete.clone()).is_err());
        assert_eq!(load(&*store, empty.clone()).expect("load"), image);

        let image = step(&image, delete).expect("append");
        assert_eq!(load(&*store, empty).expect("load"), image);
    }
}
