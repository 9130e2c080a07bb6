//! What the requests of transactions share.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use crate::api::error_code::ToCode;
use crate::metadata::MetadataImage;
use crate::metadata::topics::CONSUMER_OFFSETS;
use crate::transactions::coordinator::Enlisted;
use crate::transactions::error::TransactionError;

/// The code of a refusal for a client that may not know PRODUCER_FENCED, which came with version `fenced_from` of the request
/// (KIP-588); earlier ones know a stale epoch.
pub fn code(error: &TransactionError, version: i16, fenced_from: i16) -> i16 {
    match error {
        TransactionError::ProducerFenced if version < fenced_from => {
            ResponseError::InvalidProducerEpoch.code()
        }
        error => error.code(),
    }
}

/// Partitions by topic name, as Kafka shows a transaction: its groups by their partitions of `__consumer_offsets`. Partitions
/// of deleted topics are left out.
pub fn by_topic(image: &MetadataImage, enlisted: &Enlisted) -> Vec<(TopicName, Vec<i32>)> {
    let name = |name: &str| TopicName(StrBytes::from_string(name.to_owned()));
    let mut topics: Vec<(TopicName, Vec<i32>)> = Vec::new();
    let mut last = None;
    for of in &enlisted.partitions {
        let Some(topic) = image.topic_by_id(of.topic) else { continue };
        if last != Some(of.topic) {
            topics.push((name(&topic.name), Vec::new()));
            last = Some(of.topic);
        }
        if let Some((_, partitions)) = topics.last_mut() {
            partitions.push(of.partition);
        }
    }
    if !enlisted.offsets_partitions.is_empty() {
        topics.push((name(CONSUMER_OFFSETS), enlisted.offsets_partitions.clone()));
    }
    topics
}

/// The code of a refusal for TxnOffsetCommit, whose clients of before KIP-890 know less
/// (`CoordinatorRuntime.scheduleTransactionalWriteOperation`).
pub fn offset_code(error: &TransactionError, version: i16) -> i16 {
    /// First version whose clients know that a transaction can be aborted and gone on from.
    const ABORTABLE_FROM: i16 = 4;
    match error {
        TransactionError::ProducerFenced => ResponseError::InvalidProducerEpoch.code(),
        TransactionError::TransactionAbortable if version < ABORTABLE_FROM => {
            ResponseError::InvalidTxnState.code()
        }
        error => error.code(),
    }
}

/// The code of a refusal for Produce (`AddPartitionsToTxnManager`, `ReplicaManager.handleProduceAppend`): clients of the first
/// protocol try again what is of a moment only if it looks like a lack of replicas, and know INVALID_PRODUCER_EPOCH.
pub fn produce_code(error: &TransactionError, version: i16) -> i16 {
    /// First version whose clients know that a transaction can be aborted and gone on from.
    const ABORTABLE_FROM: i16 = 11;
    /// First version of the second transaction protocol.
    const SECOND_PROTOCOL_FROM: i16 = 12;
    match error {
        TransactionError::ProducerFenced => ResponseError::InvalidProducerEpoch.code(),
        TransactionError::TransactionAbortable if version < ABORTABLE_FROM => {
            ResponseError::InvalidTxnState.code()
        }
        TransactionError::ConcurrentTransactions if version >= SECOND_PROTOCOL_FROM => error.code(),
        TransactionError::ConcurrentTransactions
        | TransactionError::CoordinatorNotAvailable
        | TransactionError::NotCoordinator => ResponseError::NotEnoughReplicas.code(),
        error => error.code(),
    }
}
