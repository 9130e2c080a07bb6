//! What can go wrong with a log on disk.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The class of a [`StorageError`], which is all a caller needs to choose what to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageErrorKind {
    /// The file system has no room, or the file reached a size limit. Nothing was written.
    Full,
    /// A file could not be opened because too many are (EMFILE, ENFILE). Nothing was written.
    OutOfFiles,
    /// The bytes on disk, or the bytes to be written, contradict the format.
    Corrupt,
    /// The operating system refused, or the log stopped after a failed flush.
    Unavailable,
    /// The log was closed.
    Closed,
}

/// A failed operation on the files of a log.
#[derive(Debug, Error)]
pub enum StorageError {
    #[error("no space left for {}", path.display())]
    Full { path: PathBuf, source: io::Error },
    #[error("too many files are open to {action} {}", path.display())]
    OutOfFiles { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is corrupt at byte {position}: {reason}", path.display())]
    Corrupt { path: PathBuf, position: u64, reason: String },
    /// A flush failed earlier. The kernel may have dropped the pages it could not write, so
    /// what a later flush would report means nothing: the log must be reopened and recovered.
    #[error("the log in {} stopped after a failed flush", path.display())]
    Stopped { path: PathBuf },
    #[error("the log in {} is closed", path.display())]
    Closed { path: PathBuf },
}

impl StorageError {
    /// The class of this error.
    pub fn kind(&self) -> StorageErrorKind {
        match self {
            Self::Full { .. } => StorageErrorKind::Full,
            Self::OutOfFiles { .. } => StorageErrorKind::OutOfFiles,
            Self::Io { .. } | Self::Stopped { .. } => StorageErrorKind::Unavailable,
            Self::Corrupt { .. } => StorageErrorKind::Corrupt,
            Self::Closed { .. } => StorageErrorKind::Closed,
        }
    }

    /// True if the same call may succeed later on the same open log.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::OutOfFiles { .. } | Self::Io { .. })
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        if is_out_of_files(&source) {
            return Self::OutOfFiles { action, path, source };
        }
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }

    pub(super) fn corrupt(path: &Path, position: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), position, reason: reason.into() }
    }
}

/// Whether the process, or the system, has as many files open as it may.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Why a position in the log cannot be used.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The offset is outside `start..=end` (Kafka's OFFSET_OUT_OF_RANGE).
    #[error("the offset is outside {start}..={end}")]
    OutOfRange { start: i64, end: i64 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_space_is_its_own_kind_and_may_be_retried() {
        for errno in [28, 122, 27] {
            let error = StorageError::io("write", Path::new("x"), io::Error::from_raw_os_error(errno));
            assert_eq!(error.kind(), StorageErrorKind::Full);
            assert!(error.is_retryable());
        }
        for errno in [23, 24] {
            let error = StorageError::io("open", Path::new("x"), io::Error::from_raw_os_error(errno));
            assert_eq!(error.kind(), StorageErrorKind::OutOfFiles);
            assert!(error.is_retryable());
        }
        let other = StorageError::io("write", Path::new("x"), io::Error::from_raw_os_error(5));
        assert_eq!(other.kind(), StorageErrorKind::Unavailable);
        let stopped = StorageError::Stopped { path: "x".into() };
        assert_eq!(stopped.kind(), StorageErrorKind::Unavailable);
        assert!(!stopped.is_retryable());
    }
}
