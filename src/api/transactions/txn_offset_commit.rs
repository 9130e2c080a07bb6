//! TxnOffsetCommit (key 28): a group's progress as part of a transaction. Nobody sees it before the transaction is committed.

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequest;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use super::shape;
use crate::api::context::Context;
use crate::api::error_code::{NONE, ToCode};
use crate::groups::coordinator::{Answering, Commit, Committed};
use crate::groups::offsets::OffsetKey;
use crate::groups::request::Committer;
use crate::transactions::{Producer, Protocol};

/// First version of the second transaction protocol: the group is enlisted by this request itself.
const SECOND_PROTOCOL_FROM: i16 = 5;

/// Takes the offsets that can be taken; answers for each partition.
pub fn handle(context: &Context, request: TxnOffsetCommitRequest) -> Answering<TxnOffsetCommitResponse> {
    let image = context.services.image();
    let version = context.version;
    let mut commits = Vec::new();
    // For each partition in the order of the request: whether it exists, and so has a commit.
    let mut exists = Vec::new();
    for topic in &request.topics {
        let known = image.topic(&topic.name);
        for wanted in &topic.partitions {
            let known = known.filter(|known| (0..known.partitions).contains(&wanted.partition_index));
            exists.push(known.is_some());
            commits.extend(known.map(|known| Commit {
                of: OffsetKey { topic: known.id, partition: wanted.partition_index },
                offset: wanted.committed_offset,
                leader_epoch: wanted.committed_leader_epoch,
                metadata: wanted.committed_metadata.as_ref().map_or("", |metadata| metadata.as_str()).into(),
            }));
        }
    }
    if commits.is_empty() {
        return Answering::Now(shaped(&request, &exists, |_| None));
    }
    // Before anything else is looked at, or a transaction is begun for it (`GroupCoordinatorService.commitTransactionalOffsets`).
    if request.group_id.is_empty() {
        return Answering::Now(shaped(&request, &exists, |_| Some(ResponseError::InvalidGroupId.code())));
    }
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let protocol = if version >= SECOND_PROTOCOL_FROM { Protocol::Second } else { Protocol::First };
    let committer = Committer {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        generation_or_epoch: request.generation_id,
    };
    let group = request.group_id.to_string();
    let services = &context.services;
    let enlisted = services.transactions.commit_offsets(
        &request.transactional_id,
        producer,
        protocol,
        &group,
        |groups, term| {
            groups.commit_pending(term, &group, (producer.id, producer.epoch), &committer, commits)
        },
    );
    match enlisted {
        Err(error) => {
            let code = shape::offset_code(&error, version);
            Answering::Now(shaped(&request, &exists, |_| Some(code)))
        }
        Ok(held) => held.answer(move |answer| {
            let code = |result: &Committed| result.as_ref().map_or_else(|error| error.code(), |()| NONE);
            shaped(&request, &exists, |at| match &answer {
                Ok(results) => results.get(at).map(code),
                Err(error) => Some(error.code()),
            })
        }),
    }
}

/// `code` gives the code of the n-th partition that exists. As in Kafka a topic that comes twice is answered once where some
/// partition of the request does not exist.
fn shaped(
    request: &TxnOffsetCommitRequest,
    exists: &[bool],
    code: impl Fn(usize) -> Option<i16>,
) -> TxnOffsetCommitResponse {
    let mut topics: Vec<TxnOffsetCommitResponseTopic> = Vec::with_capacity(request.topics.len());
    let mut places: HashMap<&TopicName, usize> = HashMap::new();
    let some_missing = exists.contains(&false);
    let (mut exists, mut existing) = (exists.iter(), 0);
    for topic in request.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let earlier = places.get(&topic.name).copied().filter(|_| some_missing);
        let place = earlier.unwrap_or_else(|| {
            topics.push(TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()));
            topics.len() - 1
        });
        places.insert(&topic.name, place);
        for partition in &topic.partitions {
            let code = match exists.next() {
                Some(true) => {
                    existing += 1;
                    code(existing - 1)
                }
                _ => None,
            };
            topics[place].partitions.push(
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code.unwrap_or(ResponseError::UnknownTopicOrPartition.code())),
            );
        }
    }
    TxnOffsetCommitResponse::default().with_topics(topics)
}
