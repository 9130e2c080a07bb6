//! Compaction: rewriting sealed segments without the records that a later one with the same key replaced
//! (`LogCleaner`, `Cleaner`, `MemoryRecords.filterTo`).
//!
//! ```text
//! source        what of a log can be rewritten          group    which segments become one
//! retention     what becomes of a batch, of a record    transactions   whose data counts, which markers are still needed
//! batch         one batch without what leaves           reader   batches of a file, checked, in a bounded buffer
//! output        the .cleaned files and their indexes    round    the order of steps of a rewrite
//! replace       the swap, and when it is refused        steps    renames and syncs, one at a time
//! ```
//!
//! A round cleans a log from its start to the first uncleanable offset:
//!
//! ```text
//! under the lock of the partition   source = log.compaction_source(first uncleanable offset)
//! without it                        round = Round::new(source)
//!   for each of round.groups(known end), in this order:
//!                                   rewrite = round.rewrite(group, context, superseded, progress)
//!     if it made a segment,
//!     under the lock                replaced = log.replace(rewrite.segment)
//!     some time later               unlink replaced.deleted (file.delete.delay.ms)
//! ```
//!
//! Groups are rewritten in order, and each is swapped in (or dropped) before the next is begun: what transactions a batch of
//! a later group belongs to is learned from the groups in front of it, and only one rewrite of a log may exist at a time
//! ([`CompactError::Busy`]). After an error, the round is over; the next one starts at the log start.
//!
//! Who knows the latest offset of each key is asked through [`Superseded`](crate::storage::superseded::Superseded), what
//! is known of producers through [`Context::last_record`]. Both speak of what lies below [`Context::known_end`]; records at
//! or above it stay. A record without a key leaves (Kafka drops what a compacted topic should never have held).
//!
//! What is kept of a batch keeps its offsets, sequence numbers, epochs, codec and every byte of its records. A batch that
//! keeps all records is copied as it is, and is not even decompressed if it was cleaned before and nothing in it can have
//! changed. Two places differ from Kafka. The base timestamp of a batch that lost records stays, where Kafka's becomes that
//! of the first record that is left: readers see the same timestamps, and the records need not be encoded again. A group of
//! one segment in which nothing changes is not written at all.
//!
//! # Files and crashes
//!
//! ```text
//! 1  <base>.{log,index,timeindex,txnindex}.cleaned are written and synced, with them <base>.<end>.cleaned, an empty file
//!    whose name says what range is replaced; then the directory is synced
//! 2  .cleaned becomes .swap, the .log last; the directory is synced: from here on the new segment counts
//! 3  the old files become .deleted, .swap becomes the final name; the directory is synced
//! 4  <base>.<end>.swap is removed
//! ```
//!
//! A start that finds a `.cleaned` file throws the rewrite away, one that finds only `.swap` files finishes it, whatever part
//! of step 3 reached the disk. So that the names tell which, the new segment has a `.txnindex`, if need be an empty one,
//! whenever the one whose name it takes had. Nobody reads the log through its old files in between: that is the caller's
//! lock. Readers that already hold an old file go on with it.

mod batch;
mod error;
mod group;
mod output;
mod reader;
mod replace;
mod retention;
mod round;
mod source;
pub(super) mod steps;
mod transactions;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

pub use error::CompactError;
pub use replace::Replaced;
pub use round::{Rewrite, Rewritten, Round};
pub use source::{Group, Source};

/// What a rewrite is told by its caller.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The time, milliseconds since the epoch.
    pub now_ms: i64,
    /// `delete.retention.ms`: how long a tombstone, and the marker of a transaction whose records are gone, stays after the
    /// first cleaning that saw it (KIP-534).
    pub delete_retention_ms: i64,
    /// Everything below was cleaned before with nothing left out: Kafka's first dirty offset.
    pub first_dirty: i64,
    /// Records at or above it stay, since the latest offsets of keys are not known that far (`OffsetMap.latestOffset` + 1).
    pub known_end: i64,
    /// The last record of an active producer, by producer id; `None` for one that is not active. As of the rewrite's begin
    /// or later.
    pub last_record: &'a dyn Fn(i64) -> Option<LastRecord>,
    /// Largest size of a batch's records when decompressed, bytes.
    pub max_decompressed: usize,
}

/// What the log must keep of an active producer (`UnifiedLog.lastRecordsOfActiveProducers`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRecord {
    /// Offset of its last record that is no marker; `None` if it is known by a marker alone.
    pub last_data_offset: Option<i64>,
    /// Its epoch.
    pub epoch: i16,
}

/// Who accompanies a rewrite.
pub trait Progress {
    /// Hears of bytes read and written since the last call, every few hundred kilobytes at least, and may sleep to keep to
    /// a rate. `Break` cancels the rewrite.
    fn advance(&mut self, read: u64, written: u64) -> ControlFlow<()>;

    /// A tombstone, the latest record of its key, is left out for good: its time is over. This holds once the segment is
    /// swapped in.
    fn tombstone_dropped(&mut self, _offset: i64, _key: &[u8]) {}
}

/// What one rewrite read and kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub bytes_read: u64,
    /// Bytes of the batches that stay.
    pub bytes_kept: u64,
    pub records_read: u64,
    pub records_kept: u64,
    /// Records without a key, which left.
    pub keyless: u64,
    /// Tombstones that left because their time was over.
    pub tombstones: u64,
    /// Batches whose records were looked at one by one.
    pub batches_inspected: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.bytes_read += other.bytes_read;
        self.bytes_kept += other.bytes_kept;
        self.records_read += other.records_read;
        self.records_kept += other.records_kept;
        self.keyless += other.keyless;
        self.tombstones += other.tombstones;
        self.batches_inspected += other.batches_inspected;
    }
}
