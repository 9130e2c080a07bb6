//! Length prefixes that announce what cannot be.

use kafka_protocol::messages::MetadataRequest;

use crate::support::client::{frame, prefixed};
use crate::support::{TestBroker, alone};

/// Room for allocator and sockets; a frame of 2 GiB would not fit.
const GROWTH_MAX: u64 = 32 << 20;

#[test]
fn impossible_lengths_close_the_connection() {
    alone::alone("hostile::lengths::impossible_lengths_close_the_connection", || {
        let broker = TestBroker::start();
        broker.assert_serves();
        let before = alone::peak_resident_bytes();
        for length in [-1, i32::MIN, 0, 3, i32::MAX, 104_857_601] {
            for rest in [&[][..], &[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff]] {
                let mut client = broker.client();
                client.send(&[&length.to_be_bytes()[..], rest].concat());
                // A length that is too short is a whole frame only once its bytes are there.
                if length == 3 && rest.is_empty() {
                    client.send(&[0, 3, 0]);
                }
                client.assert_closed();
            }
        }
        broker.assert_serves();
        let grown = alone::peak_resident_bytes() - before;
        assert!(grown < GROWTH_MAX, "{grown} bytes for frames that never came");
    });
}

#[test]
fn headers_that_stop_anywhere_close_the_connection() {
    let broker = TestBroker::start();
    let whole = frame(1, 9, &MetadataRequest::default().with_topics(Some(Vec::new())));
    // Key, version, correlation id, client id of two bytes, and the tags.
    for end in 0..4 + 2 + 2 + 1 + 4 {
        let mut client = broker.client();
        client.send(&prefixed(&whole[4..4 + end]));
        client.assert_closed();
    }
    broker.assert_serves();
}

#[test]
fn a_limit_of_the_operator_holds() {
    let broker = TestBroker::with(&[("socket.request.max.bytes", "1000")]);
    let mut client = broker.client();
    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
    let mut exactly = frame(1, 1, &request);
    // Bytes behind the body are not part of the request, but of the frame.
    let body_at_most = 1000 - (exactly.len() - 4);
    exactly.extend(vec![0; body_at_most]);
    exactly[..4].copy_from_slice(&1000_i32.to_be_bytes());
    client.send(&exactly);
    assert!(client.read_frame().is_some(), "bytes behind a request are passed over, as in Kafka");
    let mut client = broker.client();
    client.send(&1001_i32.to_be_bytes());
    client.assert_closed();
    let mut client = broker.client();
    assert_eq!(client.call(1, &request).brokers.len(), 1);
}

#[test]
fn nonsense_of_other_protocols_closes_the_connection() {
    let broker = TestBroker::start();
    let tls_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 512]].concat();
    for bytes in
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(), b"SSH-2.0-OpenSSH_9.6\r\n", &tls_hello, &[0xff; 64]]
    {
        let mut client = broker.client();
        client.send(bytes);
        client.finish_sending();
        client.assert_closed();
    }
    broker.assert_serves();
}
