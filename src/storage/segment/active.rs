//! The segment that appends go to.

use std::sync::Arc;

use super::error::{StorageError, StorageErrorKind};
use super::files::{FileHandle, LogDir};
use super::log::LogConfig;
use super::offset_index::OffsetEntry;
use super::sealed::{Files, Sealed, View, index_capacity};
use super::time_index::TimeEntry;
use super::txn_index::TxnIndex;
use super::verified::Trust;
use crate::record::BatchHeader;

/// Positions in an index are signed 32-bit numbers.
const MAX_SEGMENT_BYTES: u64 = i32::MAX as u64;

/// The last segment of a log.
#[derive(Debug)]
pub(super) struct Active {
    pub base: i64,
    pub size: u64,
    pub next_offset: i64,
    pub files: Files,
    /// Aborted transactions that ended here, if there were any.
    pub txn: Option<Box<TxnIndex>>,
    /// Largest timestamp so far and the end of its batch; timestamp -1 for none.
    pub newest: TimeEntry,
    /// Timestamp that rolling by time counts from: the first batch's largest.
    first_timestamp: Option<i64>,
    /// When the segment was created, as far as the file system tells, or else opened.
    created_ms: i64,
    since_entry: u64,
    /// Which of its bytes are known to be good.
    pub trust: Trust,
}

impl Active {
    /// A segment without batches.
    pub fn empty(base: i64, files: Files, now_ms: i64) -> Self {
        Self {
            base,
            size: 0,
            next_offset: base,
            files,
            txn: None,
            newest: TimeEntry { timestamp: -1, offset: base },
            first_timestamp: None,
            created_ms: now_ms,
            since_entry: 0,
            trust: Trust::own(0),
        }
    }

    /// Opens the last segment of a log by its indexes and the batches behind their last entry.
    ///
    /// # Errors
    /// `Corrupt` if the indexes or the tail are not what a closed log leaves: recovery decides.
    pub fn load(dir: &Arc<LogDir>, base: i64, size: u64, now_ms: i64) -> Result<Self, StorageError> {
        let mut active = Self::empty(base, Files::open(dir, base)?, now_ms);
        active.size = size;
        active.trust = Trust::own(size);
        active.next_offset = i64::MAX;
        if let Some(created_ms) = active.files.log.created_ms() {
            active.created_ms = created_ms.min(now_ms);
        }
        let last = active.files.index.last();
        let mut walker = active.view().walk_to(i64::MAX)?;
        let start = walker.position();
        if last.is_some_and(|entry| entry.position != start) {
            let path = active.files.index.file().path();
            return Err(StorageError::corrupt(&path, 0, "the last entry contradicts the log"));
        }
        let mut newest = active.newest;
        if let Some(entry) = active.files.time.last() {
            if !active.view().confirms(entry)? {
                let path = active.files.time.file().path();
                return Err(StorageError::corrupt(&path, 0, "the last entry contradicts the log"));
            }
            newest = entry;
        }
        let mut next_offset = base;
        while let Some(batch) = walker.next()? {
            if batch.header.base_offset < next_offset {
                let path = active.files.log.path();
                return Err(StorageError::corrupt(&path, batch.position, "offsets go back"));
            }
            next_offset = batch.next_offset();
            if batch.header.max_timestamp > newest.timestamp {
                newest.timestamp = batch.header.max_timestamp;
                newest.offset = batch.header.last_offset();
            }
        }
        let first = active.view().walk().next()?;
        active.first_timestamp = first.map(|batch| batch.header.max_timestamp);
        active.newest = newest;
        active.next_offset = next_offset;
        active.since_entry = size - start;
        Ok(active)
    }

    pub fn view(&self) -> View<'_> {
        View::new(self.base, self.size, self.next_offset, &self.files, &self.trust)
    }

    /// When the segment was begun, milliseconds since the epoch.
    pub fn created_ms(&self) -> i64 {
        self.created_ms
    }

    /// Every handle, that of the `.log` file first.
    pub fn handles(&self) -> impl Iterator<Item = &Arc<FileHandle>> {
        self.files.handles().into_iter().chain(self.txn.iter().map(|txn| txn.file()))
    }

    /// True if the batch must go to a new segment (`LogSegment.shouldRoll`).
    pub fn should_roll(&self, config: &LogConfig, header: &BatchHeader, now_ms: i64) -> bool {
        let limit = config.segment_bytes.min(MAX_SEGMENT_BYTES);
        let waited = match self.first_timestamp.filter(|timestamp| *timestamp >= 0) {
            Some(first) => header.max_timestamp.saturating_sub(first),
            None => now_ms.saturating_sub(self.created_ms),
        };
        // An empty segment never rolls for its size or age: the next would be the same file.
        let worn = self.size > 0
            && (self.size.saturating_add(header.size_in_bytes() as u64) > limit
                || waited > config.segment_ms
                || self.index_full(config.segment_index_bytes));
        worn || header.last_offset() - self.base > i64::from(i32::MAX)
    }

    fn index_full(&self, bytes: u32) -> bool {
        // Kafka keeps the last place of the time index for the entry written when sealing.
        let times = index_capacity::<TimeEntry>(bytes).saturating_sub(1);
        self.files.index.len() >= index_capacity::<OffsetEntry>(bytes).max(1)
            || self.files.time.len() >= times.max(1)
    }

    /// Writes one batch at the end (`LogSegment.append`); returns its position.
    ///
    /// On an error the file is cut back to where it was, or the log stops if even that fails.
    pub fn append(
        &mut self,
        dir: &LogDir,
        prefix: &[u8; 16],
        rest: &[u8],
        header: &BatchHeader,
        index_interval: u64,
    ) -> Result<u64, StorageError> {
        dir.check()?;
        let position = self.size;
        if let Err(error) = self.files.log.write_at(prefix, rest, position) {
            // A file that could not be opened was not written to, and could not be cut either.
            if error.kind() != StorageErrorKind::OutOfFiles
                && let Err(error) = self.files.log.truncate(position)
            {
                tracing::error!(%error, "cannot undo a failed append, the log stops");
                dir.stop();
            }
            return Err(error);
        }
        self.account(position, header, index_interval);
        self.size = position + header.size_in_bytes() as u64;
        Ok(position)
    }

    /// Takes a batch at `position` into the indexes and the running values.
    pub fn account(&mut self, position: u64, header: &BatchHeader, index_interval: u64) {
        let last_offset = header.last_offset();
        if header.max_timestamp > self.newest.timestamp {
            self.newest = TimeEntry { timestamp: header.max_timestamp, offset: last_offset };
        }
        if position == 0 {
            self.first_timestamp = Some(header.max_timestamp);
        }
        if self.since_entry > index_interval {
            self.files.index.append(OffsetEntry { offset: last_offset, position });
            self.files.time.maybe_append(self.newest);
            self.since_entry = 0;
        }
        self.since_entry += header.size_in_bytes() as u64;
        self.next_offset = last_offset.saturating_add(1);
    }

    /// Completes the indexes as a sealed segment has them (`onBecomeInactiveSegment`).
    pub fn finish_indexes(&mut self) -> Result<(), StorageError> {
        // Written first, so that the last entry is not one that is left out for lack of room.
        self.files.index.write_pending()?;
        self.files.time.write_pending()?;
        self.files.time.maybe_append(self.newest);
        self.files.time.write_pending()
    }

    /// The same segment, no longer written to.
    pub fn seal(self) -> Sealed {
        Sealed::from_active(self.base, self.size, self.newest, self.files, self.txn, self.trust)
    }
}
