//! One error per operation, made of shared facts. Mapped to Kafka's codes in the api folder; each variant
//! names the code it is meant for.

use std::sync::Arc;

use uuid::Uuid;

use super::topics::{NAME_BYTES_MAX, OVERRIDE_BYTES_MAX, OVERRIDES_MAX};
use crate::storage::StateError;
use crate::storage::rocks::blocking::Interrupted;

pub use crate::storage::codec::BadRow;

/// Why a topic name is not one (`INVALID_TOPIC_EXCEPTION`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopicName {
    /// No characters.
    #[error("a topic name must not be empty")]
    Empty,
    /// "." or "..".
    #[error("a topic name must not be \".\" or \"..\"")]
    DirectoryName,
    /// Longer than a directory name allows.
    #[error("a topic name of {bytes} bytes is longer than {NAME_BYTES_MAX}")]
    TooLong {
        /// Length of the refused name.
        bytes: usize,
    },
    /// Something else than letters, digits, '.', '_' and '-'.
    #[error("a topic name may hold only ASCII letters, digits, '.', '_' and '-'")]
    IllegalCharacter,
}

/// A decided change could not be made durable, so it did not happen (`KAFKA_STORAGE_ERROR`).
///
/// When the store itself failed, the record may still turn up after a restart, whole: the client was told
/// of an error, and finds the change made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The store refused.
    #[error("the change could not be recorded: {0}")]
    State(#[from] StateError),
    /// The process is stopping, or the writer failed half-way; nothing was published.
    #[error("the change was interrupted because the process is stopping")]
    Interrupted,
}

impl From<Interrupted> for JournalError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

/// Why a topic was not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    /// `INVALID_TOPIC_EXCEPTION`.
    #[error(transparent)]
    Name(#[from] InvalidTopicName),
    /// `INVALID_TOPIC_EXCEPTION`.
    #[error("topic {name} would share its metric names with {other}: '.' and '_' count as the same")]
    NameCollision {
        /// The wanted name.
        name: String,
        /// The live topic it collides with.
        other: Arc<str>,
    },
    /// `TOPIC_ALREADY_EXISTS`.
    #[error("topic {name} exists already")]
    Exists {
        /// The wanted name.
        name: String,
    },
    /// `INVALID_PARTITIONS`.
    #[error("a topic needs at least one partition; {asked} were asked for")]
    PartitionCount {
        /// The wanted count.
        asked: i32,
    },
    /// `POLICY_VIOLATION`.
    #[error("{asked} partitions were asked for; {room} more fit under this broker's limit of {limit}")]
    TooManyPartitions {
        /// The wanted count.
        asked: i32,
        /// How many more may exist now.
        room: u64,
        /// The limit for all topics together.
        limit: u32,
    },
    /// `INVALID_CONFIG`.
    #[error("at most {OVERRIDES_MAX} overrides of {OVERRIDE_BYTES_MAX} bytes together fit on a topic")]
    OverridesTooLarge,
    /// `KAFKA_STORAGE_ERROR`: the partitions' directories could not be made.
    #[error("the partitions could not be prepared: {reason}")]
    Logs {
        /// What happened, in the log store's words.
        reason: String,
    },
    /// `KAFKA_STORAGE_ERROR`.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why a topic was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    #[error("topic {0} does not exist")]
    UnknownName(String),
    /// `UNKNOWN_TOPIC_ID`.
    #[error("no topic has the id {0}")]
    UnknownId(Uuid),
    /// `KAFKA_STORAGE_ERROR`.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why a topic did not get more partitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreatePartitionsError {
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    #[error("topic {0} does not exist")]
    UnknownName(String),
    /// `INVALID_PARTITIONS`: the count can only grow.
    #[error("the topic has {current} partitions already; {asked} were asked for")]
    NotMore {
        /// Partitions now.
        current: i32,
        /// The wanted total.
        asked: i32,
    },
    /// `POLICY_VIOLATION`.
    #[error("{asked} partitions were asked for; {room} more fit under this broker's limit of {limit}")]
    TooManyPartitions {
        /// The wanted total of this topic.
        asked: i32,
        /// How many more may exist now.
        room: u64,
        /// The limit for all topics together.
        limit: u32,
    },
    /// `KAFKA_STORAGE_ERROR`.
    #[error("the partitions could not be prepared: {reason}")]
    Logs {
        /// What happened, in the log store's words.
        reason: String,
    },
    /// `KAFKA_STORAGE_ERROR`.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why a topic's overrides were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetOverridesError {
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    #[error("topic {0} does not exist")]
    UnknownName(String),
    /// `UNKNOWN_TOPIC_ID`.
    #[error("no topic has the id {0}")]
    UnknownId(Uuid),
    /// `INVALID_CONFIG`.
    #[error("at most {OVERRIDES_MAX} overrides of {OVERRIDE_BYTES_MAX} bytes together fit on a topic")]
    TooLarge,
    /// `KAFKA_STORAGE_ERROR`.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why the stored metadata could not be read at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The store refused.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row makes no sense; starting without it would lose a topic silently.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// Two rows contradict each other.
    #[error("topics {first} and {second} are stored with the same id")]
    DuplicateId {
        /// One of them.
        first: Arc<str>,
        /// The other.
        second: Arc<str>,
    },
    /// The process is stopping.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}
