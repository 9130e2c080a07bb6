//! Bits that flipped on the disk: the client is told, and everything around is served.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;

use kafka_protocol::messages::DeleteTopicsRequest;

use crate::support::{Client, TestBroker, batch, request};

const CORRUPT_MESSAGE: i16 = 2;
const EARLIEST: i64 = -2;

/// The value of every record that [`fill`] writes.
fn value(number: usize) -> String {
    format!("{number:0>900}")
}

/// One batch per record; more than the offset index has entries for in between.
fn fill(client: &mut Client, topic: &str, records: usize) {
    for number in 0..records {
        let answer = client.produce(topic, 0, batch::at(1_000_000 + number as i64, &[&value(number)]));
        assert_eq!((answer.error_code, answer.base_offset), (0, number as i64));
    }
}

/// Flips a bit in the batch with this offset, `at` bytes behind its first.
fn damage(log: &Path, offset: i64, at: usize) {
    let bytes = std::fs::read(log).expect("the log");
    let mut position = 0;
    for header in batch::headers(&bytes) {
        if header.base_offset == offset {
            break;
        }
        position += header.size_in_bytes();
    }
    assert!(position < bytes.len());
    let file = OpenOptions::new().write(true).open(log).expect("the log");
    file.write_all_at(&[bytes[position + at] ^ 4], (position + at) as u64).expect("a byte is written");
}

fn log_of(broker: &TestBroker, topic: &str) -> std::path::PathBuf {
    broker.partition_dir(topic, 0).join(format!("{:020}.log", 0))
}

/// Everything from `offset` to the first error or the end of what one answer gives.
fn served(client: &mut Client, topic: &str, offset: i64) -> (i16, Vec<(i64, String)>) {
    let data = client.fetch(topic, 0, offset);
    let records = batch::records(&data.records.unwrap_or_default());
    (data.error_code, records.iter().map(|record| (record.offset, record.value_text())).collect())
}

fn metric(address: &str, name: &str) -> f64 {
    let mut stream = TcpStream::connect(address).expect("the metrics listener");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("the metric is shown")
}

#[test]
fn a_damaged_batch_is_an_error_and_the_rest_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let metrics = listener.local_addr().expect("its address").to_string();
    drop(listener);
    // A flip in the records, in the offset and in the leader epoch, which the checksum does not cover, and in the length.
    for at in [500, 6, 14, 9] {
        let mut broker = TestBroker::with(&[("tidelog.metrics.listener", &metrics)]);
        let mut client = broker.client();
        for topic in ["t", "other"] {
            client.create_topic(topic, 1, &[]);
            fill(&mut client, topic, 60);
        }
        drop(client);
        broker.stop();
        damage(&log_of(&broker, "t"), 30, at);
        broker.begin();
        let mut client = broker.client();
        let (code, before) = served(&mut client, "t", 0);
        assert_eq!(code, 0);
        let expected: Vec<_> = (0..30).map(|number| (number as i64, value(number))).collect();
        assert!(before == expected, "byte {at}: {} records before the damage", before.len());
        for _ in 0..3 {
            assert_eq!(served(&mut client, "t", 30), (CORRUPT_MESSAGE, Vec::new()), "byte {at}");
        }
        // A header that cannot be trusted costs the way to the next entry of the index.
        let next =
            (31..40).find(|offset| served(&mut client, "t", *offset).0 == 0).expect("a readable offset");
        assert!(next == 31 || at != 500);
        let expected: Vec<_> = (next..60).map(|number| (number, value(number as usize))).collect();
        assert_eq!(served(&mut client, "t", next).1, expected);
        assert_eq!(client.values("other", 0, 0).len(), 60);
        assert_eq!(metric(&metrics, "tidelog_storage_corrupt_ranges_total"), 1.0);
        assert_eq!(metric(&metrics, "tidelog_storage_corrupt_ranges"), 1.0);
        // Writing goes on behind.
        assert_eq!(client.produce("t", 0, batch::of(&["new"])).base_offset, 60);
        assert_eq!(client.values("t", 0, 60), ["new"]);
        // What nobody can read goes with its topic.
        let deleted = DeleteTopicsRequest::default().with_topic_names(vec![request::name("t")]);
        assert_eq!(client.call(4, &deleted).responses[0].error_code, 0);
        let gone = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            metric(&metrics, "tidelog_storage_corrupt_ranges") == 0.0
        });
        assert!(gone);
    }
}

#[test]
fn one_damaged_partition_does_not_hold_another_up() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    for topic in ["a", "b"] {
        client.create_topic(topic, 1, &[]);
        fill(&mut client, topic, 20);
    }
    drop(client);
    broker.stop();
    damage(&log_of(&broker, "a"), 0, 300);
    broker.begin();
    let mut client = broker.client();
    let wanted = vec![("a", request::wanted(0, 0)), ("b", request::wanted(0, 0))];
    let response = client.call(11, &request::fetch(wanted));
    let parts: Vec<_> = response.responses.iter().map(|topic| &topic.partitions[0]).collect();
    assert_eq!(parts[0].error_code, CORRUPT_MESSAGE);
    assert_eq!(parts[1].error_code, 0);
    let records = batch::records(parts[1].records.as_ref().expect("records"));
    assert_eq!(records.len(), 20);
}

#[test]
fn offsets_by_time_are_not_told_from_damaged_batches() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    fill(&mut client, "t", 60);
    drop(client);
    broker.stop();
    // The largest timestamp of batch 30 becomes a later one.
    damage(&log_of(&broker, "t"), 30, 35 + 5);
    broker.begin();
    let mut client = broker.client();
    let found = client.list_offset("t", 0, 1_000_010);
    assert_eq!((found.error_code, found.offset), (0, 10));
    assert_eq!(client.list_offset("t", 0, 1_000_030).error_code, CORRUPT_MESSAGE);
    assert_eq!(client.list_offset("t", 0, 1_000_031).error_code, CORRUPT_MESSAGE);
    let found = client.list_offset("t", 0, EARLIEST);
    assert_eq!((found.error_code, found.offset), (0, 0));
    assert_eq!(client.end_offset("t", 0), 60);
}

/// Neither a retention run nor a new log of the same name gives a reader other bytes.
#[test]
fn a_topic_that_is_made_anew_has_nothing_of_the_earlier() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for round in 0..10 {
        client.create_topic("t", 1, &[]);
        let text = format!("round {round}");
        assert_eq!(client.produce("t", 0, batch::of(&[&text])).base_offset, 0);
        assert_eq!(client.values("t", 0, 0), [text]);
        let deleted = DeleteTopicsRequest::default().with_topic_names(vec![request::name("t")]);
        assert_eq!(client.call(4, &deleted).responses[0].error_code, 0);
    }
}
