//! What Prometheus sees of transactions: one that hangs has to be seen before its readers are missed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::ask;
use super::code;
use super::session::{BOTH, INIT, Protocol, Session, broker_with, eventually, init, state};
use crate::support::batch;

/// An address that nobody listens at.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

/// Everything that is shown.
fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the metrics listener");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The value of a metric, named with its labels; `None` when it is not shown.
fn value(address: &str, name: &str) -> Option<f64> {
    let text = scrape(address);
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next().and_then(|number| number.parse().ok())
}

#[test]
fn open_committed_aborted_and_overdue_transactions_are_counted() {
    let address = free_address();
    let (broker, mut client) = broker_with(&[
        ("tidelog.metrics.listener", &address),
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "20"),
    ]);
    let shown = |name: &str| value(&address, name);
    let lag = "tidelog_partition_last_stable_offset_lag{partition=\"0\",topic=\"t\"}";
    let oldest = "tidelog_partition_transaction_oldest_seconds{partition=\"0\",topic=\"t\"}";
    let ids = |state: &str| shown(&format!("tidelog_transactional_ids{{state=\"{state}\"}}"));
    let ended = |outcome: &str| shown(&format!("tidelog_transactions_total{{outcome=\"{outcome}\"}}"));
    assert_eq!((ended("commit"), ended("abort")), (Some(0.0), Some(0.0)));
    assert_eq!((shown("tidelog_partition_transactions_open"), shown(lag)), (Some(0.0), None));

    let mut sessions = BOTH.map(|protocol| Session::open(&broker, &format!("{protocol:?}"), protocol));
    init(&mut client, "idle");
    assert_eq!((ids("Empty"), ids("Ongoing")), (Some(3.0), Some(0.0)));
    for session in &mut sessions {
        session.write("t", 0, &["v"]);
    }
    sessions[0].write("t", 1, &["v"]);
    client.produce("t", 0, batch::of(&["a", "b", "c"]));
    assert_eq!((ids("Empty"), ids("Ongoing")), (Some(1.0), Some(2.0)));
    assert_eq!(shown("tidelog_partition_transactions_open"), Some(3.0));
    assert_eq!(shown(lag), Some(5.0));
    std::thread::sleep(std::time::Duration::from_millis(20));
    let age = shown(oldest).expect("the age of the oldest");
    assert!((0.015..60.0).contains(&age), "{age} s");

    sessions[0].end(true);
    assert_eq!(shown(lag), Some(5.0), "from the other one's record on: it, three plain ones, and a marker");
    sessions[1].end(false);
    assert_eq!((ended("commit"), ended("abort")), (Some(1.0), Some(1.0)));
    assert_eq!((shown("tidelog_partition_transactions_open"), shown(lag)), (Some(0.0), None));
    assert_eq!(shown(oldest), None);
    assert_eq!((ids("CompleteCommit"), ids("CompleteAbort")), (Some(1.0), Some(1.0)));

    // A repetition is no further transaction.
    let session = &mut sessions[0];
    assert_eq!(session.client.call(4, &ask::end(&session.id, session.of, true)).error_code, code::NONE);
    assert_eq!(ended("commit"), Some(1.0));

    assert_eq!(shown("tidelog_transactions_overdue_total"), Some(0.0));
    let mut slow = Session::open(&broker, "slow", Protocol::Second);
    let answer = client.call(INIT, &ask::init("slow").with_transaction_timeout_ms(1));
    slow.take_over(ask::Producer { id: answer.producer_id.0, epoch: answer.producer_epoch });
    slow.write("t", 0, &["v"]);
    eventually("it is aborted", || state(&mut client, "slow") == "CompleteAbort");
    assert_eq!(shown("tidelog_transactions_overdue_total"), Some(1.0));
    assert_eq!((ended("commit"), ended("abort")), (Some(1.0), Some(2.0)));
}
