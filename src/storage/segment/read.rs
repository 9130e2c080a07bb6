//! Reading: by offset and by timestamp, and what of it was aborted.

use std::sync::Arc;

use super::error::{ReadError, StorageError};
use super::files::FileHandle;
use super::log::Log;
use super::sealed::{View, Walked, first_at};
use super::txn_index::AbortedTransaction;
use super::verified::Doubt;
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
    /// What must be looked at before the slice may be used.
    pub(super) doubt: Option<Box<Doubt>>,
}

impl LogSlice {
    /// Whether the bytes are known to be those that were written. If they are not, [`Self::verify`] must come before any
    /// use of the slice, an empty one as well.
    pub fn is_verified(&self) -> bool {
        self.doubt.is_none()
    }

    /// Looks at the bytes, once. Blocks on the disk.
    ///
    /// # Errors
    /// `Corrupt` if there is damage: it is known now, so read again for what lies before it, or for an error that tells
    /// which offsets cannot be read. `Unavailable` if the file cannot be read.
    pub fn verify(&mut self) -> Result<(), StorageError> {
        let Some(doubt) = self.doubt.take_if(|doubt| !doubt.is_settled()) else {
            self.doubt = None;
            return Ok(());
        };
        let checked = doubt.settle(self.position)?;
        let end = self.position + self.len as u64;
        if self.len > 0 && (!checked.begins || checked.ends < end) {
            // The bytes are not those that the place was found by.
            return Err(StorageError::corrupt(
                &self.file.path(),
                self.position,
                "no batch begins or ends there",
            ));
        }
        Ok(())
    }

    /// Copies the bytes out, verified.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn read(&self) -> Result<Vec<u8>, StorageError> {
        if self.doubt.is_some() {
            self.clone().verify()?;
        }
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
    /// Whole batches from the one that holds `offset`, or the next if there is none, on. What this process did not write
    /// and nobody has read yet is to be verified first: see [`LogSlice::is_verified`].
    ///
    /// At most `max_bytes`, unless `min_one` and the first batch alone is larger. Batches that
    /// begin at or above `end_offset` are left out. The slice ends with its segment at the
    /// latest. `offset` may be the log end: the slice is then empty.
    ///
    /// # Errors
    /// `OutOfRange` below the start offset or above the log end. `Corrupt` where the log is known to be damaged.
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
                let (view, damage) = self.view(index)?.around(offset)?;
                let wanted = Wanted { offset, max_bytes, end_offset, min_one };
                if let Some(slice) = self.read_in(&view, wanted)? {
                    return Ok(slice);
                }
                if let Some(damage) = damage {
                    return Err(view.unreadable(&damage).into());
                }
                // The end of a compacted segment can be empty: the next one continues.
            }
        }
        Ok(nothing(&self.active.view(), offset, None))
    }

    /// Reads in one segment. Headers in doubt can mislead, to an error as well as to a wrong place: until they were looked
    /// at, the slice has nothing in it but the doubt.
    fn read_in(&self, view: &View<'_>, wanted: Wanted) -> Result<Option<LogSlice>, StorageError> {
        let mut walker = view.walk_to(wanted.offset)?;
        let anchor = walker.anchor;
        let found = first_at(&mut walker, wanted.offset).and_then(|first| {
            let Some(first) = first else { return Ok(None) };
            let stop = view.slice_end(&first, wanted.max_bytes, wanted.end_offset, wanted.min_one)?;
            Ok(Some((first, stop)))
        });
        match found {
            Ok(Some((first, stop))) => {
                let doubt = view.doubt(anchor, stop.0, &self.epochs);
                Ok(Some(LogSlice { doubt, ..slice(view, &first, stop) }))
            }
            Ok(None) => {
                let doubt = view.doubt(anchor, view.size, &self.epochs);
                Ok(doubt.map(|doubt| nothing(view, wanted.offset, Some(doubt))))
            }
            Err(StorageError::Corrupt { path, position, reason }) => {
                let to = position.saturating_add(1);
                match view.doubt(anchor, to, &self.epochs) {
                    Some(doubt) => Ok(Some(nothing(view, wanted.offset, Some(doubt)))),
                    None => Err(StorageError::Corrupt { path, position, reason }),
                }
            }
            Err(error) => Err(error),
        }
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
            let walked = view.first_since(timestamp, from)?;
            let Some(batch) = walked.found else {
                // Rare, and the answer depends on it: a header in doubt may have hidden the batch.
                view.doubt(walked.anchor, walked.to, &self.epochs)
                    .map_or(Ok(()), |doubt| doubt.settle(walked.anchor.position()).map(|_| ()))?;
                continue;
            };
            let visible = batch.header.base_offset < end_offset;
            return Ok(visible.then(|| self.found(&view, &batch, walked)));
        }
        Ok(None)
    }

    /// The first batch that holds the largest timestamp at or above the start offset and below
    /// `end_offset`; None if no batch has a timestamp.
    pub fn max_timestamp_batch(&self, end_offset: i64) -> Result<Option<TimestampBatch>, StorageError> {
        self.check_open()?;
        let mut best: Option<(usize, Located, Walked)> = None;
        for index in self.segment_of(self.start_offset)..self.segment_count() {
            if self.base_of(index) >= end_offset {
                break;
            }
            let newest = best.map_or(-1, |(_, batch, _)| batch.header.max_timestamp);
            if self.newest_in(index)? <= newest {
                continue;
            }
            let view = self.view(index)?;
            // The segment's newest batch may be out of sight, so the visible part is walked
            // where only a part is visible.
            let whole = view.base >= self.start_offset && view.next_offset <= end_offset;
            let from = self.start_offset;
            let walked = if whole {
                view.first_since(self.newest_in(index)?, from)?
            } else {
                newest_between(&view, from, end_offset)?
            };
            if let Some(batch) = walked.found.filter(|batch| batch.header.max_timestamp > newest) {
                best = Some((index, batch, walked));
            }
        }
        best.map(|(index, batch, walked)| Ok(self.found(&self.view(index)?, &batch, walked))).transpose()
    }

    /// Largest timestamp in the log, by the segments' indexes; -1 if there is none.
    pub fn max_timestamp(&self) -> Result<i64, StorageError> {
        (0..self.segment_count()).try_fold(-1, |newest, index| Ok(self.newest_in(index)?.max(newest)))
    }

    fn found(&self, view: &View<'_>, batch: &Located, walked: Walked) -> TimestampBatch {
        let doubt = view.doubt(walked.anchor, walked.to, &self.epochs);
        TimestampBatch {
            header: batch.header,
            slice: LogSlice { doubt, ..slice(view, batch, (batch.end(), batch.next_offset())) },
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

/// What a read asks for.
#[derive(Clone, Copy)]
struct Wanted {
    offset: i64,
    max_bytes: usize,
    end_offset: i64,
    min_one: bool,
}

fn nothing(view: &View<'_>, offset: i64, doubt: Option<Box<Doubt>>) -> LogSlice {
    LogSlice {
        file: view.files.log.clone(),
        position: view.size,
        len: 0,
        start_offset: offset,
        next_offset: offset,
        segment_base: view.base,
        doubt,
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
        doubt: None,
    }
}

fn newest_between(view: &View<'_>, from: i64, end: i64) -> Result<Walked, StorageError> {
    let mut newest: Option<Located> = None;
    let mut walker = view.walk_to(from)?;
    let anchor = walker.anchor;
    while let Some(batch) = walker.next()? {
        if batch.header.base_offset >= end {
            break;
        }
        let largest = newest.map_or(-1, |batch| batch.header.max_timestamp);
        if batch.header.last_offset() >= from && batch.header.max_timestamp > largest {
            newest = Some(batch);
        }
    }
    Ok(Walked { found: newest, anchor, to: walker.position() })
}
