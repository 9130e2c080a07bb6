//! The log of one partition, in Kafka's own on-disk formats.
//!
//! ```text
//! log       the order of steps: create, append, roll, flush, close
//! recover   open: what is trusted, verified, cut off      scan  verify one segment
//! replay    follow the batches of a log that is opened
//! read      by offset and by timestamp                    trim  shorten at either end
//! active    the segment written to      sealed   any other, and look-ups in both
//! index     entries in a file: offset_index, time_index   walk  from batch to batch
//! txn_index aborted transactions of a segment             txn_sums   checksums of all such files of a log
//! txn_check which of these files are believed when the log is opened
//! files     handles that open on use    swap     what a stop interrupted
//! verified  which bytes are known to be good, and the look at those that are not
//! epochs    leader-epoch-checkpoint     checkpoint  files of the whole data directory
//! retain    which segments may go       dir      names, small durable files
//! space     what the disk has left for appends            copy     a copy of a log in use
//! compact   rewriting segments without what later records replaced
//! inspect   look through a log at rest, and repair it
//! ```
//!
//! Everything here is synchronous and takes the time as an argument. Records are decoded by compaction alone:
//! otherwise the log knows batch headers, and nothing of producers or groups. Which transactions were aborted it is told,
//! keeps beside the segments, and finds again.

mod active;
pub mod checkpoint;
pub mod compact;
pub mod copy;
pub mod dir;
mod epochs;
mod error;
mod files;
mod index;
pub mod inspect;
mod log;
mod offset_index;
mod read;
mod recover;
mod replay;
pub mod retain;
mod scan;
mod sealed;
pub mod space;
mod swap;
mod time_index;
mod trim;
mod txn_check;
mod txn_index;
mod txn_sums;
mod verified;
mod walk;

#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use dir::read_metadata;
pub use epochs::{EpochEntry, LeaderEpochs};
pub use error::{ReadError, StorageError, StorageErrorKind};
pub use files::{DEFAULT_OPEN_FILES, FileCache, FileHandle, SyncTicket};
pub use log::{Appended, Log, LogConfig};
pub use read::{LogSlice, TimestampBatch};
pub use recover::{OpenOptions, Recovery};
pub use replay::Replay;
pub use retain::SegmentInfo;
pub use txn_index::AbortedTransaction;
pub use verified::{Damage, DamageCount};
