//! Incremental fetch sessions (KIP-227): partitions are named once, and only news is answered.

use kafka_protocol::messages::fetch_request::{FetchPartition, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};

use crate::support::{Client, TestBroker, batch, request};

const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const FETCH_SESSION_TOPIC_ID_ERROR: i16 = 106;

fn in_session(id: i32, epoch: i32, partitions: Vec<(&str, FetchPartition)>) -> FetchRequest {
    request::fetch(partitions).with_session_id(id).with_session_epoch(epoch)
}

fn told(response: &FetchResponse) -> Vec<(String, i32)> {
    assert_eq!(response.error_code, 0);
    response
        .responses
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|data| (topic.topic.to_string(), data.partition_index)))
        .collect()
}

fn both() -> Vec<(&'static str, FetchPartition)> {
    vec![("t", request::wanted(0, 0)), ("t", request::wanted(1, 0))]
}

fn begin(client: &mut Client) -> i32 {
    client.create_topic("t", 2, &[]);
    let response = client.call(11, &in_session(0, 0, both()));
    assert_eq!(told(&response), [("t".into(), 0), ("t".into(), 1)], "the first answer names every partition");
    assert_ne!(response.session_id, 0);
    response.session_id
}

#[test]
fn only_news_is_told() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = begin(&mut client);
    let quiet = client.call(11, &in_session(id, 1, Vec::new()));
    assert_eq!((told(&quiet), quiet.session_id), (Vec::new(), id));
    broker.client().produce("t", 1, batch::of(&["news"]));
    let news = client.call(11, &in_session(id, 2, Vec::new()));
    assert_eq!(told(&news), [("t".into(), 1)]);
    // The client goes on behind what it got; the other partition keeps its offset.
    let moved = client.call(11, &in_session(id, 3, vec![("t", request::wanted(1, 1))]));
    assert_eq!(told(&moved), []);
    broker.client().produce("t", 0, batch::of(&["more"]));
    assert_eq!(told(&client.call(11, &in_session(id, 4, Vec::new()))), [("t".into(), 0)]);
}

#[test]
fn a_waiting_session_is_woken() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = begin(&mut client);
    let begun = client.begin(11, &in_session(id, 1, Vec::new()).with_max_wait_ms(100_000));
    broker.client().produce("t", 0, batch::of(&["news"]));
    assert_eq!(told(&client.finish::<FetchRequest>(11, begun)), [("t".into(), 0)]);
}

#[test]
fn partitions_are_added_and_forgotten() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = begin(&mut client);
    client.create_topic("u", 1, &[]);
    let added = client.call(11, &in_session(id, 1, vec![("u", request::wanted(0, 0))]));
    assert_eq!(told(&added), [("u".into(), 0)], "a partition that is new to the session is news");
    let forget = ForgottenTopic::default().with_topic(request::name("t")).with_partitions(vec![0]);
    let forgotten = client.call(11, &in_session(id, 2, Vec::new()).with_forgotten_topics_data(vec![forget]));
    assert_eq!(told(&forgotten), []);
    for partition in 0..2 {
        broker.client().produce("t", partition, batch::of(&["v"]));
    }
    assert_eq!(told(&client.call(11, &in_session(id, 3, Vec::new()))), [("t".into(), 1)]);
}

#[test]
fn errors_are_told_again_and_again() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = begin(&mut client);
    let beyond = vec![("t", request::wanted(0, 99))];
    for epoch in 1..4 {
        let wanted = if epoch == 1 { beyond.clone() } else { Vec::new() };
        let response = client.call(11, &in_session(id, epoch, wanted));
        assert_eq!(told(&response), [("t".into(), 0)], "epoch {epoch}");
        assert_eq!(response.responses[0].partitions[0].error_code, 1, "epoch {epoch}");
    }
}

#[test]
fn sessions_that_do_not_exist_and_epochs_that_do_not_follow() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = begin(&mut client);
    let code = |client: &mut Client, id, epoch| {
        let response = client.call(11, &in_session(id, epoch, Vec::new()));
        assert_eq!((response.session_id, response.responses.len()), (0, 0), "{id} {epoch}");
        response.error_code
    };
    assert_eq!(code(&mut client, id + 1, 1), FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(code(&mut client, id, 2), INVALID_FETCH_SESSION_EPOCH);
    assert_eq!(code(&mut client, id, i32::MAX), INVALID_FETCH_SESSION_EPOCH);
    assert_eq!(client.call(11, &in_session(id, 1, Vec::new())).error_code, 0);
    assert_eq!(code(&mut client, id, 1), INVALID_FETCH_SESSION_EPOCH, "an epoch is used once");
}

#[test]
fn names_and_ids_do_not_mix() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = begin(&mut client);
    let response = client.call(13, &in_session(id, 1, Vec::new()));
    assert_eq!(response.error_code, FETCH_SESSION_TOPIC_ID_ERROR);
}

#[test]
fn the_last_epoch_closes_the_session_and_reads_everything() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = begin(&mut client);
    let last = client.call(11, &in_session(id, -1, both()));
    assert_eq!((told(&last).len(), last.session_id), (2, 0));
    assert_eq!(client.call(11, &in_session(id, 1, Vec::new())).error_code, FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn epoch_zero_replaces_the_session() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = begin(&mut client);
    let replaced = client.call(11, &in_session(id, 0, both()));
    assert_eq!(told(&replaced).len(), 2);
    assert!(replaced.session_id != 0 && replaced.session_id != id);
    assert_eq!(client.call(11, &in_session(id, 1, Vec::new())).error_code, FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(client.call(11, &in_session(replaced.session_id, 1, Vec::new())).error_code, 0);
}

#[test]
fn a_full_cache_gives_answers_without_a_session() {
    let broker = TestBroker::with(&[("max.incremental.fetch.session.cache.slots", "1")]);
    let mut client = broker.client();
    let id = begin(&mut client);
    let second = broker.client().call(11, &in_session(0, 0, both()));
    assert_eq!((told(&second).len(), second.session_id), (2, 0));
    assert_eq!(client.call(11, &in_session(id, 1, Vec::new())).error_code, 0, "the first session lives on");
}

#[test]
fn with_a_byte_limit_every_partition_gets_its_turn() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let id = begin(&mut client);
    for partition in 0..2 {
        broker.client().produce("t", partition, batch::of(&["v"]));
    }
    // One batch for each answer: who was served goes to the end.
    let mut served = Vec::new();
    for epoch in 1..5 {
        let response = client.call(11, &in_session(id, epoch, Vec::new()).with_max_bytes(1));
        let with_records = response.responses[0]
            .partitions
            .iter()
            .find(|data| data.records.as_ref().is_some_and(|r| !r.is_empty()));
        served.push(with_records.expect("one batch").partition_index);
    }
    assert_eq!(served, [0, 1, 0, 1]);
}
