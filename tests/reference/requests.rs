//! Requests with every field that a script does not care about filled in.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerProtocolSubscription, GroupId, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

/// Long enough that no script runs into it by chance, milliseconds.
pub const LONG_MS: i32 = 60_000;

/// A text of the protocol.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A text of the protocol that may be null.
pub fn some(value: &str) -> Option<StrBytes> {
    Some(text(value))
}

/// A group's id.
pub fn group(group: &str) -> GroupId {
    GroupId(text(group))
}

/// Groups' ids.
pub fn groups(names: &[&str]) -> Vec<GroupId> {
    names.iter().map(|name| group(name)).collect()
}

/// A topic's name.
pub fn topic(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// JoinGroup of a member of this id (empty: none yet), with one protocol.
pub fn join(in_group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(group(in_group))
        .with_session_timeout_ms(LONG_MS)
        .with_rebalance_timeout_ms(LONG_MS)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols(&[("range", "topic")]))
}

/// Protocols of JoinGroup, each with the metadata of a consumer that subscribes to one topic.
pub fn protocols(all: &[(&str, &str)]) -> Vec<JoinGroupRequestProtocol> {
    all.iter().map(|(name, topic)| protocol(name, subscription(&[topic], &[]))).collect()
}

/// A protocol of JoinGroup.
pub fn protocol(name: &str, metadata: Bytes) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata)
}

/// The version of what [`subscription`] makes.
pub const SUBSCRIPTION_VERSION: i16 = 1;

/// The metadata of a consumer that subscribes to these topics and owns these partitions.
pub fn subscription(topics: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
    use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition;
    let owned = owned.iter().map(|(name, partitions)| {
        TopicPartition::default().with_topic(topic(name)).with_partitions(partitions.to_vec())
    });
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(topics.iter().map(|topic| text(topic)).collect())
        .with_owned_partitions(owned.collect());
    let mut bytes = BytesMut::new();
    bytes.put_i16(SUBSCRIPTION_VERSION);
    subscription.encode(&mut bytes, SUBSCRIPTION_VERSION).expect("a subscription");
    bytes.freeze()
}

/// SyncGroup of the protocol that [`join`] names, with the assignments that a leader gives.
pub fn sync(in_group: &str, generation: i32, member: &str, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::copy_from_slice(assignment.as_bytes()))
    });
    SyncGroupRequest::default()
        .with_group_id(group(in_group))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_protocol_type(some("consumer"))
        .with_protocol_name(some("range"))
        .with_assignments(assignments.collect())
}

/// Heartbeat.
pub fn heartbeat(in_group: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group(in_group))
        .with_generation_id(generation)
        .with_member_id(text(member))
}

/// LeaveGroup of one member, up to version 2.
pub fn leave(in_group: &str, member: &str) -> LeaveGroupRequest {
    LeaveGroupRequest::default().with_group_id(group(in_group)).with_member_id(text(member))
}

/// LeaveGroup of several members, given by member id and instance id, from version 3 on.
pub fn leave_all(in_group: &str, members: &[(&str, Option<&str>)]) -> LeaveGroupRequest {
    let members = members.iter().map(|(member, instance)| {
        MemberIdentity::default().with_member_id(text(member)).with_group_instance_id(instance.map(text))
    });
    LeaveGroupRequest::default().with_group_id(group(in_group)).with_members(members.collect())
}

/// OffsetCommit by a member (or with -1 and an empty id by none) of one partition of each topic.
pub fn commit(
    in_group: &str,
    generation: i32,
    member: &str,
    offsets: &[(&str, i32, i64)],
) -> OffsetCommitRequest {
    let topics = offsets.iter().map(|(name, partition, offset)| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(some("note"));
        OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition])
    });
    OffsetCommitRequest::default()
        .with_group_id(group(in_group))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(topics.collect())
}

/// OffsetFetch of one group, up to version 7. `None` is every topic.
pub fn fetch(in_group: &str, topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequest {
    let topics = topics.map(|topics| {
        let topics = topics.iter().map(|(name, partitions)| {
            OffsetFetchRequestTopic::default()
                .with_name(topic(name))
                .with_partition_indexes(partitions.to_vec())
        });
        topics.collect()
    });
    OffsetFetchRequest::default().with_group_id(group(in_group)).with_topics(topics)
}

/// OffsetFetch of several groups, from version 8 on.
pub fn fetch_all(groups: Vec<OffsetFetchRequestGroup>) -> OffsetFetchRequest {
    OffsetFetchRequest::default().with_groups(groups)
}

/// A group of [`fetch_all`]. `None` is every topic.
pub fn fetched(in_group: &str, topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequestGroup {
    let topics = topics.map(|topics| {
        let topics = topics.iter().map(|(name, partitions)| {
            OffsetFetchRequestTopics::default()
                .with_name(topic(name))
                .with_partition_indexes(partitions.to_vec())
        });
        topics.collect()
    });
    OffsetFetchRequestGroup::default().with_group_id(group(in_group)).with_topics(topics)
}

/// ConsumerGroupHeartbeat that says nothing new.
pub fn beat(in_group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(in_group))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

/// ConsumerGroupHeartbeat of a member that joins and subscribes to these topics.
pub fn enter(in_group: &str, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    beat(in_group, member, 0)
        .with_rebalance_timeout_ms(LONG_MS)
        .with_subscribed_topic_names(Some(topics.iter().map(|name| topic(name)).collect()))
        .with_topic_partitions(Some(vec![]))
}

/// The partitions that a member says it owns.
pub fn owned(topics: &[(Uuid, &[i32])]) -> Option<Vec<TopicPartitions>> {
    let topics = topics.iter().map(|(id, partitions)| {
        TopicPartitions::default().with_topic_id(*id).with_partitions(partitions.to_vec())
    });
    Some(topics.collect())
}
