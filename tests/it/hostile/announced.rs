//! Clients that promise much and send little, or leave in the middle.

use crate::support::client::frame;
use crate::support::{Client, TestBroker, alone, batch, request};

/// Connections that announce the largest legal frame.
const ANNOUNCERS: usize = 64;
/// What they announce, bytes: `socket.request.max.bytes`.
const ANNOUNCED: i32 = 104_857_600;
/// What they may cost together, bytes: the promises add up to 6.4 GiB.
const GROWTH_MAX: u64 = 32 << 20;

fn announce(broker: &TestBroker) -> Client {
    let mut client = broker.client();
    // The header of a Produce request, then nothing.
    client.send(
        &[&ANNOUNCED.to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 1, 0, 2, b'i', b't', 0, 0, 0xff, 0xff]]
            .concat(),
    );
    client
}

#[test]
fn memory_follows_what_arrives_not_what_is_announced() {
    alone::alone("hostile::announced::memory_follows_what_arrives_not_what_is_announced", || {
        let broker = TestBroker::start();
        let mut honest = broker.client();
        honest.create_topic("honest", 1, &[]);
        let mut traffic = |rounds: i64| {
            for _ in 0..rounds {
                let appended = honest.produce("honest", 0, batch::sized(10_000));
                assert_eq!(appended.error_code, 0);
                assert_eq!(honest.values("honest", 0, appended.base_offset).len(), 1);
            }
        };
        traffic(20);
        let before = alone::resident_bytes();
        let announcers: Vec<Client> = (0..ANNOUNCERS).map(|_| announce(&broker)).collect();
        traffic(50);
        let grown = alone::resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{grown} bytes for {ANNOUNCERS} promises");
        drop(announcers);
        traffic(5);
    });
}

#[test]
fn many_large_frames_at_once_do_not_stop_small_ones() {
    // The budget holds about two of the frames that arrive in part.
    let broker = TestBroker::with(&[
        ("socket.request.max.bytes", "1048576"),
        ("tidelog.max.inflight.bytes.per.connection", "1048576"),
        ("tidelog.max.inflight.bytes", "1100000"),
    ]);
    let hoarders: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = broker.client();
            client.send(&1_048_576_i32.to_be_bytes());
            client.send(&vec![0; 300_000]);
            client
        })
        .collect();
    for _ in 0..5 {
        broker.assert_serves();
    }
    drop(hoarders);
    broker.assert_serves();
}

#[test]
fn a_frame_larger_than_the_shared_budget_still_arrives() {
    let broker = TestBroker::with(&[
        ("socket.request.max.bytes", "1000000"),
        ("tidelog.max.inflight.bytes.per.connection", "1000000"),
        ("tidelog.max.inflight.bytes", "1000000"),
    ]);
    let mut client = broker.client();
    client.create_topic("large", 1, &[]);
    let records = batch::sized(900_000);
    assert_eq!(client.produce("large", 0, records).error_code, 0);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_frame_leaves_nothing() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("left", 1, &[]);
    let whole = frame(1, 9, &request::produce("left", 0, -1, batch::of(&["never whole"])));
    for end in 0..whole.len() {
        broker.client().send(&whole[..end]);
    }
    assert_eq!(client.end_offset("left", 0), 0);
    broker.assert_serves();
}

#[test]
fn a_half_closed_connection_is_closed_by_the_broker_too() {
    let broker = TestBroker::start();
    let mut silent = broker.client();
    silent.finish_sending();
    silent.assert_closed();
    let mut halfway = broker.client();
    halfway.send(&[0, 0, 1, 0, 0, 3]);
    halfway.finish_sending();
    halfway.assert_closed();
    broker.assert_serves();
}

#[test]
fn clients_that_ask_and_never_read_do_not_disturb_others() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("unread", 1, &[]);
    for _ in 0..8 {
        assert_eq!(client.produce("unread", 0, batch::sized(900_000)).error_code, 0);
    }
    let deaf: Vec<Client> = (0..4)
        .map(|_| {
            let mut deaf = broker.client();
            for number in 0..20 {
                deaf.send(&frame(number, 11, &request::fetch(vec![("unread", request::wanted(0, 0))])));
            }
            deaf
        })
        .collect();
    broker.assert_serves();
    drop(deaf);
    broker.assert_serves();
}

#[test]
fn an_idle_connection_is_closed() {
    let broker = TestBroker::with(&[("connections.max.idle.ms", "200")]);
    broker.client().assert_closed();
    // Half a frame does not keep it open either.
    let mut half = broker.client();
    half.send(&[0, 0, 0]);
    half.assert_closed();
    broker.assert_serves();
}
