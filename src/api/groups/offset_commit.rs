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
    for topic in &request.topics {
        let Some(known) = image.topic(&topic.name) else {
            continue;
        };
        let existing =
            topic.partitions.iter().filter(|wanted| (0..known.partitions).contains(&wanted.partition_index));
        commits.extend(existing.map(|wanted| Commit {
            of: OffsetKey { topic: known.id, partition: wanted.partition_index },
            offset: wanted.committed_offset,
            leader_epoch: wanted.committed_leader_epoch,
            metadata: wanted.committed_metadata.as_ref().map_or("", |metadata| metadata.as_str()).into(),
        }));
    }
    if commits.is_empty() {
        return Answering::Now(shaped(&request, |_, _| None));
    }
    let keys: Vec<OffsetKey> = commits.iter().map(|commit| commit.of).collect();
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
        let codes: HashMap<OffsetKey, i16> = match answer {
            Ok(results) => {
                let code = |result: Committed| result.map_or_else(|error| error.code(), |()| NONE);
                keys.into_iter().zip(results.into_iter().map(code)).collect()
            }
            Err(error) => keys.into_iter().map(|of| (of, error.code())).collect(),
        };
        shaped(&request, |name, partition| {
            let topic = image.topic(name)?.id;
            codes.get(&OffsetKey { topic, partition }).copied()
        })
    })
}

fn shaped(request: &OffsetCommitRequest, code: impl Fn(&str, i32) -> Option<i16>) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let code = code(&topic.name, partition.partition_index);
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code.unwrap_or(ResponseError::UnknownTopicOrPartition.code()))
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
