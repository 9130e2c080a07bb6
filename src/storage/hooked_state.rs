//! A state store for tests whose writes do what the test says: wait, fail, or fail and take effect all the same.

use super::keyspace::KeySpace;
use super::memory_state::MemoryState;
use super::state_store::{Durability, StateError, StateStore, VisitRow, WriteBatch};

type OnWrite = dyn Fn(&MemoryState, WriteBatch, Durability) -> Result<(), StateError> + Send + Sync;

/// Rows in memory behind a hook that every write goes through.
pub(crate) struct HookedState {
    pub(crate) rows: MemoryState,
    on_write: Box<OnWrite>,
}

impl HookedState {
    pub(crate) fn new(
        rows: MemoryState,
        on_write: impl Fn(&MemoryState, WriteBatch, Durability) -> Result<(), StateError> + Send + Sync + 'static,
    ) -> Self {
        Self { rows, on_write: Box::new(on_write) }
    }
}

/// What a disk says that did not do what it was asked.
pub(crate) fn disk_error() -> StateError {
    StateError::Unavailable { message: "disk".into(), retryable: true }
}

impl StateStore for HookedState {
    fn get(&self, space: KeySpace, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.rows.get(space, key)
    }

    fn scan_prefix(
        &self,
        space: KeySpace,
        prefix: &[u8],
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StateError> {
        self.rows.scan_prefix(space, prefix, visit)
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StateError> {
        (self.on_write)(&self.rows, batch, durability)
    }

    fn flush(&self) -> Result<(), StateError> {
        self.rows.flush()
    }

    fn checkpoint(&self, to: &std::path::Path, then: &mut dyn FnMut()) -> Result<(), StateError> {
        self.rows.checkpoint(to, then)
    }

    fn close(&self) -> Result<(), StateError> {
        self.rows.close()
    }
}
