//! The data directory that an import fills: it must be new, and it is nobody's until everything in it is durable.
//!
//! The mark `.tidelog-import` is the first thing written and the last one removed. A directory that has it was being filled when
//! the import was interrupted: no broker starts on it, and the next import begins from scratch.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::ImportError;
use crate::storage::segment::checkpoint;
use crate::storage::segment::dir::sync_dir;

/// The mark's name.
pub const IMPORT_MARK: &str = ".tidelog-import";

/// A directory that is being filled. Its lock is held as long as this lives.
pub struct Target {
    pub path: PathBuf,
    /// An interrupted import was there before.
    pub restarted: bool,
    _lock: File,
}

impl Target {
    /// Looks at a directory without changing it: whether [`Target::open`] would take it.
    ///
    /// # Errors
    /// When something is in it that is not from an interrupted import.
    pub fn check(path: &Path) -> Result<bool, ImportError> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(ImportError::io(path, error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(|source| ImportError::io(path, source))?.file_name());
        }
        names.retain(|name| name != ".lock" && name != "lost+found");
        let is_interrupted = names.iter().any(|name| name == IMPORT_MARK);
        if !is_interrupted && !names.is_empty() {
            let reason = format!("the target must be new: it holds {} already", names[0].to_string_lossy());
            return Err(ImportError::target(path, reason));
        }
        Ok(is_interrupted)
    }

    /// Makes the directory, takes its lock, removes what an interrupted import left, and sets the mark.
    ///
    /// # Errors
    /// As [`Target::check`]; and when a broker runs on it.
    pub fn open(path: &Path) -> Result<Target, ImportError> {
        fs::create_dir_all(path).map_err(|source| ImportError::io(path, source))?;
        let path = path.canonicalize().map_err(|source| ImportError::io(path, source))?;
        let restarted = Target::check(&path)?;
        let lock = checkpoint::lock(&path)?
            .ok_or_else(|| ImportError::target(&path, "a broker is running on it; stop it first"))?;
        let mark = path.join(IMPORT_MARK);
        if restarted {
            for entry in fs::read_dir(&path).map_err(|source| ImportError::io(&path, source))? {
                let entry = entry.map_err(|source| ImportError::io(&path, source))?;
                let (name, entry) = (entry.file_name(), entry.path());
                if name == ".lock" || name == "lost+found" || name == IMPORT_MARK {
                    continue;
                }
                let removed =
                    if entry.is_dir() { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
                removed.map_err(|source| ImportError::io(&entry, source))?;
            }
        }
        File::create(&mark)
            .and_then(|file| file.sync_all())
            .map_err(|source| ImportError::io(&mark, source))?;
        sync_dir(&path)?;
        Ok(Target { path, restarted, _lock: lock })
    }

    /// Makes everything durable that was written, and reports what could not be.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn sync(&self) -> Result<(), ImportError> {
        let at = |source| ImportError::io(&self.path, source);
        let dir = File::open(&self.path).map_err(at)?;
        rustix::fs::syncfs(&dir).map_err(|error| at(error.into()))
    }

    /// Bytes that are free on the file system.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn free_bytes(path: &Path) -> Result<u64, ImportError> {
        let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        let figures =
            rustix::fs::statvfs(existing).map_err(|error| ImportError::io(existing, error.into()))?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }

    /// Removes the mark: the directory may be used.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn finish(self) -> Result<(), ImportError> {
        let mark = self.path.join(IMPORT_MARK);
        fs::remove_file(&mark).map_err(|source| ImportError::io(&mark, source))?;
        Ok(sync_dir(&self.path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_import_is_recognised_and_begun_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data");
        let target = Target::open(&path).expect("new");
        assert!(!target.restarted);
        fs::create_dir(path.join("t-0")).expect("made");
        fs::write(path.join("t-0/x"), "x").expect("written");
        assert!(Target::open(&path).is_err(), "it is being filled");
        drop(target);
        let target = Target::open(&path).expect("again");
        assert!(target.restarted && !path.join("t-0").exists());
        target.finish().expect("done");
        fs::create_dir(path.join("t-0")).expect("made");
        assert!(Target::open(&path).is_err(), "it is somebody's");
        assert!(path.join("t-0").exists());
    }
}
