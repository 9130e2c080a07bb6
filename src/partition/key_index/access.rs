//! What the index needs to know of a partition and its log.

use std::ops::Range;

use super::aborted::AbortedRanges;
use crate::partition::flusher::sync;
use crate::partition::handle::Partition;
use crate::partition::transactions::stable_below;
use crate::storage::segment::{LogSlice, ReadError, StorageError};

/// Whole batches of one segment.
pub(super) struct IndexRead {
    pub slice: LogSlice,
    /// Aborted transactions that reach into the slice.
    pub aborted: AbortedRanges,
}

impl Partition {
    /// The offsets whose records may be indexed: from the log start to where the log is durable and decided. A record above
    /// may be gone after a power cut, or aborted.
    pub fn indexable(&self) -> Range<i64> {
        let high_watermark = self.high_watermark();
        let mut inner = self.inner.lock();
        let end = stable_below(&mut inner, high_watermark).min(inner.log.flushed_offset());
        let start = inner.log.start_offset();
        start..end.max(start)
    }

    /// Syncs what readers see already but a power cut could take back, so that it can be indexed. Only where `flush.messages`
    /// is above 1 is there anything to do. A failure takes the partition offline for writes, as any failed sync.
    pub(super) fn sync_visible(&self) {
        let high_watermark = self.high_watermark();
        let is_durable = {
            let mut inner = self.inner.lock();
            let durable = inner.log.flushed_offset();
            inner.failed.is_some() || inner.closed || durable >= stable_below(&mut inner, high_watermark)
        };
        if !is_durable {
            let begun = self.begin_flush();
            let result = sync(begun.files, None);
            self.finish_flush(begun.end_offset, result);
        }
    }

    /// Batches from the one that holds `offset` on, or the next if there is none; `None` if none begins below `end`. The log
    /// may have lost its beginning meanwhile.
    pub(super) fn read_for_index(
        &self,
        offset: i64,
        max_bytes: usize,
        end: i64,
    ) -> Result<Option<IndexRead>, ReadError> {
        let inner = self.inner.lock();
        let offset = offset.max(inner.log.start_offset());
        if offset >= end {
            return Ok(None);
        }
        let slice = inner.log.read(offset, max_bytes, end, true)?;
        if slice.len == 0 {
            return Ok(None);
        }
        let aborted = AbortedRanges::new(inner.log.aborted(offset, slice.next_offset)?);
        Ok(Some(IndexRead { slice, aborted }))
    }

    /// The batch that holds `offset`, or the next one; `None` below the log start and where there is nothing.
    pub(super) fn read_batch_at(&self, offset: i64) -> Result<Option<LogSlice>, ReadError> {
        let inner = self.inner.lock();
        if offset < inner.log.start_offset() || inner.log.end_offset() <= offset {
            return Ok(None);
        }
        let slice = inner.log.read(offset, 1, i64::MAX, true)?;
        Ok((slice.len > 0).then_some(slice))
    }

    /// Leader epoch of the offset before `offset`; -1 if unknown.
    pub(super) fn epoch_before(&self, offset: i64) -> i32 {
        self.inner.lock().log.epoch_for_offset(offset - 1)
    }

    /// Whether the log still has what it had when the offset before `upto` was of `leader_epoch`. What retention or a deletion
    /// took from its beginning does not count.
    pub(super) fn still_holds(&self, upto: i64, leader_epoch: i32) -> bool {
        let inner = self.inner.lock();
        if upto <= inner.log.start_offset() {
            return true;
        }
        if upto > inner.log.end_offset() {
            return false;
        }
        if leader_epoch < 0 {
            return inner.log.epoch_for_offset(upto - 1) < 0;
        }
        let (epoch, end) = inner.log.end_offset_for_epoch(leader_epoch);
        epoch == leader_epoch && upto <= end
    }
}

/// Copies the bytes of a slice into `buffer`.
pub(super) fn read_into(slice: &LogSlice, buffer: &mut Vec<u8>) -> Result<(), StorageError> {
    buffer.resize(slice.len, 0);
    let filled = slice.file.read_at(buffer, slice.position)?;
    // Shorter than it should be: the last batch then does not end.
    buffer.truncate(filled);
    Ok(())
}
