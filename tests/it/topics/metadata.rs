//! Metadata: who serves what, and topics that come into being on first use.

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use uuid::Uuid;

use crate::support::{Client, TestBroker, batch, request};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const UNKNOWN_TOPIC_ID: i16 = 100;

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(request::name(name)))
}

fn asking(topics: Vec<MetadataRequestTopic>, may_create: bool) -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(may_create)
}

#[test]
fn every_version_names_the_broker_and_the_topic() {
    let broker = TestBroker::with(&[("node.id", "7"), ("broker.rack", "r1")]);
    let mut client = broker.client();
    let id = client.create_topic("t", 2, &[]);
    client.produce("t", 0, batch::of(&["v"]));
    for version in 0..=13 {
        let response = client.call(version, &asking(vec![named("t")], true));
        assert_eq!(response.brokers.len(), 1, "v{version}");
        let node = &response.brokers[0];
        assert_eq!((node.node_id.0, node.host.as_str()), (7, "127.0.0.1"), "v{version}");
        assert_eq!(node.port, i32::from(broker.address().port()), "v{version}");
        if version >= 1 {
            assert_eq!((node.rack.as_deref(), response.controller_id.0), (Some("r1"), 7), "v{version}");
        }
        assert_eq!(response.cluster_id.is_some(), version >= 2, "v{version}");
        let topic = &response.topics[0];
        assert_eq!((topic.error_code, topic.is_internal), (0, false), "v{version}");
        assert_eq!(topic.topic_id, if version >= 10 { id } else { Uuid::nil() }, "v{version}");
        let partitions: Vec<_> =
            topic.partitions.iter().map(|p| (p.partition_index, p.leader_id.0)).collect();
        assert_eq!(partitions, [(0, 7), (1, 7)], "v{version}");
        assert!(
            topic.partitions.iter().all(|p| p.replica_nodes == p.isr_nodes && p.replica_nodes.len() == 1)
        );
        // A partition that was used knows its epoch; one that was not must not claim another.
        let expected = if version >= 7 { 0 } else { -1 };
        assert_eq!(topic.partitions[0].leader_epoch, expected, "v{version}");
    }
}

#[test]
fn all_topics_or_none() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for name in ["b", "a"] {
        client.create_topic(name, 1, &[]);
    }
    // Version 0 has no null: an empty list means all.
    for (version, topics, count) in
        [(0, Some(Vec::new()), 2), (1, None, 2), (1, Some(Vec::new()), 0), (13, None, 2)]
    {
        let response = client.call(version, &MetadataRequest::default().with_topics(topics));
        assert_eq!(response.topics.len(), count, "v{version}");
    }
}

#[test]
fn topics_are_created_on_first_use_where_that_is_allowed() {
    let broker = TestBroker::with(&[("num.partitions", "3")]);
    let mut client = broker.client();
    let forbidden = client.call(9, &asking(vec![named("forbidden")], false));
    assert_eq!(forbidden.topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
    for version in [0, 3, 4, 13] {
        let name = format!("created-{version}");
        // Clients retry until the topic is there; here it is at once.
        let response = client.call(version, &asking(vec![named(&name)], true));
        assert_eq!(
            (response.topics[0].error_code, response.topics[0].partitions.len()),
            (0, 3),
            "v{version}"
        );
        assert_eq!(client.produce(&name, 2, batch::of(&["v"])).error_code, 0, "v{version}");
    }
    let bad = client.call(9, &asking(vec![named("a/b"), named("..")], true));
    assert!(bad.topics.iter().all(|topic| topic.error_code == INVALID_TOPIC_EXCEPTION));
}

#[test]
fn topics_are_not_created_where_the_operator_says_so() {
    let broker = TestBroker::with(&[("auto.create.topics.enable", "false")]);
    let mut client = broker.client();
    for version in [0, 9] {
        let response = client.call(version, &asking(vec![named("t")], true));
        assert_eq!(response.topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION, "v{version}");
    }
}

#[test]
fn a_full_broker_creates_no_topic_on_first_use() {
    let broker = TestBroker::with(&[("tidelog.max.partitions", "2"), ("num.partitions", "2")]);
    let mut client = broker.client();
    let response = client.call(9, &asking(vec![named("fits"), named("does-not")], true));
    let codes: Vec<_> = response
        .topics
        .iter()
        .map(|topic| (topic.name.clone().map(|n| n.to_string()), topic.error_code))
        .collect();
    assert_eq!(codes[0], (Some("fits".to_owned()), 0));
    assert_ne!(codes[1].1, 0, "{codes:?}");
}

#[test]
fn topics_are_found_by_id() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = client.create_topic("t", 1, &[]);
    for version in [12, 13] {
        let by_id = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        let response = client.call(version, &asking(vec![by_id(id), by_id(Uuid::from_u128(9))], false));
        let known = response.topics.iter().find(|topic| topic.topic_id == id).expect("the topic");
        assert_eq!((known.error_code, known.name.as_ref().map(|name| name.as_str())), (0, Some("t")));
        let unknown = response.topics.iter().find(|topic| topic.topic_id != id).expect("an answer for each");
        assert_eq!((unknown.error_code, unknown.topic_id), (UNKNOWN_TOPIC_ID, Uuid::from_u128(9)));
    }
}

#[test]
fn what_the_operator_advertises_is_told() {
    let broker = TestBroker::with(&[("advertised.listeners", "PLAINTEXT://tide.example:19092")]);
    let response = broker.client().call(9, &asking(Vec::new(), false));
    assert_eq!((response.brokers[0].host.as_str(), response.brokers[0].port), ("tide.example", 19092));
}

#[test]
fn many_who_use_a_topic_first_find_the_same_one() {
    let broker = TestBroker::start();
    let request = asking(vec![named("shared")], true);
    let mut begun: Vec<(Client, i32)> = (0..8)
        .map(|_| {
            let mut client = broker.client();
            let id = client.begin(12, &request);
            (client, id)
        })
        .collect();
    let ids: std::collections::BTreeSet<Uuid> = begun
        .iter_mut()
        .map(|(client, id)| {
            let response = client.finish::<MetadataRequest>(12, *id);
            assert_eq!(response.topics[0].error_code, 0);
            response.topics[0].topic_id
        })
        .collect();
    assert_eq!(ids.len(), 1);
}
