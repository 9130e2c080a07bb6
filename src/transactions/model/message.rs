//! What producers ask, and what they are told.

use super::super::error::TransactionError;
use super::super::transaction::{Producer, Protocol};
use crate::record::TransactionOutcome;

/// A transaction as its client counts it.
pub(super) type Token = u32;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Asked {
    Init { expected: Option<Producer> },
    Add { partition: usize },
    Produce { partition: usize, sequence: u32, token: Token },
    AddGroup { group: usize },
    CommitOffset { group: usize, token: Token },
    End { outcome: TransactionOutcome, token: Token },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Message {
    pub(super) client: usize,
    pub(super) process: u32,
    pub(super) protocol: Protocol,
    pub(super) producer: Producer,
    pub(super) asked: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Failure {
    Coordinator(TransactionErrorKind),
    StaleEpoch,
    OutOfOrder,
}

/// What a client does about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TransactionErrorKind {
    Retriable,
    Abortable,
    Fatal,
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Failure {
        Failure::Coordinator(match error {
            TransactionError::ConcurrentTransactions => TransactionErrorKind::Retriable,
            TransactionError::TransactionAbortable => TransactionErrorKind::Abortable,
            TransactionError::ProducerFenced
            | TransactionError::InvalidProducerIdMapping
            | TransactionError::InvalidTxnState => TransactionErrorKind::Fatal,
            other => panic!("not expected here: {other:?}"),
        })
    }
}

/// In the first protocol all transactions of an epoch look alike, so a late copy of these would count for the present one.
pub(super) fn is_told_apart(message: &Message) -> bool {
    message.protocol == Protocol::Second
        || !matches!(message.asked, Asked::End { .. } | Asked::CommitOffset { .. })
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) message: Message,
    pub(super) is_late_copy: bool,
    pub(super) outcome: Result<Producer, Failure>,
    /// Rows that must be durable first.
    pub(super) writes: u64,
    pub(super) log: Option<(usize, usize)>,
}
