//! Finishes, at start-up, what a stop interrupted: replaced and deleted segments
//! (`LogLoader.removeTempFilesAndCollectSwapFiles`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::{
    CLEANED_SUFFIX, DELETED_SUFFIX, SWAP_SUFFIX, parse_segment_name, remove_if_present, rename_deleted,
    segment_path, sync_dir,
};
use super::error::StorageError;
use crate::record::{BatchHeader, HEADER_LEN};

/// Removes leftovers and moves complete replacements into place. Returns the base offsets of
/// the segments in the directory, ascending.
pub(super) fn settle(dir: &Path) -> Result<Vec<i64>, StorageError> {
    let mut changed = false;
    let mut swaps: Vec<(i64, PathBuf, PathBuf)> = Vec::new();
    let mut first_cleaned = i64::MAX;
    for (base, extension, path) in segment_files(dir)? {
        if extension.ends_with(DELETED_SUFFIX) {
            remove_if_present(&path)?;
            changed = true;
        } else if extension.ends_with(CLEANED_SUFFIX) {
            first_cleaned = first_cleaned.min(base);
            remove_if_present(&path)?;
            changed = true;
        } else if let Some(target) = extension.strip_suffix(SWAP_SUFFIX) {
            swaps.push((base, segment_path(dir, base, target), path));
        }
    }
    // A group of replacements is renamed from the last to the first: one that starts at or
    // behind a segment still being written belongs to an unfinished group, and the originals
    // are all there.
    let (complete, unfinished): (Vec<_>, Vec<_>) =
        swaps.into_iter().partition(|(base, ..)| *base < first_cleaned);
    for (_, _, path) in &unfinished {
        remove_if_present(path)?;
    }
    // The range the complete replacements cover; what else lies in it is replaced.
    let mut covered = (i64::MAX, i64::MIN);
    for (base, target, path) in &complete {
        if target.extension().is_some_and(|extension| extension == "log") {
            covered = (covered.0.min(*base), covered.1.max(end_of(path, *base)?));
        }
    }
    for (base, extension, path) in segment_files(dir)? {
        let original = [".log", ".index", ".timeindex", ".txnindex"].contains(&extension.as_str());
        if original && base >= covered.0 && base < covered.1 {
            rename_deleted(&path)?.map_or(Ok(()), |renamed| remove_if_present(&renamed))?;
        }
    }
    for (_, target, path) in &complete {
        fs::rename(path, target).map_err(|source| StorageError::io("rename", path, source))?;
    }
    changed |= !complete.is_empty() || !unfinished.is_empty();

    let files = segment_files(dir)?;
    let mut bases: Vec<i64> = files.iter().filter(|file| file.1 == ".log").map(|file| file.0).collect();
    bases.sort_unstable();
    for (base, extension, path) in &files {
        let derived = [".index", ".timeindex", ".txnindex"].contains(&extension.as_str());
        if derived && bases.binary_search(base).is_err() {
            remove_if_present(path)?;
            changed = true;
        }
    }
    if changed {
        sync_dir(dir)?;
    }
    Ok(bases)
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
