//! Compacted topics keep the latest record of each key, at its offset, over the wire and over restarts.

use std::time::Duration;

use tidelog::record::BatchBuilder;

use crate::support::{Client, TestBroker, batch};

const INVALID_RECORD: i16 = 87;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// The cleaner looks often and is content with little.
const EAGER: &[(&str, &str)] = &[("log.cleaner.backoff.ms", "20"), ("log.segment.delete.delay.ms", "0")];
/// A batch whose timestamp is two seconds later begins a segment.
const COMPACT: &[(&str, &str)] =
    &[("cleanup.policy", "compact"), ("segment.ms", "1000"), ("min.cleanable.dirty.ratio", "0.0")];

/// One record; `value` none deletes the key. `second` decides the segment it goes to.
fn put(client: &mut Client, second: i64, key: &str, value: Option<&str>) -> i64 {
    let timestamp = batch::now_ms() - 1_000_000 + second * 2_000;
    let records = BatchBuilder::new()
        .record(timestamp, Some(key.as_bytes()), value.map(str::as_bytes))
        .build()
        .expect("a batch");
    let answer = client.produce("t", 0, records);
    assert_eq!(answer.error_code, 0);
    answer.base_offset
}

/// Offsets, keys and values from the first to the last.
fn all(client: &mut Client) -> Vec<(i64, String, Option<String>)> {
    let end = client.end_offset("t", 0);
    let (mut offset, mut found) = (0, Vec::new());
    while offset < end {
        let fetched = client.fetch("t", 0, offset);
        assert_eq!(fetched.error_code, 0);
        let bytes = fetched.records.expect("records");
        let Some(last) = batch::headers(&bytes).last().map(|header| header.last_offset()) else { break };
        for record in batch::records(&bytes).into_iter().filter(|record| record.offset >= offset) {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            found.push((record.offset, text(&record.key.expect("a key")), record.value.as_deref().map(text)));
        }
        offset = last + 1;
    }
    found
}

fn expected(records: &[(i64, &str, Option<&str>)]) -> Vec<(i64, String, Option<String>)> {
    records.iter().map(|(at, key, value)| (*at, (*key).to_owned(), value.map(str::to_owned))).collect()
}

/// Asks until the topic holds exactly these records.
fn await_records(client: &mut Client, records: &[(i64, &str, Option<&str>)]) {
    let expected = expected(records);
    for _ in 0..1_000 {
        if all(client) == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(all(client), expected);
}

fn compacts_with(settings: &[(&str, &str)]) {
    let mut broker = TestBroker::with(EAGER);
    let mut client = broker.client();
    client.create_topic("t", 1, &[COMPACT, settings].concat());
    for (second, key, value) in [(0, "a", "1"), (0, "b", "1"), (1, "a", "2"), (2, "c", "1"), (2, "a", "3")] {
        put(&mut client, second, key, Some(value));
    }
    // The active segment stays as it is.
    put(&mut client, 3, "a", Some("4"));
    put(&mut client, 3, "a", Some("5"));
    let kept = [
        (1, "b", Some("1")),
        (3, "c", Some("1")),
        (4, "a", Some("3")),
        (5, "a", Some("4")),
        (6, "a", Some("5")),
    ];
    await_records(&mut client, &kept);
    assert_eq!(client.list_offset("t", 0, EARLIEST).offset, 0, "the log still begins where it began");
    assert_eq!(client.list_offset("t", 0, LATEST).offset, 7);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    assert_eq!(all(&mut client), expected(&kept));
    drop(client);
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    assert_eq!(all(&mut client), expected(&kept));
    // What comes later supersedes what was compacted before a restart.
    put(&mut client, 4, "b", Some("2"));
    put(&mut client, 5, "x", Some("1"));
    await_records(
        &mut client,
        &[(3, "c", Some("1")), (6, "a", Some("5")), (7, "b", Some("2")), (8, "x", Some("1"))],
    );
}

#[test]
fn the_latest_record_of_each_key_stays() {
    compacts_with(&[]);
}

#[test]
fn without_a_key_index_too() {
    compacts_with(&[("tidelog.key.index.enable", "false")]);
}

#[test]
fn a_deleted_key_is_told_for_a_while_and_then_gone() {
    let broker = TestBroker::with(EAGER);
    let mut client = broker.client();
    client.create_topic("t", 1, &[COMPACT, &[("delete.retention.ms", "86400000")]].concat());
    put(&mut client, 0, "a", Some("1"));
    put(&mut client, 1, "a", None);
    put(&mut client, 2, "end", Some("1"));
    await_records(&mut client, &[(1, "a", None), (2, "end", Some("1"))]);

    let mut quick = broker.client();
    let alter = [("delete.retention.ms", "1")];
    quick.create_topic("u", 1, &[COMPACT, &alter].concat());
    let at = |second: i64| batch::now_ms() - 1_000_000 + second * 2_000;
    for (second, key, value) in [(0, "a", Some("1")), (1, "a", None), (2, "end", Some("1"))] {
        let record = BatchBuilder::new().record(at(second), Some(key.as_bytes()), value.map(str::as_bytes));
        assert_eq!(quick.produce("u", 0, record.build().expect("a batch")).error_code, 0);
    }
    // A second look of the cleaner needs a reason: something else that became superfluous.
    for second in 3..6 {
        let record = BatchBuilder::new().record(at(second), Some(b"end"), Some(b"2"));
        assert_eq!(quick.produce("u", 0, record.build().expect("a batch")).error_code, 0);
        std::thread::sleep(Duration::from_millis(100));
    }
    let gone = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let bytes = quick.fetch("u", 0, 0).records.expect("records");
        !batch::records(&bytes).iter().any(|record| record.key.as_deref() == Some(b"a"))
    });
    assert!(gone, "the deletion of a key is told for ever");
}

#[test]
fn a_quiet_topic_is_compacted_too() {
    let broker = TestBroker::with(EAGER);
    let mut client = broker.client();
    client.create_topic(
        "t",
        1,
        &[("cleanup.policy", "compact"), ("segment.ms", "300"), ("min.cleanable.dirty.ratio", "0.0")],
    );
    put(&mut client, 0, "a", Some("1"));
    put(&mut client, 0, "a", Some("2"));
    put(&mut client, 0, "b", Some("1"));
    await_records(&mut client, &[(1, "a", Some("2")), (2, "b", Some("1"))]);
}

#[test]
fn a_record_without_a_key_is_refused_with_its_place() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, COMPACT);
    let records = BatchBuilder::new()
        .record(1, Some(b"a"), Some(b"1"))
        .record(1, None, Some(b"2"))
        .build()
        .expect("a batch");
    let answer = client.produce("t", 0, records);
    assert_eq!(answer.error_code, INVALID_RECORD);
    assert_eq!(answer.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1]);
    assert_eq!(client.end_offset("t", 0), 0);
}
