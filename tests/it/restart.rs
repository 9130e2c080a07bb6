//! Stopping and starting on the same directory: what was acknowledged is there, what was torn is not.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteTopicsRequest, OffsetForLeaderEpochRequest};

use crate::support::{Client, TestBroker, batch, request};

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;

fn files_with(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("the partition's directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

fn only_log(dir: &Path) -> PathBuf {
    let mut logs = files_with(dir, "log");
    assert_eq!(logs.len(), 1);
    logs.remove(0)
}

fn cut(file: &Path, len: u64) {
    OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(len)).expect("the file is cut");
}

fn append_bytes(file: &Path, bytes: &[u8]) {
    use std::io::Write;
    let mut file = OpenOptions::new().append(true).open(file).expect("the file");
    file.write_all(bytes).expect("bytes are appended");
}

/// Where an epoch ended, as a follower would ask.
fn end_of_epoch(client: &mut Client, topic: &str, epoch: i32) -> (i32, i64) {
    let wanted = OffsetForLeaderPartition::default().with_partition(0).with_leader_epoch(epoch);
    let topic =
        OffsetForLeaderTopic::default().with_topic(request::name(topic)).with_partitions(vec![wanted]);
    let response = client.call(4, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic]));
    let answer = &response.topics[0].partitions[0];
    assert_eq!(answer.error_code, 0);
    (answer.leader_epoch, answer.end_offset)
}

fn leader_epoch(client: &mut Client, topic: &str) -> i32 {
    client.list_offset(topic, 0, -1).leader_epoch
}

#[test]
fn an_orderly_stop_loses_nothing_and_begins_no_epoch() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    let id = client.create_topic("t", 3, &[("retention.ms", "-1"), ("max.message.bytes", "2000")]);
    for partition in 0..3 {
        for number in 0..4 {
            let value = format!("{partition}.{number}");
            assert_eq!(client.produce("t", partition, batch::of(&[&value])).base_offset, number);
        }
    }
    drop(client);
    for _ in 0..3 {
        broker.restart();
        let mut client = broker.client();
        let metadata =
            client.call(12, &kafka_protocol::messages::MetadataRequest::default().with_topics(None));
        assert_eq!(metadata.topics.iter().map(|topic| topic.topic_id).collect::<Vec<_>>(), [id]);
        for partition in 0..3 {
            let expected: Vec<String> = (0..4).map(|number| format!("{partition}.{number}")).collect();
            assert_eq!(client.values("t", partition, 0), expected);
            assert_eq!(client.end_offset("t", partition), 4);
        }
        assert_eq!(leader_epoch(&mut client, "t"), 0);
        // The topic's own settings hold.
        assert_eq!(client.produce("t", 0, batch::sized(3_000)).error_code, 10);
    }
    let mut client = broker.client();
    let appended = client.produce("t", 1, batch::of(&["more"]));
    assert_eq!((appended.error_code, appended.base_offset), (0, 4));
}

#[test]
fn a_repeat_after_a_restart_is_still_answered_with_its_first_offset() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    assert_eq!(client.produce("t", 0, batch::of(&["other"])).base_offset, 0);
    let sent: Vec<_> = (0..4).map(|number| batch::sequenced(7, 1, number, &["v"])).collect();
    for (records, offset) in sent.iter().zip(1..) {
        assert_eq!(client.produce("t", 0, records.clone()).base_offset, offset);
    }
    drop(client);
    for crash in [false, true] {
        if crash {
            broker.crash_and_restart(|_| ());
        } else {
            broker.restart();
        }
        let mut client = broker.client();
        // The newest batch is what a producer retries after a broken connection.
        let again = client.produce("t", 0, sent[3].clone());
        assert_eq!((again.error_code, again.base_offset), (0, 4), "crash: {crash}");
        let gap = client.produce("t", 0, batch::sequenced(7, 1, 9, &["v"]));
        assert_eq!(gap.error_code, OUT_OF_ORDER_SEQUENCE_NUMBER, "crash: {crash}");
        let stale = client.produce("t", 0, batch::sequenced(7, 0, 4, &["v"]));
        assert_eq!(stale.error_code, INVALID_PRODUCER_EPOCH, "crash: {crash}");
        assert_eq!(client.end_offset("t", 0), 5, "crash: {crash}");
    }
    let next = broker.client().produce("t", 0, batch::sequenced(7, 1, 4, &["v"]));
    assert_eq!((next.error_code, next.base_offset), (0, 5));
}

#[test]
fn all_batches_in_flight_are_known_after_a_crash() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let sent: Vec<_> = (0..5).map(|number| batch::sequenced(7, 0, number, &["v"])).collect();
    for records in &sent {
        client.produce("t", 0, records.clone());
    }
    drop(client);
    // A crash leaves no snapshot of the producers: the log itself tells.
    broker.crash_and_restart(|path| {
        for snapshot in files_with(&path.join("t-0"), "snapshot") {
            fs::remove_file(snapshot).expect("the snapshot");
        }
    });
    let mut client = broker.client();
    for (records, offset) in sent.iter().zip(0..) {
        let again = client.produce("t", 0, records.clone());
        assert_eq!((again.error_code, again.base_offset), (0, offset));
    }
    assert_eq!(client.end_offset("t", 0), 5);
}

/// Five batches of two records; returns where each begins in the file, and the file's length.
fn five_batches(broker: &TestBroker) -> Vec<u64> {
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let mut ends = vec![0];
    for number in 0..5 {
        let records = batch::of(&[&format!("{number}a"), &format!("{number}b")]);
        ends.push(ends[number] + records.len() as u64);
        client.produce("t", 0, records);
    }
    ends
}

fn expected_values(batches: usize) -> Vec<String> {
    (0..batches).flat_map(|number| [format!("{number}a"), format!("{number}b")]).collect()
}

/// After `damage` to the log file: this many whole batches are left, under a new epoch, and the log goes on from there.
fn recovers_to(batches: usize, what: &str, damage: impl FnOnce(&Path, &[u64])) {
    let mut broker = TestBroker::start();
    let bounds = five_batches(&broker);
    broker.crash_and_restart(|path| {
        forget_checkpoints(path);
        damage(&only_log(&path.join("t-0")), &bounds);
    });
    let mut client = broker.client();
    let end = batches as i64 * 2;
    assert_eq!(client.end_offset("t", 0), end, "{what}");
    assert_eq!(client.values("t", 0, 0), expected_values(batches), "{what}");
    let appended = client.produce("t", 0, batch::of(&["after"]));
    assert_eq!((appended.error_code, appended.base_offset), (0, end), "{what}");
    // The new epoch begins where the old history ended, so that clients notice what is gone.
    let records = batch::records(&client.fetch("t", 0, end).records.expect("records"));
    assert_eq!((records[0].offset, records[0].leader_epoch), (end, 1), "{what}");
    assert_eq!(end_of_epoch(&mut client, "t", 0), (0, end), "{what}");
    assert_eq!(end_of_epoch(&mut client, "t", 1), (1, end + 1), "{what}");
    drop(client);
    broker.restart();
    let mut client = broker.client();
    let mut expected = expected_values(batches);
    expected.push("after".to_owned());
    assert_eq!(client.values("t", 0, 0), expected, "{what}, after another restart");
}

/// A crash may come before a recovery point was written.
fn forget_checkpoints(path: &Path) {
    let _ = fs::remove_file(path.join("recovery-point-offset-checkpoint"));
}

#[test]
fn a_torn_batch_is_cut_off_wherever_it_was_torn() {
    // Within the offset, the length, the CRC, the counts, the records, and one byte before the end.
    for inside in [1_u64, 8, 11, 12, 17, 30, 60, 61, 62] {
        recovers_to(4, &format!("{inside} bytes of the last batch"), |log, bounds| {
            cut(log, bounds[4] + inside)
        });
    }
    recovers_to(4, "all but one byte", |log, bounds| cut(log, bounds[5] - 1));
    recovers_to(4, "none of the last batch", |log, bounds| cut(log, bounds[4]));
    recovers_to(0, "nothing is left", |log, _| cut(log, 0));
}

#[test]
fn a_file_that_grew_without_its_data_is_cut_off() {
    // A power cut may leave the new length of a file and zeros for its content.
    recovers_to(5, "zeros behind the end", |log, bounds| cut(log, bounds[5] + 5_000));
    recovers_to(5, "noise behind the end", |log, _| append_bytes(log, &[0xa5; 300]));
    recovers_to(4, "zeros instead of records", |log, bounds| {
        cut(log, bounds[4] + 61);
        cut(log, bounds[5]);
    });
}

#[test]
fn nothing_is_cut_when_nothing_is_torn() {
    recovers_to(5, "a whole file", |_, _| ());
}

#[test]
fn every_unclean_start_begins_an_epoch() {
    let mut broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    for epoch in 0..4 {
        let mut client = broker.client();
        assert_eq!(client.produce("t", 0, batch::of(&["v"])).base_offset, i64::from(epoch));
        let records = batch::records(&client.fetch("t", 0, i64::from(epoch)).records.expect("records"));
        assert_eq!(records[0].leader_epoch, epoch);
        drop(client);
        broker.crash_and_restart(|_| ());
    }
}

#[test]
fn indexes_that_are_lost_or_damaged_are_made_again() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("removed", |path| fs::remove_file(path).expect("the index")),
        ("emptied", |path| fs::write(path, []).expect("the index")),
        ("garbage", |path| fs::write(path, [0xa5; 4096]).expect("the index")),
        ("odd length", |path| fs::write(path, [0; 13]).expect("the index")),
    ];
    for (what, damage) in damages {
        for crash in [false, true] {
            let mut broker = TestBroker::start();
            let mut client = broker.client();
            // An entry for each batch, and several segments.
            client.create_topic(
                "t",
                1,
                &[("index.interval.bytes", "0"), ("segment.ms", "1000"), ("retention.ms", "-1")],
            );
            let begin = 1_700_000_000_000;
            for number in 0..12 {
                // Every fourth batch comes much later than the one before: it begins a segment.
                let time = begin + number * 100 + (number / 4) * 10_000;
                client.produce("t", 0, batch::at(time, &[&number.to_string()]));
            }
            drop(client);
            broker.stop();
            let dir = broker.partition_dir("t", 0);
            assert_eq!(files_with(&dir, "log").len(), 3);
            for extension in ["index", "timeindex"] {
                files_with(&dir, extension).iter().for_each(|path| damage(path));
            }
            if crash {
                fs::remove_file(broker.path().join(".kafka_cleanshutdown")).expect("the mark");
            }
            broker.begin();
            let mut client = broker.client();
            for number in 0..12 {
                let values = client.values("t", 0, number);
                assert_eq!(values.first(), Some(&number.to_string()), "{what}, crash: {crash}");
                let time = begin + number * 100 + (number / 4) * 10_000;
                assert_eq!(client.list_offset("t", 0, time).offset, number, "{what}, crash: {crash}");
            }
            assert_eq!(
                client.produce("t", 0, batch::of(&["after"])).base_offset,
                12,
                "{what}, crash: {crash}"
            );
        }
    }
}

#[test]
fn deleted_topics_stay_deleted_and_strays_are_set_aside() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("kept", 1, &[]);
    client.create_topic("gone", 1, &[]);
    client.produce("kept", 0, batch::of(&["v"]));
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![request::name("gone")]);
    assert_eq!(client.call(5, &delete).responses[0].error_code, 0);
    drop(client);
    broker.stop();
    // A directory that no topic knows may be something an operator wants back.
    let stray = broker.path().join("stranger-0");
    fs::create_dir(&stray).expect("a directory");
    fs::write(stray.join("precious"), b"x").expect("a file");
    broker.begin();
    let mut client = broker.client();
    assert_eq!(client.values("kept", 0, 0), ["v"]);
    assert_eq!(client.produce("gone", 0, batch::of(&["v"])).error_code, 3);
    assert!(!broker.partition_dir("gone", 0).exists());
    assert!(!stray.exists());
    let aside = fs::read_dir(broker.path())
        .expect("the data directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.to_string_lossy().ends_with("-stray"))
        .expect("the directory is set aside");
    assert!(aside.join("precious").exists());
}

#[test]
fn a_second_broker_on_the_directory_refuses_to_start() {
    let mut broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    let refused = broker.try_start().err().expect("the directory is in use");
    assert!(format!("{refused:#}").contains("in use by another broker"), "{refused:#}");
    // The first one does not notice, and a stop makes room.
    assert_eq!(broker.client().produce("t", 0, batch::of(&["v"])).base_offset, 0);
    broker.restart();
    assert_eq!(broker.client().values("t", 0, 0), ["v"]);
}

#[test]
fn another_nodes_directory_is_refused() {
    let mut broker = TestBroker::with(&[("node.id", "3")]);
    broker.stop();
    broker.change_setting("node.id", "4");
    assert!(broker.try_start().is_err());
    broker.change_setting("node.id", "3");
    broker.begin();
    broker.assert_serves();
}

#[test]
fn what_was_acknowledged_before_a_stop_is_there_although_requests_were_under_way() {
    let mut broker = TestBroker::start();
    broker.client().create_topic("t", 1, &[]);
    let mut client = broker.client();
    for number in 0..50 {
        client.begin(9, &request::produce("t", 0, -1, batch::of(&[&number.to_string()])));
    }
    // At least the first is answered; the stop finishes or drops the others.
    let mut acknowledged = 0_usize;
    assert!(client.read_frame().is_some());
    acknowledged += 1;
    broker.stop();
    while client.read_frame().is_some() {
        acknowledged += 1;
    }
    broker.begin();
    let values = broker.client().values("t", 0, 0);
    assert!(values.len() >= acknowledged, "{acknowledged} were acknowledged, {} are there", values.len());
    let in_order: Vec<String> = (0..values.len()).map(|number| number.to_string()).collect();
    assert_eq!(values, in_order);
}

#[test]
fn a_topic_made_after_an_unclean_start_begins_with_epoch_zero() {
    let mut broker = TestBroker::start();
    broker.client().create_topic("old", 1, &[]);
    broker.crash_and_restart(|_| ());
    let mut client = broker.client();
    client.create_topic("new", 1, &[]);
    client.produce("new", 0, batch::of(&["v"]));
    let records = batch::records(&client.fetch("new", 0, 0).records.expect("records"));
    assert_eq!(records[0].leader_epoch, 0, "nobody can have seen an earlier epoch");
}

#[test]
fn a_topic_of_the_same_name_inherits_no_checkpoint() {
    for crash in [false, true] {
        let mut broker = TestBroker::start();
        let mut client = broker.client();
        client.create_topic("t", 1, &[]);
        for _ in 0..5 {
            client.produce("t", 0, batch::of(&["old"]));
        }
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(4);
        let topic =
            DeleteRecordsTopic::default().with_name(request::name("t")).with_partitions(vec![partition]);
        let response = client.call(2, &DeleteRecordsRequest::default().with_topics(vec![topic]));
        assert_eq!(response.topics[0].partitions[0].low_watermark, 4);
        drop(client);
        // The next start reads the checkpoints, and then the topic is replaced before anybody has used it.
        if crash {
            broker.crash_and_restart(|_| ());
        } else {
            broker.restart();
        }
        let mut client = broker.client();
        let delete = DeleteTopicsRequest::default().with_topic_names(vec![request::name("t")]);
        assert_eq!(client.call(5, &delete).responses[0].error_code, 0);
        client.create_topic("t", 1, &[]);
        assert_eq!(client.list_offset("t", 0, -2).offset, 0, "crash: {crash}");
        assert_eq!(client.end_offset("t", 0), 0, "crash: {crash}");
        let appended = client.produce("t", 0, batch::of(&["new"]));
        assert_eq!((appended.error_code, appended.base_offset), (0, 0), "crash: {crash}");
        assert_eq!(client.values("t", 0, 0), ["new"], "crash: {crash}");
        drop(client);
        broker.crash_and_restart(|_| ());
        assert_eq!(broker.client().values("t", 0, 0), ["new"], "crash: {crash}, after another one");
    }
}

#[test]
fn a_batch_that_was_torn_is_not_taken_for_a_repeat() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let sent: Vec<_> = (0..4).map(|number| batch::sequenced(7, 0, number, &["v"])).collect();
    for records in &sent {
        assert_eq!(client.produce("t", 0, records.clone()).error_code, 0);
    }
    drop(client);
    // The snapshot beside the log knows the last batch, the log does not any more.
    broker.crash_and_restart(|path| {
        forget_checkpoints(path);
        let dir = path.join("t-0");
        assert!(!files_with(&dir, "snapshot").is_empty());
        let log = only_log(&dir);
        cut(&log, fs::metadata(&log).expect("the log").len() - 1);
    });
    let mut client = broker.client();
    assert_eq!(client.end_offset("t", 0), 3);
    // Its producer was never told that it is durable and sends it again. With acks=1 a wrong "you sent that before"
    // would be told at once, and the record would be gone.
    let response = client.call(9, &request::produce("t", 0, 1, sent[3].clone()));
    let again = &response.responses[0].partition_responses[0];
    assert_eq!((again.error_code, again.base_offset), (0, 3));
    // What acks=1 tells may not be durable yet: the next answer of acks=all covers it.
    assert_eq!(client.produce("t", 0, batch::of(&["after"])).base_offset, 4, "the repeat must be appended");
    assert_eq!(client.values("t", 0, 0).len(), 5);
    let known = client.produce("t", 0, sent[2].clone());
    assert_eq!((known.error_code, known.base_offset), (0, 2), "what is left is still known");
}

#[test]
fn a_torn_batch_in_an_older_segment_takes_the_later_ones_with_it() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("segment.ms", "1000"), ("retention.ms", "-1")]);
    let begin = 1_700_000_000_000;
    for number in 0..9_i64 {
        // Every third batch begins a segment.
        let time = begin + (number / 3) * 10_000;
        assert_eq!(client.produce("t", 0, batch::at(time, &[&number.to_string()])).base_offset, number);
    }
    drop(client);
    // Nothing was synced: the middle segment lost the end of its last batch, the newest is whole.
    broker.crash_and_restart(|path| {
        forget_checkpoints(path);
        let logs = files_with(&path.join("t-0"), "log");
        assert_eq!(logs.len(), 3);
        cut(&logs[1], fs::metadata(&logs[1]).expect("the log").len() - 1);
    });
    let mut client = broker.client();
    let expected: Vec<String> = (0..5).map(|number| number.to_string()).collect();
    assert_eq!(client.values("t", 0, 0), expected, "offsets behind a gap would be lies");
    assert_eq!(client.produce("t", 0, batch::of(&["after"])).base_offset, 5);
    drop(client);
    broker.restart();
    assert_eq!(broker.client().end_offset("t", 0), 6);
}

#[test]
fn a_partition_that_nobody_uses_keeps_its_log_start_over_restarts() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    for _ in 0..5 {
        client.produce("t", 0, batch::of(&["v"]));
    }
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(3);
    let topic = DeleteRecordsTopic::default().with_name(request::name("t")).with_partitions(vec![partition]);
    let response = client.call(2, &DeleteRecordsRequest::default().with_topics(vec![topic]));
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    drop(client);
    for _ in 0..3 {
        broker.restart();
    }
    broker.crash_and_restart(|_| ());
    assert_eq!(broker.client().list_offset("t", 0, -2).offset, 3);
}

#[test]
fn a_lost_epoch_checkpoint_does_not_set_the_epoch_back() {
    for crash in [false, true] {
        let mut broker = TestBroker::start();
        broker.client().create_topic("t", 1, &[]);
        for _ in 0..3 {
            broker.client().produce("t", 0, batch::of(&["v"]));
            broker.crash_and_restart(|_| ());
        }
        broker.client().produce("t", 0, batch::of(&["epoch 3"]));
        broker.stop();
        let checkpoint = broker.partition_dir("t", 0).join("leader-epoch-checkpoint");
        fs::remove_file(checkpoint).expect("the checkpoint");
        if crash {
            fs::remove_file(broker.path().join(".kafka_cleanshutdown")).expect("the mark");
            forget_checkpoints(broker.path());
        }
        broker.begin();
        let mut client = broker.client();
        client.produce("t", 0, batch::of(&["later"]));
        let records = batch::records(&client.fetch("t", 0, 4).records.expect("records"));
        let epoch = records[0].leader_epoch;
        assert!(epoch >= if crash { 4 } else { 3 }, "crash: {crash}: the epoch went back to {epoch}");
    }
}
