//! Brings the files of partitions over, as they are.

use std::fs;
use std::path::{Path, PathBuf};

use super::ImportError;
use super::source::Source;
use crate::storage::segment::checkpoint::{
    self, CLEANER_OFFSET_FILE, LOG_START_FILE, Offsets, RECOVERY_POINT_FILE,
};
use crate::storage::segment::dir::{self, SWAP_SUFFIX, TXN_SUMS_FILE, parse_segment_name};

const SMALL_FILES: [&str; 3] = ["leader-epoch-checkpoint", "partition.metadata", TXN_SUMS_FILE];
const SEGMENT_FILES: [&str; 5] = [".log", ".index", ".timeindex", ".txnindex", ".snapshot"];

/// One file of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub path: PathBuf,
    pub bytes: u64,
    /// A segment that is never written to again: both directories may share it.
    pub is_sealed_log: bool,
}

/// The files of a partition that are brought over, and the names of those that are not.
///
/// # Errors
/// When the directory cannot be read.
pub fn pieces(from: &Path) -> Result<(Vec<Piece>, Vec<String>), ImportError> {
    let (mut taken, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(from).map_err(|source| ImportError::io(from, source))? {
        let entry = entry.map_err(|source| ImportError::io(from, source))?;
        let bytes = entry.metadata().map_err(|source| ImportError::io(&entry.path(), source))?.len();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_segment = parse_segment_name(&name).is_some_and(|(_, extension)| {
            SEGMENT_FILES.contains(&extension.strip_suffix(SWAP_SUFFIX).unwrap_or(extension))
        });
        if is_segment || SMALL_FILES.contains(&&*name) {
            taken.push(Piece { path: entry.path(), bytes, is_sealed_log: name.ends_with(".log") });
        } else {
            others.push(name.into_owned());
        }
    }
    taken.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(active) = taken.iter_mut().rfind(|piece| piece.is_sealed_log) {
        active.is_sealed_log = false;
    }
    others
        .retain(|name| !name.ends_with(".deleted") && !name.ends_with(".cleaned") && !name.ends_with(".tmp"));
    Ok((taken, others))
}

/// Makes the directory `to` with `pieces` in it. Nothing is durable until the file system is synced.
///
/// # Errors
/// When a file cannot be copied, or the directory belongs to another topic than `topic_id`.
pub fn partition(
    pieces: &[Piece],
    to: &Path,
    topic_id: [u8; 16],
    hard_link: bool,
) -> Result<(), ImportError> {
    fs::create_dir(to).map_err(|source| ImportError::io(to, source))?;
    for piece in pieces {
        let Some(name) = piece.path.file_name() else { continue };
        let target = to.join(name);
        let done = if hard_link && piece.is_sealed_log {
            fs::hard_link(&piece.path, &target)
        } else {
            fs::copy(&piece.path, &target).map(drop)
        };
        done.map_err(|source| ImportError::io(&piece.path, source))?;
    }
    match dir::read_metadata(to)? {
        Some(found) if found != topic_id => {
            let from = pieces.first().and_then(|piece| piece.path.parent()).unwrap_or(to);
            Err(ImportError::source(from, "its partition.metadata names another topic"))
        }
        Some(_) => Ok(()),
        // Directories from before Kafka 2.8 have none.
        None => Ok(dir::write_metadata(to, topic_id)?),
    }
}

/// Carries over the checkpoints of the partitions that `is_taken`.
///
/// # Errors
/// When one is damaged, or cannot be written.
pub fn checkpoints(
    source: &Source,
    to: &Path,
    is_taken: impl Fn(&str, i32) -> bool,
) -> Result<(), ImportError> {
    for file in [RECOVERY_POINT_FILE, LOG_START_FILE, CLEANER_OFFSET_FILE] {
        let mut merged = Offsets::new();
        for dir in &source.dirs {
            merged.extend(checkpoint::read_offsets(&dir.join(file))?);
        }
        merged.retain(|(topic, partition), _| is_taken(topic, *partition));
        checkpoint::write_offsets(&to.join(file), &merged)?;
    }
    Ok(())
}

/// The highest producer id in the snapshots among `pieces`, or -1: no block may begin at or below it. Snapshots that cannot
/// be read are passed over, as they are when a log is opened.
pub fn highest_producer_id(pieces: &[Piece]) -> i64 {
    let snapshots =
        pieces.iter().filter(|piece| piece.path.extension().is_some_and(|name| name == "snapshot"));
    snapshots
        .filter_map(|piece| fs::read(&piece.path).ok())
        .filter_map(|bytes| crate::partition::producer_snapshot::decode(&bytes, 0).ok())
        .flat_map(|producers| producers.iter().map(|(id, _)| id).max())
        .max()
        .unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_is_never_shared_and_leftovers_stay_behind() {
        let from = tempfile::tempdir().expect("a directory");
        let names = [
            "00000000000000000000.log",
            "00000000000000000000.index",
            "00000000000000000009.log",
            "00000000000000000009.snapshot",
            "00000000000000000003.log.deleted",
            "leader-epoch-checkpoint",
            "partition.metadata",
            "note.txt",
        ];
        for name in names {
            fs::write(from.path().join(name), name).expect("write");
        }
        fs::write(from.path().join("partition.metadata"), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ")
            .expect("write");
        let (pieces, others) = pieces(from.path()).expect("readable");
        let shared: Vec<_> = pieces.iter().filter(|piece| piece.is_sealed_log).collect();
        assert_eq!((pieces.len(), shared.len(), others), (6, 1, vec!["note.txt".to_owned()]));
        assert!(shared[0].path.ends_with(names[0]));
        let mut id = [0; 16];
        id[15] = 1;
        let to = tempfile::tempdir().expect("a directory");
        partition(&pieces, &to.path().join("t-0"), id, true).expect("copied");
        assert!(partition(&pieces, &to.path().join("t-1"), [0; 16], false).is_err(), "another topic's");
        use std::os::unix::fs::MetadataExt;
        let inode = |path: PathBuf| fs::metadata(path).expect("there").ino();
        for name in &names[..4] {
            let same = inode(from.path().join(name)) == inode(to.path().join("t-0").join(name));
            assert_eq!(same, *name == names[0], "{name}");
        }
    }
}
