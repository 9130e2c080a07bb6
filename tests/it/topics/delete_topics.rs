//! DeleteTopics: by name, by id, and a topic of the same name is another one.

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{DeleteTopicsRequest, ProduceRequest};
use uuid::Uuid;

use crate::support::{TestBroker, batch, request};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const INVALID_REQUEST: i16 = 42;
const TOPIC_DELETION_DISABLED: i16 = 73;
const UNKNOWN_TOPIC_ID: i16 = 100;

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState::default().with_name(Some(request::name(name)))
}

fn by_id(id: Uuid) -> DeleteTopicState {
    DeleteTopicState::default().with_name(None).with_topic_id(id)
}

#[test]
fn every_version_deletes() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for version in 1..=6 {
        let id = client.create_topic("t", 2, &[]);
        client.produce("t", 1, batch::of(&["v"]));
        let names = DeleteTopicsRequest::default().with_topic_names(vec![request::name("t")]);
        let request =
            if version < 6 { names } else { DeleteTopicsRequest::default().with_topics(vec![by_name("t")]) };
        let response = client.call(version, &request);
        let result = &response.responses[0];
        assert_eq!(
            (result.error_code, result.name.as_ref().map(|name| name.as_str())),
            (0, Some("t")),
            "v{version}"
        );
        assert_eq!(result.topic_id, if version < 6 { Uuid::nil() } else { id }, "v{version}");
        assert_eq!(
            client.produce("t", 1, batch::of(&["v"])).error_code,
            UNKNOWN_TOPIC_OR_PARTITION,
            "v{version}"
        );
        assert!(!broker.partition_dir("t", 1).exists(), "v{version}");
    }
}

#[test]
fn a_topic_of_the_same_name_begins_empty() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    let first = client.create_topic("t", 1, &[("retention.ms", "777")]);
    client.produce("t", 0, batch::of(&["old"]));
    let response = client.call(6, &DeleteTopicsRequest::default().with_topics(vec![by_id(first)]));
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(response.responses[0].name.as_ref().map(|name| name.as_str()), Some("t"));
    let second = client.create_topic("t", 1, &[]);
    assert_ne!(first, second);
    assert_eq!(client.end_offset("t", 0), 0);
    assert_eq!(client.produce("t", 0, batch::of(&["new"])).base_offset, 0);
    drop(client);
    broker.restart();
    assert_eq!(broker.client().values("t", 0, 0), ["new"]);
}

#[test]
fn what_does_not_exist_and_what_is_not_clear() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = client.create_topic("t", 1, &[]);
    for (state, code) in [
        (by_name("nowhere"), UNKNOWN_TOPIC_OR_PARTITION),
        (by_name(".."), UNKNOWN_TOPIC_OR_PARTITION),
        (by_id(Uuid::from_u128(5)), UNKNOWN_TOPIC_ID),
        (by_id(Uuid::nil()), INVALID_REQUEST),
        (by_name("t").with_topic_id(id), INVALID_REQUEST),
    ] {
        let response = client.call(6, &DeleteTopicsRequest::default().with_topics(vec![state.clone()]));
        assert_eq!(response.responses[0].error_code, code, "{state:?}");
    }
    assert_eq!(client.produce("t", 0, batch::of(&["v"])).error_code, 0);
}

#[test]
fn deletion_can_be_switched_off() {
    let broker = TestBroker::with(&[("delete.topic.enable", "false")]);
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let response = client.call(6, &DeleteTopicsRequest::default().with_topics(vec![by_name("t")]));
    assert_eq!(response.responses[0].error_code, TOPIC_DELETION_DISABLED);
    assert_eq!(client.produce("t", 0, batch::of(&["v"])).error_code, 0);
}

#[test]
fn a_topic_that_goes_while_it_is_written_and_comes_again() {
    let broker = TestBroker::start();
    let mut owner = broker.client();
    let mut writer = broker.client();
    for round in 0..5 {
        owner.create_topic("t", 2, &[]);
        let begun: Vec<i32> = (0..40)
            .map(|number| writer.begin(9, &request::produce("t", number % 2, -1, batch::of(&["v"]))))
            .collect();
        let delete = DeleteTopicsRequest::default().with_topics(vec![by_name("t")]);
        assert_eq!(owner.call(6, &delete).responses[0].error_code, 0, "round {round}");
        for id in begun {
            let response = writer.finish::<ProduceRequest>(9, id);
            let code = response.responses[0].partition_responses[0].error_code;
            // Written before, or refused: by the open partition, or because there is none.
            assert!(
                [0, UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER].contains(&code),
                "round {round}: {code}"
            );
        }
    }
    owner.create_topic("t", 2, &[]);
    for partition in 0..2 {
        assert_eq!(owner.end_offset("t", partition), 0);
    }
    broker.assert_serves();
}
