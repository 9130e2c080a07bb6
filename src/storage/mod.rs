//! Durable bytes. Two kinds of them, each behind its own front door: the record log in [`segment`] and
//! the small ordered state (topics, configs, groups, offsets, …) behind [`StateStore`].
//!
//! This folder knows nothing of producers, groups, transactions or the wire. What a key or a value *means*
//! is decided by the component that owns its [`KeySpace`].

pub mod codec;
pub mod journal;
pub mod key_index;
pub mod keyspace;
pub mod memory_key_index;
pub mod memory_state;
pub mod rocks;
pub mod segment;
pub mod state_store;
pub mod superseded;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod hooked_state;

pub use key_index::KeyIndex;
pub use keyspace::KeySpace;
pub use memory_key_index::MemoryKeyIndex;
pub use memory_state::MemoryState;
pub use state_store::{Durability, StateError, StateStore, WriteBatch};

/// Runs what may wait for the disk. On a thread of the runtime, the runtime is told, so that other tasks of it move on.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
