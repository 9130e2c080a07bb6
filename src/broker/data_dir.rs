//! The data directory as a whole: one owner, one identity, checkpoints, and the mark of an orderly stop.
//!
//! ```text
//!   data/
//!     .lock                               held while a broker runs
//!     .kafka_cleanshutdown                only after an orderly stop; gone as soon as a start has read it
//!     meta.properties                     cluster and node id, as Kafka writes them
//!     recovery-point-offset-checkpoint    everything below was synced
//!     log-start-offset-checkpoint         first offset that exists
//!     state/                              the state store
//!     <topic>-<partition>/                one log
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing::{info, warn};

use crate::api::services::Services;
use crate::metadata::MetadataImage;
use crate::metadata::store::cluster_id::{self, ClusterIdentity, IdentityError};
use crate::metadata::store::meta_properties::{self, MetaProperties, MetaPropertiesError};
use crate::partition::PartitionId;
use crate::partition::registry::Checkpointed;
use crate::storage::segment::checkpoint::{self, LOG_START_FILE, Offsets, RECOVERY_POINT_FILE};
use crate::storage::segment::StorageError;
use crate::storage::StateStore;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// More than one directory was asked for.
    #[error("log.dirs names {0} directories; one is served")]
    Several(usize),
    /// Another process runs on it.
    #[error("{} is in use by another broker", .0.display())]
    InUse(PathBuf),
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
    /// One writer of the checkpoint files at a time.
    checkpointing: Mutex<()>,
}

impl DataDir {
    /// Makes the directory if it is new, takes its lock, and reads (and so removes) the mark of an orderly stop.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn open(log_dirs: &[PathBuf]) -> Result<DataDir, DataDirError> {
        let [path] = log_dirs else { return Err(DataDirError::Several(log_dirs.len())) };
        let at = |source| DataDirError::Io { path: path.clone(), source };
        let is_new = !path.join(".lock").exists();
        fs::create_dir_all(path).map_err(at)?;
        let path = path.canonicalize().map_err(at)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(".lock")).map_err(at)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| DataDirError::InUse(path.clone()))?;
        let clean = checkpoint::take_clean_shutdown(&path)? || is_new;
        if !clean {
            info!("the last stop was not orderly: the ends of the logs are verified");
        }
        Ok(DataDir { path, clean, _lock: lock, checkpointing: Mutex::new(()) })
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the state store lives.
    pub fn state_path(&self) -> PathBuf {
        self.path.join("state")
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

    /// What the checkpoint files hold.
    ///
    /// # Errors
    /// [`DataDirError::Storage`] when they are damaged.
    pub fn checkpoints(&self) -> Result<Vec<((String, i32), Checkpointed)>, DataDirError> {
        let recovery_points = checkpoint::read_offsets(&self.path.join(RECOVERY_POINT_FILE))?;
        let log_starts = checkpoint::read_offsets(&self.path.join(LOG_START_FILE))?;
        let mut merged: BTreeMap<(String, i32), Checkpointed> = BTreeMap::new();
        for (key, offset) in recovery_points {
            merged.entry(key).or_default().recovery_point = offset;
        }
        for (key, offset) in log_starts {
            merged.entry(key).or_default().log_start_offset = offset;
        }
        Ok(merged.into_iter().collect())
    }

    /// Writes the checkpoint files: what is open says for itself, what was not opened keeps what it had.
    ///
    /// # Errors
    /// [`StorageError`]; the former files stay.
    pub fn write_checkpoints(&self, services: &Services) -> Result<(), StorageError> {
        self.write(services, services.partitions.checkpointed())
    }

    fn write(&self, services: &Services, open: Vec<(PartitionId, Checkpointed)>) -> Result<(), StorageError> {
        let _one_at_a_time = self.checkpointing.lock();
        let open: std::collections::HashMap<(uuid::Uuid, i32), Checkpointed> =
            open.into_iter().map(|(id, checkpointed)| ((id.topic_id, id.index), checkpointed)).collect();
        let (mut recovery_points, mut log_starts) = (Offsets::new(), Offsets::new());
        for topic in services.image().topics() {
            for index in 0..topic.partitions {
                let checkpointed = match open.get(&(topic.id, index)) {
                    Some(checkpointed) => *checkpointed,
                    None => services.partitions.checkpoint_at_start(&topic.name, index),
                };
                let key = (topic.name.to_string(), index);
                if checkpointed.recovery_point > 0 {
                    recovery_points.insert(key.clone(), checkpointed.recovery_point);
                }
                if checkpointed.log_start_offset > 0 {
                    log_starts.insert(key, checkpointed.log_start_offset);
                }
            }
        }
        checkpoint::write_offsets(&self.path.join(LOG_START_FILE), &log_starts)?;
        checkpoint::write_offsets(&self.path.join(RECOVERY_POINT_FILE), &recovery_points)
    }

    /// Writes the checkpoints and, when every log is closed in order and verified, the mark of an orderly stop.
    ///
    /// # Errors
    /// [`StorageError`]; the mark is not there then.
    pub fn close(
        &self,
        services: &Services,
        open: Vec<(PartitionId, Checkpointed)>,
        orderly: bool,
    ) -> Result<(), StorageError> {
        let opened = open.len() as u64;
        self.write(services, open)?;
        // After an unclean start every log must have been opened, and so verified, before the next start may trust it.
        let verified = self.clean || opened >= services.image().partition_count();
        if orderly && verified {
            checkpoint::write_clean_shutdown(&self.path)?;
        } else {
            warn!("no mark of an orderly stop is left: the next start verifies the logs");
        }
        Ok(())
    }
}

/// Whether a directory name belongs to a partition of a known topic.
pub fn is_known(image: &MetadataImage, name: &str) -> bool {
    let Some((topic, index)) = name.rsplit_once('-') else { return false };
    let Ok(index) = index.parse::<i32>() else { return false };
    image.topic(topic).is_some_and(|topic| (0..topic.partitions).contains(&index))
}
