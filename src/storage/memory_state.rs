//! A [`StateStore`] in ordered maps: for tests and for a broker that is told to keep nothing.
//!
//! It must behave as the RocksDB store does (same suite), save that nothing outlives the value itself.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

use super::keyspace::KeySpace;
use super::state_store::{Durability, StateError, StateStore, VisitRow, WriteBatch, WriteOp};

/// One key space. Shared with scans in progress, and copied when a write meets one, so that a scan keeps
/// the view of the moment it began without holding the lock while it calls out.
type Rows = Arc<BTreeMap<Vec<u8>, Vec<u8>>>;

#[derive(Debug, Default)]
struct Shared {
    spaces: [Rows; KeySpace::ALL.len()],
}

/// State in memory. [`MemoryState::reopen`] plays the part of a restart.
#[derive(Debug, Default)]
pub struct MemoryState {
    shared: Arc<RwLock<Shared>>,
    closed: RwLock<bool>,
}

impl MemoryState {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new, open handle on the same rows: what the next process would find on the disk.
    pub fn reopen(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), closed: RwLock::new(false) }
    }

    fn check_open(&self) -> Result<(), StateError> {
        if *self.closed.read() {
            return Err(StateError::Closed);
        }
        Ok(())
    }
}

impl StateStore for MemoryState {
    fn get(&self, space: KeySpace, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.check_open()?;
        Ok(self.shared.read().spaces[space.index()].get(key).cloned())
    }

    fn scan_prefix(
        &self,
        space: KeySpace,
        prefix: &[u8],
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StateError> {
        self.check_open()?;
        let rows = Arc::clone(&self.shared.read().spaces[space.index()]);
        let from: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(prefix), Bound::Unbounded);
        for (key, value) in rows.range::<[u8], _>(from) {
            if !key.starts_with(prefix) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: WriteBatch, _durability: Durability) -> Result<(), StateError> {
        batch.check_size()?;
        self.check_open()?;
        let mut shared = self.shared.write();
        for op in batch.ops() {
            match op {
                WriteOp::Put { space, key, value } => {
                    Arc::make_mut(&mut shared.spaces[space.index()]).insert(key.clone(), value.clone());
                }
                WriteOp::Delete { space, key } => {
                    Arc::make_mut(&mut shared.spaces[space.index()]).remove(key);
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StateError> {
        self.check_open()
    }

    fn checkpoint(&self, _to: &Path, _then: &mut dyn FnMut()) -> Result<(), StateError> {
        self.check_open()?;
        let message = "rows that are kept in memory cannot be copied to a directory".to_owned();
        Err(StateError::Unavailable { message, retryable: false })
    }

    fn close(&self) -> Result<(), StateError> {
        *self.closed.write() = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryState;
    use crate::storage::conformance;
    use crate::storage::state_store::StateStore;
    use std::sync::Arc;

    #[test]
    fn conforms() {
        conformance::run(|| {
            let mut last: Option<Arc<MemoryState>> = None;
            move || {
                let next = match &last {
                    None => MemoryState::new(),
                    Some(previous) => previous.reopen(),
                };
                let next = Arc::new(next);
                last = Some(Arc::clone(&next));
                next as Arc<dyn StateStore>
            }
        });
    }
}
