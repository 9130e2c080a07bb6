//! Moving in from Apache Kafka: a recorded data directory of Kafka 4.3.1 is imported, and served as Kafka served it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use kafka_protocol::messages::fetch_response::PartitionData;
use tidelog::config::{BrokerConfig, Sources};
use tidelog::import::{self, ImportError, Options, Report};

use crate::groups::ask;
use crate::support::{Client, TestBroker, batch, request};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kafka-4.3.1-data").join(name)
}

/// The recorded directory, unpacked.
fn kafka() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let unpacked =
        Command::new("tar").arg("-xzf").arg(golden("data.tar.gz")).arg("-C").arg(dir.path()).status();
    assert!(unpacked.expect("tar").success());
    dir
}

fn run(from: &Path, to: &Path, change: impl FnOnce(&mut Options<'_>)) -> Result<Report, ImportError> {
    let config = BrokerConfig::load(&Sources::default()).expect("valid").config;
    let from = [from.join("data")];
    let mut options = Options {
        from: &from,
        to,
        config: &config,
        hard_link: false,
        unclean: false,
        dry_run: false,
        now_ms: 1_800_000_000_000,
    };
    change(&mut options);
    import::run(&options, &mut |_| ())
}

fn fetch(client: &mut Client, isolation: &str, topic: &str, partition: i32, offset: i64) -> PartitionData {
    let level = i8::from(isolation == "read_committed");
    let wanted =
        request::fetch(vec![(topic, request::wanted(partition, offset))]).with_isolation_level(level);
    let mut response = client.call(11, &wanted);
    response.responses.remove(0).partitions.remove(0)
}

/// The offsets a consumer is given, from where the log begins.
fn offsets(client: &mut Client, isolation: &str, topic: &str, partition: i32) -> (i64, Vec<i64>) {
    let start = client.list_offset(topic, partition, -2).offset;
    let (mut next, mut found) = (start, Vec::new());
    loop {
        let data = fetch(client, isolation, topic, partition, next);
        assert_eq!(data.error_code, 0, "{topic}-{partition} at {next}");
        let bytes = data.records.unwrap_or_default();
        let Some(end) = batch::headers(&bytes).last().map(|last| last.last_offset() + 1) else {
            return (start, found);
        };
        // As a consumer does: what a producer wrote from the first offset of an aborted transaction to its marker is not given.
        let mut aborted: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for transaction in data.aborted_transactions.unwrap_or_default() {
            aborted.entry(transaction.first_offset).or_default().push(transaction.producer_id.0);
        }
        let mut passed_over = BTreeSet::new();
        let mut at = 0;
        for header in batch::headers(&bytes) {
            let size = header.size_in_bytes();
            let records = batch::records(&bytes[at..at + size]);
            at += size;
            while let Some(entry) = aborted.first_entry().filter(|entry| *entry.key() <= header.last_offset())
            {
                passed_over.extend(entry.remove());
            }
            if header.is_control() {
                passed_over.remove(&header.producer_id);
            } else if !(header.is_transactional() && passed_over.contains(&header.producer_id)) {
                found.extend(records.iter().map(|record| record.offset).filter(|offset| *offset >= next));
            }
        }
        next = end;
    }
}

fn ranges(text: &str) -> Vec<i64> {
    let runs = text.split(',').filter(|run| !run.is_empty());
    runs.flat_map(|run| {
        let (first, last) = run.split_once('-').expect("a run");
        first.parse::<i64>().expect("a number")..=last.parse().expect("a number")
    })
    .collect()
}

#[test]
fn what_kafka_served_is_served() {
    let kafka = kafka();
    for hard_link in [false, true] {
        let mut report = None;
        // Nothing is to go that was there.
        let settings = [
            ("node.id", "1"),
            ("log.retention.check.interval.ms", "3600000"),
            ("log.cleaner.enable", "false"),
        ];
        let mut broker = TestBroker::prepared(&settings, |to| {
            report = Some(run(kafka.path(), to, |options| options.hard_link = hard_link).expect("imported"));
        });
        let report = report.expect("a report");
        assert_eq!(
            (report.topics, report.partitions, report.groups.groups, report.groups.offsets),
            (7, 10, 4, 5)
        );
        assert_eq!((report.transactions.ids, report.transactions.aborted, report.pending_offsets), (3, 1, 1));
        assert_eq!((report.is_clean, report.shared_bytes > 0), (true, hard_link));
        assert!(report.next_producer_id > 0);
        // The second time from a start after an orderly stop.
        for _ in 0..2 {
            let mut client = broker.client();
            let expected = std::fs::read_to_string(golden("expected.txt")).expect("the recording");
            for line in expected.lines() {
                let (of, runs) = line.split_once(':').expect("a line");
                let words: Vec<&str> = of.split(' ').collect();
                let [isolation, partition, "from", start] = words[..] else { panic!("{line}") };
                let (topic, index) = partition.rsplit_once('-').expect("a partition");
                let index = index.parse().expect("a number");
                // What was open when Kafka stopped is aborted by the first start, which may take a moment.
                crate::groups::member::eventually("all is stable", || {
                    let data = fetch(&mut client, isolation, topic, index, start.parse().expect("a number"));
                    data.last_stable_offset == data.high_watermark
                });
                let found = offsets(&mut client, isolation, topic, index);
                assert_eq!(found, (start.parse().expect("a number"), ranges(runs.trim())), "{of}");
            }
            // The Python client ends its text with a zero byte.
            assert_eq!(committed(&mut client, "by-hand", "plain"), [(2, 6, "mine again\0".to_owned())]);
            let of_transactions = [(0, 7, String::new()), (1, 1, String::new())];
            assert_eq!(committed(&mut client, "in-transactions", "plain"), of_transactions);
            broker.restart();
        }
    }
}

fn committed(client: &mut Client, group: &str, topic: &str) -> Vec<(i32, i64, String)> {
    let asked = ask::fetch_offsets(vec![ask::offsets_of(group, Some((topic, &[0, 1, 2])))]);
    let answer = client.call(8, &asked).groups.remove(0);
    assert_eq!(answer.error_code, 0);
    let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    let found = partitions.filter(|partition| partition.committed_offset >= 0);
    found
        .map(|partition| {
            let metadata = partition.metadata.map_or(String::new(), |text| text.to_string());
            (partition.partition_index, partition.committed_offset, metadata)
        })
        .collect()
}

#[test]
fn what_is_not_whole_is_refused() {
    let kafka = kafka();
    let to = tempfile::tempdir().expect("a directory");
    let target = to.path().join("data");
    let refused =
        |change: fn(&mut Options<'_>)| run(kafka.path(), &target, change).expect_err("refused").to_string();
    let dry = run(kafka.path(), &target, |options| options.dry_run = true).expect("a dry run");
    assert!(!target.exists() && dry.bytes > 0);

    let moved = kafka.path().join("data/plain-1");
    std::fs::rename(&moved, kafka.path().join("elsewhere")).expect("renamed");
    assert!(refused(|_| ()).contains("plain-1 is in none of the directories"));
    std::fs::rename(kafka.path().join("elsewhere"), &moved).expect("renamed");

    let log = kafka.path().join("data/__consumer_offsets-0/00000000000000000000.log");
    let whole = std::fs::read(&log).expect("a log");
    let mut damaged = whole.clone();
    damaged[70] ^= 1;
    std::fs::write(&log, damaged).expect("written");
    assert!(refused(|_| ()).contains("is damaged at byte 0: checksum mismatch"));
    std::fs::write(&log, whole).expect("written");

    std::fs::remove_file(kafka.path().join("data/.kafka_cleanshutdown")).expect("removed");
    assert!(refused(|_| ()).contains("did not stop in order"));
    assert!(!target.exists());
    let report = run(kafka.path(), &target, |options| options.unclean = true).expect("imported");
    assert!(!report.is_clean && !target.join(".kafka_cleanshutdown").exists());
    let again = run(kafka.path(), &target, |options| options.unclean = true).expect_err("it is somebody's");
    assert!(again.to_string().contains("the target must be new"), "{again}");
}
