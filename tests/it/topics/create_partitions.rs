//! CreatePartitions: more partitions, never fewer, never too many.

use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::{BrokerId, CreatePartitionsRequest};

use crate::support::{Client, TestBroker, batch, request};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_REQUEST: i16 = 42;

fn more(topic: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default().with_name(request::name(topic)).with_count(count).with_assignments(None)
}

fn ask(
    client: &mut Client,
    version: i16,
    topics: Vec<CreatePartitionsTopic>,
    validate_only: bool,
) -> Vec<(i16, String)> {
    let request = CreatePartitionsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(60_000)
        .with_validate_only(validate_only);
    let response = client.call(version, &request);
    response
        .results
        .into_iter()
        .map(|result| {
            (result.error_code, result.error_message.map_or(String::new(), |message| message.to_string()))
        })
        .collect()
}

/// Refused both as a question and as a wish.
fn refused(client: &mut Client, topic: CreatePartitionsTopic, code: i16) -> String {
    let told =
        [true, false].map(|validate_only| ask(client, 3, vec![topic.clone()], validate_only).remove(0));
    assert_eq!([told[0].0, told[1].0], [code; 2], "{}: {told:?}", topic.count);
    assert_eq!(told[0].1, told[1].1);
    told[0].1.clone()
}

#[test]
fn every_version_adds_partitions_that_take_records() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    client.produce("t", 0, batch::of(&["kept"]));
    for version in 0..=3 {
        let count = i32::from(version) * 2 + 3;
        assert_eq!(
            ask(&mut client, version, vec![more("t", count)], false),
            [(0, String::new())],
            "v{version}"
        );
        assert_eq!(client.produce("t", count - 1, batch::of(&["new"])).base_offset, 0, "v{version}");
    }
    assert_eq!(client.values("t", 0, 0), ["kept"]);
}

#[test]
fn validate_only_adds_nothing() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    assert_eq!(ask(&mut client, 3, vec![more("t", 4)], true), [(0, String::new())]);
    assert_eq!(client.produce("t", 1, batch::of(&["v"])).error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn counts_beyond_every_limit_are_refused_at_once() {
    let broker = TestBroker::with(&[("tidelog.max.partitions", "100")]);
    let mut client = broker.client();
    client.create_topic("t", 5, &[]);
    for count in [i32::MAX, i32::MAX - 1, 1 << 30, 101] {
        let message = refused(&mut client, more("t", count), INVALID_PARTITIONS);
        assert!(message.contains("100"), "the limit is named: {message}");
    }
    for count in [0, -1, -2, i32::MIN, 4, 5] {
        let message = refused(&mut client, more("t", count), INVALID_PARTITIONS);
        assert!(message.contains('5'), "the present count is named: {message}");
    }
    assert_eq!(ask(&mut client, 3, vec![more("t", 100)], false), [(0, String::new())]);
    assert_eq!(broker.client().produce("t", 99, batch::of(&["v"])).error_code, 0);
}

#[test]
fn topics_that_do_not_exist_or_come_twice() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    refused(&mut client, more("nowhere", 2), UNKNOWN_TOPIC_OR_PARTITION);
    let answers = ask(&mut client, 3, vec![more("t", 2), more("t", 3)], false);
    assert!(answers.iter().all(|(code, _)| *code == INVALID_REQUEST), "{answers:?}");
    assert_eq!(client.produce("t", 1, batch::of(&["v"])).error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn manual_assignments() {
    let broker = TestBroker::with(&[("node.id", "7")]);
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let assigned = |count: i32, brokers: &[&[i32]]| {
        let assignments = brokers.iter().map(|ids| {
            CreatePartitionsAssignment::default()
                .with_broker_ids(ids.iter().map(|id| BrokerId(*id)).collect())
        });
        more("t", count).with_assignments(Some(assignments.collect()))
    };
    for wrong in [
        assigned(2, &[&[1]]),
        assigned(2, &[&[7], &[7]]),
        assigned(3, &[&[7]]),
        assigned(2, &[&[7, 7]]),
        assigned(2, &[&[]]),
    ] {
        refused(&mut client, wrong, INVALID_REPLICA_ASSIGNMENT);
    }
    assert_eq!(ask(&mut client, 3, vec![assigned(3, &[&[7], &[7]])], false), [(0, String::new())]);
}
