//! Batches that a broker must not store, each with Kafka's error code; the log stays as it was.

use bytes::Bytes;
use tidelog::record::{BatchBuilder, BatchHeader, Compression, HEADER_LEN};

use crate::support::{Client, TestBroker, batch, request};

const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TIMESTAMP: i16 = 32;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;

/// Where the CRC stands in a batch.
const CRC_AT: usize = 17;
/// Where the message format stands in a batch.
const MAGIC_AT: usize = 16;

/// A topic with one record, which is all that it ever holds.
fn guarded_topic(client: &mut Client, configs: &[(&str, &str)]) {
    client.create_topic("t", 1, configs);
    assert_eq!(client.produce("t", 0, batch::of(&["kept"])).error_code, 0);
}

fn refused(client: &mut Client, what: &str, version: i16, records: Bytes, code: i16) {
    let answer = client.produce_at(version, "t", 0, records);
    assert_eq!(answer.error_code, code, "{what}: {:?}", answer.error_message);
    assert_eq!((answer.base_offset, answer.log_append_time_ms), (-1, -1), "{what}");
    assert_eq!(client.end_offset("t", 0), 1, "{what}: something was appended");
    assert_eq!(answer.error_message.is_some(), version >= 8, "{what}: the client is told why");
}

fn two() -> Bytes {
    batch::of(&["a", "b"])
}

#[test]
fn damaged_bytes() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[]);
    let batch = two();
    refused(&mut client, "crc", 9, batch::with_byte(&batch, CRC_AT, batch[CRC_AT] ^ 1), CORRUPT_MESSAGE);
    let last = batch.len() - 1;
    refused(&mut client, "payload", 9, batch::with_byte(&batch, last, batch[last] ^ 1), CORRUPT_MESSAGE);
    for end in [61, 62, last] {
        refused(&mut client, "cut short", 9, batch.slice(..end), INVALID_RECORD);
    }
    for (what, length) in [("negative length", -1_i32), ("zero length", 0), ("length below a header", 13)] {
        let mut bytes = batch.to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        refused(&mut client, what, 9, bytes.into(), CORRUPT_MESSAGE);
    }
}

#[test]
fn other_message_formats() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[]);
    let batch = two();
    for (magic, code) in
        [(0, INVALID_RECORD), (1, INVALID_RECORD), (3, CORRUPT_MESSAGE), (0xff, CORRUPT_MESSAGE)]
    {
        refused(&mut client, &format!("magic {magic}"), 9, batch::with_byte(&batch, MAGIC_AT, magic), code);
    }
}

#[test]
fn no_batch_or_more_than_one() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[]);
    let batch = two();
    refused(&mut client, "two batches", 9, [&batch[..], &batch[..]].concat().into(), INVALID_RECORD);
    refused(&mut client, "no bytes", 9, Bytes::new(), INVALID_RECORD);
    let response = client.call(9, &request::produce_records("t", 0, -1, None));
    assert_eq!(response.responses[0].partition_responses[0].error_code, INVALID_RECORD, "null");
    assert_eq!(client.end_offset("t", 0), 1);
}

#[test]
fn counts_and_offsets_that_do_not_agree() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[]);
    let batch = two();
    let mut broken = |what: &str, change: &dyn Fn(&mut BatchHeader)| {
        refused(&mut client, what, 9, batch::changed(&batch, change), INVALID_RECORD);
    };
    broken("one record too many", &|header| header.record_count = 3);
    broken("one record too few", &|header| header.record_count = 1);
    broken("no records", &|header| header.record_count = 0);
    broken("minus one record", &|header| header.record_count = -1);
    broken("two billion records", &|header| {
        header.record_count = i32::MAX;
        header.last_offset_delta = i32::MAX - 1;
    });
    broken("more records and offsets than bytes", &|header| {
        header.record_count = 3;
        header.last_offset_delta = 2;
    });
    broken("a last offset beyond the records", &|header| header.last_offset_delta = 5);
    broken("a negative last offset", &|header| header.last_offset_delta = -1);
    broken("a base offset", &|header| header.base_offset = 7);
    let gap = BatchBuilder::new().record_at(0, 1, None, None, &[]).record_at(2, 1, None, None, &[]).build();
    refused(&mut client, "a gap", 9, gap.expect("a batch"), INVALID_RECORD);
}

#[test]
fn compressed_batches_that_promise_too_many_records() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[]);
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let batch =
            batch::builder(batch::now_ms(), &["a", "b"]).compression(codec, None).build().expect("a batch");
        let promising = batch::changed(&batch, |header| {
            header.record_count = i32::MAX;
            header.last_offset_delta = i32::MAX - 1;
        });
        refused(&mut client, codec.name(), 9, promising, INVALID_RECORD);
    }
}

#[test]
fn markers_that_only_a_broker_writes() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[]);
    let control = batch::builder(batch::now_ms(), &["a"]).control(true).build().expect("a batch");
    refused(&mut client, "control", 9, control, INVALID_RECORD);
    let stamped = batch::builder(batch::now_ms(), &["a"]).log_append_time(5).build().expect("a batch");
    refused(&mut client, "log append time", 9, stamped, INVALID_TIMESTAMP);
}

#[test]
fn codecs_that_the_version_or_nobody_knows() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[]);
    let zstd = || {
        batch::builder(batch::now_ms(), &["a"]).compression(Compression::Zstd, None).build().expect("a batch")
    };
    for version in 3..7 {
        refused(&mut client, &format!("zstd in v{version}"), version, zstd(), UNSUPPORTED_COMPRESSION_TYPE);
    }
    let answer = client.produce_at(7, "t", 0, zstd());
    assert_eq!((answer.error_code, answer.base_offset), (0, 1));
    for id in 5..8 {
        let unknown = batch::changed(&two(), |header| header.attributes = id);
        let answer = client.produce("t", 0, unknown);
        assert_eq!(answer.error_code, UNSUPPORTED_COMPRESSION_TYPE, "codec {id}");
        assert_eq!(client.end_offset("t", 0), 2, "codec {id}");
    }
}

#[test]
fn timestamps_too_far_away() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(
        &mut client,
        &[("message.timestamp.before.max.ms", "3600000"), ("message.timestamp.after.max.ms", "60000")],
    );
    let now = batch::now_ms();
    for (what, timestamp) in
        [("future", now + 600_000), ("past", now - 7_200_000), ("far future", i64::MAX / 2)]
    {
        let records = BatchBuilder::new().record(now, None, None).record(timestamp, None, None).build();
        let answer = client.produce("t", 0, records.expect("a batch"));
        assert_eq!(answer.error_code, INVALID_TIMESTAMP, "{what}");
        let at_fault: Vec<i32> = answer.record_errors.iter().map(|error| error.batch_index).collect();
        assert_eq!(at_fault, [1], "{what}: the record at fault is named");
        assert_eq!(client.end_offset("t", 0), 1, "{what}");
    }
    // Compressed records are looked at as well.
    let folded = BatchBuilder::new()
        .compression(Compression::Gzip, None)
        .record(now, None, None)
        .record(now - 7_200_000, None, None)
        .build();
    refused(&mut client, "compressed past", 9, folded.expect("a batch"), INVALID_TIMESTAMP);
    let allowed = BatchBuilder::new().record(now + 1_000, None, None).record(now - 1_000, None, None).build();
    assert_eq!(client.produce("t", 0, allowed.expect("a batch")).error_code, 0);
}

#[test]
fn by_default_only_an_hour_of_future_is_allowed() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[]);
    let now = batch::now_ms();
    refused(&mut client, "two hours ahead", 9, batch::at(now + 7_200_000, &["a"]), INVALID_TIMESTAMP);
    for (timestamp, offset) in [(now + 1_800_000, 1), (0, 2), (-1, 3)] {
        let answer = client.produce("t", 0, batch::at(timestamp, &["a"]));
        assert_eq!((answer.error_code, answer.base_offset), (0, offset), "{timestamp}");
    }
}

#[test]
fn batches_above_the_limit() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[("max.message.bytes", "1000")]);
    let exactly = |len: usize| {
        let records = |bytes: usize| batch::of(&["x".repeat(bytes).as_str()]);
        let overhead = records(500).len() - 500;
        records(len - overhead)
    };
    assert_eq!((exactly(1000).len(), exactly(1001).len()), (1000, 1001));
    refused(&mut client, "one byte too many", 9, exactly(1001), MESSAGE_TOO_LARGE);
    assert_eq!(client.produce("t", 0, exactly(1000)).error_code, 0);
    // What counts is the batch as it was sent: compressed.
    let folded = BatchBuilder::new()
        .compression(Compression::Gzip, None)
        .record(batch::now_ms(), None, Some(&vec![b'x'; 5_000]))
        .build()
        .expect("a batch");
    assert!(folded.len() < 1000);
    assert_eq!(client.produce("t", 0, folded).error_code, 0);
}

#[test]
fn a_batch_that_grows_beyond_the_limit_when_repacked() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[("max.message.bytes", "1000"), ("compression.type", "uncompressed")]);
    let folded = BatchBuilder::new()
        .compression(Compression::Zstd, None)
        .record(batch::now_ms(), None, Some(&vec![b'x'; 5_000]))
        .build()
        .expect("a batch");
    refused(&mut client, "repacked", 9, folded, MESSAGE_TOO_LARGE);
}

#[test]
fn records_that_are_none() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    guarded_topic(&mut client, &[]);
    let batch = batch::of(&["value"]);
    let payload = &batch[HEADER_LEN..];
    let sealed = |payload: &[u8]| {
        let mut header = BatchHeader::parse(&batch).expect("a batch");
        header.seal(payload).expect("a small batch")
    };
    // Length, attributes, timestamp, offset, key length, value length, value, headers: one byte each but the value.
    for (what, at, byte) in [
        ("a record longer than the batch", 0, 0x7e),
        ("a negative record length", 0, 0x01),
        ("a value longer than the record", 5, 0x7e),
        ("a negative header count", payload.len() - 1, 0x01),
        ("a header that is not there", payload.len() - 1, 0x02),
    ] {
        let mut broken = payload.to_vec();
        broken[at] = byte;
        refused(&mut client, what, 9, sealed(&broken), INVALID_RECORD);
    }
    refused(&mut client, "bytes behind the record", 9, sealed(&[payload, &[0]].concat()), INVALID_RECORD);
}
