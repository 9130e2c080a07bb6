//! The index that the cleaner and look-ups of keys share.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::warn;

use crate::storage::key_index::{KeyIndex, KeyIndexError};
use crate::storage::rocks::RocksKeyIndex;

/// The index of keys of this broker. It is a database of its own, opened when the first compacted topic needs it.
pub struct KeyIndexes {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    /// Nobody has needed it yet.
    #[default]
    Unused,
    Open(Arc<dyn KeyIndex>),
    /// The broker stops: whoever still looks something up does not open it again.
    Closed,
}

impl KeyIndexes {
    /// In `dir`, which need not exist.
    pub fn new(dir: PathBuf) -> KeyIndexes {
        KeyIndexes { dir, state: Mutex::default() }
    }

    /// The index, opened if it is not.
    ///
    /// # Errors
    /// When it cannot be opened, or was closed.
    pub fn get(&self) -> Result<Arc<dyn KeyIndex>, KeyIndexError> {
        let mut state = self.state.lock();
        match &*state {
            State::Open(index) => Ok(index.clone()),
            State::Closed => Err(KeyIndexError::Closed),
            State::Unused => {
                let index: Arc<dyn KeyIndex> = Arc::new(RocksKeyIndex::open(&self.dir)?);
                *state = State::Open(index.clone());
                Ok(index)
            }
        }
    }

    /// Whether there is one on disk.
    pub fn exists(&self) -> bool {
        self.dir.exists()
    }

    /// Closes it in order. What was not written is indexed again after the next start.
    pub fn close(&self) {
        if let State::Open(index) = std::mem::replace(&mut *self.state.lock(), State::Closed)
            && let Err(error) = index.close()
        {
            warn!(%error, "the key index did not close in order; what it lost is indexed again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_closed_is_not_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let indexes = KeyIndexes::new(dir.path().join("key-index"));
        assert!(!indexes.exists());
        indexes.get().unwrap();
        assert!(indexes.exists());
        indexes.close();
        assert_eq!(indexes.get().err(), Some(KeyIndexError::Closed));
        indexes.close();
    }
}
