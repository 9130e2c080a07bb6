//! A copy of a log, made while the log is in use: first its files are *pinned* by hard links, which takes no longer than
//! there are segments; later, and without holding anything up, the copy is made independent of the log.
//!
//! ```text
//!   segments of the log       [ 0 .log ]  [ 100 .log ]  [ 200 .log, appended to ]
//!   pinned                    link        link          200.log.pinned, link          under the log's lock
//!   finished                  link        link          200.log: its first bytes      anywhen
//! ```
//!
//! Nobody writes into the `.log` file of a sealed segment: what replaces it is a new file, and what deletes it removes a
//! name. So such files are shared. The last segment is a file of the copy's own, because both logs append to theirs. Indexes
//! are copied: recovery writes them anew in place.
//!
//! The copy is opened as after a crash: what is below the base of its last segment is durable, the rest is verified and gets
//! its indexes then.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::dir::{TXN_SUMS_FILE, parse_segment_name, segment_path};
use super::error::StorageError;
use super::log::Log;

/// Suffix of the link to the last segment. No file of a log ends in it, so that an unfinished copy is not taken for a log.
const PINNED_SUFFIX: &str = ".log.pinned";
const INDEXES: [&str; 3] = [".index", ".timeindex", ".txnindex"];
/// Written once under a temporary name and only ever replaced or removed: they can be shared.
const SMALL: [&str; 3] = ["leader-epoch-checkpoint", "partition.metadata", TXN_SUMS_FILE];

/// A log whose files are pinned in another directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The directory.
    pub to: PathBuf,
    /// Base offset of the last segment, the only one that records may have been appended to since.
    pub last: i64,
    /// Bytes of its `.log` file then.
    pub last_bytes: u64,
    /// Bytes of the other `.log` files.
    pub sealed_bytes: u64,
    /// Bytes of the indexes.
    pub index_bytes: u64,
    /// Base offsets of the other segments, ascending.
    sealed: Vec<i64>,
}

/// What a finished copy consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of files that it has in common with the log.
    pub shared_bytes: u64,
    /// Bytes of files of its own.
    pub copied_bytes: u64,
}

impl std::ops::AddAssign for Copied {
    fn add_assign(&mut self, other: Copied) {
        self.shared_bytes += other.shared_bytes;
        self.copied_bytes += other.copied_bytes;
    }
}

impl Log {
    /// Pins the files of the log in the directory `to`, which is replaced if it exists. The caller keeps the log as it is
    /// meanwhile.
    ///
    /// # Errors
    /// [`StorageError`], with `EXDEV` as its source when `to` is on another file system.
    pub fn pin(&mut self, to: &Path) -> Result<Pinned, StorageError> {
        self.check_open()?;
        // Of the segments that are closed the copy is taken for durable.
        self.note_aborted()?;
        pin(&self.dir.path, self.sealed.iter().map(|segment| segment.base).collect(), self.active.base, to)
    }
}

/// As [`Log::pin`], of a log that is not open and was closed in order, or is to be recovered by whoever opens the copy. What a
/// stop interrupted is finished first, as opening the log does.
///
/// # Errors
/// [`StorageError`]; `Corrupt` when there is no log.
pub fn pin_closed(from: &Path, to: &Path) -> Result<Pinned, StorageError> {
    let mut bases = super::swap::settle(from)?;
    let last = bases.pop().ok_or_else(|| StorageError::corrupt(from, 0, "the directory holds no segment"))?;
    pin(from, bases, last, to)
}

fn pin(from: &Path, sealed: Vec<i64>, last: i64, to: &Path) -> Result<Pinned, StorageError> {
    remove_dir(to)?;
    fs::create_dir(to).map_err(|source| StorageError::io("create", to, source))?;
    let (mut sealed_bytes, mut index_bytes) = (0, 0);
    for base in &sealed {
        sealed_bytes += link(&segment_path(from, *base, ".log"), &segment_path(to, *base, ".log"))?;
        for extension in INDEXES {
            let (index, target) = (segment_path(from, *base, extension), segment_path(to, *base, extension));
            index_bytes += unless_absent(link(&index, &target))?;
        }
    }
    for name in names(from)? {
        let is_snapshot = parse_segment_name(&name).is_some_and(|(_, extension)| extension == ".snapshot");
        if is_snapshot || SMALL.contains(&name.as_str()) {
            unless_absent(link(&from.join(&name), &to.join(&name)))?;
        }
    }
    let last_bytes = link(&segment_path(from, last, ".log"), &segment_path(to, last, PINNED_SUFFIX))?;
    Ok(Pinned { to: to.to_path_buf(), last, last_bytes, sealed_bytes, index_bytes, sealed })
}

impl Pinned {
    /// Bytes that [`Pinned::finish`] is going to write.
    pub fn to_be_copied(&self, last_bytes: u64) -> u64 {
        last_bytes + self.index_bytes
    }

    /// Makes the copy independent of its log. It ends where the last segment had `last_bytes` bytes. Sealed segments that
    /// reach above `shared_below` are not shared: whoever opens them may cut them. What was written is not synced yet.
    ///
    /// # Errors
    /// [`StorageError`]; the copy is not usable then.
    pub fn finish(&self, last_bytes: u64, shared_below: i64) -> Result<Copied, StorageError> {
        let mut copied = Copied::default();
        let bounds = self.sealed.iter().skip(1).chain([&self.last]);
        for (base, bound) in self.sealed.iter().zip(bounds) {
            let log = segment_path(&self.to, *base, ".log");
            if *bound <= shared_below {
                copied.shared_bytes += length(&log)?;
            } else {
                copied.copied_bytes += unshare(&log)?;
            }
            for extension in INDEXES {
                copied.copied_bytes += unless_absent(unshare(&segment_path(&self.to, *base, extension)))?;
            }
        }
        let pinned = segment_path(&self.to, self.last, PINNED_SUFFIX);
        let log = segment_path(&self.to, self.last, ".log");
        copied.copied_bytes += copy(&pinned, &log, last_bytes)?;
        fs::remove_file(&pinned).map_err(|source| StorageError::io("remove", &pinned, source))?;
        Ok(copied)
    }

    /// Gives the pinned files up.
    ///
    /// # Errors
    /// [`StorageError`] when they cannot be removed.
    pub fn discard(self) -> Result<(), StorageError> {
        remove_dir(&self.to)
    }
}

fn remove_dir(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::io("remove", path, error)),
        _ => Ok(()),
    }
}

fn names(dir: &Path) -> Result<Vec<String>, StorageError> {
    let fail = |source| StorageError::io("list", dir, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        names.extend(entry.map_err(fail)?.file_name().into_string());
    }
    Ok(names)
}

/// Gives a file a second name; returns its length.
fn link(from: &Path, to: &Path) -> Result<u64, StorageError> {
    fs::hard_link(from, to).map_err(|source| StorageError::io("link", from, source))?;
    length(to)
}

fn length(path: &Path) -> Result<u64, StorageError> {
    let metadata = fs::metadata(path).map_err(|source| StorageError::io("inspect", path, source))?;
    Ok(metadata.len())
}

fn unless_absent(linked: Result<u64, StorageError>) -> Result<u64, StorageError> {
    match linked {
        Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(0),
        linked => linked,
    }
}

/// Copies the first `bytes` bytes of a file into a new one.
fn copy(from: &Path, to: &Path, bytes: u64) -> Result<u64, StorageError> {
    let source = File::open(from).map_err(|source| StorageError::io("open", from, source))?;
    let mut target = File::create_new(to).map_err(|source| StorageError::io("create", to, source))?;
    let copied = io::copy(&mut source.take(bytes), &mut target)
        .map_err(|source| StorageError::io("copy to", to, source))?;
    if copied < bytes {
        return Err(StorageError::corrupt(from, copied, format!("the file ends before byte {bytes}")));
    }
    Ok(copied)
}

/// Replaces a name of a file that has others by a file of its own with the same content.
fn unshare(path: &Path) -> Result<u64, StorageError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".copy");
    let temporary = PathBuf::from(temporary);
    let bytes = copy(path, &temporary, length(path)?)?;
    fs::rename(&temporary, path).map_err(|source| StorageError::io("replace", path, source))?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
