//! From a partition's log to the key index, and from a key to its latest record.
//!
//! ```text
//!   read_for_index ─▶ batches ─▶ RunBuilder ─▶ run ─▶ KeyIndex::add_run      catch_up, in the background
//!   read_for_index ─▶ batches ─▶ table                                      fill_table, for the cleaner without an index
//!   key ─▶ catch_up ─▶ KeyIndex::latest ─▶ one batch ─▶ the record           latest
//! ```
//!
//! Indexed is what is durable and decided, records with a key that readers at read_committed get. The work is done in the
//! caller's thread, in steps of bounded memory; the partition's lock is held only to find out where bytes are, never while
//! they are read, decompressed or hashed.

mod aborted;
mod access;
mod catch_up;
mod latest;
mod run;
mod shared;
mod table;

#[cfg(test)]
mod tests;

pub use aborted::AbortedRanges;
pub use catch_up::{CatchUp, CatchUpError, CaughtUp, catch_up, check_position};
pub use latest::{FoundHeader, FoundRecord, LatestError, latest};
pub use run::{BatchDamage, Fed, RunBuilder};
pub use shared::KeyIndexes;
pub use table::fill_table;

use super::handle::PartitionId;
use crate::storage::key_index::IndexedPartition;

impl From<&PartitionId> for IndexedPartition {
    fn from(id: &PartitionId) -> Self {
        IndexedPartition { topic_id: *id.topic_id.as_bytes(), partition: id.index }
    }
}
