//! Many requests on one connection: answers come in request order, however the bytes are cut.

use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest, ProduceResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::support::client::{decode, frame};
use crate::support::{TestBroker, batch, request};

/// Requests on one connection before the first answer is read.
const PIPELINED: i32 = 1_000;

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("it"))
        .with_client_software_version(StrBytes::from_static_str("1.0"))
}

/// The request with this number: each kind in turn, some at once, some only when durable, some after a wait.
fn numbered(number: i32) -> Vec<u8> {
    match number % 5 {
        0 => frame(number, 9, &request::produce("order", 0, -1, batch::of(&[&number.to_string()]))),
        1 => frame(number, 3, &api_versions()),
        2 => frame(number, 8, &MetadataRequest::default().with_topics(Some(Vec::new()))),
        3 => frame(number, 7, &request::list_offsets("order", 0, -1)),
        _ => {
            // Nothing is there yet at this offset: the wait runs out or the next append ends it.
            let fetch = request::fetch(vec![("order", request::wanted(0, i64::from(number / 5 + 1)))]);
            frame(number, 11, &fetch.with_max_wait_ms(2))
        }
    }
}

fn check(number: i32, answer: Vec<u8>) {
    let correlation_id = match number % 5 {
        0 => {
            let (correlation_id, response) = decode::<ProduceRequest>(9, answer);
            let partition = &response.responses[0].partition_responses[0];
            assert_eq!(
                (partition.error_code, partition.base_offset),
                (0, i64::from(number / 5)),
                "request {number}"
            );
            correlation_id
        }
        1 => {
            let (correlation_id, response) = decode::<ApiVersionsRequest>(3, answer);
            assert_eq!(response.error_code, 0, "request {number}");
            correlation_id
        }
        2 => {
            let (correlation_id, response) = decode::<MetadataRequest>(8, answer);
            assert_eq!(response.brokers.len(), 1, "request {number}");
            correlation_id
        }
        3 => {
            let (correlation_id, response) = decode::<ListOffsetsRequest>(7, answer);
            assert_eq!(response.topics[0].partitions[0].error_code, 0, "request {number}");
            correlation_id
        }
        _ => {
            let (correlation_id, response) = decode::<FetchRequest>(11, answer);
            assert_eq!(response.responses[0].partitions[0].error_code, 0, "request {number}");
            correlation_id
        }
    };
    assert_eq!(correlation_id, number);
}

#[test]
fn a_thousand_pipelined_requests_are_answered_in_order() {
    let broker = TestBroker::start();
    broker.client().create_topic("order", 1, &[]);
    let mut client = broker.client();
    let all: Vec<u8> = (0..PIPELINED).flat_map(numbered).collect();
    // All of it is sent before anything is read; the answers are small enough to wait in the sockets.
    assert!(client.send(&all));
    for number in 0..PIPELINED {
        check(number, client.read_frame().unwrap_or_else(|| panic!("request {number} is not answered")));
    }
    let written: Vec<String> = (0..PIPELINED).step_by(5).map(|number| number.to_string()).collect();
    assert_eq!(broker.client().values("order", 0, 0), written);
}

#[test]
fn more_requests_than_the_broker_takes_at_once_are_answered_too() {
    const REQUESTS: i32 = 6_000;
    let broker = TestBroker::start();
    let mut client = broker.client();
    let mut sender = client.second_handle();
    std::thread::scope(|scope| {
        // The broker stops reading when too much is under way; the sender must not be the one who reads the answers.
        scope.spawn(move || {
            for number in 0..REQUESTS {
                assert!(sender.send(&frame(number, 3, &api_versions())));
            }
        });
        for number in 0..REQUESTS {
            let (correlation_id, _) =
                decode::<ApiVersionsRequest>(3, client.read_frame().expect("an answer"));
            assert_eq!(correlation_id, number);
        }
    });
}

#[test]
fn what_was_asked_before_a_half_close_is_answered() {
    let broker = TestBroker::start();
    broker.client().create_topic("order", 1, &[]);
    let mut client = broker.client();
    let all: Vec<u8> = (0..10).flat_map(numbered).collect();
    client.send(&all);
    client.finish_sending();
    for number in 0..10 {
        check(number, client.read_frame().unwrap_or_else(|| panic!("request {number} is not answered")));
    }
    client.assert_closed();
}

#[test]
fn a_produce_without_acks_leaves_no_gap_in_the_answers() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("order", 1, &[]);
    for number in 0..3_i64 {
        client.begin(9, &request::produce("order", 0, 0, batch::of(&["silent"])));
        // The next frame on the connection answers the next request.
        assert_eq!(client.produce("order", 0, batch::of(&["told"])).base_offset, number * 2 + 1);
    }
}

#[test]
fn metadata_changes_are_seen_by_what_follows_on_the_connection() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    // Nothing is read in between: the produce must not overtake the creation.
    let create = client.begin(7, &request::create_topics(vec![request::new_topic("first", 1, &[])]));
    let produce = client.begin(9, &request::produce("first", 0, -1, batch::of(&["a"])));
    let created = client.finish::<kafka_protocol::messages::CreateTopicsRequest>(7, create);
    assert_eq!(created.topics[0].error_code, 0);
    let produced = client.finish::<ProduceRequest>(9, produce);
    assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
}

fn base_offset(response: &ProduceResponse) -> i64 {
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, 0);
    partition.base_offset
}

#[test]
fn a_produce_frame_may_be_cut_anywhere() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("cut", 1, &[]);
    let mut other = broker.client();
    let len = frame(0, 9, &request::produce("cut", 0, -1, batch::at(0, &["v"]))).len();
    for (at, offset) in (1..len).zip(0..) {
        let bytes = frame(at as i32, 9, &request::produce("cut", 0, -1, batch::at(0, &["v"])));
        client.send(&bytes[..at]);
        // A round trip of another connection: the first piece has most likely been read when the second comes.
        assert_eq!(other.call(3, &api_versions()).error_code, 0);
        client.send(&bytes[at..]);
        let (correlation_id, response) = decode::<ProduceRequest>(9, client.read_frame().expect("an answer"));
        assert_eq!((correlation_id, base_offset(&response)), (at as i32, offset));
    }
    assert_eq!(client.end_offset("cut", 0), len as i64 - 1);
}

#[test]
fn two_frames_may_share_a_packet() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("cut", 1, &[]);
    let two: Vec<u8> =
        (0..2).flat_map(|n| frame(n, 9, &request::produce("cut", 0, -1, batch::at(0, &["v"])))).collect();
    // One frame and a half, then the rest.
    let at = two.len() * 3 / 4;
    client.send(&two[..at]);
    let (first, response) = decode::<ProduceRequest>(9, client.read_frame().expect("an answer"));
    assert_eq!((first, base_offset(&response)), (0, 0));
    client.send(&two[at..]);
    let (second, response) = decode::<ProduceRequest>(9, client.read_frame().expect("an answer"));
    assert_eq!((second, base_offset(&response)), (1, 1));
}
