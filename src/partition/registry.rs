//! Topic-partition → handle. Partitions open on first use; concurrent openers share one opening.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use parking_lot::Mutex;
use tracing::{info, warn};
use uuid::Uuid;

use super::flusher::Flusher;
use super::handle::{Partition, PartitionId};
use super::producer_snapshot;
use super::producers::Producers;
use crate::config::TopicConfig;
use crate::storage::segment::{FileCache, Log, LogConfig, OpenOptions, StorageError};

/// Offsets a checkpoint file holds for one partition.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checkpointed {
    /// Everything below was synced before the last stop.
    pub recovery_point: i64,
    /// First offset that exists (DeleteRecords, retention).
    pub log_start_offset: i64,
}

/// Room of a file system.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// Size, bytes.
    pub total_bytes: i64,
    /// Free for us, bytes.
    pub usable_bytes: i64,
}

/// Why a partition cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its files are damaged or unreadable.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Closed,
}

type Slot = Arc<Mutex<Option<Arc<Partition>>>>;

/// All partitions of this broker.
pub struct Registry {
    data_dir: PathBuf,
    slots: DashMap<(Uuid, i32), Slot>,
    files: Arc<FileCache>,
    flusher: Arc<Flusher>,
    /// Whether the last stop was orderly: then tails need no verification.
    clean: bool,
    checkpoints: DashMap<(String, i32), Checkpointed>,
    closed: AtomicBool,
}

/// What a partition needs to be opened.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which one.
    pub id: PartitionId,
    /// The topic's effective settings.
    pub config: Arc<TopicConfig>,
}

impl Registry {
    /// A registry over `data_dir`. `checkpoints` are what the checkpoint files held at start.
    pub fn new(
        data_dir: &Path,
        files: Arc<FileCache>,
        flusher: Arc<Flusher>,
        clean: bool,
        checkpoints: impl IntoIterator<Item = ((String, i32), Checkpointed)>,
    ) -> Registry {
        Registry {
            data_dir: data_dir.to_path_buf(),
            slots: DashMap::new(),
            files,
            flusher,
            clean,
            checkpoints: checkpoints.into_iter().collect(),
            closed: AtomicBool::new(false),
        }
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Size and free room of the data directory's file system, bytes.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn space(&self) -> std::io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.data_dir)?;
        let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
        Ok(Space { total_bytes: bytes(stat.f_blocks), usable_bytes: bytes(stat.f_bavail) })
    }

    /// Directory of a partition's log: Kafka's own name for it.
    pub fn partition_dir(&self, topic: &str, index: i32) -> PathBuf {
        self.data_dir.join(format!("{topic}-{index}"))
    }

    /// Makes the directories of new partitions; they are on disk, with their names, when this returns.
    ///
    /// # Errors
    /// [`StorageError`]; what was made before the error is left for [`Registry::discard`].
    pub fn create(&self, topic: &str, topic_id: Uuid, range: std::ops::Range<i32>, config: &TopicConfig, now_ms: i64) -> Result<(), StorageError> {
        for index in range {
            let dir = self.partition_dir(topic, index);
            if dir.exists() {
                // Left by a creation that was never committed, or by a topic whose deletion did not finish.
                self.set_aside(&dir)?;
            }
            Log::create(&dir, *topic_id.as_bytes(), log_config(config), self.files.clone(), now_ms)?;
        }
        Ok(())
    }

    /// The partition, opened if it is not.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn get(&self, wanted: &Wanted, now_ms: i64) -> Result<Arc<Partition>, OpenError> {
        let key = (wanted.id.topic_id, wanted.id.index);
        if let Some(slot) = self.slots.get(&key)
            && let Some(slot) = slot.try_lock()
            && let Some(partition) = slot.as_ref()
        {
            return Ok(partition.clone());
        }
        // Clone the slot out: a shard of the map is never held while a log is opened.
        let slot = self.slots.entry(key).or_default().clone();
        let mut slot = slot.lock();
        if let Some(partition) = slot.as_ref() {
            return Ok(partition.clone());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(OpenError::Closed);
        }
        let partition = self.open(wanted, now_ms)?;
        *slot = Some(partition.clone());
        Ok(partition)
    }

    /// The partition if it is open.
    pub fn opened(&self, topic_id: Uuid, index: i32) -> Option<Arc<Partition>> {
        let slot = self.slots.get(&(topic_id, index))?.clone();
        let partition = slot.lock().clone();
        partition
    }

    /// All open partitions.
    pub fn all_open(&self) -> Vec<Arc<Partition>> {
        let slots: Vec<Slot> = self.slots.iter().map(|slot| slot.value().clone()).collect();
        slots.iter().filter_map(|slot| slot.lock().clone()).collect()
    }

    fn open(&self, wanted: &Wanted, now_ms: i64) -> Result<Arc<Partition>, OpenError> {
        let id = &wanted.id;
        let dir = self.partition_dir(&id.topic, id.index);
        let checkpoint = self
            .checkpoints
            .get(&(id.topic.to_string(), id.index))
            .map(|entry| *entry.value())
            .unwrap_or_default();
        let (mut producers, replay_from) = newest_snapshot(&dir, now_ms);
        let mut replay = |header: &crate::record::BatchHeader| producers.record(header, now_ms);
        let (mut log, recovery) = Log::open(
            &dir,
            OpenOptions {
                config: log_config(&wanted.config),
                files: self.files.clone(),
                clean: self.clean,
                recovery_point: checkpoint.recovery_point,
                log_start_offset: checkpoint.log_start_offset,
                now_ms,
                replay_from,
                on_batch: &mut replay,
            },
        )?;
        let mut leader_epoch = log.latest_epoch().unwrap_or(0);
        if !self.clean {
            // Readers may have seen offsets that a torn tail took back: a new epoch lets their clients notice.
            leader_epoch += 1;
            log.assign_epoch(leader_epoch, log.end_offset())?;
            info!(partition = %id, end_offset = log.end_offset(), truncated_bytes = recovery.truncated_bytes,
                batches = recovery.batches_scanned, leader_epoch, "log recovered after an unclean stop");
        }
        Ok(Partition::new(
            id.clone(),
            dir,
            wanted.config.clone(),
            log,
            producers,
            leader_epoch,
            self.flusher.clone(),
        ))
    }

    /// Applies new settings to a topic's open partitions.
    pub fn reconfigure(&self, topic_id: Uuid, partitions: i32, config: &Arc<TopicConfig>) {
        for index in 0..partitions {
            if let Some(partition) = self.opened(topic_id, index) {
                partition.config.store(config.clone());
                partition.inner.lock().log.update_config(log_config(config));
            }
        }
    }

    /// Closes the partitions of a deleted topic and renames their directories to Kafka's `…-delete`; returns the
    /// directories to remove later.
    pub fn discard(&self, topic: &str, topic_id: Uuid, range: std::ops::Range<i32>) -> Vec<PathBuf> {
        let mut aside = Vec::new();
        for index in range {
            if let Some((_, slot)) = self.slots.remove(&(topic_id, index))
                && let Some(partition) = slot.lock().take()
            {
                partition.inner.lock().closed = true;
                partition.end_waiting();
            }
            let dir = self.partition_dir(topic, index);
            match self.set_aside(&dir) {
                Ok(Some(renamed)) => aside.push(renamed),
                Ok(None) => {}
                Err(error) => warn!(dir = %dir.display(), %error, "a deleted partition's directory stays"),
            }
        }
        aside
    }

    fn set_aside(&self, dir: &Path) -> Result<Option<PathBuf>, StorageError> {
        let Some(name) = dir.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
        if !dir.exists() {
            return Ok(None);
        }
        // File names end at 255 bytes: the unique part must survive, the topic's name need not.
        let kept: String = name.chars().take(200).collect();
        let renamed = self.data_dir.join(format!("{kept}.{}-delete", Uuid::new_v4().simple()));
        fs::rename(dir, &renamed).map_err(|source| StorageError::Io { action: "rename", path: dir.to_path_buf(), source })?;
        Ok(Some(renamed))
    }

    /// Removes what earlier deletions and uncommitted creations left behind. Called at start, before anything opens.
    ///
    /// # Errors
    /// When the data directory cannot be listed.
    pub fn remove_leftovers(&self, is_known: impl Fn(&str) -> bool) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.data_dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if name.ends_with("-delete") {
                remove_dir(&entry.path());
            } else if is_partition_dir(name) && !is_known(name) {
                // As Kafka: a log without a topic is set aside, never removed: an operator may want it.
                let stray = self.data_dir.join(format!("{name}.{}-stray", Uuid::new_v4().simple()));
                warn!(dir = name, to = %stray.display(), "a log directory belongs to no topic; set aside");
                fs::rename(entry.path(), stray)?;
            }
        }
        Ok(())
    }

    /// Closes every open partition: flushes, writes producer snapshots, trims indexes. Returns what the checkpoint
    /// files are to hold, and whether all went well.
    pub fn close(&self) -> (Vec<(PartitionId, Checkpointed)>, bool) {
        self.closed.store(true, Ordering::Release);
        let mut orderly = true;
        for partition in self.all_open() {
            orderly &= partition.close();
        }
        (self.checkpointed(), orderly)
    }

    /// Recovery point and log start of every open partition.
    pub fn checkpointed(&self) -> Vec<(PartitionId, Checkpointed)> {
        self.all_open().iter().map(|partition| (partition.id.clone(), partition.checkpointed())).collect()
    }

    /// Whether the last stop was orderly.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// What the checkpoint files held for a partition that has not been opened since.
    pub fn checkpoint_at_start(&self, topic: &str, index: i32) -> Checkpointed {
        self.checkpoints.get(&(topic.to_owned(), index)).map(|entry| *entry.value()).unwrap_or_default()
    }
}

/// Settings of the segment layer for a topic.
pub(super) fn log_config(config: &TopicConfig) -> LogConfig {
    LogConfig {
        segment_bytes: u64::from(config.segment_bytes),
        segment_ms: config.segment_ms,
        index_interval_bytes: config.index_interval_bytes,
        segment_index_bytes: config.segment_index_bytes,
    }
}

/// Removes a directory that nothing refers to; what cannot be removed is tried again at the next start.
pub fn remove_dir(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir) {
        warn!(dir = %dir.display(), %error, "cannot remove a deleted directory now");
    }
}

fn is_partition_dir(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(topic, index)| !topic.is_empty() && index.parse::<i32>().is_ok())
}

/// The newest usable snapshot of a partition, and the offset from which the log is replayed on top of it.
fn newest_snapshot(dir: &Path, now_ms: i64) -> (Producers, i64) {
    let mut offsets: Vec<i64> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".snapshot")?.parse().ok())
        .collect();
    offsets.sort_unstable();
    for offset in offsets.into_iter().rev() {
        let path = snapshot_path(dir, offset);
        let read = fs::read(&path).map_err(|error| error.to_string());
        match read.and_then(|bytes| producer_snapshot::decode(&bytes, now_ms).map_err(|error| error.to_string())) {
            Ok(producers) => return (producers, offset),
            Err(error) => warn!(path = %path.display(), error, "producer snapshot is unusable; an older one or the log is used"),
        }
    }
    (Producers::default(), 0)
}

/// Kafka's name of the producer snapshot at `offset`.
pub(super) fn snapshot_path(dir: &Path, offset: i64) -> PathBuf {
    dir.join(format!("{offset:020}.snapshot"))
}
