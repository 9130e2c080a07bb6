//! Topic-partition → handle. Partitions open on first use; concurrent openers share one opening.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use parking_lot::Mutex;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::checkpoints::Checkpointed;
use super::doomed::Doomed;
use super::flusher::{FILES_SYNCED_SINGLY, Flusher, sync, sync_file_system};
use super::handle::{Opened, Partition, PartitionId};
use super::producer_replay::ProducerReplay;
use super::snapshots;
use super::trash::Trash;
use crate::config::TopicConfig;
use crate::storage::segment::space::Disk;
use crate::storage::segment::{
    DamageCount, FileCache, Log, LogConfig, OpenOptions, StorageError, StorageErrorKind, read_metadata,
};

/// Why a partition cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its files are damaged or unreadable.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Opening it failed a moment ago.
    #[error("the partition is offline: {0}")]
    Offline(Arc<str>),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Closed,
}

/// After a failed opening the files are not looked at again for so long: recovery of a damaged log may be long, and every
/// request would begin it anew.
const REOPEN_AFTER_MS: i64 = 10_000;
/// New partitions up to this number are synced one by one, more by one `syncfs`.
const CREATED_SYNCED_SINGLY: usize = 4;

/// Where a partition is, or will be. Looking never waits for an opening under way.
#[derive(Default)]
struct Slot {
    partition: OnceLock<Arc<Partition>>,
    opening: Mutex<Opening>,
}

/// What openers of one partition share.
#[derive(Default)]
struct Opening {
    /// The topic is gone: whoever waited must not open what may be another topic's files by now.
    discarded: bool,
    failed: Option<(i64, Arc<str>)>,
}

/// All partitions of this broker.
pub struct Registry {
    data_dir: PathBuf,
    slots: DashMap<(Uuid, i32), Arc<Slot>>,
    pub(super) files: Arc<FileCache>,
    flusher: Arc<Flusher>,
    disk: Arc<Disk>,
    /// Whether the last stop was orderly: then tails need no verification.
    clean: bool,
    /// What the checkpoint files held at start, for logs that have not been opened since.
    checkpoints: DashMap<(String, i32), Checkpointed>,
    /// Topics that got partitions in this run, and the first of these: they have seen no unclean stop.
    created: DashMap<Uuid, i32>,
    /// Directories that nothing refers to any more.
    trash: Trash,
    doomed: Doomed,
    closed: AtomicBool,
    on_open: OnceLock<OnOpen>,
}

/// Told of a partition that was opened with open transactions; says why it cannot be used, if it cannot.
pub type OnOpen = Box<dyn Fn(&Arc<Partition>) -> Result<(), String> + Send + Sync>;

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
        disk: Arc<Disk>,
        clean: bool,
        checkpoints: impl IntoIterator<Item = ((String, i32), Checkpointed)>,
    ) -> Registry {
        Registry {
            data_dir: data_dir.to_path_buf(),
            slots: DashMap::new(),
            files,
            flusher,
            disk,
            clean,
            checkpoints: checkpoints.into_iter().collect(),
            created: DashMap::new(),
            trash: Trash::default(),
            doomed: Doomed::default(),
            closed: AtomicBool::new(false),
            on_open: OnceLock::new(),
        }
    }

    /// Lets `told` know of each partition that is opened with open transactions, before anybody else can reach it: whoever
    /// asked for it waits meanwhile. If it fails, the partition stays closed and is tried again later. Only the first call
    /// counts.
    pub fn on_open_transactions(
        &self,
        told: impl Fn(&Arc<Partition>) -> Result<(), String> + Send + Sync + 'static,
    ) {
        let _ = self.on_open.set(Box::new(told));
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// How many damaged places the logs have.
    pub fn damage(&self) -> &DamageCount {
        self.files.damage()
    }

    /// The disk under the data directory.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Files of segments that have left their log.
    pub fn doomed(&self) -> &Doomed {
        &self.doomed
    }

    /// Directory of a partition's log: Kafka's own name for it.
    pub fn partition_dir(&self, topic: &str, index: i32) -> PathBuf {
        self.data_dir.join(format!("{topic}-{index}"))
    }

    /// Makes the directories of new partitions; they are on disk, with their names, when this returns.
    ///
    /// # Errors
    /// [`StorageError`]; what was made before the error is left for [`Registry::discard`].
    pub fn create(
        &self,
        topic: &str,
        topic_id: Uuid,
        range: std::ops::Range<i32>,
        config: &TopicConfig,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let together = range.len() > CREATED_SYNCED_SINGLY;
        let first = range.start;
        self.created.entry(topic_id).and_modify(|known| *known = first.min(*known)).or_insert(first);
        for index in range {
            // An earlier topic of this name is no concern of the new log's.
            self.checkpoints.remove(&(topic.to_owned(), index));
            let dir = self.partition_dir(topic, index);
            if dir.exists() {
                // Left by a creation that was never committed, or by a topic whose deletion did not finish.
                self.set_aside(&dir)?;
            }
            let log =
                Log::create(&dir, *topic_id.as_bytes(), log_config(config), self.files.clone(), now_ms)?;
            if !together {
                log.sync_created()?;
            }
        }
        let at = |source| StorageError::Io { action: "sync", path: self.data_dir.clone(), source };
        let data_dir = File::open(&self.data_dir).map_err(at)?;
        if together {
            rustix::fs::syncfs(&data_dir).map_err(|error| at(error.into()))
        } else {
            data_dir.sync_all().map_err(at)
        }
    }

    /// The partition, opened if it is not.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn get(&self, wanted: &Wanted, now_ms: i64) -> Result<Arc<Partition>, OpenError> {
        let key = (wanted.id.topic_id, wanted.id.index);
        // Clone the slot out: a shard of the map is never held while a log is opened.
        let slot = self.slots.entry(key).or_default().clone();
        if let Some(partition) = slot.partition.get() {
            return Ok(partition.clone());
        }
        let mut opening = slot.opening.lock();
        if let Some(partition) = slot.partition.get() {
            return Ok(partition.clone());
        }
        if opening.discarded || self.closed.load(Ordering::Acquire) {
            return Err(OpenError::Closed);
        }
        if let Some((failed_ms, reason)) = &opening.failed
            && (*failed_ms..failed_ms.saturating_add(REOPEN_AFTER_MS)).contains(&now_ms)
        {
            return Err(OpenError::Offline(reason.clone()));
        }
        match self.open(wanted, now_ms).and_then(|partition| self.claimed(partition)) {
            Ok(partition) => Ok(slot.partition.get_or_init(|| partition).clone()),
            // The caller's image was older than the deletion of the topic.
            Err(_) if !self.partition_dir(&wanted.id.topic, wanted.id.index).exists() => {
                opening.discarded = true;
                drop(opening);
                self.slots.remove(&key);
                Err(OpenError::Closed)
            }
            Err(error) => {
                error!(partition = %wanted.id, %error, "a log cannot be opened; its partition is offline");
                opening.failed = Some((now_ms, error.to_string().into()));
                Err(error)
            }
        }
    }

    /// The partition if it is open. Never waits.
    pub fn opened(&self, topic_id: Uuid, index: i32) -> Option<Arc<Partition>> {
        self.slots.get(&(topic_id, index))?.partition.get().cloned()
    }

    /// Looks at the directory of a partition that is not open, and that nobody opens meanwhile; `None` when it is open. Waits
    /// for an opening under way. Only after an orderly stop are the files of a closed partition known to be whole.
    pub fn while_closed<T>(&self, id: &PartitionId, look: impl FnOnce(&Path) -> T) -> Option<T> {
        let slot = self.slots.entry((id.topic_id, id.index)).or_default().clone();
        let opening = slot.opening.lock();
        match slot.partition.get() {
            Some(_) => None,
            None if opening.discarded => None,
            None => Some(look(&self.partition_dir(&id.topic, id.index))),
        }
    }

    /// All open partitions.
    pub fn all_open(&self) -> Vec<Arc<Partition>> {
        self.slots.iter().filter_map(|slot| slot.partition.get().cloned()).collect()
    }

    fn open(&self, wanted: &Wanted, now_ms: i64) -> Result<Arc<Partition>, OpenError> {
        let id = &wanted.id;
        let dir = self.partition_dir(&id.topic, id.index);
        let checkpoint = self.checkpoint_at_start(&id.topic, id.index);
        let open = |clean: bool, snapshots_end: i64, from_newest: bool| {
            let mut replay = ProducerReplay::new(&dir, snapshots_end, from_newest, now_ms);
            let options = OpenOptions {
                config: log_config(&wanted.config),
                files: self.files.clone(),
                clean,
                // What was opened already ends where it ended then.
                recovery_point: if snapshots_end == i64::MAX {
                    checkpoint.recovery_point
                } else {
                    snapshots_end
                },
                log_start_offset: checkpoint.log_start_offset,
                now_ms,
                replay: &mut replay,
            };
            let (log, recovery) = Log::open(&dir, options)?;
            Ok::<_, StorageError>((log, recovery, replay.producers, replay.from))
        };
        let clean = self.clean || self.created.get(&id.topic_id).is_some_and(|first| *first <= id.index);
        let opened = open(clean, i64::MAX, false).or_else(|error| {
            if error.kind() != StorageErrorKind::Corrupt {
                return Err(error);
            }
            // Damage where batches are only followed to know older ones of each producer need not close the log: a retry of
            // such a batch is then refused instead of recognised.
            let Ok(opened) = open(clean, i64::MAX, true) else {
                return Err(error);
            };
            error!(partition = %id, %error, "a log is damaged; its producers are known by their last batches only");
            Ok(opened)
        });
        let (mut log, recovery, mut producers, replayed_from) = opened?;
        if log.topic_id().is_some_and(|found| found != *id.topic_id.as_bytes()) {
            let reason = "the directory belongs to another topic of this name";
            return Err(StorageError::Corrupt { path: dir, position: 0, reason: reason.to_owned() }.into());
        }
        let end = log.end_offset();
        if replayed_from > end {
            // The snapshot tells of batches that are gone: as it is, their retries would be taken for repeats.
            drop(log);
            (log, _, producers, _) = open(true, end, false)?;
        }
        let snapshots = snapshots::remove_above(&dir, end, checkpoint.recovery_point);
        let mut leader_epoch = log.latest_epoch().unwrap_or(0);
        if !clean {
            // Readers may have seen offsets that a torn tail took back: a new epoch lets their clients notice.
            leader_epoch += 1;
            log.assign_epoch(leader_epoch, end)?;
            let (truncated_bytes, batches) = (recovery.truncated_bytes, recovery.batches_scanned);
            debug!(partition = %id, end_offset = end, batches, leader_epoch, "log verified after an unclean stop");
            if truncated_bytes > 0 {
                // Never acknowledged: a write that the stop cut short.
                info!(partition = %id, end_offset = end, truncated_bytes, "an incomplete batch was cut off");
            }
        }
        Ok(Partition::new(Opened {
            id: id.clone(),
            dir,
            config: wanted.config.clone(),
            log,
            producers,
            snapshots,
            leader_epoch,
            flusher: self.flusher.clone(),
            disk: self.disk.clone(),
        }))
    }

    /// A partition that was just opened, when its open transactions have an owner.
    fn claimed(&self, partition: Arc<Partition>) -> Result<Arc<Partition>, OpenError> {
        if let Some(on_open) = self.on_open.get()
            && partition.has_open_transactions()
            && let Err(reason) = on_open(&partition)
        {
            partition.inner.lock().closed = true;
            partition.end_waiting();
            return Err(OpenError::Offline(reason.into()));
        }
        Ok(partition)
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

    /// Closes the partitions of a deleted topic and renames their directories to Kafka's `…-delete`: their names are free.
    /// The files go with [`Registry::empty_trash`].
    pub fn discard(&self, topic: &str, topic_id: Uuid, range: std::ops::Range<i32>) {
        if range.start == 0 {
            self.created.remove(&topic_id);
        }
        let is_whole_topic = range.start == 0;
        let mut all = true;
        for index in range {
            self.checkpoints.remove(&(topic.to_owned(), index));
            if let Some((_, slot)) = self.slots.remove(&(topic_id, index)) {
                slot.opening.lock().discarded = true;
                if let Some(partition) = slot.partition.get() {
                    let mut inner = partition.inner.lock();
                    inner.closed = true;
                    inner.log.leave_directory();
                    drop(inner);
                    partition.end_waiting();
                }
            }
            let dir = self.partition_dir(topic, index);
            if let Err(error) = self.set_aside(&dir) {
                warn!(dir = %dir.display(), %error, "a deleted partition's directory stays");
                all = false;
            }
        }
        if is_whole_topic && all {
            self.trash.holds_all_of([topic_id]);
        }
    }

    /// Removes the directories of deleted partitions. Readers hold open descriptors: a fetch under way finishes
    /// nonetheless. What cannot be removed is tried again at the next start. Returns the deleted topics of which nothing is
    /// left on the disk: their ids need not be remembered any more.
    pub fn empty_trash(&self) -> Vec<Uuid> {
        self.trash.empty(&self.data_dir)
    }

    fn set_aside(&self, dir: &Path) -> Result<(), StorageError> {
        let Some(name) = dir.file_name().and_then(|name| name.to_str()) else {
            return Ok(());
        };
        if !dir.exists() {
            return Ok(());
        }
        // File names end at 255 bytes: the unique part must survive, the topic's name need not.
        let kept: String = name.chars().take(200).collect();
        let renamed = self.data_dir.join(format!("{kept}.{}-delete", Uuid::new_v4().simple()));
        fs::rename(dir, &renamed).map_err(|source| StorageError::Io {
            action: "rename",
            path: dir.to_path_buf(),
            source,
        })?;
        self.trash.add(renamed);
        Ok(())
    }

    /// Finds what earlier deletions and uncommitted creations left behind: of topics in `deleted` it goes with
    /// [`Registry::empty_trash`], whatever name it has. Called at start, before anything opens.
    ///
    /// # Errors
    /// When the data directory cannot be listed, or a directory in it cannot be renamed.
    pub fn remove_leftovers(
        &self,
        is_known: impl Fn(&str) -> bool,
        deleted: HashSet<Uuid>,
    ) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.data_dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if name.ends_with("-delete") {
                self.trash.add(entry.path());
            } else if is_partition_dir(name) && !is_known(name) {
                let path = entry.path();
                // Without its id nobody knows whose log it was.
                let topic_id = read_metadata(&path).ok().flatten().map(Uuid::from_bytes);
                if topic_id.is_some_and(|id| deleted.contains(&id)) {
                    // The stop came before the renaming, or before it was on the disk.
                    info!(dir = name, "a directory of a deleted topic is removed");
                    self.set_aside(&path).map_err(std::io::Error::other)?;
                    continue;
                }
                // As Kafka: a log without a topic is set aside, never removed: an operator may want it.
                let stray = self.data_dir.join(format!("{name}.{}-stray", Uuid::new_v4().simple()));
                warn!(dir = name, to = %stray.display(), "a log directory belongs to no topic; set aside");
                fs::rename(path, stray)?;
            }
        }
        self.trash.holds_all_of(deleted);
        Ok(())
    }

    /// Closes every open partition: completes indexes, syncs, writes producer snapshots. Returns whether all went well.
    pub fn close(&self) -> bool {
        self.closed.store(true, Ordering::Release);
        let closing: Vec<_> = self.all_open().into_iter().map(|open| (open.begin_close(), open)).collect();
        let files: usize = closing.iter().filter_map(|(files, _)| Some(files.as_ref()?.len())).sum();
        let together = (files > FILES_SYNCED_SINGLY)
            .then(|| File::open(&self.data_dir).and_then(|data_dir| sync_file_system(&data_dir)));
        let mut orderly = true;
        for (files, partition) in closing {
            let synced = files.is_some_and(|files| match sync(files, together.as_ref()) {
                Ok(()) => true,
                Err(error) => {
                    warn!(partition = %partition.id(), %error, "cannot close the log in order");
                    false
                }
            });
            orderly &= partition.finish_close(synced);
        }
        orderly
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

fn is_partition_dir(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(topic, index)| !topic.is_empty() && index.parse::<i32>().is_ok())
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
