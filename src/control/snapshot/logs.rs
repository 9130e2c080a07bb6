//! The logs of a snapshot on their way from pinned files to copies, and the files that speak of all of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;
use uuid::Uuid;

use super::SnapshotError;
use crate::metadata::store::meta_properties;
use crate::partition::PartitionId;
use crate::storage::segment::checkpoint::{
    self, CLEANER_OFFSET_FILE, LOG_START_FILE, Offsets, RECOVERY_POINT_FILE,
};
use crate::storage::segment::copy::{Copied, Pinned};
use crate::storage::segment::space::{Disk, reserve_for};

/// One log whose files are pinned, and where it is to be cut.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    pub(super) topic: Arc<str>,
    pub(super) pinned: Pinned,
    /// Bytes of the last segment.
    pub(super) last_bytes: u64,
    /// First offset that exists.
    pub(super) log_start_offset: i64,
    /// Segments that reach above it may be cut by whoever opens them, and are not shared.
    pub(super) shared_below: i64,
    /// Everything below is durable.
    pub(super) recovery_point: i64,
}

impl Staged {
    /// A log of which everything that is pinned is known to be whole.
    pub(super) fn whole(topic: Arc<str>, pinned: Pinned, log_start_offset: i64) -> Staged {
        let (last_bytes, recovery_point) = (pinned.last_bytes, pinned.last);
        Staged { topic, pinned, last_bytes, log_start_offset, shared_below: i64::MAX, recovery_point }
    }
}

/// The logs of a snapshot, by topic id and partition.
#[derive(Debug)]
pub(super) struct Logs {
    to: PathBuf,
    pub(super) staged: BTreeMap<(Uuid, i32), Staged>,
    /// How far logs had been cleaned before anything was pinned: what is pinned has been cleaned at least as far.
    cleaned: Offsets,
}

impl Logs {
    /// None yet, in the directory `to`.
    pub(super) fn new(data_dir: &Path, to: &Path) -> Logs {
        let cleaned = checkpoint::read_offsets(&data_dir.join(CLEANER_OFFSET_FILE)).unwrap_or_else(|error| {
            warn!(%error, "the snapshot does not tell how far logs were cleaned: they will be cleaned from their start");
            Offsets::new()
        });
        Logs { to: to.to_path_buf(), staged: BTreeMap::new(), cleaned }
    }

    /// Where a partition's copy is.
    pub(super) fn dir(&self, id: &PartitionId) -> PathBuf {
        self.to.join(id.to_string())
    }

    /// Forgets a partition and what is pinned of it.
    pub(super) fn forget(&mut self, key: (Uuid, i32)) -> Result<(), SnapshotError> {
        match self.staged.remove(&key) {
            Some(staged) => Ok(staged.pinned.discard()?),
            None => Ok(()),
        }
    }

    /// Removes what an attempt to pin a partition may have left.
    pub(super) fn clear(&self, id: &PartitionId) -> Result<(), SnapshotError> {
        let dir = self.dir(id);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SnapshotError::Io { action: "remove", path: dir, source: error })
            }
            _ => Ok(()),
        }
    }

    /// Refuses to go on when what is to be written would leave less than `reserve` bytes free, or Tidelog's own reserve.
    pub(super) fn check_room(&self, reserve: Option<u64>) -> Result<(), SnapshotError> {
        let needed = self.staged.values().map(|staged| {
            let unshared = if staged.shared_below == i64::MAX { 0 } else { staged.pinned.sealed_bytes };
            staged.pinned.to_be_copied(staged.last_bytes) + unshared
        });
        check_room(&self.to, needed.sum(), Some(reserve))
    }

    /// Copies what is not shared.
    pub(super) fn finish(&self, stopping: &dyn Fn() -> bool) -> Result<Copied, SnapshotError> {
        let mut copied = Copied::default();
        for staged in self.staged.values() {
            if stopping() {
                return Err(SnapshotError::Stopping);
            }
            copied += staged.pinned.finish(staged.last_bytes, staged.shared_below)?;
        }
        Ok(copied)
    }

    /// Writes the files beside the logs. There is no mark of a clean stop: a start begins new leader epochs, so that clients
    /// that have seen later offsets notice.
    pub(super) fn write_files(&self, data_dir: &Path) -> Result<(), SnapshotError> {
        let (mut recovery_points, mut log_starts, mut cleaned) =
            (Offsets::new(), Offsets::new(), Offsets::new());
        for ((_, index), staged) in &self.staged {
            let key = (staged.topic.to_string(), *index);
            if let Some(offset) = self.cleaned.get(&key) {
                // An earlier topic of this name may have been cleaned further than this one reaches.
                cleaned.insert(key.clone(), (*offset).min(staged.pinned.last));
            }
            if staged.log_start_offset > 0 {
                log_starts.insert(key.clone(), staged.log_start_offset);
            }
            if staged.recovery_point > 0 {
                recovery_points.insert(key, staged.recovery_point);
            }
        }
        checkpoint::write_offsets(&self.to.join(RECOVERY_POINT_FILE), &recovery_points)?;
        checkpoint::write_offsets(&self.to.join(LOG_START_FILE), &log_starts)?;
        if !cleaned.is_empty() {
            checkpoint::write_offsets(&self.to.join(CLEANER_OFFSET_FILE), &cleaned)?;
        }
        let (from, to) =
            (data_dir.join(meta_properties::FILE_NAME), self.to.join(meta_properties::FILE_NAME));
        fs::copy(&from, &to).map_err(SnapshotError::io("copy", &from))?;
        Ok(())
    }
}

/// Refuses to go on when `needed` bytes would not fit in front of the reserve: `None` for no reserve at all, `Some(None)` for
/// the one that Tidelog chooses.
pub(super) fn check_room(to: &Path, needed: u64, reserve: Option<Option<u64>>) -> Result<(), SnapshotError> {
    let room = Disk::new(to, None).and_then(|disk| disk.room()).map_err(SnapshotError::io("inspect", to))?;
    let keep = reserve.map_or(0, |reserve| reserve.unwrap_or_else(|| reserve_for(room.total)));
    if needed > room.usable.saturating_sub(keep) {
        return Err(SnapshotError::NoRoom { to: to.to_path_buf(), needed, usable: room.usable, keep });
    }
    Ok(())
}
