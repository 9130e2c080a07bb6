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
    open: Mutex<Option<Arc<dyn KeyIndex>>>,
}

impl KeyIndexes {
    /// In `dir`, which need not exist.
    pub fn new(dir: PathBuf) -> KeyIndexes {
        KeyIndexes { dir, open: Mutex::new(None) }
    }

    /// The index, opened if it is not.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn get(&self) -> Result<Arc<dyn KeyIndex>, KeyIndexError> {
        let mut open = self.open.lock();
        if let Some(index) = &*open {
            return Ok(index.clone());
        }
        let index: Arc<dyn KeyIndex> = Arc::new(RocksKeyIndex::open(&self.dir)?);
        Ok(open.insert(index).clone())
    }

    /// The index if something has opened it.
    pub fn opened(&self) -> Option<Arc<dyn KeyIndex>> {
        self.open.lock().clone()
    }

    /// Whether there is one on disk.
    pub fn exists(&self) -> bool {
        self.dir.exists()
    }

    /// Closes it in order. What was not written is indexed again after the next start.
    pub fn close(&self) {
        if let Some(index) = self.open.lock().take()
            && let Err(error) = index.close()
        {
            warn!(%error, "the key index did not close in order; what it lost is indexed again");
        }
    }
}
