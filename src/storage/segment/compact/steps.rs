//! Renames, removals and syncs of a swap, one at a time: between any two of them the machine may stop, and tests look at
//! what each of these moments leaves.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::dir;
use super::super::error::StorageError;

/// Something that was done to a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    Created(PathBuf),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
    /// Everything before is durable.
    Synced,
}

#[cfg(test)]
type Watch = Option<Box<dyn FnMut(&Done)>>;

#[cfg(test)]
thread_local! {
    /// Who watches the steps of this thread.
    pub static WATCH: std::cell::RefCell<Watch> = const { std::cell::RefCell::new(None) };
}

#[cfg(test)]
fn did(done: Done) {
    let taken = WATCH.with_borrow_mut(Option::take);
    if let Some(mut watch) = taken {
        watch(&done);
        WATCH.set(Some(watch));
    }
}

#[cfg(not(test))]
fn did(_done: Done) {}

/// A file was made.
pub fn created(path: &Path) {
    if cfg!(test) {
        did(Done::Created(path.to_path_buf()));
    }
}

/// A file was removed.
pub fn removed(path: &Path) {
    if cfg!(test) {
        did(Done::Removed(path.to_path_buf()));
    }
}

/// The directory was synced.
pub fn synced() {
    did(Done::Synced);
}

/// Renames a file over whatever has the name.
pub fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::rename(from, to).map_err(|source| StorageError::io("rename", from, source))?;
    if cfg!(test) {
        did(Done::Renamed(from.to_path_buf(), to.to_path_buf()));
    }
    Ok(())
}

/// Renames a file to its `.deleted` name, if it is there.
pub fn rename_deleted(path: &Path) -> Result<Option<PathBuf>, StorageError> {
    let renamed = dir::rename_deleted(path)?;
    if let Some(target) = renamed.as_ref().filter(|_| cfg!(test)) {
        did(Done::Renamed(path.to_path_buf(), target.clone()));
    }
    Ok(renamed)
}

/// Removes a file that may already be gone.
pub fn remove(path: &Path) -> Result<(), StorageError> {
    dir::remove_if_present(path)?;
    removed(path);
    Ok(())
}

/// Makes the entries of a directory durable.
pub fn sync_dir(path: &Path) -> Result<(), StorageError> {
    dir::sync_dir(path)?;
    synced();
    Ok(())
}
