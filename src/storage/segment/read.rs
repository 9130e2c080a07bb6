//! Reading: by offset and by timestamp, and what of it was aborted.

use std::sync::Arc;

use super::error::{ReadError, StorageError};
use super::files::FileHandle;
use super::log::Log;
use super::sealed::View;
use super::txn_index::AbortedTransaction;
use super::walk::Located;
use crate::record::BatchHeader;

/// Whole batches that lie one behind the other in one file.
#[derive(Debug, Clone)]
pub struct LogSlice {
    pub file: Arc<FileHandle>,
    /// First byte in the file.
    pub position: u64,
    /// Bytes; 0 if there is nothing to read.
    pub len: usize,
    /// Base offset of the first batch (which may lie below the offset asked for), or the offset
    /// asked for if there is none.
    pub start_offset: i64,
    /// Above every offset in the slice, and not above any behind it.
    pub next_offset: i64,
    /// Base offset of the segment the slice is in.
    pub segment_base: i64,
}

impl LogSlice {
    /// Copies the bytes out.
    pub fn read(&self) -> Result<Vec<u8>, StorageError> {
        let mut bytes = vec![0; self.len];
        let filled = self.file.read_at(&mut bytes, self.position)?;
        if filled < self.len {
            let position = self.position + filled as u64;
            return Err(StorageError::corrupt(&self.file.path(), position, "file ends early"));
        }
        Ok(bytes)
    }
}

/// A batch found by timestamp. Which of its records is meant is for the caller to find: it
/// alone knows how to decompress.
#[derive(Debug, Clone)]
pub struct TimestampBatch {
    pub header: BatchHeader,
    pub slice: LogSlice,
    /// Epoch the batch's last offset was written in; -1 if unknown.
    pub leader_epoch: i32,
}

impl Log {
    /// Whole batches from the one that holds `offset`, or the next if there is none, on.
    ///
    /// At most `max_bytes`, unless `min_one` and the first batch alone is larger. Batches that
    /// begin at or above `end_offset` are left out. The slice ends with its segment at the
    /// latest. `offset` may be the log end: the slice is then empty.
    ///
    /// # Errors
    /// `OutOfRange` below the start offset or above the log end.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        end_offset: i64,
        min_one: bool,
    ) -> Result<LogSlice, ReadError> {
        self.check_open()?;
        let (start, end) = (self.start_offset, self.end_offset());
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { start, end });
        }
        if offset < end.min(end_offset) {
            for index in self.segment_of(offset)..self.segment_count() {
                let view = self.view(index)?;
                // The end of a compacted segment can be empty: the next one continues.
                if let Some(first) = view.locate(offset)? {
                    let stop = view.slice_end(&first, max_bytes, end_offset, min_one)?;
                    return Ok(slice(&view, &first, stop));
                }
            }
        }
        Ok(LogSlice {
            file: self.active.files.log.clone(),
            position: self.active.size,
            len: 0,
            start_offset: offset,
            next_offset: offset,
            segment_base: self.active.base,
        })
    }

    /// The aborted transactions that have records or their marker from `offset` to below `upto`, in the order of their
    /// markers (`LocalLog.collectAbortedTransactions`). Looks at no file where none was aborted.
    pub fn aborted(&self, offset: i64, upto: i64) -> Result<Vec<AbortedTransaction>, StorageError> {
        self.check_open()?;
        let mut found = Vec::new();
        let sealed = self.sealed.get(self.segment_of(offset)..).unwrap_or_default();
        let indexes = sealed.iter().map(|segment| &segment.txn).chain([&self.active.txn]);
        for index in indexes.flatten() {
            if index.collect(offset, upto, &mut found)? {
                break;
            }
        }
        Ok(found)
    }

    /// The first batch with `from_offset <= last offset`, base offset below `end_offset`, and a
    /// largest timestamp of `timestamp` or later. If none of its records at or above
    /// `from_offset` fits, ask again from behind it.
    pub fn offset_for_timestamp(
        &self,
        timestamp: i64,
        from_offset: i64,
        end_offset: i64,
    ) -> Result<Option<TimestampBatch>, StorageError> {
        self.check_open()?;
        let from = from_offset.max(self.start_offset);
        for index in self.segment_of(from)..self.segment_count() {
            if self.base_of(index) >= end_offset {
                break;
            }
            if self.newest_in(index)? < timestamp {
                continue;
            }
            let view = self.view(index)?;
            if let Some(batch) = view.first_since(timestamp, from)? {
                let visible = batch.header.base_offset < end_offset;
                return Ok(visible.then(|| self.found(&view, &batch)));
            }
        }
        Ok(None)
    }

    /// The first batch that holds the largest timestamp at or above the start offset and below
    /// `end_offset`; None if no batch has a timestamp.
    pub fn max_timestamp_batch(&self, end_offset: i64) -> Result<Option<TimestampBatch>, StorageError> {
        self.check_open()?;
        let mut best: Option<(usize, Located)> = None;
        for index in self.segment_of(self.start_offset)..self.segment_count() {
            if self.base_of(index) >= end_offset {
                break;
            }
            let newest = best.map_or(-1, |(_, batch)| batch.header.max_timestamp);
            if self.newest_in(index)? <= newest {
                continue;
            }
            let view = self.view(index)?;
            // The segment's newest batch may be out of sight, so the visible part is walked
            // where only a part is visible.
            let whole = view.base >= self.start_offset && view.next_offset <= end_offset;
            let from = self.start_offset;
            let found = if whole {
                view.first_since(self.newest_in(index)?, from)?
            } else {
                newest_between(&view, from, end_offset)?
            };
            if let Some(batch) = found.filter(|batch| batch.header.max_timestamp > newest) {
                best = Some((index, batch));
            }
        }
        best.map(|(index, batch)| Ok(self.found(&self.view(index)?, &batch))).transpose()
    }

    /// Largest timestamp in the log, by the segments' indexes; -1 if there is none.
    pub fn max_timestamp(&self) -> Result<i64, StorageError> {
        (0..self.segment_count()).try_fold(-1, |newest, index| Ok(self.newest_in(index)?.max(newest)))
    }

    fn found(&self, view: &View<'_>, batch: &Located) -> TimestampBatch {
        TimestampBatch {
            header: batch.header,
            slice: slice(view, batch, (batch.end(), batch.next_offset())),
            leader_epoch: self.epoch_for_offset(batch.header.last_offset()),
        }
    }

    fn segment_of(&self, offset: i64) -> usize {
        if offset >= self.active.base {
            return self.sealed.len();
        }
        self.sealed.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    fn base_of(&self, index: usize) -> i64 {
        self.sealed.get(index).map_or(self.active.base, |segment| segment.base)
    }

    fn newest_in(&self, index: usize) -> Result<i64, StorageError> {
        Ok(match self.sealed.get(index) {
            Some(segment) => segment.newest(&self.dir, self.bound(index))?.timestamp,
            None => self.active.newest.timestamp,
        })
    }

    pub(super) fn view(&self, index: usize) -> Result<View<'_>, StorageError> {
        match self.sealed.get(index) {
            Some(segment) => segment.view(&self.dir, self.bound(index)),
            None => Ok(self.active.view()),
        }
    }
}

fn slice(view: &View<'_>, first: &Located, (stop, next_offset): (u64, i64)) -> LogSlice {
    LogSlice {
        file: view.files.log.clone(),
        position: first.position,
        len: (stop - first.position) as usize,
        start_offset: first.header.base_offset,
        next_offset,
        segment_base: view.base,
    }
}

fn newest_between(view: &View<'_>, from: i64, end: i64) -> Result<Option<Located>, StorageError> {
    let mut newest: Option<Located> = None;
    let mut walker = view.walk_to(from)?;
    while let Some(batch) = walker.next()? {
        if batch.header.base_offset >= end {
            break;
        }
        let largest = newest.map_or(-1, |batch| batch.header.max_timestamp);
        if batch.header.last_offset() >= from && batch.header.max_timestamp > largest {
            newest = Some(batch);
        }
    }
    Ok(newest)
}
