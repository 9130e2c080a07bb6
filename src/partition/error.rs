//! What can go wrong with a partition, one enum per operation.

use crate::record::InvalidBatch;
use crate::storage::segment::{StorageError, StorageErrorKind};

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch itself is at fault.
    #[error(transparent)]
    Invalid(#[from] InvalidBatch),
    /// The sequence does not follow the producer's last batch.
    #[error(
        "out of order sequence number for producer {producer_id}: {found} (incoming), {expected} (expected)"
    )]
    OutOfOrderSequence { producer_id: i64, found: i32, expected: i32 },
    /// A newer epoch of this producer is known.
    #[error("producer {producer_id} has epoch {current}, the batch has {found}")]
    InvalidProducerEpoch { producer_id: i64, found: i16, current: i16 },
    /// A transactional batch for a partition in which its producer has no open transaction of this epoch, and nobody vouches
    /// for it: the coordinator is to be asked.
    #[error("the partition is not known to be part of the transaction of producer {producer_id}")]
    NotEnlisted { producer_id: i64 },
    /// The batch does not belong to the producer's open transaction (INVALID_TXN_STATE).
    #[error("producer {producer_id} has an open transaction that the batch is not part of")]
    InvalidTxnState { producer_id: i64 },
    /// A newer coordinator has ended a transaction of this producer (TRANSACTION_COORDINATOR_FENCED).
    #[error("a coordinator of epoch {current} is known to producer {producer_id}, the marker has {found}")]
    CoordinatorFenced { producer_id: i64, found: i32, current: i32 },
    /// `min.insync.replicas` asks for more replicas than this one.
    #[error("{required} in-sync replicas are required, there is 1")]
    NotEnoughReplicas { required: i32 },
    /// The disk is full; nothing of the batch is visible, a retry may succeed.
    #[error("the log directory is full")]
    DiskFull,
    /// No more files can be opened; nothing of the batch is visible, a retry may succeed.
    #[error("too many files are open")]
    OutOfFiles,
    /// Writing failed; nothing of the batch was acknowledged.
    #[error("the log cannot be written: {0}")]
    Storage(String),
    /// The partition is closed: its topic was deleted or the broker is stopping.
    #[error("the partition is closed")]
    Closed,
    /// The append was made, but its durability was not reached within the request's timeout.
    #[error("not durable within the request's timeout")]
    TimedOut,
}

/// Why a read was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the log start or above what the reader may see.
    #[error("offset {offset} is outside {start}..={end}")]
    OutOfRange { offset: i64, start: i64, end: i64 },
    /// The client knows an older leader epoch than ours.
    #[error("leader epoch {found} is older than {current}")]
    FencedEpoch { found: i32, current: i32 },
    /// The client knows a newer leader epoch than ours.
    #[error("leader epoch {found} is newer than {current}")]
    UnknownEpoch { found: i32, current: i32 },
    /// The segment could not be read.
    #[error("the log cannot be read: {0}")]
    Storage(String),
    /// What was written is not what is on the disk (CORRUPT_MESSAGE).
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// The partition is closed.
    #[error("the partition is closed")]
    Closed,
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        match error.kind() {
            StorageErrorKind::Corrupt => ReadError::Damaged(error.to_string()),
            StorageErrorKind::Closed => ReadError::Closed,
            StorageErrorKind::Full | StorageErrorKind::OutOfFiles | StorageErrorKind::Unavailable => {
                ReadError::Storage(error.to_string())
            }
        }
    }
}

/// Why an offset request (ListOffsets, DeleteRecords, OffsetForLeaderEpoch) was refused.
#[derive(Debug, thiserror::Error)]
pub enum OffsetError {
    /// The epoch check failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The offset lies outside the log.
    #[error("offset {0} is out of range")]
    OutOfRange(i64),
}
