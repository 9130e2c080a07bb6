//! What is done with partitions from time to time, and at close.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::{info, warn};

use super::error::OffsetError;
use super::handle::{Inner, Partition};
use super::producer_snapshot;
use super::registry::{Checkpointed, snapshot_path};
use crate::storage::segment::retain;

/// Snapshots kept beside the segments, the newest ones: one to use and one in case it is damaged.
const SNAPSHOTS_KEPT: usize = 2;

impl Partition {
    /// Writes the producers' state as of `offset`. A failure costs replay time at the next open, no data.
    pub(super) fn write_producer_snapshot(&self, inner: &Inner, offset: i64) {
        if inner.producers.is_empty() {
            return;
        }
        let path = snapshot_path(&self.dir, offset);
        let temporary = path.with_extension("snapshot.tmp");
        let bytes = producer_snapshot::encode(&inner.producers);
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            warn!(partition = %self.id, %error, "cannot write a producer snapshot");
            return;
        }
        self.remove_old_snapshots();
    }

    fn remove_old_snapshots(&self) {
        let mut offsets: Vec<i64> = fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".snapshot")?.parse().ok())
            .collect();
        offsets.sort_unstable();
        let surplus = offsets.len().saturating_sub(SNAPSHOTS_KEPT);
        for offset in &offsets[..surplus] {
            if let Err(error) = fs::remove_file(snapshot_path(&self.dir, *offset)) {
                warn!(partition = %self.id, %error, "cannot remove an old producer snapshot");
            }
        }
    }

    /// Flushes and closes the log at an orderly stop. Returns whether the log needs no verification at the next open.
    pub(super) fn close(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let end = inner.log.end_offset();
        let orderly = inner.failed.is_none()
            && match inner.log.close() {
                Ok(()) => true,
                Err(error) => {
                    warn!(partition = %self.id, %error, "cannot close the log in order");
                    false
                }
            };
        if orderly {
            self.write_producer_snapshot(&inner, end);
        }
        drop(inner);
        if orderly {
            self.advance_high_watermark(end);
        }
        self.end_waiting();
        orderly
    }

    /// What the checkpoint files are to hold.
    pub fn checkpointed(&self) -> Checkpointed {
        let inner = self.inner.lock();
        Checkpointed { recovery_point: inner.log.flushed_offset(), log_start_offset: inner.log.start_offset() }
    }

    /// Raises the log start to `offset`, or to the high watermark for -1 (DeleteRecords, KIP-107). Returns the new log
    /// start. The caller persists it.
    ///
    /// # Errors
    /// [`OffsetError::OutOfRange`] above the high watermark.
    pub fn delete_records(&self, offset: i64) -> Result<i64, OffsetError> {
        let high_watermark = self.high_watermark();
        let target = if offset == -1 { high_watermark } else { offset };
        if target < 0 || high_watermark < target {
            return Err(OffsetError::OutOfRange(offset));
        }
        let mut inner = self.inner.lock();
        if target > inner.log.start_offset() {
            let raised = inner.log.set_start_offset(target);
            raised.map_err(|error| OffsetError::Read(super::ReadError::Storage(error.to_string())))?;
        }
        Ok(inner.log.start_offset())
    }

    /// Removes segments that retention or the log start allow to go, and gives back the files to unlink after
    /// `file.delete.delay.ms`.
    pub fn apply_retention(&self, now_ms: i64) -> Vec<PathBuf> {
        let config = self.config();
        let mut inner = self.inner.lock();
        if inner.failed.is_some() || inner.closed {
            return Vec::new();
        }
        let (retention_ms, retention_bytes) = if config.cleanup_policy.delete {
            (config.retention_ms.unwrap_or(-1), config.retention_bytes.map_or(-1, |bytes| bytes as i64))
        } else {
            (-1, -1)
        };
        let log = &mut inner.log;
        let removed = log.segments().and_then(|segments| {
            let high_watermark = self.high_watermark();
            let count = retain::choose(&segments, now_ms, retention_ms, retention_bytes, log.start_offset(), high_watermark);
            match count.checked_sub(1) {
                // The active segment goes only after it was rolled, so that there is always one to append to.
                Some(last) if count == segments.len() => {
                    log.roll(now_ms)?;
                    log.delete_segments_below(segments[last].next_offset)
                }
                Some(last) => log.delete_segments_below(segments[last].next_offset),
                None => Ok(Vec::new()),
            }
        });
        match removed {
            Ok(removed) => {
                if !removed.is_empty() {
                    info!(partition = %self.id, files = removed.len(), log_start_offset = inner.log.start_offset(), "segments removed");
                }
                removed
            }
            Err(error) => {
                warn!(partition = %self.id, %error, "retention could not be applied");
                Vec::new()
            }
        }
    }

    /// Flushes by time, forgets idle producers, gives back idle files.
    pub fn tick(self: &Arc<Self>, now_ms: i64, producer_expiration_ms: i64, idle_ms: i64) {
        let config = self.config();
        let mut inner = self.inner.lock();
        inner.producers.expire(now_ms, producer_expiration_ms);
        let due = inner.dirty_since_ms.is_some_and(|since| now_ms - since >= config.flush_ms);
        let enqueue = due && !std::mem::replace(&mut inner.queued, true);
        if inner.dirty_since_ms.is_none() && now_ms.saturating_sub(inner.last_used_ms) >= idle_ms {
            if let Err(error) = inner.log.release_idle() {
                warn!(partition = %self.id, %error, "cannot give back the files of an idle log");
            }
            // Once is enough until the next use.
            inner.last_used_ms = i64::MAX;
        }
        drop(inner);
        if enqueue {
            self.flusher.enqueue(self.clone());
        }
    }
}
