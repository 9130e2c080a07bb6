//! A transactional id at hand for tests of its steps.

use std::sync::Arc;

use uuid::Uuid;

use super::init::InitRequest;
use super::transaction::{Producer, TopicPartition, Transaction};

/// When tests begin, milliseconds since the epoch.
pub(super) const START_MS: i64 = 1_700_000_000_000;
/// The transaction timeout of [`begun`], milliseconds.
pub(super) const TIMEOUT_MS: i32 = 60_000;
/// The producer id of [`begun`].
pub(super) const ID: i64 = 7;

/// InitProducerId with these expectations.
pub(super) fn request(expected: Option<Producer>) -> InitRequest {
    InitRequest { timeout_ms: TIMEOUT_MS, expected }
}

/// An empty transactional id of the producer [`ID`] at this epoch.
pub(super) fn begun(epoch: i16) -> Transaction {
    let mut transaction = Transaction::create(request(None), ID, START_MS);
    transaction.producer_epoch = epoch;
    transaction
}

/// As [`begun`], with a transaction under way in one partition.
pub(super) fn ongoing(epoch: i16) -> Transaction {
    let mut transaction = begun(epoch);
    let enlisted = transaction.enlist(producer(epoch), &[partition(0)], START_MS);
    assert!(enlisted.is_ok());
    transaction
}

/// The producer [`ID`] at this epoch.
pub(super) fn producer(epoch: i16) -> Producer {
    Producer { id: ID, epoch }
}

/// A partition of some topic.
pub(super) fn partition(index: i32) -> TopicPartition {
    TopicPartition { topic: Uuid::from_u128(1), partition: index }
}

/// A group's id.
pub(super) fn group(id: &str) -> Arc<str> {
    id.into()
}
