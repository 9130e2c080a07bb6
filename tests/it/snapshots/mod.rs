//! Snapshots of a data directory, and brokers that are started from them.

mod live;
mod load;
mod offline;
mod socket;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidelog::control::snapshot::{self, Taken, Wanted};

use crate::support::TestBroker;

/// A directory for snapshots, on the file system of the brokers' directories.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().canonicalize().expect("a directory");
    (dir, path)
}

/// As the command takes it.
fn take(broker: &TestBroker, to: &Path) -> Taken {
    snapshot::take(broker.path(), &Wanted { to: to.to_path_buf(), copy: false }).expect("a snapshot")
}

/// What the command says instead of taking one.
fn refused(broker: &TestBroker, to: &Path, copy: bool) -> String {
    let refused =
        snapshot::take(broker.path(), &Wanted { to: to.to_path_buf(), copy }).expect_err("a refusal");
    format!("{refused:#}")
}

/// Names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

/// Names in a directory that end so, sorted.
fn names_with(dir: &Path, extension: &str) -> Vec<String> {
    let mut names = names(dir);
    names.retain(|name| name.ends_with(extension));
    names
}

fn are_one(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).expect("a file").ino();
    inode(one) == inode(other)
}
