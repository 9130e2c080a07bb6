//! Limits that an operator sets against too many connections.

use crate::support::{Client, TestBroker};

fn is_served(client: &mut Client) -> bool {
    // Metadata v1 for no topics, sent without caring whether anybody listens.
    let request = kafka_protocol::messages::MetadataRequest::default().with_topics(Some(Vec::new()));
    client.send(&crate::support::client::frame(1, 1, &request)) && client.read_frame().is_some()
}

fn holds(setting: &str) {
    let broker = TestBroker::with(&[(setting, "3")]);
    let mut admitted: Vec<Client> = (0..3).map(|_| broker.client()).collect();
    assert!(admitted.iter_mut().all(is_served), "{setting}");
    let mut one_too_many = broker.client();
    assert!(!is_served(&mut one_too_many), "{setting}");
    assert!(admitted.iter_mut().all(is_served), "{setting}: those who were there first stay");
    // A place becomes free some time after a client has left.
    drop(admitted.pop());
    let served = std::iter::repeat_with(|| is_served(&mut broker.client())).take(10_000).any(|served| served);
    assert!(served, "{setting}: the place of a client that left is not given again");
}

#[test]
fn connections_of_one_address() {
    holds("max.connections.per.ip");
}

#[test]
fn connections_of_all() {
    holds("max.connections");
}
