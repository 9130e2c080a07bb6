//! RocksDB: the only folder that names it.
//!
//! ```text
//!   one database ── one write-ahead log ── one atomic batch across all of:
//!     default        unused; RocksDB insists on it
//!     topics  configs  cluster  producer_ids      one column family per KeySpace (storage/keyspace.rs)
//! ```
//!
//! Every call blocks. Async code goes through [`blocking::Blocking`].

pub mod blocking;
mod options;
mod state;

pub use blocking::Blocking;
pub use state::RocksState;
