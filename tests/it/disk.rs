//! Bytes on disk after a scripted sequence of appends: a change of the format shows in a diff of `tests/golden/disk`.

use std::fs;
use std::path::Path;

use crate::support::golden::{check, dump, mask};
use crate::support::{TestBroker, batch};
use crate::transactions::session::{Protocol, Session, producers};

/// A fixed moment of these logs, milliseconds since the epoch.
const BEGIN_MS: i64 = 1_700_000_000_000;
/// Size of a producer in a snapshot, bytes.
const PRODUCER: usize = 46;

/// Three segments: rolled by the time between records, with an entry of the index for each batch, and an idempotent
/// producer whose state is kept beside them.
fn scripted() -> TestBroker {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    let configs = [("segment.ms", "60000"), ("index.interval.bytes", "0"), ("retention.ms", "-1")];
    client.create_topic("golden", 1, &configs);
    let hour = 3_600_000;
    let appended = [
        batch::at(BEGIN_MS, &["a", "b"]),
        batch::at(BEGIN_MS + 5, &["c"]),
        batch::at(BEGIN_MS + 1, &["older"]),
        batch::builder(BEGIN_MS + hour, &["d", "e", "f"]).producer(4000, 2, 0).build().expect("a batch"),
        batch::builder(BEGIN_MS + hour + 1, &["g"]).producer(4000, 2, 3).build().expect("a batch"),
        batch::builder(BEGIN_MS + 2 * hour, &["h"]).producer(4000, 2, 4).build().expect("a batch"),
    ];
    for records in appended {
        let answer = client.produce("golden", 0, records);
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    }
    drop(client);
    // A new leader epoch begins after a stop that was not orderly.
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    assert_eq!(client.produce("golden", 0, batch::at(BEGIN_MS + 2 * hour + 1, &["i"])).base_offset, 9);
    drop(client);
    broker.stop();
    broker
}

/// One segment with two aborted transactions, one that was committed and one that is open; and when its producers last wrote.
fn scripted_transactions() -> (TestBroker, Vec<i64>) {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("golden", 1, &[("retention.ms", "-1"), ("segment.ms", "9223372036854775807")]);
    let mut one = Session::open(&broker, "one", Protocol::First);
    let mut two = Session::open(&broker, "two", Protocol::Second);
    one.write_at(BEGIN_MS, "golden", 0, &["a"]);
    two.write_at(BEGIN_MS, "golden", 0, &["b"]);
    one.end(false);
    two.end(false);
    two.write_at(BEGIN_MS, "golden", 0, &["c"]);
    one.write_at(BEGIN_MS, "golden", 0, &["d"]);
    two.end(true);
    let times = producers(&mut client, "golden", 0).iter().map(|producer| producer.last_timestamp).collect();
    drop((client, one, two));
    broker.stop();
    (broker, times)
}

#[test]
fn aborted_ranges_and_open_transactions_have_these_bytes() {
    let (broker, times) = scripted_transactions();
    let dir = broker.partition_dir("golden", 0);
    let mut told = String::new();
    for name in file_names(&dir) {
        let mut bytes = fs::read(dir.join(&name)).expect("a file");
        if name.ends_with(".snapshot") {
            // The checksum over the times, and the times.
            bytes[2..6].fill(0xcc);
            for time in &times {
                mask(&mut bytes, &time.to_be_bytes(), &BEGIN_MS.to_be_bytes());
            }
            // Producers come in no order.
            let mut entries: Vec<Vec<u8>> = bytes[10..].chunks(PRODUCER).map(<[u8]>::to_vec).collect();
            entries.sort();
            bytes.splice(10.., entries.concat());
        } else if !name.ends_with(".txnindex") {
            continue;
        }
        told.push_str(&format!("# {name}, {} bytes\n{}", bytes.len(), dump(&bytes)));
    }
    check("disk/transactions.txt", &told);
}

fn file_names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("the partition's directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn segments_indexes_and_snapshots_have_these_bytes() {
    let broker = scripted();
    let dir = broker.partition_dir("golden", 0);
    let mut told = String::new();
    for name in file_names(&dir) {
        let bytes = fs::read(dir.join(&name)).expect("a file");
        told.push_str(&format!("# {name}, {} bytes\n", bytes.len()));
        match name.as_str() {
            "leader-epoch-checkpoint" => told.push_str(&String::from_utf8(bytes).expect("text")),
            "partition.metadata" => told.push_str(&with_masked_id(&String::from_utf8(bytes).expect("text"))),
            _ => told.push_str(&dump(&bytes)),
        }
    }
    check("disk/partition.txt", &told);
}

/// The topic's id is drawn at random; its form is Kafka's: 22 characters of unpadded base 64.
fn with_masked_id(metadata: &str) -> String {
    metadata
        .lines()
        .map(|line| match line.strip_prefix("topic_id: ") {
            Some(id) => {
                let base64 = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                assert!(id.len() == 22 && id.chars().all(base64), "{id:?} is no id");
                "topic_id: <masked>\n".to_owned()
            }
            None => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn checkpoints_and_marks_of_the_directory_have_these_bytes() {
    let broker = scripted();
    let mut told = String::new();
    for name in [".kafka_cleanshutdown", "log-start-offset-checkpoint", "recovery-point-offset-checkpoint"] {
        let text = fs::read_to_string(broker.path().join(name)).expect("a text");
        told.push_str(&format!("# {name}\n{text}"));
        if !text.ends_with('\n') {
            told.push_str("\n\\ no newline at the end\n");
        }
    }
    check("disk/data_directory.txt", &told);
}
