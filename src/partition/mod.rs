//! One log's brain: decides about appends, keeps producer state, and says what readers may see.
//!
//! ```text
//!   log start offset        high watermark      log end offset
//!        │                        │                   │
//!  ──────┼────────────────────────┼───────────────────┼──▶ offsets
//!        │   readable, durable    │  written, not yet │
//!        │                        │  durable          │
//! ```
//!
//! `log start ≤ high watermark ≤ log end` always holds. With `flush.messages=1`, the shipped default, the high watermark
//! is the durable offset: nobody reads what a power cut can take back. A partition is not a task: appends run inline on
//! the caller under one short mutex, and nothing waits while holding it.
//!
//! Readers at read_committed see less: they stop at the last stable offset, in front of the oldest transaction that is open
//! or whose marker is not below the high watermark.

pub mod ack;
pub mod append;
pub mod checkpoints;
pub mod cleaner;
pub mod copy;
pub mod doomed;
pub mod error;
pub mod flusher;
pub mod handle;
pub mod key_index;
pub mod maintenance;
pub mod metrics;
#[cfg(test)]
mod out_of_files_tests;
mod producer_replay;
pub mod producer_snapshot;
pub mod producers;
pub mod read;
pub mod registry;
pub mod retention_clock;
mod snapshots;
#[cfg(test)]
mod testing;
pub mod transactions;
#[cfg(test)]
mod transactions_model_tests;
#[cfg(test)]
mod transactions_tests;
mod trash;

pub use error::{AppendError, OffsetError, ReadError};
pub use handle::{Partition, PartitionId};
pub use producers::{OpenTransaction, ProducerView};
pub use registry::Registry;
