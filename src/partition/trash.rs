//! Directories of deleted partitions, from their renaming until they are gone for good.
//!
//! A deletion is acknowledged once its record is durable; the directories are renamed after that, and neither waits for a
//! sync. A kill or a power cut in between leaves a directory under its old name that belongs to no topic. What tells it
//! from a log of unknown origin, which nobody may remove, is the note of the deleted topic's id
//! ([`deleted_topic`](crate::metadata::store::deleted_topic)). It is kept until this says that the topic has left the disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing::warn;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Trash {
    dirs: Mutex<Vec<PathBuf>>,
    /// Deleted topics none of whose directories has its old name any more.
    topics: Mutex<Vec<Uuid>>,
}

impl Trash {
    /// A renamed directory.
    pub fn add(&self, dir: PathBuf) {
        self.dirs.lock().push(dir);
    }

    /// All directories of a deleted topic were added.
    pub fn holds_all_of(&self, topics: impl IntoIterator<Item = Uuid>) {
        self.topics.lock().extend(topics);
    }

    /// Removes the directories. The topics of which nothing is left on the disk, whatever happens to the power: none if
    /// something could not be removed, the next start tries again.
    pub fn empty(&self, data_dir: &Path) -> Vec<Uuid> {
        // In this order: what is said to be in the trash is.
        let topics = std::mem::take(&mut *self.topics.lock());
        let dirs = std::mem::take(&mut *self.dirs.lock());
        let mut all = true;
        for dir in dirs {
            if let Err(error) = fs::remove_dir_all(&dir)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                warn!(dir = %dir.display(), %error, "cannot remove a deleted directory now");
                all = false;
            }
        }
        if topics.is_empty() || !all {
            return Vec::new();
        }
        // Until then the renaming may be undone.
        match File::open(data_dir).and_then(|data_dir| data_dir.sync_all()) {
            Ok(()) => topics,
            Err(error) => {
                warn!(dir = %data_dir.display(), %error, "cannot sync the data directory after a deletion");
                Vec::new()
            }
        }
    }
}
