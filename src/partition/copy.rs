//! A partition's part in a snapshot of the whole data directory: its files are pinned first, then it is said where they are
//! cut.

use std::path::Path;
use std::sync::Arc;

use super::error::AppendError;
use super::handle::Partition;
use crate::storage::segment::StorageError;
use crate::storage::segment::copy::Pinned;

/// Where a log is cut: everything in front of it belongs to the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Base offset of the last segment.
    pub last: i64,
    /// Bytes of its `.log` file.
    pub last_bytes: u64,
    /// Offset behind the last record.
    pub end_offset: i64,
    /// First offset that exists.
    pub log_start_offset: i64,
}

/// Why a partition cannot be copied now.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Its topic was deleted, or the broker is stopping.
    #[error("the partition is closed")]
    Closed,
    /// Nobody knows what of it is on the disk.
    #[error("the partition is offline: {0}")]
    Offline(String),
    /// Its files cannot be linked.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<AppendError> for CopyError {
    fn from(error: AppendError) -> CopyError {
        match error {
            AppendError::Closed => CopyError::Closed,
            other => CopyError::Offline(other.to_string()),
        }
    }
}

impl Partition {
    /// Pins the files of the log in `to`, which is replaced if it exists. Before that a segment is begun if the last has more
    /// than `roll_above` bytes: all of the last segment has to be copied, while the others are shared. The lock is held for a
    /// few system calls per segment.
    ///
    /// # Errors
    /// [`CopyError`]; there may be something in `to`.
    pub fn pin(self: &Arc<Self>, to: &Path, roll_above: u64, now_ms: i64) -> Result<Pinned, CopyError> {
        let mut guard = self.writable()?;
        let inner = &mut *guard;
        let is_rolled = inner.log.active_size() > roll_above;
        if is_rolled {
            inner.log.roll(now_ms)?;
            let end = inner.log.end_offset();
            self.write_producer_snapshot(inner, end);
        }
        let pinned = inner.log.pin(to);
        // A full segment is synced whatever the settings.
        let enqueue = is_rolled && !std::mem::replace(&mut inner.queued, true);
        drop(guard);
        if enqueue {
            self.flusher.enqueue(self.clone());
        }
        Ok(pinned?)
    }

    /// The end of the log now. Does not look at the disk.
    ///
    /// # Errors
    /// [`CopyError::Closed`], [`CopyError::Offline`].
    pub fn cut(&self) -> Result<Cut, CopyError> {
        let inner = self.writable()?;
        Ok(Cut {
            last: inner.log.active_base_offset(),
            last_bytes: inner.log.active_size(),
            end_offset: inner.log.end_offset(),
            log_start_offset: inner.log.start_offset(),
        })
    }
}
