//! A copy of the whole data directory, as of one moment, from which a broker can be started.
//!
//! ```text
//!   pin     every log's files get second names in the copy                  logs one by one, under each one's lock
//!   cut     the state store's checkpoint, then the end of every log         no write of the state store is done meanwhile
//!   copy    the last segment of every log up to its cut, indexes, …         nothing is held up
//!   publish everything is synced, and the directory gets its name
//! ```
//!
//! The copy is a state that a crash could have left, so a start from it does what a start after a crash does. What makes it
//! so is the order of the cut. Everything that may follow only from a durable row, follows from a row of the copy: no write of
//! the state store is done between its checkpoint and the look at the ends of the logs. So a marker in the copy has its
//! decision there, and the producer ids and epochs in its batches were given out. And what a row says of the logs is true
//! there, for the logs are cut later: committed offsets are in them, as are all records of a transaction that was decided,
//! and the markers of one whose ending is gone. A transaction that is decided and lacks markers is finished by the start.
//!
//! Pinning comes before the cut, so that retention and compaction, which remove the names of files, take nothing away that
//! the copy needs: a record may go when a later one has its key, but the later one may lie behind the cut. A log that begins
//! a segment between its pin and the cut is pinned again.

pub mod live;
mod logs;
pub mod offline;
mod target;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{self, ClientError};
use crate::partition::copy::CopyError;
use crate::storage::StateError;
use crate::storage::segment::StorageError;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The directory to be made, an absolute path.
    pub to: PathBuf,
    /// Whether records are copied instead of shared by hard links: the copy can be on another file system.
    pub copy: bool,
}

impl Wanted {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(body: &Value) -> Result<Wanted, String> {
        let fields =
            body.as_object().ok_or("the request is to be an object with \"to\" and perhaps \"copy\"")?;
        if let Some(unknown) = fields.keys().find(|name| !["to", "copy"].contains(&name.as_str())) {
            return Err(format!("there is no field {unknown:?}: there are \"to\" and \"copy\""));
        }
        let to = fields.get("to").and_then(Value::as_str).ok_or("\"to\" is to be the path of a directory")?;
        let copy = match fields.get("copy") {
            None => false,
            Some(copy) => copy.as_bool().ok_or("\"copy\" is to be true or false")?,
        };
        Ok(Wanted { to: PathBuf::from(to), copy })
    }

    /// The request.
    pub fn to_json(&self) -> Value {
        json!({ "to": self.to.to_string_lossy(), "copy": self.copy })
    }
}

/// A snapshot that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Where it is.
    pub to: PathBuf,
    /// Partitions in it.
    pub partitions: usize,
    /// Bytes of records that it shares with the data directory.
    pub shared_bytes: u64,
    /// Bytes of its own, the state store aside.
    pub copied_bytes: u64,
    /// How long changes of topics, groups and transactions were held up, at most.
    pub held: Duration,
    /// How long it took.
    pub took: Duration,
}

impl Taken {
    /// The answer.
    pub fn to_json(&self) -> Value {
        json!({
            "to": self.to.to_string_lossy(),
            "partitions": self.partitions,
            "shared_bytes": self.shared_bytes,
            "copied_bytes": self.copied_bytes,
            "held_ms": self.held.as_millis() as u64,
            "took_ms": self.took.as_millis() as u64,
        })
    }

    /// Reads an answer.
    pub fn from_json(body: &Value) -> Option<Taken> {
        let number = |name: &str| body.get(name)?.as_u64();
        Some(Taken {
            to: PathBuf::from(body.get("to")?.as_str()?),
            partitions: usize::try_from(number("partitions")?).ok()?,
            shared_bytes: number("shared_bytes")?,
            copied_bytes: number("copied_bytes")?,
            held: Duration::from_millis(number("held_ms")?),
            took: Duration::from_millis(number("took_ms")?),
        })
    }
}

/// Why no snapshot was taken. Nothing of it is left then, unless this process could not remove it.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// One at a time.
    #[error("another snapshot is being taken: try again when it is done")]
    Busy,
    /// The directory cannot be used.
    #[error("no snapshot can be made at {}: {reason}", path.display())]
    Target { path: PathBuf, reason: String },
    /// Names on one file system cannot refer to files of another.
    #[error(
        "{} cannot share files with {}, because it is on another file system ({source}): choose a directory on the same one, or have everything copied with --copy",
        to.display(), data_dir.display()
    )]
    OtherFileSystem { to: PathBuf, data_dir: PathBuf, source: io::Error },
    /// The disk would be too full.
    #[error(
        "{needed} bytes would have to be written to {}, where {usable} are free and {keep} of them are to stay free: make room, or choose another file system with --copy",
        to.display()
    )]
    NoRoom { to: PathBuf, needed: u64, usable: u64, keep: u64 },
    /// A log cannot be copied.
    #[error("partition {partition} cannot be copied: {error}")]
    Partition { partition: String, error: CopyError },
    /// The state store cannot be copied.
    #[error(transparent)]
    State(#[from] StateError),
    /// The rows of the metadata cannot be read.
    #[error("the topics cannot be read from the state store: {0}")]
    Metadata(String),
    /// A file cannot be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file cannot be written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// There is nothing to copy.
    #[error("{} is not the data directory of a broker: it has no {missing}", path.display())]
    NoDataDir { path: PathBuf, missing: &'static str },
    /// The lock is held, but nobody answers.
    #[error(
        "a broker runs on {} but does not answer at its control.sock: look into its log, or stop it to have the directory copied without it",
        .0.display()
    )]
    InUse(PathBuf),
    /// The broker stops.
    #[error("the broker is stopping")]
    Stopping,
}

impl SnapshotError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
        let path = path.to_path_buf();
        move |source| SnapshotError::Io { action, path, source }
    }
}

/// Has a snapshot of a data directory taken: by the broker that runs on it, or else here.
///
/// # Errors
/// What an operator is to be told.
pub fn take(data_dir: &Path, wanted: &Wanted) -> anyhow::Result<Taken> {
    match client::ask(data_dir, "POST", "/v1/snapshots", Some(&wanted.to_json())) {
        Ok(answer) => {
            let body = answer.success().map_err(anyhow::Error::msg)?;
            Taken::from_json(&body)
                .ok_or_else(|| anyhow::anyhow!("the broker's answer is not understood: {body}"))
        }
        Err(ClientError::NotRunning(_)) => Ok(offline::take(data_dir, wanted)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_survive_json() {
        for copy in [false, true] {
            let wanted = Wanted { to: "/backups/monday".into(), copy };
            assert_eq!(Wanted::from_json(&wanted.to_json()), Ok(wanted));
        }
        assert_eq!(Wanted::from_json(&json!({ "to": "/a" })), Ok(Wanted { to: "/a".into(), copy: false }));
        for bad in [
            json!([]),
            json!({}),
            json!({ "to": 1 }),
            json!({ "to": "/a", "copy": 1 }),
            json!({ "to": "/a", "move": true }),
        ] {
            assert!(Wanted::from_json(&bad).is_err(), "{bad}");
        }
        let taken = Taken {
            to: "/backups/monday".into(),
            partitions: 3,
            shared_bytes: 1 << 40,
            copied_bytes: 5,
            held: Duration::from_millis(7),
            took: Duration::from_millis(9),
        };
        assert_eq!(Taken::from_json(&taken.to_json()), Some(taken));
        assert_eq!(Taken::from_json(&json!({})), None);
    }
}
