//! The handle through which everything reaches a partition; it hides the mutex.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::error;
use uuid::Uuid;

use super::flusher::Flusher;
use super::producers::Producers;
use super::snapshots::Snapshots;
use crate::config::TopicConfig;
use crate::storage::segment::Log;
use crate::storage::segment::space::Disk;

/// Which partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionId {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Id of the topic: tells a topic from an earlier one of the same name.
    pub topic_id: Uuid,
    /// Partition number.
    pub index: i32,
}

impl std::fmt::Display for PartitionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// What waiting requests watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Every offset below is committed.
    pub high_watermark: i64,
    /// No offset will be committed any more: the disk failed or the partition was closed.
    pub ended: bool,
}

/// One open partition.
pub struct Partition {
    pub(super) id: PartitionId,
    pub(super) dir: PathBuf,
    pub(super) config: ArcSwap<TopicConfig>,
    pub(super) inner: Mutex<Inner>,
    pub(super) high_watermark: AtomicI64,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) fetch_waiters: Mutex<Vec<Arc<Notify>>>,
    pub(super) flusher: Arc<Flusher>,
    pub(super) disk: Arc<Disk>,
}

/// What the mutex guards.
pub(super) struct Inner {
    pub(super) log: Log,
    pub(super) producers: Producers,
    pub(super) leader_epoch: i32,
    /// Records appended since the last flush was begun.
    pub(super) unflushed_messages: i64,
    /// Whether the flusher's dirty set holds this partition.
    pub(super) queued: bool,
    /// When the oldest unflushed append was made, for `flush.ms`.
    pub(super) dirty_since_ms: Option<i64>,
    /// Bytes appended since the last look of [`Partition::advance_recovery_point`].
    pub(super) bytes_since_checkpoint: u64,
    /// Everything below, indexes included, is durable: goes into the checkpoint file.
    pub(super) recovery_point: i64,
    /// Bytes appended since the last producer snapshot.
    pub(super) bytes_since_snapshot: u64,
    pub(super) snapshots: Snapshots,
    /// Last append or read: idle partitions give their files back.
    pub(super) last_used_ms: i64,
    /// The first storage failure; after it nothing is acknowledged.
    pub(super) failed: Option<String>,
    pub(super) closed: bool,
}

/// What a partition is made of when its log has been opened.
pub(super) struct Opened {
    pub(super) id: PartitionId,
    pub(super) dir: PathBuf,
    pub(super) config: Arc<TopicConfig>,
    pub(super) log: Log,
    pub(super) producers: Producers,
    pub(super) snapshots: Snapshots,
    pub(super) leader_epoch: i32,
    pub(super) flusher: Arc<Flusher>,
    pub(super) disk: Arc<Disk>,
}

impl Partition {
    pub(super) fn new(opened: Opened) -> Arc<Partition> {
        let end = opened.log.end_offset();
        let recovery_point = opened.log.flushed_offset();
        Arc::new(Partition {
            id: opened.id,
            dir: opened.dir,
            config: ArcSwap::from(opened.config),
            inner: Mutex::new(Inner {
                log: opened.log,
                producers: opened.producers,
                leader_epoch: opened.leader_epoch,
                unflushed_messages: 0,
                queued: false,
                dirty_since_ms: None,
                bytes_since_checkpoint: 0,
                recovery_point,
                bytes_since_snapshot: 0,
                snapshots: opened.snapshots,
                last_used_ms: 0,
                failed: None,
                closed: false,
            }),
            high_watermark: AtomicI64::new(end),
            progress: watch::Sender::new(Progress { high_watermark: end, ended: false }),
            fetch_waiters: Mutex::new(Vec::new()),
            flusher: opened.flusher,
            disk: opened.disk,
        })
    }

    /// Topic, topic id and number.
    pub fn id(&self) -> &PartitionId {
        &self.id
    }

    /// Directory of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The topic's effective settings.
    pub fn config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    /// Every offset below is committed and readable.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// First offset that exists.
    pub fn log_start_offset(&self) -> i64 {
        self.inner.lock().log.start_offset()
    }

    /// Offset of the next append.
    pub fn log_end_offset(&self) -> i64 {
        self.inner.lock().log.end_offset()
    }

    /// Epoch of the leader, this broker; it grows with every unclean start.
    pub fn leader_epoch(&self) -> i32 {
        self.inner.lock().leader_epoch
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.inner.lock().log.size_bytes()
    }

    /// Moves the high watermark up and wakes those who wait. Never moves it back.
    pub(super) fn advance_high_watermark(&self, to: i64) {
        let before = self.high_watermark.fetch_max(to, Ordering::AcqRel);
        if before >= to {
            return;
        }
        self.progress.send_modify(|progress| progress.high_watermark = progress.high_watermark.max(to));
        self.wake_fetches();
    }

    /// Ends all waiting after a storage failure: unacknowledged appends stay unacknowledged.
    pub(super) fn fail(&self, inner: &mut Inner, reason: String) {
        if inner.failed.is_none() {
            error!(partition = %self.id, reason, "partition is offline for writes: storage failed");
            inner.failed = Some(reason);
            inner.log.distrust();
        }
        self.end_waiting();
    }

    pub(super) fn end_waiting(&self) {
        self.progress.send_modify(|progress| progress.ended = true);
        self.wake_fetches();
    }

    pub(super) fn wake_fetches(&self) {
        for waiter in self.fetch_waiters.lock().iter() {
            waiter.notify_one();
        }
    }

    /// Wakes `notify` at each move of the high watermark, and so of the last stable offset, until the returned guard is
    /// dropped. Register before looking at the log, or a wake-up between look and registration is lost.
    pub fn watch_for_fetch(self: &Arc<Self>, notify: Arc<Notify>) -> FetchWatch {
        self.fetch_waiters.lock().push(notify.clone());
        FetchWatch { partition: self.clone(), notify }
    }
}

/// A registration of [`Partition::watch_for_fetch`].
pub struct FetchWatch {
    partition: Arc<Partition>,
    notify: Arc<Notify>,
}

impl Drop for FetchWatch {
    fn drop(&mut self) {
        let mut waiters = self.partition.fetch_waiters.lock();
        if let Some(at) = waiters.iter().position(|waiter| Arc::ptr_eq(waiter, &self.notify)) {
            waiters.swap_remove(at);
        }
        if waiters.is_empty() {
            waiters.shrink_to_fit();
        }
    }
}
