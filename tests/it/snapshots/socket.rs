//! The control socket as bytes over it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidelog::control::client::{ClientError, ask};

use crate::support::TestBroker;

/// What the broker says to these bytes, until it closes the connection.
fn said(broker: &TestBroker, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(broker.path().join("control.sock")).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a bound");
    // It may have had enough before all is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn only_its_owner_can_connect_and_it_goes_with_the_broker() {
    let mut broker = TestBroker::start();
    let socket = broker.path().join("control.sock");
    let mode = std::fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A stop does not wait for an operator who says nothing.
    let idle = UnixStream::connect(&socket).expect("a connection");
    broker.stop();
    assert!(!socket.exists());
    drop(idle);
    let nobody = ask(broker.path(), "GET", "/", None);
    assert!(matches!(nobody, Err(ClientError::NotRunning(_))), "{nobody:?}");
    // What a killed broker leaves is replaced.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    broker.begin();
    assert_eq!(ask(broker.path(), "GET", "/", None).expect("an answer").status, 404);
}

#[test]
fn what_is_not_understood_is_refused_with_a_reason() {
    let broker = TestBroker::start();
    let status = |method: &str, target: &str, body: Option<Value>| {
        let answer = ask(broker.path(), method, target, body.as_ref()).expect("an answer");
        let status = answer.status;
        let told = answer.success().expect_err("a refusal");
        assert!(!told.is_empty());
        status
    };
    assert_eq!(status("GET", "/v1/other", None), 404);
    assert_eq!(status("GET", "/v1/snapshots", None), 405);
    assert_eq!(status("POST", "/v1/topics/t/keys/k", None), 405);
    assert_eq!(status("POST", "/v1/snapshots", None), 400);
    assert_eq!(status("POST", "/v1/snapshots", Some(json!({ "to": "relative" }))), 400);
    assert_eq!(status("POST", "/v1/snapshots", Some(json!({ "to": "/x", "else": 1 }))), 400);
    let large = json!({ "to": "x".repeat(70_000) });
    assert_eq!(status("POST", "/v1/snapshots", Some(large)), 400);
    assert_eq!(status("GET", "/v1/topics/%zz/keys/k", None), 400);
    assert_eq!(status("GET", "/v1/topics/t/keys/k?partition=x", None), 400);
    for garbage in [b"\0\0\0\x10\0\x12\0\0".as_slice(), b"GET", &[b'x'; 300_000]] {
        let said = said(&broker, &[garbage, b"\r\n\r\n"].concat());
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    broker.assert_serves();
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for_for_long() {
    let broker = TestBroker::start();
    let began = Instant::now();
    let mut stream = UnixStream::connect(broker.path().join("control.sock")).expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nhost:").expect("a beginning");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a bound");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the end");
    assert!(began.elapsed() >= Duration::from_secs(5));
}

#[test]
fn keys_can_be_looked_up_only_where_there_is_an_index() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("plain", 2, &[]);
    let told = |target: &str| {
        let answer = ask(broker.path(), "GET", target, None).expect("an answer");
        (answer.status, answer.success().expect_err("a refusal"))
    };
    let (status, why) = told("/v1/topics/plain/keys/k");
    assert!(status == 422 && why.contains("not compacted"), "{status} {why}");
    let (status, why) = told("/v1/topics/missing/keys/k?partition=0");
    assert!(status == 404 && why.contains("missing"), "{status} {why}");
}
