//! OffsetForLeaderEpoch: where each epoch ended.

use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest};

use crate::support::{Client, TestBroker, batch, request};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;

fn ask(
    client: &mut Client,
    version: i16,
    topic: &str,
    partition: i32,
    current: i32,
    epoch: i32,
) -> (i16, i32, i64) {
    let wanted = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(current)
        .with_leader_epoch(epoch);
    let topic =
        OffsetForLeaderTopic::default().with_topic(request::name(topic)).with_partitions(vec![wanted]);
    let mut request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    if version >= 3 {
        request.replica_id = BrokerId(-1);
    }
    let response = client.call(version, &request);
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.leader_epoch, answer.end_offset)
}

#[test]
fn each_epoch_ends_where_the_next_began() {
    let mut broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    broker.client().produce("t", 0, batch::of(&["a", "b"]));
    broker.crash_and_restart(|_| ());
    broker.client().produce("t", 0, batch::of(&["c"]));
    // An orderly restart begins no epoch.
    broker.restart();
    broker.client().produce("t", 0, batch::of(&["d"]));
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    client.produce("t", 0, batch::of(&["e"]));
    for version in 2..=4 {
        for (epoch, expected) in [(0, (0, 0, 2)), (1, (0, 1, 4)), (2, (0, 2, 5))] {
            assert_eq!(ask(&mut client, version, "t", 0, -1, epoch), expected, "v{version} epoch {epoch}");
        }
        for unknown in [3, -1, i32::MAX] {
            assert_eq!(
                ask(&mut client, version, "t", 0, -1, unknown),
                (0, -1, -1),
                "v{version} epoch {unknown}"
            );
        }
    }
}

#[test]
fn what_does_not_exist_and_epochs_that_do_not_fit() {
    let mut broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    broker.client().produce("t", 0, batch::of(&["a"]));
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    for (topic, partition) in [("t", 1), ("t", -1), ("nowhere", 0)] {
        let expected = (UNKNOWN_TOPIC_OR_PARTITION, -1, -1);
        assert_eq!(ask(&mut client, 4, topic, partition, -1, 0), expected, "{topic}-{partition}");
    }
    assert_eq!(ask(&mut client, 4, "t", 0, 1, 0), (0, 0, 1));
    assert_eq!(ask(&mut client, 4, "t", 0, 0, 0), (FENCED_LEADER_EPOCH, -1, -1));
    assert_eq!(ask(&mut client, 4, "t", 0, 2, 0), (UNKNOWN_LEADER_EPOCH, -1, -1));
}
