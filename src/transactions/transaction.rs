//! What is known of one transactional id, and what every step shares: whose request it is, and which rows it changed.
//!
//! The states and their names are Kafka's (`TransactionState`):
//!
//! ```text
//!               first partition or group              EndTxn, or fenced, or overdue         markers are in the logs
//!   Empty ------------------------------> Ongoing ------------------------------> Prepare* -----------------------> Complete*
//!     ^                                      ^                                       ^                               | |
//!     | InitProducerId                       +------------ first partition or group -|-------------------------------+ |
//!     +---------------------------------------------------------------------------- | --------------------------------+
//!                                              an abort of nothing (second protocol) +-- from Empty and Complete*
//! ```
//!
//! A change is made by exactly one step: `init`, `enlist`, `end`, `complete`, `expiry`, `adopt`. Each takes the time as an
//! argument, and changes nothing when it refuses.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::error::TransactionError;
use crate::record::TransactionOutcome;

/// No producer epoch: none was given out, or none is remembered.
pub const NO_EPOCH: i16 = -1;
/// No producer id.
pub const NO_PRODUCER_ID: i64 = -1;
/// A producer id has no epoch left when it is here: the last one is kept for the marker that fences (Kafka
/// `TransactionMetadata.isEpochExhausted`).
pub const LAST_EPOCH: i16 = i16::MAX - 1;

/// Where a transactional id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It has a producer, which has begun no transaction.
    Empty,
    /// A transaction has touched something.
    Ongoing,
    /// Its outcome is decided: commit.
    PrepareCommit,
    /// Its outcome is decided: abort.
    PrepareAbort,
    /// All partitions have the marker of a commit.
    CompleteCommit,
    /// All partitions have the marker of an abort.
    CompleteAbort,
}

impl State {
    /// Every state, in the order of Kafka's numbers.
    pub const ALL: [State; 6] = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
    ];

    /// Kafka's name, as DescribeTransactions and ListTransactions have it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
        }
    }

    /// The state of this name, if Kafka has it too.
    pub fn by_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The outcome is decided and its markers are on their way.
    pub const fn is_prepared(self) -> bool {
        matches!(self, State::PrepareCommit | State::PrepareAbort)
    }

    /// A prepared state when its markers are written; any other state is its own.
    pub(super) const fn completed(self) -> State {
        match self {
            State::PrepareCommit => State::CompleteCommit,
            State::PrepareAbort => State::CompleteAbort,
            other => other,
        }
    }
}

/// The generation of the transaction protocol that a request speaks (KIP-890). It follows from the request's version: EndTxn
/// 5, Produce 12 and TxnOffsetCommit 5 are of the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Partitions and groups are enlisted by requests of their own; the epoch changes with InitProducerId alone.
    First,
    /// They are enlisted as they are written to; every end of a transaction takes the next epoch.
    Second,
}

/// A partition by its topic's id, so that a re-created topic is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Id of the topic.
    pub topic: Uuid,
    /// The partition.
    pub partition: i32,
}

/// A producer as it calls itself in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Producer {
    /// The producer id.
    pub id: i64,
    /// The epoch under which it acts.
    pub epoch: i16,
}

/// What is known of one transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The present producer id.
    pub producer_id: i64,
    /// The producer id before the last change of anything; another one than `producer_id` only right after the epochs of an
    /// id ran out. Tells a repeated request from that of a stranger.
    pub previous_producer_id: i64,
    /// The present epoch. In a prepared state that of the markers.
    pub producer_epoch: i16,
    /// The epoch before, while the producer that had it may still ask again; [`NO_EPOCH`] when another one took over.
    pub last_producer_epoch: i16,
    /// In a prepared state: the producer id that comes next, because the present one has no epoch left.
    pub next_producer_id: Option<i64>,
    /// After so many milliseconds an ongoing transaction is aborted.
    pub timeout_ms: i32,
    /// Where it stands.
    pub state: State,
    /// The partitions of the present transaction.
    pub partitions: BTreeSet<TopicPartition>,
    /// The groups of the present transaction: those whose offsets it has, and one of each coordinator shard that was
    /// enlisted without offsets.
    pub groups: BTreeSet<Arc<str>>,
    /// When the present or last transaction began, milliseconds since the epoch; -1 when there was none since InitProducerId.
    pub started_at_ms: i64,
    /// When anything changed last, milliseconds since the epoch.
    pub updated_at_ms: i64,
    /// The protocol by which the last transaction was ended. Fencing ends by the second one.
    pub ended_with: Protocol,
    /// How many transactions ended; the number of the present one.
    pub serial: u64,
}

/// A transaction that is decided: what has to be done for it, once the decision is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Which transaction of its id.
    pub serial: u64,
    /// Whose markers.
    pub producer_id: i64,
    /// The epoch of the markers.
    pub producer_epoch: i16,
    /// How it ends.
    pub outcome: TransactionOutcome,
    /// Each gets a marker.
    pub partitions: BTreeSet<TopicPartition>,
    /// The pending offsets of each are committed or removed. A group may have none.
    pub groups: BTreeSet<Arc<str>>,
}

/// Whether a step changed what is stored of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Row {
    /// The row on its way to the disk says it already. An answer waits for that one.
    Unchanged,
    /// It is to be written; an answer waits until it is durable.
    Changed,
}

/// Why a step was not taken. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A new producer id is needed: fetch one, and take the step with it.
    #[error("a new producer id is needed")]
    NeedsProducerId,
    /// What the client is told.
    #[error(transparent)]
    Error(#[from] TransactionError),
}

impl Transaction {
    /// The producer id and epoch that a client is to use.
    pub fn producer(&self) -> Producer {
        Producer { id: self.producer_id, epoch: self.producer_epoch }
    }

    /// No epoch is left that a client may use.
    pub fn is_exhausted(&self) -> bool {
        self.producer_epoch >= LAST_EPOCH
    }

    /// The transaction as it is stored: once it is decided, as it will be when it is complete. What is still to be done
    /// until then is in the row of its ending.
    pub fn stored(&self) -> Cow<'_, Transaction> {
        if !self.state.is_prepared() {
            return Cow::Borrowed(self);
        }
        let mut completed = self.clone();
        completed.complete(self.updated_at_ms);
        Cow::Owned(completed)
    }

    /// Notes a change. Which producer id came before is told anew with each (Kafka `TransactionMetadata.prepareTransitionTo`).
    pub(super) fn touch(&mut self, now_ms: i64) {
        self.previous_producer_id = self.producer_id;
        self.updated_at_ms = now_ms;
    }
}
