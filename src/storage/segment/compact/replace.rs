//! The swap of rewritten segments for the old ones (`LocalLog.replaceSegments`).

use std::path::PathBuf;

use super::super::dir::{FileKind, SWAP_SUFFIX, segment_path};
use super::super::error::StorageError;
use super::super::files::FileHandle;
use super::super::log::Log;
use super::super::sealed::Sealed;
use super::super::trim::EXTENSIONS;
use super::super::txn_index::TxnIndex;
use super::error::CompactError;
use super::output::CleanedFiles;
use super::round::Rewritten;
use super::source::Group;
use super::steps;

/// What a swap left.
#[derive(Debug, Default)]
pub struct Replaced {
    /// Files to unlink once readers had time to finish (`file.delete.delay.ms`).
    pub deleted: Vec<PathBuf>,
    /// Base offsets that no segment has any more: the group's but the first.
    pub merged: Vec<i64>,
}

impl Log {
    /// Puts a rewritten segment in the place of the group it was made of. Call it under the lock of the partition. Durable
    /// when this returns.
    ///
    /// # Errors
    /// `Changed` if the segments are not those of the source any more; the rewritten files are removed, the log is as it
    /// was. The same holds for a log that is closed, or had stopped. An error of the disk may stop the log; opening it
    /// finishes or undoes the swap.
    pub fn replace(&mut self, mut rewritten: Rewritten) -> Result<Replaced, CompactError> {
        self.check_open()?;
        self.dir.check()?;
        let Some(first) = self.place_of(&rewritten) else {
            return Err(CompactError::Changed { path: self.dir.path.clone() });
        };
        self.note_replacement(rewritten.files.base, rewritten.files.aborted)?;
        steps::synced();
        self.entries.mark_written();
        if let Err(error) = commit(&rewritten.files) {
            if let Err(error) = undo(&rewritten.files) {
                tracing::warn!(%error, "a swap could not be undone, the log stops");
                self.dir.stop();
                // What is renamed must not lose the rest, which tells that it does not count.
                rewritten.files.given_up = true;
            }
            return Err(error.into());
        }
        rewritten.files.given_up = true;
        // The new names are as good as durable or not at all: nobody may append before that is known.
        let swapped =
            self.entries.sync().map(|()| steps::synced()).and_then(|()| self.swap(&rewritten, first));
        if swapped.is_err() {
            self.dir.stop();
        }
        Ok(swapped?)
    }

    /// Where the group stands among the sealed segments, if it is still as it was.
    fn place_of(&self, rewritten: &Rewritten) -> Option<usize> {
        let same_log = std::sync::Arc::ptr_eq(&self.dir, &rewritten.files.dir);
        if !same_log || self.dir.truncations() != rewritten.truncations {
            return None;
        }
        let Group { segments } = &rewritten.group;
        let first = self.sealed.binary_search_by_key(&segments[0].base, |segment| segment.base).ok()?;
        let found = self.sealed.get(first..first + segments.len())?;
        let same =
            found.iter().zip(segments).all(|(have, was)| have.base == was.base && have.size == was.size);
        (same && self.bound(first + segments.len() - 1) == rewritten.group.next_offset()).then_some(first)
    }

    fn swap(&mut self, rewritten: &Rewritten, first: usize) -> Result<Replaced, StorageError> {
        let files = &rewritten.files;
        let Group { segments } = &rewritten.group;
        let mut replaced = Replaced::default();
        let old = first..first + segments.len();
        // Whoever got such a file to read and has not opened it yet must not find the new one under its name.
        self.sealed[old.clone()].iter().flat_map(Sealed::handles).for_each(FileHandle::pin_for_readers);
        for segment in segments {
            for extension in EXTENSIONS {
                let path = segment_path(&self.dir.path, segment.base, extension);
                replaced.deleted.extend(steps::rename_deleted(&path)?);
            }
        }
        self.sealed[old.clone()].iter().flat_map(Sealed::handles).for_each(|handle| handle.retire());
        self.entries.mark_written();
        for kind in files.made.iter().filter(|kind| **kind != FileKind::Directory) {
            let name = segment_path(&self.dir.path, files.base, kind.extension());
            steps::rename(&files.path_with(*kind, SWAP_SUFFIX), &name)?;
        }
        self.entries.sync()?;
        steps::synced();
        steps::remove(&files.path_with(FileKind::Directory, SWAP_SUFFIX))?;
        self.entries.mark_written();
        let txn = if files.made.contains(&FileKind::TxnIndex) {
            let checked = TxnIndex::open(&self.dir, files.base, files.end, i64::MAX, &[])?;
            if let Some(lost_from) = checked.lost_from {
                let reason = format!("aborted transactions from {lost_from} on are lost");
                return Err(StorageError::corrupt(&checked.index.file().path(), 0, reason));
            }
            Some(Box::new(checked.index))
        } else {
            None
        };
        let sealed = Sealed::rewritten(files.base, rewritten.size, rewritten.newest, txn);
        self.sealed.splice(old, [sealed]);
        // That the old index would do as well hurts nobody.
        if let Err(error) = self.note_aborted_durably() {
            tracing::warn!(%error, "the index a compacted segment had stays noted");
        }
        replaced.merged = segments[1..].iter().map(|segment| segment.base).collect();
        Ok(replaced)
    }
}

/// From `.cleaned` to `.swap`. The `.log` is the first of the files made, and the last to go; as long as anything is
/// `.cleaned`, the rest counts for nothing.
fn commit(files: &CleanedFiles) -> Result<(), StorageError> {
    files
        .made
        .iter()
        .rev()
        .try_for_each(|kind| steps::rename(&files.path(*kind), &files.path_with(*kind, SWAP_SUFFIX)))
}

/// Takes back a commit that failed, while the `.log` is still `.cleaned`.
fn undo(files: &CleanedFiles) -> Result<(), StorageError> {
    for kind in files.made.iter().filter(|kind| **kind != FileKind::Log) {
        steps::remove(&files.path_with(*kind, SWAP_SUFFIX))?;
    }
    steps::sync_dir(&files.dir.path)
}
