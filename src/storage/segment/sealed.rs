//! Segments that are no longer written to, and look-ups in the files of any segment.

use std::sync::{Arc, OnceLock};

use super::dir::FileKind;
use super::error::{StorageError, StorageErrorKind};
use super::files::{FileHandle, LogDir};
use super::index::Entry;
use super::offset_index::{OffsetEntry, OffsetIndex};
use super::time_index::{TimeEntry, TimeIndex};
use super::txn_index::TxnIndex;
use super::walk::{Located, Walker};

/// The files every segment has.
#[derive(Debug)]
pub(super) struct Files {
    pub log: Arc<FileHandle>,
    pub index: OffsetIndex,
    pub time: TimeIndex,
}

impl Files {
    /// Opens the files of an existing segment.
    pub fn open(dir: &Arc<LogDir>, base: i64) -> Result<Self, StorageError> {
        let handle = |kind| FileHandle::new(dir, base, kind);
        Ok(Self {
            log: handle(FileKind::Log),
            index: OffsetIndex::open(base, handle(FileKind::OffsetIndex))?,
            time: TimeIndex::open(base, handle(FileKind::TimeIndex))?,
        })
    }

    /// Creates the files of a new segment. The directory needs a sync afterwards.
    pub fn create(dir: &Arc<LogDir>, base: i64) -> Result<Self, StorageError> {
        let create = |kind| {
            let handle = FileHandle::new(dir, base, kind);
            handle.create().map(|()| handle)
        };
        Ok(Self {
            log: create(FileKind::Log)?,
            index: OffsetIndex::empty(base, create(FileKind::OffsetIndex)?),
            time: TimeIndex::empty(base, create(FileKind::TimeIndex)?),
        })
    }

    /// All handles.
    pub fn handles(&self) -> [&Arc<FileHandle>; 3] {
        [&self.log, self.index.file(), self.time.file()]
    }

    /// Makes the three files durable.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.index.write_pending()?;
        self.time.write_pending()?;
        self.handles().into_iter().try_for_each(FileHandle::sync)
    }
}

/// A segment that is no longer written to. At rest it holds no handle.
#[derive(Debug)]
pub(super) struct Sealed {
    pub base: i64,
    pub size: u64,
    newest: OnceLock<TimeEntry>,
    files: OnceLock<Box<Files>>,
    /// Aborted transactions that ended here, if there were any: known without a look at the disk.
    pub txn: Option<Box<TxnIndex>>,
}

impl Sealed {
    pub fn new(base: i64, size: u64, txn: Option<Box<TxnIndex>>) -> Self {
        Self { base, size, newest: OnceLock::new(), files: OnceLock::new(), txn }
    }

    /// Seals what was the active segment; its files still need a sync.
    pub fn from_active(
        base: i64,
        size: u64,
        newest: TimeEntry,
        files: Files,
        txn: Option<Box<TxnIndex>>,
    ) -> Self {
        Self { base, size, newest: newest.into(), files: Box::new(files).into(), txn }
    }

    /// A segment whose files were made by a rewrite, and are durable.
    pub fn rewritten(base: i64, size: u64, newest: TimeEntry, txn: Option<Box<TxnIndex>>) -> Self {
        Self { newest: newest.into(), ..Self::new(base, size, txn) }
    }

    pub fn files(&self, dir: &Arc<LogDir>) -> Result<&Files, StorageError> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let opened = Box::new(Files::open(dir, self.base)?);
        Ok(self.files.get_or_init(|| opened))
    }

    /// Gives the files up, keeping handles that may still need a sync.
    pub fn into_files(mut self, dir: &Arc<LogDir>) -> Result<Files, StorageError> {
        match self.files.take() {
            Some(files) => Ok(*files),
            None => Files::open(dir, self.base),
        }
    }

    /// The files if something used them since the last release.
    pub fn files_in_use(&self) -> Option<&Files> {
        self.files.get().map(|files| &**files)
    }

    /// Every handle that is there.
    pub fn handles(&self) -> impl Iterator<Item = &Arc<FileHandle>> {
        let txn = self.txn.iter().map(|txn| txn.file());
        self.files_in_use().into_iter().flat_map(Files::handles).chain(txn)
    }

    /// Forgets the handles, unless one of them still needs a sync.
    pub fn release(&mut self) {
        let dirty = |files: &Files| files.handles().iter().any(|handle| handle.is_dirty());
        if self.files_in_use().is_some_and(|files| !dirty(files)) {
            self.files.take();
        }
        if let Some(txn) = &self.txn {
            txn.file().close_if_clean();
        }
    }

    /// The largest timestamp of the segment; read once.
    pub fn newest(&self, dir: &Arc<LogDir>, next_offset: i64) -> Result<TimeEntry, StorageError> {
        if let Some(newest) = self.newest.get() {
            return Ok(*newest);
        }
        let newest = self.view(dir, next_offset)?.newest()?;
        Ok(*self.newest.get_or_init(|| newest))
    }

    pub fn view(&self, dir: &Arc<LogDir>, next_offset: i64) -> Result<View<'_>, StorageError> {
        Ok(View { base: self.base, size: self.size, next_offset, files: self.files(dir)? })
    }
}

/// A segment as a reader sees it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub base: i64,
    pub size: u64,
    /// No offset at or above this is in the segment.
    pub next_offset: i64,
    pub files: &'a Files,
}

impl<'a> View<'a> {
    /// A walker from the start of the segment.
    pub fn walk(&self) -> Walker<'a> {
        Walker::new(&self.files.log, 0, self.size)
    }

    /// A walker from an index entry, which is checked against the log first: an index is only a
    /// hint, and a damaged one must cost time, not records.
    fn walk_from(&self, entry: Option<OffsetEntry>) -> Result<Walker<'a>, StorageError> {
        let Some(entry) = entry else {
            return Ok(self.walk());
        };
        let mut walker = Walker::new(&self.files.log, entry.position, self.size);
        match walker.next() {
            Ok(Some(batch))
                if batch.header.base_offset >= self.base && batch.header.base_offset <= entry.offset =>
            {
                walker.rewind(entry.position);
                Ok(walker)
            }
            Err(error) if error.kind() != StorageErrorKind::Corrupt => Err(error),
            _ => {
                let path = self.files.index.file().path();
                tracing::warn!(path = %path.display(), "index contradicts the log, scanning");
                Ok(self.walk())
            }
        }
    }

    /// A walker from a batch that is not behind the one holding `offset`.
    pub fn walk_to(&self, offset: i64) -> Result<Walker<'a>, StorageError> {
        self.walk_from(self.files.index.floor(|entry| entry.offset <= offset)?)
    }

    /// The first batch that ends at or after `offset`.
    pub fn locate(&self, offset: i64) -> Result<Option<Located>, StorageError> {
        let mut walker = self.walk_to(offset)?;
        while let Some(batch) = walker.next()? {
            if batch.header.last_offset() >= offset {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Where to stop reading from `first`: behind the last whole batch that lies within
    /// `max_bytes` and starts below `end_offset`. With `min_one`, `first` may exceed `max_bytes`.
    /// Also gives an offset above all that lie in front of that place, and not above any behind it.
    pub fn slice_end(
        &self,
        first: &Located,
        max_bytes: usize,
        end_offset: i64,
        min_one: bool,
    ) -> Result<(u64, i64), StorageError> {
        let nothing = (first.position, first.header.base_offset);
        if first.header.base_offset >= end_offset {
            return Ok(nothing);
        }
        let limit = first.position.saturating_add(max_bytes as u64);
        if first.end() > limit {
            return Ok(if min_one { (first.end(), first.next_offset()) } else { nothing });
        }
        if limit >= self.size && end_offset >= self.next_offset {
            return Ok((self.size, self.next_offset));
        }
        let index = &self.files.index;
        let skip_to = index.floor(|entry| entry.position <= limit && entry.offset < end_offset)?;
        let behind = skip_to.filter(|entry| entry.position >= first.end());
        let mut walker = match behind {
            Some(entry) => self.walk_from(Some(entry))?,
            None => Walker::new(&self.files.log, first.end(), self.size),
        };
        // A walker that had to start over passes `first` again, which does no harm.
        let mut end = walker.position().max(first.end());
        while let Some(batch) = walker.next()? {
            if batch.end() > limit || batch.header.base_offset >= end_offset {
                return Ok((end, batch.header.base_offset));
            }
            end = end.max(batch.end());
        }
        Ok((end, self.next_offset))
    }

    /// The first batch from `from_offset` on whose largest timestamp is `timestamp` or later.
    pub fn first_since(&self, timestamp: i64, from_offset: i64) -> Result<Option<Located>, StorageError> {
        let entry = self.files.time.floor(|entry| entry.timestamp <= timestamp)?;
        let mut from = from_offset;
        if let Some(entry) = entry.filter(|entry| entry.offset > from)
            && self.confirms(entry)?
        {
            from = entry.offset;
        }
        let mut walker = self.walk_to(from)?;
        while let Some(batch) = walker.next()? {
            if batch.header.last_offset() >= from && batch.header.max_timestamp >= timestamp {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// True if the log holds what a time index entry claims.
    pub fn confirms(&self, entry: TimeEntry) -> Result<bool, StorageError> {
        if entry.offset < self.base || entry.offset >= self.next_offset {
            return Ok(false);
        }
        let batch = self.locate(entry.offset)?;
        Ok(batch.is_some_and(|batch| batch.header.max_timestamp == entry.timestamp))
    }

    /// The largest timestamp and the end of its batch; timestamp -1 if there is none.
    fn newest(&self) -> Result<TimeEntry, StorageError> {
        if let Some(last) = self.files.time.last()
            && self.confirms(last)?
        {
            return Ok(last);
        }
        let mut newest = TimeEntry { timestamp: -1, offset: self.base };
        let mut walker = self.walk();
        while let Some(batch) = walker.next()? {
            if batch.header.max_timestamp > newest.timestamp {
                newest.timestamp = batch.header.max_timestamp;
                newest.offset = batch.header.last_offset();
            }
        }
        Ok(newest)
    }
}

/// Whole entries that fit an index of `bytes`, as Kafka rounds it.
pub(super) fn index_capacity<E: Entry>(bytes: u32) -> usize {
    bytes as usize / E::SIZE
}
