//! OffsetFetch (key 9): how far groups have read.

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequest;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::shape::{self, text};
use crate::api::context::Context;
use crate::api::error_code::{NONE, ToCode};
use crate::groups::coordinator::{Answering, FetchOf, Fetched, Held};
use crate::groups::error::GroupError;
use crate::groups::offsets::OffsetKey;
use crate::groups::request::Committer;
use crate::metadata::MetadataImage;

/// First version that asks for several groups at once (KIP-709).
const GROUPS_FROM: i16 = 8;
/// First version in which an error is the group's and not each partition's.
const GROUP_ERROR_FROM: i16 = 2;
/// First version that says who asks (KIP-848).
const MEMBER_FROM: i16 = 9;

/// One group's question, whatever the version.
struct Question {
    group: GroupId,
    committer: Option<Committer>,
    /// Topics with partitions; none asks for all.
    topics: Option<Vec<(TopicName, Vec<i32>)>>,
}

/// A partition of the answer.
struct Found {
    partition: i32,
    fetched: Option<Fetched>,
}

/// One group's answer.
struct Answer {
    group: GroupId,
    code: i16,
    topics: Vec<(TopicName, Vec<Found>)>,
}

/// Answers for each group.
pub fn handle(context: &Context, request: OffsetFetchRequest) -> Answering<OffsetFetchResponse> {
    let version = context.version;
    let image = context.services.image();
    // The field came with version 7 and is false before.
    let stable = request.require_stable;
    let answers = questions(version, request).into_iter().map(|question| {
        let held = ask(context, &image, &question, stable);
        let image = image.clone();
        held.answer(move |result| answer(&image, question, result))
    });
    Answering::all(answers.collect()).map(move |answers| shaped(version, answers))
}

fn questions(version: i16, request: OffsetFetchRequest) -> Vec<Question> {
    if version < GROUPS_FROM {
        let topics = request
            .topics
            .map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect());
        return vec![Question { group: request.group_id, committer: None, topics }];
    }
    let groups = request.groups.into_iter().map(|group| {
        let topics = group
            .topics
            .map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect());
        let committer = (version >= MEMBER_FROM).then(|| Committer {
            member_id: group.member_id.as_ref().map_or_else(String::new, ToString::to_string),
            instance_id: None,
            generation_or_epoch: group.member_epoch,
        });
        Question { group: group.group_id, committer, topics }
    });
    groups.collect()
}

fn ask(
    context: &Context,
    image: &MetadataImage,
    question: &Question,
    stable: bool,
) -> Held<Vec<(OffsetKey, Fetched)>> {
    let of = match &question.topics {
        None => FetchOf::All,
        Some(topics) => FetchOf::These(
            topics
                .iter()
                .filter_map(|(name, partitions)| Some((image.topic(name)?.id, partitions)))
                .flat_map(|(topic, partitions)| {
                    partitions.iter().map(move |partition| OffsetKey { topic, partition: *partition })
                })
                .collect(),
        ),
    };
    let log_end = |of: OffsetKey| {
        let topic = image.topic_by_id(of.topic)?;
        let partition = (0..topic.partitions).contains(&of.partition).then_some(of.partition)?;
        Some(context.services.partition(topic, partition).ok()?.log_end_offset())
    };
    context.services.groups.fetch(&question.group, question.committer.as_ref(), of, stable, &log_end)
}

fn answer(
    image: &MetadataImage,
    question: Question,
    result: Result<Vec<(OffsetKey, Fetched)>, GroupError>,
) -> Answer {
    let group = question.group;
    let found = match result {
        Ok(found) => found,
        Err(error) => {
            let topics = question.topics.unwrap_or_default().into_iter().map(|(name, partitions)| {
                let absent = |partition| Found { partition, fetched: None };
                (name, partitions.into_iter().map(absent).collect())
            });
            return Answer { group, code: error.code(), topics: topics.collect() };
        }
    };
    let topics = match question.topics {
        None => shape::by_topic(
            found
                .into_iter()
                .map(|(of, fetched)| (of.topic, Found { partition: of.partition, fetched: Some(fetched) })),
        )
        .into_iter()
        .filter_map(|(topic, found)| {
            let name = image.topic_by_id(topic)?.name.to_string();
            Some((TopicName(text(name)), found))
        })
        .collect(),
        Some(topics) => {
            let found: HashMap<OffsetKey, Fetched> = found.into_iter().collect();
            let answered = topics.into_iter().map(|(name, partitions)| {
                let topic = image.topic(&name).map(|topic| topic.id);
                let look_up = |partition| {
                    let fetched = topic.and_then(|topic| found.get(&OffsetKey { topic, partition }).cloned());
                    Found { partition, fetched }
                };
                let partitions = partitions.into_iter().map(look_up).collect();
                (name, partitions)
            });
            answered.collect()
        }
    };
    Answer { group, code: NONE, topics }
}

fn shaped(version: i16, answers: Vec<Answer>) -> OffsetFetchResponse {
    if version >= GROUPS_FROM {
        return OffsetFetchResponse::default().with_groups(answers.into_iter().map(of_group).collect());
    }
    // Before groups could be listed there is exactly one.
    let Some(answer) = answers.into_iter().next() else {
        return OffsetFetchResponse::default();
    };
    let partition_code = if version < GROUP_ERROR_FROM { answer.code } else { NONE };
    let group_code = if version < GROUP_ERROR_FROM { NONE } else { answer.code };
    let shows_topics = group_code == NONE;
    let topics = answer.topics.into_iter().filter(|_| shows_topics).map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|found| {
            let (code, offset, epoch, metadata) = parts(found.fetched);
            OffsetFetchResponsePartition::default()
                .with_partition_index(found.partition)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(if version >= 5 { epoch } else { -1 })
                .with_metadata(Some(metadata))
                .with_error_code(if partition_code == NONE { code } else { partition_code })
        });
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_error_code(group_code).with_topics(topics.collect())
}

fn of_group(answer: Answer) -> OffsetFetchResponseGroup {
    let shows_topics = answer.code == NONE;
    let topics = answer.topics.into_iter().filter(|_| shows_topics).map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|found| {
            let (code, offset, epoch, metadata) = parts(found.fetched);
            OffsetFetchResponsePartitions::default()
                .with_partition_index(found.partition)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(Some(metadata))
                .with_error_code(code)
        });
        OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default()
        .with_group_id(answer.group)
        .with_error_code(answer.code)
        .with_topics(topics.collect())
}

/// Code, offset, leader epoch and metadata.
fn parts(fetched: Option<Fetched>) -> (i16, i64, i32, StrBytes) {
    match fetched {
        Some(Fetched::Committed(committed)) => {
            (NONE, committed.offset, committed.leader_epoch, text(committed.metadata.into_string()))
        }
        Some(Fetched::Unstable) => (ResponseError::UnstableOffsetCommit.code(), -1, -1, StrBytes::default()),
        None => (NONE, -1, -1, StrBytes::default()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kafka_protocol::messages::offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    use uuid::Uuid;

    use super::*;
    use crate::groups::offsets::CommittedOffset;
    use crate::metadata::{Change, apply};

    const TOPIC: Uuid = Uuid::from_u128(7);
    const UNSTABLE: i16 = 88;

    fn image() -> MetadataImage {
        let topic =
            Change::TopicCreated { name: "t".into(), id: TOPIC, partitions: 4, overrides: Arc::default() };
        apply(&MetadataImage::empty("c", 1), &[topic])
    }

    fn request(version: i16) -> OffsetFetchRequest {
        let name = TopicName(StrBytes::from_static_str("t"));
        let partitions = vec![0, 1, 2];
        if version < GROUPS_FROM {
            let topic = OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(partitions);
            return OffsetFetchRequest::default().with_require_stable(true).with_topics(Some(vec![topic]));
        }
        let topic = OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(partitions);
        let group = OffsetFetchRequestGroup::default().with_topics(Some(vec![topic]));
        OffsetFetchRequest::default().with_require_stable(true).with_groups(vec![group])
    }

    /// Partition 0 is unstable, partition 1 committed; of partition 2 there is nothing.
    fn found() -> Vec<(OffsetKey, Fetched)> {
        let committed = CommittedOffset {
            offset: 5,
            leader_epoch: 2,
            metadata: "m".into(),
            committed_at_ms: 0,
            expires_at_ms: None,
        };
        let of = |partition| OffsetKey { topic: TOPIC, partition };
        vec![(of(0), Fetched::Unstable), (of(1), Fetched::Committed(committed))]
    }

    /// KIP-447: the error is the partition's, in every version that can ask for it.
    #[test]
    fn an_unstable_partition_has_an_error_of_its_own() {
        for version in 7..=9 {
            let question = questions(version, request(version)).remove(0);
            let mut shape = shaped(version, vec![answer(&image(), question, Ok(found()))]);
            let shown: Vec<_> = if version < GROUPS_FROM {
                assert_eq!(shape.error_code, NONE);
                let partitions = shape.topics.remove(0).partitions.into_iter();
                partitions
                    .map(|p| (p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata))
                    .collect()
            } else {
                let mut group = shape.groups.remove(0);
                assert_eq!(group.error_code, NONE);
                let partitions = group.topics.remove(0).partitions.into_iter();
                partitions
                    .map(|p| (p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata))
                    .collect()
            };
            let text = |text| Some(StrBytes::from_static_str(text));
            let expected = [(UNSTABLE, -1, -1, text("")), (NONE, 5, 2, text("m")), (NONE, -1, -1, text(""))];
            assert_eq!(shown, expected, "v{version}");
        }
    }
}
