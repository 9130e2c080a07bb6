//! What is done with partitions from time to time, and at close.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::{info, warn};

use super::checkpoints::Checkpointed;
use super::error::OffsetError;
use super::flusher::with_tickets;
use super::handle::Partition;
use crate::storage::segment::{FileHandle, StorageErrorKind, SyncTicket, retain};

/// Bytes appended to a partition between two producer snapshots: bounds what is replayed at the next open.
const SNAPSHOT_EVERY_BYTES: u64 = 32 << 20;

impl Partition {
    /// Bytes appended since [`Partition::advance_recovery_point`] last looked.
    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.inner.lock().bytes_since_checkpoint
    }

    /// Moves the recovery point up to what is durable, after syncing the indexes below it. What is above is what the next
    /// start verifies should this run not end in order.
    pub fn advance_recovery_point(&self) {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        inner.bytes_since_checkpoint = 0;
        let upto = inner.log.flushed_offset();
        if inner.closed || inner.failed.is_some() || upto == inner.recovery_point {
            return;
        }
        if inner.bytes_since_snapshot >= SNAPSHOT_EVERY_BYTES {
            let end = inner.log.end_offset();
            self.write_producer_snapshot(inner, end);
        }
        let snapshot = self.unsynced_snapshot(inner, upto);
        let indexes = match inner.log.unflushed_indexes() {
            Ok(indexes) => indexes,
            Err(error) => {
                warn!(partition = %self.id, %error, "index entries stay in memory; the recovery point stays where it is");
                return;
            }
        };
        // A sync takes milliseconds: appends go on meanwhile.
        drop(guard);
        if let Some(snapshot) = snapshot {
            self.sync_snapshot(snapshot);
        }
        let synced = indexes.iter().try_for_each(|file| file.sync());
        let mut inner = self.inner.lock();
        match synced {
            Ok(()) => inner.recovery_point = inner.recovery_point.max(upto),
            Err(error) => self.fail(&mut inner, format!("sync failed: {error}")),
        }
    }

    /// Begins an orderly close: nothing is appended any more. Returns the files to sync, or `None` when the log cannot be
    /// closed in order.
    pub(super) fn begin_close(&self) -> Option<Vec<(Arc<FileHandle>, SyncTicket)>> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        if inner.failed.is_some() {
            return None;
        }
        match inner.log.begin_close() {
            Ok(dirty) => Some(with_tickets(dirty)),
            Err(error) => {
                warn!(partition = %self.id, %error, "cannot close the log in order");
                None
            }
        }
    }

    /// Ends an orderly close after the sync. Returns whether the log needs no verification at the next open.
    pub(super) fn finish_close(&self, synced: bool) -> bool {
        if synced {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            let end = inner.log.end_offset();
            inner.log.finish_close();
            inner.recovery_point = inner.log.flushed_offset();
            self.write_producer_snapshot(inner, end);
            drop(guard);
            self.advance_high_watermark(end);
        }
        self.end_waiting();
        synced
    }

    /// What the checkpoint files are to hold.
    pub fn checkpointed(&self) -> Checkpointed {
        let inner = self.inner.lock();
        Checkpointed { recovery_point: inner.recovery_point, log_start_offset: inner.log.start_offset() }
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
            // An open transaction that began below holds readers back only from here on.
            self.wake_fetches();
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
            let count = retain::choose(
                &segments,
                now_ms,
                retention_ms,
                retention_bytes,
                log.start_offset(),
                high_watermark,
            );
            match count.checked_sub(1) {
                // The active segment goes only after it was rolled, so that there is always one to append to. Where there is
                // no room for another, the rest goes first and this one the next time.
                Some(last) if count == segments.len() => {
                    let upto = match log.roll(now_ms) {
                        Err(error)
                            if matches!(
                                error.kind(),
                                StorageErrorKind::Full | StorageErrorKind::OutOfFiles
                            ) =>
                        {
                            segments[last].base_offset
                        }
                        rolled => rolled.map(|()| segments[last].next_offset)?,
                    };
                    log.delete_segments_below(upto)
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

    /// Forgets producers not heard of for `expiration_ms` (`producer.id.expiration.ms`), save those with an open
    /// transaction.
    pub fn expire_producers(&self, now_ms: i64, expiration_ms: i64) {
        self.inner.lock().producers.expire(now_ms, expiration_ms);
    }

    /// Flushes by time, gives back idle files.
    pub fn tick(self: &Arc<Self>, now_ms: i64, idle_ms: i64) {
        let config = self.config();
        let mut inner = self.inner.lock();
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
