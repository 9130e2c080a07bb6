//! Group requests with every field that a test does not care about filled in.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, TopicName};

use crate::support::request::{name, text};

/// A group's id.
pub fn group(id: &str) -> GroupId {
    GroupId(text(id))
}

/// The consumers' own encoding of a subscription, version 1: topics, no user data, no owned partitions.
pub fn subscription(topics: &[&str]) -> Bytes {
    owning(topics, "", &[])
}

/// As [`subscription`], with owned partitions of one topic.
pub fn owning(topics: &[&str], topic: &str, owned: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(topics.len() as i32);
    topics.iter().for_each(|topic| put_text(&mut out, topic));
    out.put_i32(-1);
    put_partitions(&mut out, topic, owned);
    out.freeze()
}

/// The consumers' own encoding of an assignment of partitions of one topic.
pub fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    put_partitions(&mut out, topic, partitions);
    out.put_i32(-1);
    out.freeze()
}

fn put_partitions(out: &mut BytesMut, topic: &str, partitions: &[i32]) {
    out.put_i32(i32::from(!partitions.is_empty()));
    if !partitions.is_empty() {
        put_text(out, topic);
        out.put_i32(partitions.len() as i32);
        partitions.iter().for_each(|partition| out.put_i32(*partition));
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

/// JoinGroup of a consumer of topic `t` that assigns by `range`, or of a member that has an id already.
pub fn join(id: &str, member_id: &str) -> m::JoinGroupRequest {
    m::JoinGroupRequest::default()
        .with_group_id(group(id))
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range", subscription(&["t"]))])
}

/// One of the protocols of a JoinGroup.
pub fn protocol(name: &str, metadata: Bytes) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata)
}

/// SyncGroup of version 5, which has to name the protocol (KIP-559); only a leader brings assignments.
pub fn sync(
    id: &str,
    member_id: &str,
    generation: i32,
    assignments: &[(&str, Bytes)],
) -> m::SyncGroupRequest {
    sync_unnamed(id, member_id, generation, assignments)
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
}

/// SyncGroup of earlier versions.
pub fn sync_unnamed(
    id: &str,
    member_id: &str,
    generation: i32,
    assignments: &[(&str, Bytes)],
) -> m::SyncGroupRequest {
    let assignments = assignments.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default().with_member_id(text(member)).with_assignment(assignment.clone())
    });
    m::SyncGroupRequest::default()
        .with_group_id(group(id))
        .with_generation_id(generation)
        .with_member_id(text(member_id))
        .with_assignments(assignments.collect())
}

/// Heartbeat.
pub fn heartbeat(id: &str, member_id: &str, generation: i32) -> m::HeartbeatRequest {
    m::HeartbeatRequest::default()
        .with_group_id(group(id))
        .with_generation_id(generation)
        .with_member_id(text(member_id))
}

/// LeaveGroup of versions 3 and above, of members by their ids.
pub fn leave(id: &str, members: &[&str]) -> m::LeaveGroupRequest {
    let members = members.iter().map(|member| MemberIdentity::default().with_member_id(text(member)));
    m::LeaveGroupRequest::default().with_group_id(group(id)).with_members(members.collect())
}

/// ConsumerGroupHeartbeat with nothing new.
pub fn beat(id: &str, member_id: &str, epoch: i32) -> m::ConsumerGroupHeartbeatRequest {
    m::ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(id))
        .with_member_id(text(member_id))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

/// ConsumerGroupHeartbeat that joins.
pub fn enter(id: &str, member_id: &str, topics: &[&str]) -> m::ConsumerGroupHeartbeatRequest {
    let topics: Vec<TopicName> = topics.iter().map(|topic| name(topic)).collect();
    beat(id, member_id, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(topics))
        .with_topic_partitions(Some(Vec::new()))
}

/// What a member says it owns of one topic.
pub fn owned(
    topic: uuid::Uuid,
    partitions: &[i32],
) -> Option<Vec<m::consumer_group_heartbeat_request::TopicPartitions>> {
    let owned = m::consumer_group_heartbeat_request::TopicPartitions::default()
        .with_topic_id(topic)
        .with_partitions(partitions.to_vec());
    Some(if partitions.is_empty() { Vec::new() } else { vec![owned] })
}

/// OffsetCommit from outside group membership, for partitions of one topic.
pub fn commit(id: &str, topic: &str, offsets: &[(i32, i64)]) -> m::OffsetCommitRequest {
    let partitions = offsets.iter().map(|(partition, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text("note")))
    });
    let topic =
        OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(partitions.collect());
    m::OffsetCommitRequest::default()
        .with_group_id(group(id))
        .with_generation_id_or_member_epoch(-1)
        .with_retention_time_ms(-1)
        .with_topics(vec![topic])
}

/// What OffsetFetch of versions 8 and above asks about a group: partitions of one topic, or with `None` everything.
pub fn offsets_of(id: &str, of: Option<(&str, &[i32])>) -> OffsetFetchRequestGroup {
    let topics = of.map(|(topic, partitions)| {
        vec![
            OffsetFetchRequestTopics::default()
                .with_name(name(topic))
                .with_partition_indexes(partitions.to_vec()),
        ]
    });
    OffsetFetchRequestGroup::default().with_group_id(group(id)).with_topics(topics).with_member_epoch(-1)
}

/// OffsetFetch of versions 8 and above.
pub fn fetch_offsets(groups: Vec<OffsetFetchRequestGroup>) -> m::OffsetFetchRequest {
    m::OffsetFetchRequest::default().with_groups(groups)
}

/// OffsetDelete of partitions of one topic.
pub fn delete_offsets(id: &str, topic: &str, partitions: &[i32]) -> m::OffsetDeleteRequest {
    let partitions = partitions
        .iter()
        .map(|partition| OffsetDeleteRequestPartition::default().with_partition_index(*partition));
    let topic =
        OffsetDeleteRequestTopic::default().with_name(name(topic)).with_partitions(partitions.collect());
    m::OffsetDeleteRequest::default().with_group_id(group(id)).with_topics(vec![topic])
}

/// DescribeGroups of one group.
pub fn describe(id: &str) -> m::DescribeGroupsRequest {
    m::DescribeGroupsRequest::default().with_groups(vec![group(id)])
}

/// ConsumerGroupDescribe of one group.
pub fn describe_consumer(id: &str) -> m::ConsumerGroupDescribeRequest {
    m::ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(id)])
}

/// DeleteGroups.
pub fn delete_groups(ids: &[&str]) -> m::DeleteGroupsRequest {
    m::DeleteGroupsRequest::default().with_groups_names(ids.iter().map(|id| group(id)).collect())
}
