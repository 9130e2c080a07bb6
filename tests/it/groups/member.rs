//! What members do in most tests, in the newest version of each request.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::consumer_group_describe_response as consumer_described;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{ConsumerGroupHeartbeatResponse, JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{ask, code};
use crate::support::{Client, TestBroker};

pub const JOIN: i16 = 9;
pub const SYNC: i16 = 5;
pub const HEARTBEAT: i16 = 4;
pub const LEAVE: i16 = 5;
pub const BEAT: i16 = 1;
pub const COMMIT: i16 = 9;
pub const FETCH: i16 = 9;
pub const DESCRIBE: i16 = 6;

/// The epoch of the first member of a consumer group: Kafka 4.3 makes a group with epoch 1, and who joins begins the next.
pub const FIRST: i32 = 2;

/// Nobody waits for more members of a first rebalance in these tests.
pub const AT_ONCE: (&str, &str) = ("group.initial.rebalance.delay.ms", "0");

/// How often something is looked at before it is taken never to happen, with [`PAUSE`] in between: two minutes.
const LOOKS: usize = 12_000;
const PAUSE: Duration = Duration::from_millis(10);

/// A broker with the topic `t` of four partitions, and a connection to it.
pub fn broker() -> (TestBroker, Client, Uuid) {
    broker_with(&[])
}

/// As [`broker`], with settings of its own.
pub fn broker_with(settings: &[(&str, &str)]) -> (TestBroker, Client, Uuid) {
    let broker = TestBroker::with(&[&[AT_ONCE], settings].concat());
    let mut client = broker.client();
    let topic = client.create_topic("t", 4, &[]);
    (broker, client, topic)
}

/// Waits for what happens by itself. Says nothing about when.
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if happened() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("never happened: {what}");
}

/// An id for the member that is about to join with `request` (KIP-394).
pub fn member_id(client: &mut Client, request: &JoinGroupRequest) -> StrBytes {
    let told = client.call(JOIN, request);
    assert_eq!(told.error_code, code::MEMBER_ID_REQUIRED);
    assert!(!told.member_id.is_empty());
    told.member_id
}

/// Joins a group as its only member.
pub fn join(client: &mut Client, group: &str) -> JoinGroupResponse {
    let request = ask::join(group, "");
    let id = member_id(client, &request);
    let joined = client.call(JOIN, &request.with_member_id(id.clone()));
    assert_eq!((joined.error_code, &joined.member_id, &joined.leader), (code::NONE, &id, &id));
    joined
}

/// Joins as the only member and takes all four partitions of `t`.
pub fn settle(client: &mut Client, group: &str) -> JoinGroupResponse {
    let joined = join(client, group);
    let all = ask::assignment("t", &[0, 1, 2, 3]);
    assert_eq!(sync(client, group, &joined, &[(&joined.member_id, all.clone())]), Ok(all));
    joined
}

/// SyncGroup: the assignment, or the error code.
pub fn sync(
    client: &mut Client,
    group: &str,
    joined: &JoinGroupResponse,
    assignments: &[(&str, Bytes)],
) -> Result<Bytes, i16> {
    let request = ask::sync(group, &joined.member_id, joined.generation_id, assignments);
    let response = client.call(SYNC, &request);
    match response.error_code {
        code::NONE => Ok(response.assignment),
        code => Err(code),
    }
}

/// Heartbeat: the error code.
pub fn heartbeat(client: &mut Client, group: &str, joined: &JoinGroupResponse) -> i16 {
    client.call(HEARTBEAT, &ask::heartbeat(group, &joined.member_id, joined.generation_id)).error_code
}

/// Heartbeats until the member is to join again.
pub fn until_rebalance(client: &mut Client, group: &str, joined: &JoinGroupResponse) {
    eventually("a rebalance", || match heartbeat(client, group, joined) {
        code::NONE => false,
        code => {
            assert_eq!(code, code::REBALANCE_IN_PROGRESS);
            true
        }
    });
}

/// ConsumerGroupHeartbeat that is to be accepted.
pub fn beat(
    client: &mut Client,
    request: &kafka_protocol::messages::ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let response = client.call(BEAT, request);
    assert_eq!((response.error_code, response.error_message.as_deref()), (code::NONE, None));
    response
}

/// ConsumerGroupHeartbeat: the error code.
pub fn refused(
    client: &mut Client,
    request: &kafka_protocol::messages::ConsumerGroupHeartbeatRequest,
) -> i16 {
    let response = client.call(BEAT, request);
    assert!(response.error_code == code::NONE || response.error_message.is_some());
    response.error_code
}

/// The partitions of the only topic in an answer that tells an assignment.
pub fn told(response: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    let topics = &response.assignment.as_ref()?.topic_partitions;
    assert!(topics.len() <= 1, "{topics:?}");
    Some(topics.first().map(|topic| topic.partitions.clone()).unwrap_or_default())
}

/// DescribeGroups, of one group.
pub fn described(client: &mut Client, group: &str) -> DescribedGroup {
    client.call(DESCRIBE, &ask::describe(group)).groups.remove(0)
}

/// ConsumerGroupDescribe, of one group.
pub fn consumer_described(client: &mut Client, group: &str) -> consumer_described::DescribedGroup {
    client.call(1, &ask::describe_consumer(group)).groups.remove(0)
}

/// OffsetCommit: the error code of each partition.
pub fn commit(client: &mut Client, request: &kafka_protocol::messages::OffsetCommitRequest) -> Vec<i16> {
    let response = client.call(COMMIT, request);
    response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.error_code)).collect()
}

/// The committed offset of a partition; -1 when there is none.
pub fn committed(client: &mut Client, group: &str, topic: &str, partition: i32) -> i64 {
    let request = ask::fetch_offsets(vec![ask::offsets_of(group, Some((topic, &[partition])))]);
    let response = client.call(FETCH, &request);
    assert_eq!(response.groups[0].error_code, code::NONE);
    response.groups[0].topics[0].partitions[0].committed_offset
}
