//! The directory a snapshot is made in: it has another name until it is complete and durable.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;
use uuid::Uuid;

use super::SnapshotError;
use crate::metadata::store::meta_properties;
use crate::storage::segment::dir::sync_dir;

/// What is added to the name of a snapshot that is not complete.
const PARTIAL_SUFFIX: &str = ".partial";
/// The one place within the data directory where snapshots can be.
const WITHIN: &str = "snapshots";
/// Where records are shared first that are to be copied then.
const STAGING_PREFIX: &str = "copying-";

/// A directory that is being filled. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Target {
    to: PathBuf,
    partial: PathBuf,
}

impl Target {
    /// Makes a directory for what is to be `to`.
    ///
    /// # Errors
    /// [`SnapshotError::Target`] when that cannot be a snapshot's name.
    pub(super) fn prepare(to: &Path, data_dir: &Path) -> Result<Target, SnapshotError> {
        let refuse = |reason: String| SnapshotError::Target { path: to.to_path_buf(), reason };
        let (Some(parent), Some(name)) = (to.parent(), to.file_name().and_then(|name| name.to_str())) else {
            return Err(refuse("it has no name of its own".into()));
        };
        if !to.is_absolute() {
            return Err(refuse("the path is not absolute".into()));
        }
        if name.ends_with(PARTIAL_SUFFIX) {
            return Err(refuse(format!("the name of a complete snapshot does not end in {PARTIAL_SUFFIX}")));
        }
        let within = data_dir.join(WITHIN);
        // Whichever way the path leads there, it need not exist yet.
        let above = parent.parent().and_then(|above| above.canonicalize().ok());
        if parent.file_name().is_some_and(|name| name == WITHIN) && above.as_deref() == Some(data_dir) {
            make_dir(&within)?;
        }
        let parent =
            parent.canonicalize().map_err(|error| refuse(format!("{}: {error}", parent.display())))?;
        if parent.starts_with(data_dir) && !parent.starts_with(&within) {
            let place = within.display();
            return Err(refuse(format!("within the data directory, snapshots are to be in {place}")));
        }
        let to = parent.join(name);
        match fs::read_dir(&to).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Err(refuse("it is there already, and not empty".into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(error.to_string())),
        }
        let partial = parent.join(format!("{name}{PARTIAL_SUFFIX}"));
        match fs::create_dir(&partial) {
            Ok(()) => Ok(Target { to, partial }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(refuse(format!(
                "an earlier attempt was interrupted and left {}: remove it first",
                partial.display()
            ))),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// A directory on the file system of the data directory, for what is to be copied from there. The caller takes the only
    /// snapshot.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn staging(data_dir: &Path) -> Result<Target, SnapshotError> {
        let within = data_dir.join(WITHIN);
        make_dir(&within)?;
        remove_staged(&within);
        let to = within.join(format!("{STAGING_PREFIX}{}", Uuid::new_v4().simple()));
        let mut partial = to.clone().into_os_string();
        partial.push(PARTIAL_SUFFIX);
        let partial = PathBuf::from(partial);
        fs::create_dir(&partial).map_err(SnapshotError::io("create", &partial))?;
        Ok(Target { to, partial })
    }

    /// The directory to fill.
    pub(super) fn dir(&self) -> &Path {
        &self.partial
    }

    /// Finds out whether files can have names in the data directory and here, before anything else is done for it.
    ///
    /// # Errors
    /// [`SnapshotError::OtherFileSystem`].
    pub(super) fn try_linking(&self, data_dir: &Path) -> Result<(), SnapshotError> {
        let probe = self.partial.join("probe");
        match fs::hard_link(data_dir.join(meta_properties::FILE_NAME), &probe) {
            Ok(()) => fs::remove_file(&probe).map_err(SnapshotError::io("remove", &probe)),
            Err(source) if source.kind() == io::ErrorKind::CrossesDevices => {
                Err(SnapshotError::OtherFileSystem {
                    to: self.to.clone(),
                    data_dir: data_dir.to_path_buf(),
                    source,
                })
            }
            Err(source) => Err(SnapshotError::Io { action: "link to", path: probe, source }),
        }
    }

    /// Makes all of it durable, and gives it its name. Returns that.
    ///
    /// # Errors
    /// [`SnapshotError`]; it is removed then.
    pub(super) fn publish(self) -> Result<PathBuf, SnapshotError> {
        let dir = File::open(&self.partial).map_err(SnapshotError::io("open", &self.partial))?;
        // One sync for tens of thousands of files. It covers what is shared as well: that is on the same file system.
        rustix::fs::syncfs(&dir).map_err(|error| SnapshotError::Io {
            action: "sync",
            path: self.partial.clone(),
            source: error.into(),
        })?;
        fs::rename(&self.partial, &self.to).map_err(SnapshotError::io("rename", &self.partial))?;
        sync_dir(self.to.parent().unwrap_or(Path::new("/")))?;
        Ok(self.to.clone())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.partial) {
            // It was published.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                warn!(dir = %self.partial.display(), %error, "what an unfinished snapshot left cannot be removed");
            }
            Ok(()) => {}
        }
    }
}

fn make_dir(path: &Path) -> Result<(), SnapshotError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(SnapshotError::Io { action: "create", path: path.to_path_buf(), source: error })
        }
        _ => Ok(()),
    }
}

/// Removes what a crash left of earlier stagings.
fn remove_staged(within: &Path) {
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_staged = |name: &str| name.starts_with(STAGING_PREFIX) && name.ends_with(PARTIAL_SUFFIX);
        if name.to_str().is_some_and(is_staged)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            warn!(dir = %entry.path().display(), %error, "what an interrupted snapshot left cannot be removed");
        }
    }
}

/// Copies a directory with everything in it. Returns the bytes of its files.
///
/// # Errors
/// [`SnapshotError`], and [`SnapshotError::Stopping`] as soon as `stopping` says so.
pub(super) fn copy_tree(from: &Path, to: &Path, stopping: &dyn Fn() -> bool) -> Result<u64, SnapshotError> {
    let mut bytes = 0;
    for entry in fs::read_dir(from).map_err(SnapshotError::io("list", from))? {
        let entry = entry.map_err(SnapshotError::io("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if stopping() {
            return Err(SnapshotError::Stopping);
        }
        if entry.file_type().map_err(SnapshotError::io("inspect", &source))?.is_dir() {
            fs::create_dir(&target).map_err(SnapshotError::io("create", &target))?;
            bytes += copy_tree(&source, &target, stopping)?;
        } else {
            bytes += fs::copy(&source, &target).map_err(SnapshotError::io("write", &target))?;
        }
    }
    Ok(bytes)
}

/// Bytes of all files in a directory.
///
/// # Errors
/// [`SnapshotError`].
pub(super) fn tree_bytes(dir: &Path) -> Result<u64, SnapshotError> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(SnapshotError::io("list", dir))? {
        let entry = entry.map_err(SnapshotError::io("list", dir))?;
        let metadata = entry.metadata().map_err(SnapshotError::io("inspect", dir))?;
        bytes += if metadata.is_dir() { tree_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_dir() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().canonicalize().unwrap().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join(meta_properties::FILE_NAME), "x").unwrap();
        (temp, data)
    }

    fn refused(to: &Path, data: &Path) -> String {
        match Target::prepare(to, data) {
            Err(error @ SnapshotError::Target { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_appears_only_when_everything_is_there() {
        let (_temp, data) = data_dir();
        let place = data.parent().unwrap();
        let to = place.join("copy");
        let target = Target::prepare(&to, &data).unwrap();
        target.try_linking(&data).unwrap();
        fs::write(target.dir().join("file"), "content").unwrap();
        assert!(!to.exists());
        assert!(refused(&to, &data).contains("remove it first"));
        assert_eq!(target.publish().unwrap(), to);
        assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "content");
        assert!(refused(&to, &data).contains("not empty"));

        fs::create_dir(place.join("empty")).unwrap();
        Target::prepare(&place.join("empty"), &data).unwrap().publish().unwrap();
        drop(Target::prepare(&place.join("given-up"), &data).unwrap());
        let mut names: Vec<_> =
            fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["copy", "data", "empty"]);
    }

    #[test]
    fn unusable_places_are_refused() {
        let (_temp, data) = data_dir();
        let place = data.parent().unwrap();
        assert!(refused(Path::new("relative/copy"), &data).contains("not absolute"));
        assert!(refused(Path::new("/"), &data).contains("no name"));
        assert!(refused(&place.join("x.partial"), &data).contains(".partial"));
        assert!(refused(&place.join("missing/copy"), &data).contains("missing"));
        fs::write(place.join("file"), "").unwrap();
        refused(&place.join("file"), &data);
        for inside in ["copy", "topic-0/copy", "state/copy"] {
            fs::create_dir_all(data.join(inside).parent().unwrap()).unwrap();
            assert!(refused(&data.join(inside), &data).contains("data/snapshots"), "{inside}");
        }
        let (to, link) = (data.join("snapshots/copy"), place.join("link"));
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let target = Target::prepare(&link.join("snapshots/copy"), &data).unwrap();
        assert_eq!(target.publish().unwrap(), to);
    }

    #[test]
    fn staging_is_cleared_away() {
        let (_temp, data) = data_dir();
        let left = data.join("snapshots/copying-1.partial");
        fs::create_dir_all(left.join("topic-0")).unwrap();
        fs::create_dir(data.join("snapshots/mine")).unwrap();
        let staging = Target::staging(&data).unwrap();
        assert!(!left.exists() && staging.dir().exists());
        let to = data.parent().unwrap().join("copy");
        fs::create_dir(&to).unwrap();
        fs::create_dir(staging.dir().join("topic-0")).unwrap();
        fs::write(staging.dir().join("topic-0/file"), "abc").unwrap();
        assert_eq!(tree_bytes(staging.dir()).unwrap(), 3);
        assert!(matches!(copy_tree(staging.dir(), &to, &|| true), Err(SnapshotError::Stopping)));
        assert_eq!(copy_tree(staging.dir(), &to, &|| false).unwrap(), 3);
        assert_eq!(fs::read_to_string(to.join("topic-0/file")).unwrap(), "abc");
        drop(staging);
        let names: Vec<_> =
            fs::read_dir(data.join("snapshots")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["mine"]);
    }
}
