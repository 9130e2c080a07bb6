//! `__consumer_offsets`: there for clients that look for it, and nothing else.

use kafka_protocol::messages as m;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;

use super::code;
use crate::support::request::{self, name, text};
use crate::support::{Client, TestBroker, batch};

const TOPIC: &str = "__consumer_offsets";

/// Its partitions and whether it is internal, when it is there.
fn shown(client: &mut Client) -> Option<(usize, bool)> {
    let all = client.call(12, &m::MetadataRequest::default().with_topics(None));
    let topic =
        all.topics.iter().find(|topic| topic.name.as_ref().is_some_and(|name| name.as_str() == TOPIC))?;
    Some((topic.partitions.len(), topic.is_internal))
}

#[test]
fn it_appears_when_a_coordinator_is_looked_for() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    assert_eq!(shown(&mut client), None);
    // Transactions have a coordinator too, but nothing to do with this topic.
    let find = m::FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    client.call(4, &find.clone().with_key_type(1));
    assert_eq!(shown(&mut client), None);
    for _ in 0..2 {
        let found = client.call(4, &find);
        assert_eq!((found.coordinators[0].error_code, found.coordinators[0].node_id.0), (code::NONE, 1));
        assert_eq!(shown(&mut client), Some((50, true)));
    }
    drop(client);
    broker.restart();
    assert_eq!(shown(&mut broker.client()), Some((50, true)));
}

#[test]
fn nobody_writes_to_it() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.call(4, &m::FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]));
    let refused = client.produce(TOPIC, 0, batch::of(&["v"]));
    assert_eq!(refused.error_code, code::INVALID_TOPIC_EXCEPTION);
    assert_eq!(client.end_offset(TOPIC, 0), 0);
    // A request that also has other topics writes those.
    client.create_topic("t", 1, &[]);
    let mut both = request::produce(TOPIC, 0, -1, batch::of(&["v"]));
    both.topic_data.extend(request::produce("t", 0, -1, batch::of(&["v"])).topic_data);
    let response = client.call(9, &both);
    let codes: Vec<_> = response
        .responses
        .iter()
        .map(|topic| (topic.name.to_string(), topic.partition_responses[0].error_code))
        .collect();
    assert!(codes.contains(&(TOPIC.to_owned(), code::INVALID_TOPIC_EXCEPTION)), "{codes:?}");
    assert!(codes.contains(&("t".to_owned(), code::NONE)), "{codes:?}");
}

#[test]
fn it_is_internal_in_every_version_that_can_say_so() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.call(4, &m::FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]));
    client.create_topic("t", 1, &[]);
    for version in 0..=13 {
        let topics = [TOPIC, "t"].map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))));
        let request = m::MetadataRequest::default().with_topics(Some(topics.to_vec()));
        let answer = client.call(version, &request);
        let internal: Vec<_> = answer
            .topics
            .iter()
            .filter(|topic| topic.is_internal)
            .filter_map(|topic| topic.name.as_ref().map(|name| name.to_string()))
            .collect();
        let expected: &[&str] = if version >= 1 { &[TOPIC] } else { &[] };
        assert_eq!(internal, expected, "v{version}");
    }
}
