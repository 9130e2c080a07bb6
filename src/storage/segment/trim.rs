//! Making the log shorter: from the front (retention, DeleteRecords) and from the end.

use std::path::PathBuf;
use std::sync::Arc;

use super::active::Active;
use super::dir::{self, rename_deleted, segment_path};
use super::error::{ReadError, StorageError};
use super::files::FileHandle;
use super::log::Log;
use super::sealed::{Files, Sealed};
use super::verified::Trust;

/// Extensions of a segment's files that leave with it, the log first: without it the others
/// are orphans that the next start removes.
pub(super) const EXTENSIONS: [&str; 4] = [".log", ".index", ".timeindex", ".txnindex"];

impl Log {
    /// Hides everything below `offset` from readers; true if that changed anything. The caller
    /// checkpoints it (`log-start-offset-checkpoint`).
    ///
    /// # Errors
    /// `OutOfRange` above the log end. A lower offset than the present one changes nothing.
    pub fn set_start_offset(&mut self, offset: i64) -> Result<bool, ReadError> {
        self.check_open()?;
        if offset > self.end_offset() {
            return Err(ReadError::OutOfRange { start: self.start_offset, end: self.end_offset() });
        }
        if offset <= self.start_offset {
            return Ok(false);
        }
        if self.epochs.truncate_from_start(offset)
            && let Err(error) = self.epochs.store(&self.dir.path)
        {
            // Deleting must work on a full disk, and a file that tells of more than there is does no harm: opening the log
            // brings it up to date.
            tracing::warn!(%error, "the epochs of deleted records stay in their file");
        }
        self.start_offset = offset;
        Ok(true)
    }

    /// Takes the sealed segments that lie wholly below `offset` out of the log. Their files are
    /// renamed; the caller unlinks what is returned once readers had time to finish
    /// (`file.delete.delay.ms`). The start offset moves up with the first remaining segment.
    pub fn delete_segments_below(&mut self, offset: i64) -> Result<Vec<PathBuf>, StorageError> {
        self.check_open()?;
        let count = (0..self.sealed.len()).take_while(|&index| self.bound(index) <= offset).count();
        let Some(last) = count.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let first_kept = self.bound(last);
        match self.set_start_offset(first_kept) {
            Err(ReadError::Storage(error)) => return Err(error),
            // The bound of a sealed segment is never above the log end.
            Err(ReadError::OutOfRange { .. }) | Ok(_) => {}
        }
        let mut removed = Vec::new();
        for _ in 0..count {
            let Some(base) = self.sealed.first().map(|segment| segment.base) else {
                break;
            };
            let renamed = self.rename_segment(base)?;
            let segment = self.sealed.remove(0);
            segment.handles().for_each(|handle| handle.retire());
            removed.extend(renamed);
        }
        Ok(removed)
    }

    /// The log's directory is about to be renamed, for its topic is deleted: readers who have a slice of it finish, and
    /// nobody opens under its name what may be another log's file by then.
    pub fn leave_directory(&self) {
        let sealed = self.sealed.iter().flat_map(Sealed::handles);
        sealed.chain(self.active.handles()).for_each(FileHandle::pin_for_readers);
        self.dir.leave();
    }

    /// A sync has failed: pages that could not be written may be gone, and the disk may give older bytes for them. From now
    /// on nothing counts as good because this process wrote it.
    pub fn distrust(&mut self) {
        self.active.trust = Trust::lost();
        self.sealed.iter_mut().for_each(|segment| segment.trust = Trust::lost());
    }

    /// Renames the files of a segment out of the log.
    pub(super) fn rename_segment(&self, base: i64) -> Result<Vec<PathBuf>, StorageError> {
        let mut renamed = Vec::new();
        if let Some(segment) = self.sealed.iter().find(|segment| segment.base == base) {
            segment.handles().for_each(FileHandle::pin_for_readers);
        } else if base == self.active.base {
            self.active.handles().for_each(FileHandle::pin_for_readers);
        }
        self.entries.mark_written();
        for extension in EXTENSIONS {
            renamed.extend(rename_deleted(&segment_path(&self.dir.path, base, extension))?);
        }
        Ok(renamed)
    }

    fn remove_segment<'a>(
        &self,
        base: i64,
        handles: impl Iterator<Item = &'a Arc<FileHandle>>,
    ) -> Result<(), StorageError> {
        handles.for_each(|handle| handle.retire());
        self.rename_segment(base)?.iter().try_for_each(|path| dir::remove_if_present(path))
    }

    /// Removes every batch that holds `offset` or anything above it, durably. The log end is
    /// then behind the last remaining batch. Below the first segment the log becomes empty and
    /// begins at `offset`. Checkpoint the recovery point after this and before the next open.
    pub fn truncate_to(&mut self, offset: i64, now_ms: i64) -> Result<(), StorageError> {
        self.check_open()?;
        self.dir.check()?;
        if offset >= self.end_offset() {
            return Ok(());
        }
        self.dir.truncated();
        let result = self.cut(offset.max(0), now_ms);
        if result.is_err() {
            // Files and memory may disagree now; reopening reads the files again.
            self.dir.stop();
        }
        result
    }

    fn cut(&mut self, offset: i64, now_ms: i64) -> Result<(), StorageError> {
        let first_base = self.sealed.first().map_or(self.active.base, |segment| segment.base);
        if offset < first_base || offset < self.start_offset {
            return self.restart_at(offset, now_ms);
        }
        // From the end on, so that a crash in between leaves a log without holes.
        while self.active.base > offset {
            let Some(mut segment) = self.sealed.pop() else { break };
            self.remove_segment(self.active.base, self.active.handles())?;
            let next_offset = self.active.base;
            let (base, size) = (segment.base, segment.size);
            let txn = segment.txn.take();
            let trust = segment.trust.cut(size);
            self.active = Active::empty(base, segment.into_files(&self.dir)?, now_ms);
            self.active.trust = trust;
            self.active.txn = txn;
            self.active.size = size;
            self.active.next_offset = next_offset;
            self.entries.sync()?;
        }
        let base = self.active.base;
        if let Some(batch) = self.active.view().locate(offset)? {
            self.active.files.log.truncate(batch.position)?;
            self.active.size = batch.position;
        }
        let size = self.active.size;
        let files = &mut self.active.files;
        files.index.truncate_while(|entry| entry.offset < offset && entry.position < size)?;
        // A sealed index ends with the largest timestamp, which may be of a batch that is gone.
        files.time.truncate_while(|entry| entry.offset < offset)?;
        files.sync()?;
        let mut txn = self.active.txn.take();
        let trust = self.active.trust.cut(size);
        if let Some(txn) = &mut txn {
            txn.write_pending(&self.entries)?;
            txn.truncate_to(offset)?;
            txn.file().sync()?;
        }
        self.active = Active::load(&self.dir, base, size, now_ms)?;
        self.active.txn = txn;
        self.active.trust = trust;
        let end = self.end_offset();
        if self.epochs.truncate_from_end(end) {
            self.epochs.store(&self.dir.path)?;
        }
        self.flushed_offset = self.flushed_offset.min(end);
        self.note_aborted_durably()?;
        self.entries.sync()
    }

    /// Drops everything; the log is empty and begins at `offset`.
    pub(super) fn restart_at(&mut self, offset: i64, now_ms: i64) -> Result<(), StorageError> {
        self.remove_segment(self.active.base, self.active.handles())?;
        while let Some(segment) = self.sealed.pop() {
            self.remove_segment(segment.base, segment.handles())?;
        }
        let mut files = Files::create(&self.dir, offset)?;
        files.sync()?;
        self.active = Active::empty(offset, files, now_ms);
        self.epochs.truncate_from_end(offset);
        self.epochs.truncate_from_start(offset);
        self.epochs.store(&self.dir.path)?;
        self.start_offset = offset;
        self.flushed_offset = offset;
        self.entries.mark_written();
        self.note_aborted_durably()?;
        self.entries.sync()
    }
}
