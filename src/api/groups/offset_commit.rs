//! OffsetCommit (key 8): a group's progress, durable before the answer.

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequest;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::shape;
use crate::api::context::Context;
use crate::api::error_code::{NONE, ToCode};
use crate::groups::coordinator::{Answering, Commit, Committed};
use crate::groups::error::GroupError;
use crate::groups::offsets::OffsetKey;
use crate::groups::request::Committer;

/// Versions that may name a retention time of their own.
const RETENTION: std::ops::RangeInclusive<i16> = 2..=4;

/// Commits what can be committed; answers for each partition.
pub fn handle(context: &Context, request: OffsetCommitRequest) -> Answering<OffsetCommitResponse> {
    let image = context.services.image();
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
        return Answering::Now(shaped(&request, true, || None));
    }
    let committer = Committer {
        member_id: request.member_id.to_string(),
        instance_id: shape::owned(&request.group_instance_id),
        generation_or_epoch: request.generation_id_or_member_epoch,
    };
    let asked = request.retention_time_ms;
    let retention_ms = (RETENTION.contains(&context.version) && asked >= 0).then_some(asked);
    let group = request.group_id.to_string();
    let held = context.services.groups.commit(&group, &committer, context.version, commits, retention_ms);
    held.answer(move |answer: Result<Vec<Committed>, GroupError>| {
        let code = |result: Committed| result.map_or_else(|error| error.code(), |()| NONE);
        // A partition that comes twice has two results.
        let (results, of_all) = match answer {
            Ok(results) => (results, None),
            Err(error) => (Vec::new(), Some(error.code())),
        };
        let mut results = results.into_iter().map(code);
        let some_missing = exists.contains(&false);
        let mut exists = exists.into_iter();
        shaped(&request, some_missing, || {
            exists.next().filter(|exists| *exists).and_then(|_| of_all.or_else(|| results.next()))
        })
    })
}

/// `code` gives the code of each partition in turn; none for one that does not exist. As in Kafka a topic without partitions
/// is not answered, and one that comes twice is answered once where some partition of the request is `missing`.
fn shaped(
    request: &OffsetCommitRequest,
    missing: bool,
    mut code: impl FnMut() -> Option<i16>,
) -> OffsetCommitResponse {
    let mut topics: Vec<OffsetCommitResponseTopic> = Vec::with_capacity(request.topics.len());
    let mut places: HashMap<&str, usize> = HashMap::new();
    for topic in request.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let earlier = places.get(topic.name.as_str()).copied().filter(|_| missing);
        let place = earlier.unwrap_or_else(|| {
            topics.push(OffsetCommitResponseTopic::default().with_name(topic.name.clone()));
            topics.len() - 1
        });
        places.insert(topic.name.as_str(), place);
        topics[place].partitions.extend(topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code().unwrap_or(ResponseError::UnknownTopicOrPartition.code()))
        }));
    }
    OffsetCommitResponse::default().with_topics(topics)
}
