//! What a decision changed: answers to give, rows to write, and what is worth counting or logging.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::request::{JoinAnswer, SyncAnswer};

/// The moment of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds of a clock that never jumps: all deadlines are on it. Starts anew with the process.
    pub ticks_ms: u64,
    /// Milliseconds since the epoch: what is stored.
    pub wall_ms: i64,
}

/// Names a request that waits for its answer. Given by the driver, unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// An answer to a request that waited, or that is answered at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a JoinGroup.
    Join(JoinAnswer),
    /// To a SyncGroup.
    Sync(SyncAnswer),
}

/// One stored row of a group. A group has one head row; a consumer group has one row per member beside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// What is true of the group as a whole (all of a classic group).
    Head,
    /// One member of a consumer group.
    Member(Arc<str>),
}

/// Something that happened in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A rebalance began, for this reason.
    RebalanceBegan(String),
    /// A rebalance ended so many milliseconds after it began, with this generation or group epoch.
    RebalanceEnded {
        /// How long it took.
        millis: u64,
        /// The generation or group epoch reached.
        generation: i32,
    },
    /// A member came.
    MemberJoined(Arc<str>),
    /// A member left by itself.
    MemberLeft(Arc<str>),
    /// A member was declared gone, for this reason.
    MemberFenced {
        /// Which.
        member: Arc<str>,
        /// Why.
        reason: &'static str,
    },
    /// The group now speaks the other protocol.
    Converted {
        /// `classic` or `consumer`.
        to: &'static str,
    },
}

/// Gathers what one decision changed. The answers may be given only when the rows are durable.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answers to requests, in order.
    pub answers: Vec<(Ticket, Answer)>,
    /// Rows that changed: each is written as the group then is, or removed when the group has it no more.
    pub rows: BTreeSet<RowKey>,
    /// What happened, in order.
    pub notices: Vec<Notice>,
}

impl Effects {
    /// Answers a request.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.answers.push((ticket, answer));
    }

    /// Marks a row as changed.
    pub fn changed(&mut self, row: RowKey) {
        self.rows.insert(row);
    }

    /// Tells what happened.
    pub fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}
