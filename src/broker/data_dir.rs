//! The data directory as a whole: one owner, one identity, and the mark of an orderly stop.
//!
//! ```text
//!   data/
//!     .lock                               held while a broker runs
//!     control.sock                        where a running broker takes an operator's requests
//!     .kafka_cleanshutdown                only after an orderly stop; gone as soon as a start has read it
//!     meta.properties                     cluster and node id, as Kafka writes them
//!     recovery-point-offset-checkpoint    everything below was synced
//!     log-start-offset-checkpoint         first offset that exists
//!     cleaner-offset-checkpoint           everything below was compacted
//!     state/                              the state store
//!     key-index/                          latest record of each key of compacted topics; derived from the logs
//!     snapshots/                          copies of all of this, if an operator has them made here
//!     <topic>-<partition>/                one log
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tracing::info;

use crate::import::IMPORT_MARK;
use crate::metadata::MetadataImage;
use crate::metadata::store::cluster_id::{self, ClusterIdentity, IdentityError};
use crate::metadata::store::meta_properties::{self, MetaProperties, MetaPropertiesError};
use crate::storage::StateStore;
use crate::storage::segment::StorageError;
use crate::storage::segment::checkpoint;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// More than one directory was asked for.
    #[error("log.dirs names {0} directories; one is served")]
    Several(usize),
    /// Another process runs on it.
    #[error("{} is in use by another broker", .0.display())]
    InUse(PathBuf),
    /// An import into it was interrupted.
    #[error("{} is half imported: repeat `tidelog import kafka`, or remove it", .0.display())]
    HalfImported(PathBuf),
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A checkpoint or the mark cannot be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It belongs to another node or cluster.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// `meta.properties` cannot be used.
    #[error(transparent)]
    MetaProperties(#[from] MetaPropertiesError),
}

/// An owned data directory.
pub struct DataDir {
    path: PathBuf,
    clean: bool,
    /// Held for its lock.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is new, takes its lock, and reads (and so removes) the mark of an orderly stop.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn open(log_dirs: &[PathBuf]) -> Result<DataDir, DataDirError> {
        let [path] = log_dirs else {
            return Err(DataDirError::Several(log_dirs.len()));
        };
        let at = |source| DataDirError::Io { path: path.clone(), source };
        // A copy of a directory need not have the lock file, and its logs have to be verified all the same.
        let is_new = !checkpoint::was_locked(path) && !path.join(meta_properties::FILE_NAME).exists();
        fs::create_dir_all(path).map_err(at)?;
        let path = path.canonicalize().map_err(at)?;
        let lock = checkpoint::lock(&path)?.ok_or_else(|| DataDirError::InUse(path.clone()))?;
        if path.join(IMPORT_MARK).exists() {
            return Err(DataDirError::HalfImported(path));
        }
        let clean = checkpoint::take_clean_shutdown(&path)? || is_new;
        if !clean {
            info!("the last stop was not orderly: the ends of the logs are verified");
        }
        Ok(DataDir { path, clean, _lock: lock })
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the state store lives.
    pub fn state_path(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Where the key index lives.
    pub fn key_index_path(&self) -> PathBuf {
        self.path.join("key-index")
    }

    /// Whether the last stop was orderly, or the directory is new.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Who this directory belongs to, decided at the first start. The state store is asked first; `meta.properties` is
    /// written beside it for Kafka's tools, and honoured when the directory comes from Kafka.
    ///
    /// # Errors
    /// [`DataDirError::Identity`] for another node's directory.
    pub fn identity(&self, state: &dyn StateStore, node_id: i32) -> Result<ClusterIdentity, DataDirError> {
        let written = meta_properties::read(&self.path)?;
        let wanted = written.as_ref().map(|properties| properties.cluster_id.clone());
        let identity = cluster_id::load_or_create(state, node_id, wanted.as_deref(), uuid::Uuid::new_v4)?;
        if written.is_none() {
            let properties = MetaProperties {
                cluster_id: identity.cluster_id.to_string(),
                node_id: identity.node_id,
                directory_id: Some(uuid::Uuid::new_v4()),
            };
            meta_properties::write(&self.path, &properties)?;
        }
        Ok(identity)
    }

    /// Leaves the mark of an orderly stop: call it when every log is closed in order and the checkpoints are written.
    ///
    /// # Errors
    /// [`StorageError`]; the mark is not there then.
    pub fn mark_clean(&self) -> Result<(), StorageError> {
        checkpoint::write_clean_shutdown(&self.path)
    }
}

/// Whether a directory name belongs to a partition of a known topic.
pub fn is_known(image: &MetadataImage, name: &str) -> bool {
    let Some((topic, index)) = name.rsplit_once('-') else {
        return false;
    };
    let Ok(index) = index.parse::<i32>() else {
        return false;
    };
    image.topic(topic).is_some_and(|topic| (0..topic.partitions).contains(&index))
}
