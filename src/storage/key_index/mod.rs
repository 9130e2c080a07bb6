//! Which record of a compacted partition is the latest of its key: the seam between whoever reads logs and whatever keeps
//! the index for them.
//!
//! ```text
//!   log       ──┬── run ──┬──── run ────┬─ run ─┬── not indexed yet ──▶ offsets
//!               │         │             │       │
//!             start      end           end     end = position
//!
//!   key       hash of the key → offset of its latest record below the position
//!   dead      run end → the offsets that the keys of this run made superfluous
//!   position  indexed up to, with the leader epoch of the offset before
//! ```
//!
//! The index is derived from the logs, all of it: whoever loses it reads them again. It is told of new records in sorted
//! [`Run`]s. A run never crosses a segment boundary, so that its dead offsets hold exactly where the segment it lies in may be
//! cleaned. The cleaner then asks no key: a [`DeadOffsets`] over the range it cleans says everything.
//!
//! Every method may block on a disk. Each implementation runs the suite in `conformance.rs`.

mod dead_offsets;
mod error;
mod hash;
mod offset_map;
mod run;

#[cfg(test)]
pub(crate) mod conformance;

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

pub use dead_offsets::{CHUNK_OFFSETS, DeadOffsets};
pub use error::KeyIndexError;
pub use hash::{KeyHash, KeyHasher};
pub use offset_map::{Inserted, OffsetMap, SortedOffsets};
pub use run::Run;
pub(crate) use run::merge;

/// Which partition's part of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexedPartition {
    /// Id of the topic: the index of a deleted topic is never taken for that of a later one of the same name.
    pub topic_id: [u8; 16],
    /// Partition number.
    pub partition: i32,
}

/// How far a partition is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Every record below is indexed.
    pub upto: i64,
    /// Leader epoch that the offset before `upto` was written in, -1 if unknown: tells whether the log has lost a tail since.
    pub leader_epoch: i32,
}

/// What [`KeyIndex::dead_upto`] found.
#[derive(Debug)]
pub struct Dead {
    /// The dead offsets from the start of the range asked for to `complete_below`.
    pub offsets: DeadOffsets,
    /// The end of the range asked for, or where the memory bound cut it short. Always above the start of the range, so that
    /// several passes come to the end.
    pub complete_below: i64,
}

/// What an index occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyIndexSizes {
    /// Rows of all kinds, about.
    pub rows: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of memory that the engine holds.
    pub memory_bytes: u64,
}

/// key hash → latest offset for many partitions, with the offsets that were superseded on the way.
///
/// Each call takes effect wholly or not at all, and after a crash the calls on one partition that took effect are a prefix
/// of those that were made.
pub trait KeyIndex: Send + Sync + 'static {
    /// The hash whose values stand for keys here. Stays the same as long as the index is open.
    fn hasher(&self) -> KeyHasher;

    /// How far a partition is indexed; `None` when nothing is known of it.
    fn position(&self, partition: IndexedPartition) -> Result<Option<Position>, KeyIndexError>;

    /// Merges a run: the keys' previous offsets become dead, beside those that are dead within the run. The run, its dead
    /// offsets under its end and the new position are one atomic write.
    ///
    /// `false`, and nothing was written, if the position is not the one the run begins at: another added the same records, or
    /// the index was dropped meanwhile.
    fn add_run(&self, partition: IndexedPartition, run: Run) -> Result<bool, KeyIndexError>;

    /// Offset of the latest indexed record whose key has this hash.
    fn latest(&self, partition: IndexedPartition, hash: KeyHash) -> Result<Option<i64>, KeyIndexError>;

    /// The offsets within `range` that runs ending at or below `end` made superfluous. Takes no more than about `max_bytes`
    /// of memory: what is above it waits for another call.
    fn dead_upto(
        &self,
        partition: IndexedPartition,
        end: i64,
        range: Range<i64>,
        max_bytes: usize,
    ) -> Result<Dead, KeyIndexError>;

    /// Drops the dead offsets of runs that end at or below `end`: the records are gone. Call it when all of the log below
    /// `end` was cleaned.
    fn forget_dead(&self, partition: IndexedPartition, end: i64) -> Result<(), KeyIndexError>;

    /// Removes the keys whose latest record is still the one at the offset given: the cleaner dropped these tombstones.
    /// Returns how many went.
    fn remove_keys(
        &self,
        partition: IndexedPartition,
        keys: &mut dyn Iterator<Item = (KeyHash, i64)>,
    ) -> Result<u64, KeyIndexError>;

    /// Removes the keys whose latest record is below `log_start`, by going through all of them; other calls come in between.
    /// `go_on` is asked now and then. Returns how many went.
    fn remove_below(
        &self,
        partition: IndexedPartition,
        log_start: i64,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<u64, KeyIndexError>;

    /// Forgets a partition.
    fn drop_partition(&self, partition: IndexedPartition) -> Result<(), KeyIndexError>;

    /// Forgets all partitions of topics that are not in `live`. Returns how many topics went.
    fn drop_except(&self, live: &HashSet<[u8; 16]>) -> Result<u64, KeyIndexError>;

    /// What the index occupies.
    fn sizes(&self) -> Result<KeyIndexSizes, KeyIndexError>;

    /// Makes everything durable, and gives back the memory of what was not written yet.
    fn flush(&self) -> Result<(), KeyIndexError>;

    /// Flushes, waits for calls in progress, and releases the index. Every later call answers [`KeyIndexError::Closed`];
    /// closing twice is fine.
    fn close(&self) -> Result<(), KeyIndexError>;
}
