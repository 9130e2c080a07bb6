//! Segments that are no longer written to, and look-ups in the files of any segment.

use std::sync::{Arc, OnceLock};

use super::dir::FileKind;
use super::epochs::LeaderEpochs;
use super::error::{StorageError, StorageErrorKind};
use super::files::{FileHandle, LogDir};
use super::index::Entry;
use super::offset_index::{OffsetEntry, OffsetIndex};
use super::time_index::{TimeEntry, TimeIndex};
use super::txn_index::TxnIndex;
use super::verified::{Anchor, Damage, Doubt, Trust};
use super::walk::{Located, Walker};

/// Entries of the offset index that are tried, from the nearest on, before a segment is walked from its start.
const ENTRIES_TRIED: usize = 4;

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
    /// Which of its bytes are known to be good.
    pub trust: Trust,
}

impl Sealed {
    /// A segment that was found on disk, or written by this process, as `trust` says.
    pub fn new(base: i64, size: u64, txn: Option<Box<TxnIndex>>, trust: Trust) -> Self {
        Self { base, size, newest: OnceLock::new(), files: OnceLock::new(), txn, trust }
    }

    /// Seals what was the active segment; its files still need a sync.
    pub fn from_active(
        base: i64,
        size: u64,
        newest: TimeEntry,
        files: Files,
        txn: Option<Box<TxnIndex>>,
        trust: Trust,
    ) -> Self {
        Self { base, size, newest: newest.into(), files: Box::new(files).into(), txn, trust }
    }

    /// A segment whose files were made by a rewrite, and are durable.
    pub fn rewritten(base: i64, size: u64, newest: TimeEntry, txn: Option<Box<TxnIndex>>) -> Self {
        Self { newest: newest.into(), ..Self::new(base, size, txn, Trust::own(0)) }
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

    /// Forgets the handles, unless one of them still needs a sync, or a reader has one: it must hear of the segment's
    /// removal.
    pub fn release(&mut self) {
        let needed = |handle: &&Arc<FileHandle>| handle.is_dirty() || handle.is_shared();
        if self.files_in_use().is_some_and(|files| !files.handles().iter().any(needed)) {
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
        Ok(View::new(self.base, self.size, next_offset, self.files(dir)?, &self.trust))
    }
}

/// A segment as a reader sees it, or the part of one that damage leaves.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub base: i64,
    pub size: u64,
    /// No offset at or above this is in the segment.
    pub next_offset: i64,
    pub files: &'a Files,
    trust: &'a Trust,
    /// The first batch.
    first: Anchor,
    /// `size` and `next_offset` of the whole segment.
    whole: (u64, i64),
}

impl<'a> View<'a> {
    pub fn new(base: i64, size: u64, next_offset: i64, files: &'a Files, trust: &'a Trust) -> Self {
        let first = Anchor::Start { base };
        Self { base, size, next_offset, files, trust, first, whole: (size, next_offset) }
    }

    /// The part around `offset` that is not known to be damaged, and the damage it ends at.
    ///
    /// # Errors
    /// `Corrupt` if `offset` itself is.
    pub fn around(&self, offset: i64) -> Result<(Self, Option<Damage>), StorageError> {
        let Some(known) = self.trust.known_if_any() else {
            return Ok((*self, None));
        };
        let sound = known.around(offset).map_err(|damage| self.unreadable(&damage))?;
        let mut part = *self;
        if let Some((position, offset)) = sound.start {
            part.first = Anchor::Resumed { position, offset };
        }
        if let Some(damage) = &sound.behind {
            part.size = damage.position;
            part.next_offset = damage.offset;
        }
        Ok((part, sound.behind))
    }

    /// The error for an offset in a damaged place.
    pub fn unreadable(&self, damage: &Damage) -> StorageError {
        let (from, next, reason) = (damage.offset, damage.next_offset, &damage.reason);
        let reason = format!("offsets {from} to below {next} cannot be read: {reason}");
        StorageError::corrupt(&self.files.log.path(), damage.position, reason)
    }

    /// What must be looked at before the bytes from `anchor` to below `to` may be used; None if they are known to be good.
    pub fn doubt(&self, anchor: Anchor, to: u64, epochs: &LeaderEpochs) -> Option<Box<Doubt>> {
        if self.trust.covers(anchor.position()) {
            return None;
        }
        let log = self.files.log.clone();
        let known = self.trust.known(log.damage_count()).clone();
        if known.is_good(anchor.position(), to) {
            return None;
        }
        let index = self.files.index.file().clone();
        let (size, next_offset) = self.whole;
        let (base, epochs) = (self.base, epochs.clone());
        Some(Box::new(Doubt { known, log, index, base, size, next_offset, epochs, anchor, to }))
    }

    /// A walker from the first batch.
    pub fn walk(&self) -> Walker<'a> {
        Walker::from_anchor(&self.files.log, self.first, self.size)
    }

    /// A walker from an index entry, which is checked against the log first: an index is only a
    /// hint, and a damaged one must cost time, not records.
    fn walk_from(&self, entry: OffsetEntry) -> Result<Option<Walker<'a>>, StorageError> {
        let anchor = Anchor::Indexed { position: entry.position, last_offset: entry.offset };
        let mut walker = Walker::from_anchor(&self.files.log, anchor, self.size);
        match walker.next() {
            Ok(Some(batch))
                if batch.header.base_offset >= self.base && batch.header.base_offset <= entry.offset =>
            {
                walker.rewind(entry.position);
                Ok(Some(walker))
            }
            Err(error) if error.kind() != StorageErrorKind::Corrupt => Err(error),
            _ => {
                let path = self.files.index.file().path();
                tracing::warn!(path = %path.display(), position = entry.position, "index and log contradict each other");
                Ok(None)
            }
        }
    }

    /// A walker from a batch that is not behind the one holding `offset`.
    pub fn walk_to(&self, offset: i64) -> Result<Walker<'a>, StorageError> {
        let mut below = u64::MAX;
        for _ in 0..ENTRIES_TRIED {
            let entry = self.files.index.floor(|entry| entry.offset <= offset && entry.position < below)?;
            let Some(entry) = entry.filter(|entry| entry.position > self.first.position()) else {
                break;
            };
            if let Some(walker) = self.walk_from(entry)? {
                return Ok(walker);
            }
            below = entry.position;
        }
        Ok(self.walk())
    }

    /// The first batch that ends at or after `offset`.
    pub fn locate(&self, offset: i64) -> Result<Option<Located>, StorageError> {
        first_at(&mut self.walk_to(offset)?, offset)
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
        let skipped = behind.map_or(Ok(None), |entry| self.walk_from(entry))?;
        let mut walker = skipped.unwrap_or_else(|| Walker::new(&self.files.log, first.end(), self.size));
        let mut end = walker.position();
        while let Some(batch) = walker.next()? {
            if batch.end() > limit || batch.header.base_offset >= end_offset {
                return Ok((end, batch.header.base_offset));
            }
            end = batch.end();
        }
        Ok((end, self.next_offset))
    }

    /// The first batch from `from_offset` on whose largest timestamp is `timestamp` or later.
    pub fn first_since(&self, timestamp: i64, from_offset: i64) -> Result<Walked, StorageError> {
        let entry = self.files.time.floor(|entry| entry.timestamp <= timestamp)?;
        let mut from = from_offset;
        if let Some(entry) = entry.filter(|entry| entry.offset > from)
            && self.confirms(entry)?
        {
            from = entry.offset;
        }
        let mut walker = self.walk_to(from)?;
        let anchor = walker.anchor;
        while let Some(batch) = walker.next()? {
            if batch.header.last_offset() >= from && batch.header.max_timestamp >= timestamp {
                return Ok(Walked { found: Some(batch), anchor, to: batch.end() });
            }
        }
        Ok(Walked { found: None, anchor, to: self.size })
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

/// The first batch on a walk that ends at or after `offset`.
pub(super) fn first_at(walker: &mut Walker<'_>, offset: i64) -> Result<Option<Located>, StorageError> {
    while let Some(batch) = walker.next()? {
        if batch.header.last_offset() >= offset {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// A batch that was looked for, and the part of the segment whose headers told which it is.
#[derive(Clone, Copy)]
pub(super) struct Walked {
    pub found: Option<Located>,
    pub anchor: Anchor,
    pub to: u64,
}

/// Whole entries that fit an index of `bytes`, as Kafka rounds it.
pub(super) fn index_capacity<E: Entry>(bytes: u32) -> usize {
    bytes as usize / E::SIZE
}
