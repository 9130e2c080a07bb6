//! CreateTopics: what is created, what is refused, and that a refusal costs nothing.

use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, MetadataRequest};
use uuid::Uuid;

use crate::support::{Client, TestBroker, batch, request};

const INVALID_TOPIC_EXCEPTION: i16 = 17;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;

fn create(client: &mut Client, topic: CreatableTopic) -> CreatableTopicResult {
    client.call(7, &request::create_topics(vec![topic])).topics.remove(0)
}

/// Creates nothing and says why.
fn refused(client: &mut Client, topic: CreatableTopic, code: i16) -> String {
    let name = topic.name.clone();
    for validate_only in [true, false] {
        let request = request::create_topics(vec![topic.clone()]).with_validate_only(validate_only);
        let result = client.call(7, &request).topics.remove(0);
        assert_eq!(result.error_code, code, "{name:?}: {:?}", result.error_message);
        assert_eq!((result.name, result.topic_id), (name.clone(), Uuid::nil()));
        assert_eq!((result.num_partitions, result.replication_factor), (-1, -1));
        if !validate_only {
            return result.error_message.expect("a reason").to_string();
        }
    }
    unreachable!("the second pass returns")
}

fn topics(client: &mut Client) -> Vec<String> {
    let response = client.call(9, &MetadataRequest::default().with_topics(None));
    response.topics.into_iter().map(|topic| topic.name.expect("a name").to_string()).collect()
}

#[test]
fn every_version_creates_a_topic_that_takes_records() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for version in 2..=7 {
        let name = format!("v{version}");
        let topic = request::new_topic(&name, 3, &[("retention.ms", "1000000")]);
        let response = client.call(version, &request::create_topics(vec![topic]));
        let result = &response.topics[0];
        assert_eq!((result.error_code, result.name.as_str()), (0, name.as_str()));
        assert!(result.error_message.is_none());
        if version >= 5 {
            assert_eq!((result.num_partitions, result.replication_factor), (3, 1));
            let configs = result.configs.as_ref().expect("the settings of the new topic");
            let retention =
                configs.iter().find(|config| config.name.as_str() == "retention.ms").expect("every key");
            assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1000000"), 1));
            assert!(
                configs
                    .iter()
                    .any(|config| config.name.as_str() == "segment.bytes" && config.config_source == 5)
            );
        }
        assert_eq!(result.topic_id.is_nil(), version < 7);
        assert_eq!(client.produce(&name, 2, batch::of(&["v"])).error_code, 0);
        for index in 0..3 {
            assert!(broker.partition_dir(&name, index).join("partition.metadata").exists());
        }
    }
}

#[test]
fn defaults_are_the_brokers() {
    let broker = TestBroker::with(&[("num.partitions", "4")]);
    let mut client = broker.client();
    let topic = CreatableTopic::default()
        .with_name(request::name("t"))
        .with_num_partitions(-1)
        .with_replication_factor(-1);
    let result = create(&mut client, topic);
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 4, 1));
}

#[test]
fn validate_only_creates_nothing() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let request = request::create_topics(vec![request::new_topic("t", 2, &[])]).with_validate_only(true);
    let result = client.call(7, &request).topics.remove(0);
    assert_eq!((result.error_code, result.num_partitions, result.topic_id), (0, 2, Uuid::nil()));
    assert!(topics(&mut client).is_empty());
    assert!(!broker.partition_dir("t", 0).exists());
    assert_eq!(create(&mut client, request::new_topic("t", 2, &[])).error_code, 0);
}

#[test]
fn counts_beyond_every_limit_are_refused_at_once() {
    let broker = TestBroker::with(&[("tidelog.max.partitions", "100")]);
    let mut client = broker.client();
    for count in [i32::MAX, i32::MAX - 1, 1 << 30, 101] {
        let message = refused(&mut client, request::new_topic("t", count, &[]), INVALID_PARTITIONS);
        assert!(
            message.contains("100") && message.contains(&count.to_string()),
            "the limit is named: {message}"
        );
    }
    for count in [0, -2, i32::MIN] {
        refused(&mut client, request::new_topic("t", count, &[]), INVALID_PARTITIONS);
    }
    assert!(topics(&mut client).is_empty());
    assert_eq!(
        std::fs::read_dir(broker.path())
            .expect("the data directory")
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("t-"))
            .count(),
        0
    );
    assert_eq!(create(&mut client, request::new_topic("t", 60, &[])).error_code, 0);
    let message = refused(&mut client, request::new_topic("u", 41, &[]), INVALID_PARTITIONS);
    assert!(message.contains("40"), "the room that is left is named: {message}");
    assert_eq!(create(&mut client, request::new_topic("u", 40, &[])).error_code, 0);
    refused(&mut client, request::new_topic("w", 1, &[]), INVALID_PARTITIONS);
    broker.client().produce("u", 39, batch::of(&["v"]));
}

#[test]
fn one_request_cannot_pass_the_limit_in_pieces() {
    let broker = TestBroker::with(&[("tidelog.max.partitions", "100")]);
    let mut client = broker.client();
    let wanted = ["a", "b", "c"].map(|name| request::new_topic(name, 50, &[]));
    let response = client.call(7, &request::create_topics(wanted.to_vec()));
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, 0, INVALID_PARTITIONS]);
}

#[test]
fn one_node_has_one_replica() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for factor in [2, 3, 0, -2, i16::MAX] {
        let topic = request::new_topic("t", 1, &[]).with_replication_factor(factor);
        let message = refused(&mut client, topic, INVALID_REPLICATION_FACTOR);
        assert!(!message.is_empty());
    }
}

#[test]
fn manual_assignments() {
    let broker = TestBroker::with(&[("node.id", "7")]);
    let mut client = broker.client();
    let assigned = |partitions: &[(i32, &[i32])]| {
        let assignments = partitions.iter().map(|(index, brokers)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
        });
        request::new_topic("t", -1, &[]).with_replication_factor(-1).with_assignments(assignments.collect())
    };
    for wrong in [
        &[(0, &[1][..])][..],
        &[(0, &[7, 8])],
        &[(0, &[])],
        &[(0, &[7, 7])],
        &[(1, &[7])],
        &[(0, &[7]), (0, &[7])],
        &[(0, &[7]), (2, &[7])],
        &[(-1, &[7])],
    ] {
        refused(&mut client, assigned(wrong), INVALID_REPLICA_ASSIGNMENT);
    }
    for (partitions, factor) in [(1, -1), (-1, 1), (1, 1)] {
        let topic = assigned(&[(0, &[7])]).with_num_partitions(partitions).with_replication_factor(factor);
        refused(&mut client, topic, INVALID_REQUEST);
    }
    let result = create(&mut client, assigned(&[(1, &[7]), (0, &[7])]));
    assert_eq!((result.error_code, result.num_partitions), (0, 2));
}

#[test]
fn names_that_are_none() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let too_long = "a".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "../etc", "a\0b", "ä", "a:b", &too_long] {
        refused(&mut client, request::new_topic(name, 1, &[]), INVALID_TOPIC_EXCEPTION);
    }
    let longest = "a".repeat(249);
    for name in ["a", "...", "-", "A.b-9", &longest] {
        assert_eq!(create(&mut client, request::new_topic(name, 1, &[])).error_code, 0, "{name}");
        assert_eq!(client.produce(name, 0, batch::of(&["v"])).error_code, 0, "{name}");
    }
}

#[test]
fn names_that_would_collide() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("a.b", 1, &[]);
    refused(&mut client, request::new_topic("a_b", 1, &[]), INVALID_TOPIC_EXCEPTION);
    refused(&mut client, request::new_topic("a.b", 1, &[]), TOPIC_ALREADY_EXISTS);
    let response = client.call(
        7,
        &request::create_topics(vec![request::new_topic("c_d", 1, &[]), request::new_topic("c.d", 1, &[])]),
    );
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, INVALID_TOPIC_EXCEPTION]);
}

#[test]
fn a_name_twice_in_one_request() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let wanted = ["twice", "once", "twice"].map(|name| request::new_topic(name, 1, &[]));
    let response = client.call(7, &request::create_topics(wanted.to_vec()));
    let mut codes: Vec<_> =
        response.topics.iter().map(|topic| (topic.name.to_string(), topic.error_code)).collect();
    codes.sort();
    assert_eq!(codes, [("once".to_owned(), 0), ("twice".to_owned(), INVALID_REQUEST)]);
    assert_eq!(topics(&mut client), ["once"]);
}

#[test]
fn settings_that_cannot_be() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for (key, value) in [
        ("no.such.key", "1"),
        ("retention.ms", "soon"),
        ("retention.ms", "-2"),
        ("segment.bytes", "5"),
        ("compression.type", "rar"),
        ("cleanup.policy", "keep"),
        ("min.insync.replicas", "0"),
        ("message.timestamp.type", "Never"),
    ] {
        let message = refused(&mut client, request::new_topic("t", 1, &[(key, value)]), INVALID_CONFIG);
        assert!(message.contains(key), "{key}={value}: {message}");
    }
    let mut null = request::new_topic("t", 1, &[("retention.ms", "")]);
    null.configs[0].value = None;
    refused(&mut client, null, INVALID_CONFIG);
}

#[test]
fn lags_of_compaction_that_contradict_each_other_are_refused() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let lags =
        [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "2"), ("max.compaction.lag.ms", "1")];
    let message = refused(&mut client, request::new_topic("t", 1, &lags), INVALID_CONFIG);
    assert!(message.contains("min.compaction.lag.ms (2) > max.compaction.lag.ms (1)"), "{message}");
}

#[test]
fn one_refused_topic_does_not_stop_the_others() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let response = client.call(
        7,
        &request::create_topics(vec![
            request::new_topic("good", 1, &[]),
            request::new_topic("bad/", 1, &[]),
            request::new_topic("many", i32::MAX, &[]),
            request::new_topic("fine", 1, &[]),
        ]),
    );
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, INVALID_TOPIC_EXCEPTION, INVALID_PARTITIONS, 0]);
    assert_eq!(topics(&mut client), ["fine", "good"]);
}

#[test]
fn of_many_who_create_a_topic_at_once_one_succeeds() {
    let broker = TestBroker::start();
    for round in 0..5 {
        let name = format!("race-{round}");
        let request = request::create_topics(vec![request::new_topic(&name, 2, &[])]);
        let mut begun: Vec<(Client, i32)> = (0..8)
            .map(|_| {
                let mut client = broker.client();
                let id = client.begin(7, &request);
                (client, id)
            })
            .collect();
        let mut codes: Vec<i16> = begun
            .iter_mut()
            .map(|(client, id)| client.finish::<CreateTopicsRequest>(7, *id).topics[0].error_code)
            .collect();
        codes.sort_unstable();
        assert_eq!(codes[0], 0);
        assert!(codes[1..].iter().all(|code| *code == TOPIC_ALREADY_EXISTS), "{codes:?}");
    }
}
