//! Why a rewrite came to nothing. The log is as it was, unless it says that it stopped.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::super::error::StorageError;

/// Why segments were not rewritten or not replaced.
#[derive(Debug, Error)]
pub enum CompactError {
    /// The disk failed, or a batch is damaged (`Corrupt`, with file and position): without repair the next attempt ends
    /// the same way.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The records of a batch take more memory than the caller allows.
    #[error("the batch at byte {position} of {} unfolds to more than {max} bytes", path.display())]
    TooLarge { path: PathBuf, position: u64, max: usize },
    /// What is kept does not fit one segment: the positions in its index are 31-bit numbers.
    #[error("what would be kept of {} does not fit one segment", path.display())]
    SegmentFull { path: PathBuf },
    /// [`Progress::advance`](super::Progress::advance) said so.
    #[error("cancelled")]
    Cancelled,
    /// Segments were truncated, deleted or replaced since the source was taken. The next attempt may succeed.
    #[error("the log in {} changed meanwhile", path.display())]
    Changed { path: PathBuf },
    /// Another rewrite of the log is not swapped in or dropped yet, or could not remove its files.
    #[error("another rewrite of the log in {} is not over", path.display())]
    Busy { path: PathBuf },
}

impl CompactError {
    pub(super) fn corrupt(path: &Path, position: u64, reason: impl Into<String>) -> Self {
        Self::Storage(StorageError::corrupt(path, position, reason))
    }

    /// True if bytes on disk are not what they should be: cleaning the log again cannot help.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Storage(StorageError::Corrupt { .. }) | Self::TooLarge { .. })
    }
}
