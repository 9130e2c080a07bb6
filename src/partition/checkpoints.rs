//! The checkpoint files of the data directory: from where each log is verified after an unclean stop, and where it begins.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use uuid::Uuid;

use super::registry::Registry;
use crate::storage::segment::StorageError;
use crate::storage::segment::checkpoint::{self, LOG_START_FILE, Offsets, RECOVERY_POINT_FILE};

/// What the checkpoint files hold for one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checkpointed {
    /// Everything below, indexes included, was synced.
    pub recovery_point: i64,
    /// First offset that exists (DeleteRecords, retention).
    pub log_start_offset: i64,
}

/// A topic whose partitions are to be in the files.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Name.
    pub name: &'a str,
    /// Id.
    pub id: Uuid,
    /// Number of partitions.
    pub partitions: i32,
}

/// The only writer of the checkpoint files.
#[derive(Debug)]
pub struct Checkpoints {
    data_dir: PathBuf,
    /// What the files hold, to leave them alone while nothing changes.
    written: Mutex<Option<(Offsets, Offsets)>>,
}

impl Checkpoints {
    /// Over the files in `data_dir`.
    pub fn new(data_dir: &Path) -> Checkpoints {
        Checkpoints { data_dir: data_dir.to_path_buf(), written: Mutex::new(None) }
    }

    /// What the files hold, by topic and partition.
    ///
    /// # Errors
    /// [`StorageError`] when they are damaged.
    pub fn read(&self) -> Result<HashMap<(String, i32), Checkpointed>, StorageError> {
        let recovery_points = checkpoint::read_offsets(&self.data_dir.join(RECOVERY_POINT_FILE))?;
        let log_starts = checkpoint::read_offsets(&self.data_dir.join(LOG_START_FILE))?;
        let mut merged: HashMap<(String, i32), Checkpointed> = HashMap::new();
        for (key, offset) in recovery_points {
            merged.entry(key).or_default().recovery_point = offset;
        }
        for (key, offset) in log_starts {
            merged.entry(key).or_default().log_start_offset = offset;
        }
        Ok(merged)
    }

    /// Writes the files: what is open says for itself, what was not opened keeps what it had.
    ///
    /// # Errors
    /// [`StorageError`]; the former files stay.
    pub fn write<'a>(
        &self,
        registry: &Registry,
        known: impl Iterator<Item = Known<'a>>,
    ) -> Result<(), StorageError> {
        let mut written = self.written.lock();
        let open: HashMap<(Uuid, i32), Checkpointed> = registry
            .all_open()
            .iter()
            .map(|partition| ((partition.id().topic_id, partition.id().index), partition.checkpointed()))
            .collect();
        let (mut recovery_points, mut log_starts) = (Offsets::new(), Offsets::new());
        for topic in known {
            for index in 0..topic.partitions {
                let checkpointed = match open.get(&(topic.id, index)) {
                    Some(checkpointed) => *checkpointed,
                    None => registry.checkpoint_at_start(topic.name, index),
                };
                let key = || (topic.name.to_owned(), index);
                if checkpointed.recovery_point > 0 {
                    recovery_points.insert(key(), checkpointed.recovery_point);
                }
                if checkpointed.log_start_offset > 0 {
                    log_starts.insert(key(), checkpointed.log_start_offset);
                }
            }
        }
        let fresh = (recovery_points, log_starts);
        if written.as_ref() != Some(&fresh) {
            *written = None;
            checkpoint::write_offsets(&self.data_dir.join(LOG_START_FILE), &fresh.1)?;
            checkpoint::write_offsets(&self.data_dir.join(RECOVERY_POINT_FILE), &fresh.0)?;
            *written = Some(fresh);
        }
        Ok(())
    }
}
