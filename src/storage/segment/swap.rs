//! Finishes, at start-up, what a stop interrupted: replaced and deleted segments
//! (`LogLoader.removeTempFilesAndCollectSwapFiles`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compact::steps::{remove, rename, rename_deleted, sync_dir};
use super::dir::{
    CLEANED_SUFFIX, DELETED_SUFFIX, SWAP_SUFFIX, parse_segment_name, replaced_end, segment_path,
};
use super::error::StorageError;
use super::trim::EXTENSIONS;
use crate::record::{BatchHeader, HEADER_LEN};

/// Removes leftovers and moves complete replacements into place. Returns the base offsets of
/// the segments in the directory, ascending.
///
/// It may be interrupted in its turn, at any point.
pub(super) fn settle(dir: &Path) -> Result<Vec<i64>, StorageError> {
    let found = Found::list(dir)?;
    let mut changed = found.remove_unfinished(dir)?;
    for replacement in found.marked() {
        replacement.finish(dir, &found)?;
        changed = true;
    }
    changed |= found.finish_unmarked(dir)?;

    let files = segment_files(dir)?;
    let mut bases: Vec<i64> = files.iter().filter(|file| file.1 == ".log").map(|file| file.0).collect();
    bases.sort_unstable();
    for (base, extension, path) in &files {
        let derived = [".index", ".timeindex", ".txnindex"].contains(&extension.as_str());
        if derived && bases.binary_search(base).is_err() {
            remove(path)?;
            changed = true;
        }
    }
    if changed {
        sync_dir(dir)?;
    }
    Ok(bases)
}

/// A file of a replacement, with the extension it will have.
struct Swap {
    base: i64,
    extension: String,
    path: PathBuf,
}

/// What a stop left behind.
#[derive(Default)]
struct Found {
    deleted: Vec<PathBuf>,
    cleaned: Vec<PathBuf>,
    /// Lowest base offset of a segment that was still being written.
    first_cleaned: Option<i64>,
    swaps: Vec<Swap>,
    /// Base and end offset of ranges that are being replaced: see `compact`.
    ranges: Vec<(i64, i64, PathBuf)>,
}

/// A replacement whose range is known.
struct Marked {
    base: i64,
    end: i64,
    path: PathBuf,
}

impl Found {
    fn list(dir: &Path) -> Result<Self, StorageError> {
        let mut found = Self::default();
        for (base, extension, path) in segment_files(dir)? {
            if extension.ends_with(DELETED_SUFFIX) {
                found.deleted.push(path);
            } else if extension.ends_with(CLEANED_SUFFIX) {
                found.first_cleaned = Some(found.first_cleaned.map_or(base, |first| first.min(base)));
                found.cleaned.push(path);
            } else if let Some(end) = replaced_end(&extension) {
                found.ranges.push((base, end, path));
            } else if let Some(target) = extension.strip_suffix(SWAP_SUFFIX) {
                found.swaps.push(Swap { base, extension: target.to_owned(), path });
            }
        }
        Ok(found)
    }

    /// A group of replacements is renamed from the last to the first: one that starts at or
    /// behind a segment still being written belongs to an unfinished group, and the originals
    /// are all there.
    fn is_unfinished(&self, base: i64) -> bool {
        self.first_cleaned.is_some_and(|first| base >= first)
    }

    /// Removes what nobody needs; true if there was anything.
    fn remove_unfinished(&self, dir: &Path) -> Result<bool, StorageError> {
        let swaps = self.swaps.iter().map(|swap| (swap.base, &swap.path));
        let ranges = self.ranges.iter().map(|(base, _, path)| (*base, path));
        let mut unfinished = swaps.chain(ranges).filter(|(base, _)| self.is_unfinished(*base)).peekable();
        if unfinished.peek().is_some() {
            unfinished.try_for_each(|(_, path)| remove(path))?;
            // The segments still being written tell that the others are unfinished: they go last.
            sync_dir(dir)?;
        }
        self.cleaned.iter().chain(&self.deleted).try_for_each(|path| remove(path))?;
        Ok(!self.cleaned.is_empty() || !self.deleted.is_empty())
    }

    fn marked(&self) -> impl Iterator<Item = Marked> {
        let complete = self.ranges.iter().filter(|(base, ..)| !self.is_unfinished(*base));
        complete.map(|(base, end, path)| Marked { base: *base, end: *end, path: path.clone() })
    }

    /// Finishes replacements whose range must be seen from their records, as Kafka leaves them.
    fn finish_unmarked(&self, dir: &Path) -> Result<bool, StorageError> {
        let unmarked = |swap: &&Swap| {
            !self.is_unfinished(swap.base) && self.ranges.iter().all(|(base, ..)| *base != swap.base)
        };
        let (logs, others): (Vec<_>, Vec<_>) =
            self.swaps.iter().filter(unmarked).partition(|swap| swap.extension == ".log");
        // The range the complete replacements cover; what else lies in it is replaced.
        let mut covered = (i64::MAX, i64::MIN);
        for swap in &logs {
            let end = end_of(&swap.path, swap.base)?.max(swap.base.saturating_add(1));
            covered = (covered.0.min(swap.base), covered.1.max(end));
        }
        remove_originals(dir, |base| base >= covered.0 && base < covered.1)?;
        // The .log first, and for sure: as long as it is there, the files of its final name are the old ones.
        for swaps in [&logs, &others] {
            for swap in swaps {
                rename(&swap.path, &segment_path(dir, swap.base, &swap.extension))?;
            }
            if !swaps.is_empty() {
                sync_dir(dir)?;
            }
        }
        Ok(!logs.is_empty() || !others.is_empty())
    }
}

impl Marked {
    /// The segment that takes the place has every file whose name an old one could have, so that whatever has a final
    /// name of it now and no `.swap` beside it is new.
    fn finish(&self, dir: &Path, found: &Found) -> Result<(), StorageError> {
        remove_originals(dir, |base| base > self.base && base < self.end)?;
        for swap in found.swaps.iter().filter(|swap| swap.base == self.base) {
            rename(&swap.path, &segment_path(dir, swap.base, &swap.extension))?;
        }
        sync_dir(dir)?;
        remove(&self.path)
    }
}

fn remove_originals(dir: &Path, replaced: impl Fn(i64) -> bool) -> Result<(), StorageError> {
    for (base, extension, path) in segment_files(dir)? {
        if EXTENSIONS.contains(&extension.as_str()) && replaced(base) {
            // A name out of the log first: removing a large file takes its time.
            rename_deleted(&path)?.map_or(Ok(()), |renamed| remove(&renamed))?;
        }
    }
    Ok(())
}

fn segment_files(dir: &Path) -> Result<Vec<(i64, String, PathBuf)>, StorageError> {
    let fail = |source| StorageError::io("list", dir, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        if let Some((base, extension)) = name.to_str().and_then(parse_segment_name) {
            files.push((base, extension.to_owned(), entry.path()));
        }
    }
    Ok(files)
}

/// The offset behind the last batch of a complete replacement.
fn end_of(path: &Path, base: i64) -> Result<i64, StorageError> {
    use std::os::unix::fs::FileExt;
    let fail = |source| StorageError::io("read", path, source);
    let file = Arc::new(fs::File::open(path).map_err(fail)?);
    let size = file.metadata().map_err(fail)?.len();
    let (mut position, mut end) = (0, base);
    while position < size {
        let mut bytes = [0; HEADER_LEN];
        if size - position < HEADER_LEN as u64 {
            return Err(StorageError::corrupt(path, position, "a replacement segment is cut"));
        }
        file.read_exact_at(&mut bytes, position).map_err(fail)?;
        let header = BatchHeader::parse(&bytes)
            .map_err(|error| StorageError::corrupt(path, position, error.to_string()))?;
        position += header.size_in_bytes() as u64;
        end = header.last_offset().saturating_add(1);
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            segment_files(dir).unwrap().into_iter().map(|(base, ext, _)| format!("{base}{ext}")).collect();
        names.sort();
        names
    }

    fn touch(dir: &Path, base: i64, extension: &str, content: &[u8]) {
        fs::write(segment_path(dir, base, extension), content).unwrap();
    }

    #[test]
    fn leftovers_go_and_orphan_indexes_too() {
        let temp = tempfile::tempdir().unwrap();
        touch(temp.path(), 0, ".log", b"");
        touch(temp.path(), 0, ".index", b"");
        touch(temp.path(), 5, ".index", b"");
        touch(temp.path(), 7, ".log.deleted", b"");
        touch(temp.path(), 7, ".log.cleaned", b"");
        assert_eq!(settle(temp.path()).unwrap(), [0]);
        assert_eq!(names(temp.path()), ["0.index", "0.log"]);
    }

    #[test]
    fn a_complete_replacement_takes_the_place_of_what_it_covers() {
        let temp = tempfile::tempdir().unwrap();
        let batch = super::super::testing::batch(12, 3, 0, 10);
        for base in [0, 10, 20] {
            touch(temp.path(), base, ".log", b"old");
        }
        touch(temp.path(), 0, ".log.swap", &batch);
        touch(temp.path(), 0, ".index.swap", b"");
        assert_eq!(settle(temp.path()).unwrap(), [0, 20]);
        assert_eq!(fs::read(segment_path(temp.path(), 0, ".log")).unwrap(), batch);
        assert_eq!(names(temp.path()), ["0.index", "0.log", "20.log"]);
    }

    #[test]
    fn an_unfinished_group_is_dropped() {
        let temp = tempfile::tempdir().unwrap();
        touch(temp.path(), 0, ".log", b"old");
        touch(temp.path(), 0, ".log.cleaned", b"");
        touch(temp.path(), 5, ".log.swap", b"");
        assert_eq!(settle(temp.path()).unwrap(), [0]);
        assert_eq!(names(temp.path()), ["0.log"]);
        assert_eq!(fs::read(segment_path(temp.path(), 0, ".log")).unwrap(), b"old");
    }
}
