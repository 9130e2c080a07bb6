//! AddPartitionsToTxn (key 24): enlists partitions in a transaction before records are sent to them. Clients of the second
//! transaction protocol do without it (KIP-890). Versions from 4 on name several transactions and may only ask whether
//! partitions are enlisted: brokers ask each other so.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TransactionalId;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopicResult,
};

use super::shape;
use crate::api::context::Context;
use crate::api::error_code::NONE;
use crate::groups::coordinator::Answering;
use crate::metadata::MetadataImage;
use crate::transactions::Producer;
use crate::transactions::TopicPartition;

/// First version that names several transactions.
const BATCHED_FROM: i16 = 4;
/// First version whose clients know PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;

/// Enlists all partitions of a transaction, or none.
pub fn handle(
    context: &Context,
    request: AddPartitionsToTxnRequest,
) -> Answering<AddPartitionsToTxnResponse> {
    if context.version < BATCHED_FROM {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(request.v3_and_below_transactional_id)
            .with_producer_id(request.v3_and_below_producer_id)
            .with_producer_epoch(request.v3_and_below_producer_epoch)
            .with_topics(request.v3_and_below_topics);
        return one(context, transaction).map(|(_, topics)| {
            AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics)
        });
    }
    let answers = request.transactions.into_iter().map(|transaction| one(context, transaction));
    Answering::all(answers.collect()).map(|answers| {
        let results = answers.into_iter().map(|(transactional_id, topics)| {
            AddPartitionsToTxnResult::default()
                .with_transactional_id(transactional_id)
                .with_topic_results(topics)
        });
        AddPartitionsToTxnResponse::default().with_results_by_transaction(results.collect())
    })
}

type Answer = (TransactionalId, Vec<AddPartitionsToTxnTopicResult>);

fn one(context: &Context, transaction: AddPartitionsToTxnTransaction) -> Answering<Answer> {
    let image = context.services.image();
    let version = context.version;
    let AddPartitionsToTxnTransaction { transactional_id, topics, .. } = transaction;
    let wanted = match existing(&image, &topics) {
        Ok(wanted) => wanted,
        // Nothing is enlisted if anything is at fault: the client would not know what to make of a half.
        Err(()) => {
            let code = |name: &str, partition: i32| match exists(&image, name, partition) {
                true => ResponseError::OperationNotAttempted.code(),
                false => ResponseError::UnknownTopicOrPartition.code(),
            };
            let results = shaped(topics, code);
            return Answering::Now((transactional_id, results));
        }
    };
    let producer = Producer { id: transaction.producer_id.0, epoch: transaction.producer_epoch };
    let coordinator = &context.services.transactions;
    if transaction.verify_only {
        let verified = coordinator.verify_partitions(&transactional_id, producer, wanted);
        let results = shaped(topics, |name, partition| match &verified {
            Ok(missing) => {
                let topic = image.topic(name).map(|topic| topic.id);
                match topic.is_some_and(|topic| missing.contains(&TopicPartition { topic, partition })) {
                    true => ResponseError::TransactionAbortable.code(),
                    false => NONE,
                }
            }
            Err(error) => shape::code(error, version, FENCED_FROM),
        });
        return Answering::Now((transactional_id, results));
    }
    coordinator.add_partitions(&transactional_id, producer, wanted).answer(move |result| {
        let code = result.map_or_else(|error| shape::code(&error, version, FENCED_FROM), |()| NONE);
        (transactional_id, shaped(topics, |_, _| code))
    })
}

fn exists(image: &MetadataImage, name: &str, partition: i32) -> bool {
    image.topic(name).is_some_and(|topic| (0..topic.partitions).contains(&partition))
}

fn existing(
    image: &MetadataImage,
    topics: &[AddPartitionsToTxnTopic],
) -> Result<BTreeSet<TopicPartition>, ()> {
    let mut wanted = BTreeSet::new();
    for topic in topics {
        let known = image.topic(&topic.name);
        for partition in &topic.partitions {
            match known.filter(|known| (0..known.partitions).contains(partition)) {
                Some(known) => wanted.insert(TopicPartition { topic: known.id, partition: *partition }),
                None => return Err(()),
            };
        }
    }
    Ok(wanted)
}

fn shaped(
    topics: Vec<AddPartitionsToTxnTopic>,
    code: impl Fn(&str, i32) -> i16,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let results = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(code(&topic.name, *partition))
        });
        let partitions = partitions.collect();
        AddPartitionsToTxnTopicResult::default().with_name(topic.name).with_results_by_partition(partitions)
    });
    results.collect()
}
