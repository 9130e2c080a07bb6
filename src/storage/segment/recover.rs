//! Opening a log: what is trusted, what is verified, what is cut off (`LogLoader`).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::active::Active;
use super::dir::{self, FileKind, segment_path};
use super::epochs::LeaderEpochs;
use super::error::{StorageError, StorageErrorKind};
use super::files::{FileCache, FileHandle, LogDir};
use super::index::Entry;
use super::log::{Log, LogConfig};
use super::offset_index::OffsetEntry;
use super::replay::{Observer, Replay};
use super::scan::scan;
use super::sealed::{Files, Sealed};
use super::time_index::TimeEntry;
use super::txn_check::{AbortedBySegment, load_aborted};
use super::txn_index::{AbortedTransaction, TxnIndex};
use super::txn_sums::{Noted, Stored};
use super::verified::Trust;

/// How to open a log.
pub struct OpenOptions<'a> {
    pub config: LogConfig,
    /// Bounds the open files of all logs.
    pub files: Arc<FileCache>,
    /// The last stop was clean. False: every batch from `recovery_point` on is verified, a torn tail
    /// is cut off, and the indexes are completed from there, or built anew if they are not sound.
    pub clean: bool,
    /// Offset below which everything, the indexes included, was durable
    /// (`recovery-point-offset-checkpoint`). After a clean stop the end of the log, unless it is 0, for not known. A log that is damaged where this is looked at, or
    /// missing, below it is not opened.
    pub recovery_point: i64,
    /// First visible offset (`log-start-offset-checkpoint`).
    pub log_start_offset: i64,
    pub now_ms: i64,
    /// Who follows the batches.
    pub replay: &'a mut dyn Replay,
}

/// What opening had to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes cut off, later segments included.
    pub truncated_bytes: u64,
    /// Batches whose checksum was verified.
    pub batches_scanned: u64,
    /// At least one segment was verified and its indexes built anew.
    pub recovered: bool,
}

impl Log {
    /// Opens the log in `path`. Whatever recovery changed or relied on is durable when this
    /// returns (KAFKA-10101).
    ///
    /// # Errors
    /// `Corrupt` if a batch below the recovery point, or in a segment that lies wholly below
    /// it, is damaged or missing: that data was acknowledged as durable, and whether to go on
    /// without it is for a person to decide. The `.log` files are not touched then.
    pub fn open(path: &Path, options: OpenOptions<'_>) -> Result<(Log, Recovery), StorageError> {
        let topic_id = dir::read_metadata(path)?;
        let bases = super::swap::settle(path)?;
        let (epochs, epochs_lost) = load_epochs(path, bases.is_empty())?;
        let dir = LogDir::new(path, options.files.clone());
        let durable = if options.clean { i64::MAX } else { options.recovery_point };
        let txn_sums = Stored::load(path)?;
        let (aborted, needed) = load_aborted(&dir, &bases, durable, &txn_sums)?;
        let mut opening = Opening {
            replay_from: options.replay.begin(needed),
            dir,
            aborted,
            txn_sums,
            stored_epochs: epochs.clone(),
            epochs,
            epochs_lost,
            sealed: Vec::new(),
            recovery: Recovery::default(),
            verified_from: None,
            options,
        };
        let active = opening.segments(&bases)?;
        opening.finish(topic_id, active)
    }
}

fn load_epochs(path: &Path, empty: bool) -> Result<(LeaderEpochs, bool), StorageError> {
    match LeaderEpochs::load(path) {
        Ok(Some(epochs)) => Ok((epochs, false)),
        Ok(None) => Ok((LeaderEpochs::default(), !empty)),
        Err(error) if error.kind() == StorageErrorKind::Corrupt => {
            tracing::warn!(%error, "leader epochs are rebuilt from the batches");
            Ok((LeaderEpochs::default(), true))
        }
        Err(error) => Err(error),
    }
}

struct Opening<'a> {
    dir: Arc<LogDir>,
    /// Aborted transactions of the segments that are not loaded yet, by their place.
    aborted: AbortedBySegment,
    /// What was written down of them.
    txn_sums: Stored,
    replay_from: i64,
    epochs: LeaderEpochs,
    stored_epochs: LeaderEpochs,
    epochs_lost: bool,
    sealed: Vec<Sealed>,
    recovery: Recovery,
    /// From where on the segment that was loaded last was verified, if it was.
    verified_from: Option<u64>,
    options: OpenOptions<'a>,
}

impl Opening<'_> {
    fn segments(&mut self, bases: &[i64]) -> Result<Active, StorageError> {
        for (index, &base) in bases.iter().enumerate() {
            let bound = bases.get(index + 1).copied();
            let path = segment_path(&self.dir.path, base, ".log");
            let size =
                file_length(&path)?.ok_or_else(|| StorageError::corrupt(&path, 0, "the file vanished"))?;
            let mut ended = Vec::new();
            let loaded = self.segment(base, size, bound, &mut ended)?;
            let mut txn = self.aborted.get_mut(index).and_then(Option::take);
            self.complete(base, &mut txn, ended)?;
            match loaded {
                Some(mut active) => {
                    active.txn = txn;
                    self.drop_segments(&bases[index + 1..])?;
                    return Ok(active);
                }
                None => {
                    let trust = self.verified_from.take().map_or_else(Trust::none, Trust::own);
                    self.sealed.push(Sealed::new(base, size, txn, trust));
                }
            }
        }
        let base = self.options.log_start_offset.max(0);
        let mut files = Files::create(&self.dir, base)?;
        files.sync()?;
        self.recovery.recovered = true;
        Ok(Active::empty(base, files, self.options.now_ms))
    }

    /// Loads or verifies one segment; Some if it is the one appends go to from now on: the
    /// last, or the one whose damaged tail was cut off.
    ///
    /// `ended` gets the aborted transactions whose markers were replayed.
    fn segment(
        &mut self,
        base: i64,
        size: u64,
        bound: Option<i64>,
        ended: &mut Vec<AbortedTransaction>,
    ) -> Result<Option<Active>, StorageError> {
        let suspect = !self.options.clean && bound.is_none_or(|b| b > self.options.recovery_point);
        if suspect || !has_indexes(&self.dir.path, base)? {
            return self.verify(base, size, bound, ended);
        }
        let Some(bound) = bound else {
            return match Active::load(&self.dir, base, size, self.options.now_ms) {
                Ok(active) => {
                    self.replay(&active, ended)?;
                    Ok(Some(active))
                }
                Err(error) if error.kind() == StorageErrorKind::Corrupt => {
                    tracing::warn!(%error, "the last segment is verified");
                    self.verify(base, size, None, ended)
                }
                Err(error) => Err(error),
            };
        };
        if self.epochs_lost || bound > self.replay_from {
            let mut sealed = Active::empty(base, Files::open(&self.dir, base)?, self.options.now_ms);
            sealed.size = size;
            sealed.next_offset = bound;
            self.replay(&sealed, ended)?;
        }
        Ok(None)
    }

    /// Hands the headers of a trusted segment to whoever needs them.
    fn replay(&mut self, segment: &Active, ended: &mut Vec<AbortedTransaction>) -> Result<(), StorageError> {
        let from = if self.epochs_lost { i64::MIN } else { self.replay_from };
        if segment.next_offset <= from {
            return Ok(());
        }
        let view = segment.view();
        let mut walker = if from <= segment.base { view.walk() } else { view.walk_to(from)? };
        while let Some(batch) = walker.next()? {
            let learns_epochs = self.epochs_lost;
            let mut observer = Observer { learns_epochs, ..self.observer() };
            ended.extend(observer.observe(&segment.files.log, &batch)?);
        }
        Ok(())
    }

    fn observer(&mut self) -> Observer<'_> {
        Observer {
            epochs: &mut self.epochs,
            learns_epochs: true,
            replay_from: self.replay_from,
            replay: &mut *self.options.replay,
        }
    }

    /// Puts the transactions into the index that are not in it.
    fn complete(
        &mut self,
        base: i64,
        txn: &mut Option<Box<TxnIndex>>,
        ended: Vec<AbortedTransaction>,
    ) -> Result<(), StorageError> {
        let entries = FileHandle::new(&self.dir, 0, FileKind::Directory);
        for aborted in ended {
            let txn = txn.get_or_insert_with(|| Box::new(TxnIndex::empty(&self.dir, base)));
            if aborted.last_offset > txn.last_offset() {
                txn.append(aborted, &entries);
            }
        }
        if let Some(txn) = txn {
            txn.write_pending(&entries)?;
            if txn.file().is_dirty() {
                txn.file().sync()?;
            }
        }
        self.recovery.recovered |= entries.is_dirty();
        Ok(())
    }

    fn verify(
        &mut self,
        base: i64,
        size: u64,
        bound: Option<i64>,
        ended: &mut Vec<AbortedTransaction>,
    ) -> Result<Option<Active>, StorageError> {
        let log_dir = &self.dir;
        for kind in [FileKind::OffsetIndex, FileKind::TimeIndex] {
            let path = segment_path(&log_dir.path, base, kind.extension());
            if file_length(&path)?.is_none() {
                FileHandle::new(log_dir, base, kind).create()?;
            }
        }
        let mut active = match self.trusted_prefix(base, size)? {
            Some(prefix) => {
                self.replay(&prefix, ended)?;
                prefix
            }
            None => {
                let mut files = Files::open(log_dir, base)?;
                files.index.reset()?;
                files.time.reset()?;
                Active::empty(base, files, self.options.now_ms)
            }
        };
        self.verified_from = Some(active.size);
        active.trust = Trust::own(active.size);
        let interval = u64::from(self.options.config.index_interval_bytes);
        let mut observer = self.observer();
        let log = active.files.log.clone();
        let scanned = scan(&mut active, size, interval, &mut |batch| {
            ended.extend(observer.observe(&log, batch)?);
            Ok(())
        })?;
        self.recovery.recovered = true;
        self.recovery.batches_scanned += scanned.batches;
        let beyond = bound.is_some_and(|bound| active.next_offset > bound);
        if beyond {
            let log = active.files.log.path();
            return Err(StorageError::corrupt(&log, size, "reaches into the next segment"));
        }
        if let Some(damage) = scanned.damage {
            let durable =
                self.options.clean || bound.is_some_and(|bound| bound <= self.options.recovery_point);
            if durable || active.next_offset < self.options.recovery_point {
                tracing::error!(
                    recovery_point = self.options.recovery_point,
                    valid_up_to = active.next_offset,
                    "data that was durable is damaged"
                );
                return Err(damage);
            }
            tracing::warn!(error = %damage, end = active.next_offset, "the tail is cut off");
            active.files.log.truncate(active.size)?;
            self.recovery.truncated_bytes += size - active.size;
            active.files.sync()?;
            return Ok(Some(active));
        }
        active.files.log.mark_written();
        active.files.sync()?;
        Ok(bound.is_none().then_some(active))
    }

    /// The part of a segment below the recovery point, if there is one and its indexes are sound. Its
    /// records were synced, so only the batches above need their checksums computed: recovery takes as
    /// long as what was written last, not as the segment is large.
    fn trusted_prefix(&self, base: i64, size: u64) -> Result<Option<Active>, StorageError> {
        let point = self.options.recovery_point;
        if point <= base {
            return Ok(None);
        }
        match self.load_prefix(base, size, point) {
            Err(error) if error.kind() == StorageErrorKind::Corrupt => {
                tracing::warn!(%error, "the whole segment is verified");
                Ok(None)
            }
            loaded => loaded,
        }
    }

    fn load_prefix(&self, base: i64, size: u64, point: i64) -> Result<Option<Active>, StorageError> {
        let mut files = Files::open(&self.dir, base)?;
        if !files.index.is_ascending()? || !files.time.is_ascending()? {
            return Ok(None);
        }
        files.index.truncate_while(|entry| entry.offset < point && entry.position < size)?;
        files.time.truncate_while(|entry| entry.offset < point)?;
        let mut segment = Active::empty(base, files, self.options.now_ms);
        segment.size = size;
        segment.next_offset = i64::MAX;
        let mut walker = segment.view().walk_to(point)?;
        let mut end = walker.position();
        while end < size
            && let Some(batch) = walker.next()?
            && batch.header.last_offset() < point
        {
            end = batch.end();
        }
        Active::load(&self.dir, base, end, self.options.now_ms).map(Some)
    }

    /// Removes the segments behind a damaged one: their data follows a hole.
    fn drop_segments(&mut self, bases: &[i64]) -> Result<(), StorageError> {
        for &base in bases.iter().rev() {
            let log = segment_path(&self.dir.path, base, ".log");
            self.recovery.truncated_bytes += file_length(&log)?.unwrap_or(0);
            for extension in [".log", ".index", ".timeindex", ".txnindex"] {
                dir::remove_if_present(&segment_path(&self.dir.path, base, extension))?;
            }
        }
        Ok(())
    }

    fn finish(mut self, topic_id: Option<[u8; 16]>, active: Active) -> Result<(Log, Recovery), StorageError> {
        let end = active.next_offset;
        let (start, point) = (self.options.log_start_offset, self.options.recovery_point);
        if self.options.clean && point > 0 && end > point {
            // No checksum covers base offsets: a log that was closed in order ends where it was closed.
            let reason = format!("the log ends at {end}, but was closed at {point}");
            return Err(StorageError::corrupt(&active.files.log.path(), active.size, reason));
        }
        if end < point && start < point {
            let reason = format!("the log ends at {end}, but was durable up to {point}");
            return Err(StorageError::corrupt(&active.files.log.path(), active.size, reason));
        }
        let first = self.sealed.first().map_or(active.base, |segment| segment.base);
        let now_ms = self.options.now_ms;
        let epochs = std::mem::take(&mut self.epochs);
        let mut log = Log {
            entries: FileHandle::new(&self.dir, 0, FileKind::Directory),
            noted: Noted::found(&self.dir, self.txn_sums),
            dir: self.dir,
            topic_id,
            config: self.options.config,
            sealed: self.sealed,
            active,
            start_offset: start.max(first),
            flushed_offset: end,
            epochs,
            closed: false,
        };
        if start > end {
            // All of it had been deleted, and the deletion outlived the data.
            tracing::warn!(start, end, "the log ends below its start offset, it begins anew");
            log.restart_at(start, now_ms)?;
            self.recovery.recovered = true;
        }
        if let Some(txn) = log.active.txn.as_mut().filter(|txn| txn.last_offset() >= log.active.next_offset) {
            txn.truncate_to(log.active.next_offset)?;
            txn.file().sync()?;
        }
        log.settle_noted()?;
        // An epoch may begin at the log end: a leader took over and has not written yet.
        log.epochs.truncate_from_end(log.end_offset().saturating_add(1));
        if log.start_offset > 0 {
            log.epochs.truncate_from_start(log.start_offset);
        }
        if self.epochs_lost || log.epochs != self.stored_epochs {
            log.epochs.store(&log.dir.path)?;
        }
        if self.recovery.recovered {
            dir::sync_dir(&log.dir.path)?;
        }
        Ok((log, self.recovery))
    }
}

/// True if both index files of a segment exist and hold whole entries. Whether the entries are right is checked when they are
/// used.
pub(super) fn has_indexes(dir: &Path, base: i64) -> Result<bool, StorageError> {
    let whole = |kind: FileKind, size: usize| {
        let path = segment_path(dir, base, kind.extension());
        Ok(file_length(&path)?.is_some_and(|length| length % size as u64 == 0))
    };
    Ok(whole(FileKind::OffsetIndex, OffsetEntry::SIZE)? && whole(FileKind::TimeIndex, TimeEntry::SIZE)?)
}

fn file_length(path: &Path) -> Result<Option<u64>, StorageError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StorageError::io("inspect", path, source)),
    }
}
