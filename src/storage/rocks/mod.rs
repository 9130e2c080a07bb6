//! RocksDB: the only folder that names it.
//!
//! ```text
//!   one database ── one write-ahead log ── one atomic batch across all of:
//!     default        unused; RocksDB insists on it
//!     topics  configs  cluster  producer_ids      one column family per KeySpace (storage/keyspace.rs)
//!
//!   another database, without a log ── derived from the partitions' logs: key_index
//! ```
//!
//! Every call blocks. Async code goes through [`blocking::Blocking`].

pub mod blocking;
mod key_index;
mod options;
mod state;
mod wal;

pub use blocking::Blocking;
pub use key_index::RocksKeyIndex;
pub use state::{RocksState, UnsyncedWrites};
