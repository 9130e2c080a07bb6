//! A few kilobytes that unpack to gigabytes.

use bytes::Bytes;
use tidelog::record::{BatchBuilder, BatchHeader, Compression, HEADER_LEN, compress};

use crate::support::{TestBroker, alone, batch};

/// `tidelog.max.decompressed.bytes` of these tests.
const UNPACKED_MAX: usize = 8 << 20;
/// What the bombs unpack to, bytes.
const UNPACKED: usize = 256 << 20;
/// Twice the budget, the codec's window and some room; far below [`UNPACKED`].
const GROWTH_MAX: u64 = 64 << 20;
const MESSAGE_TOO_LARGE: i16 = 10;
const CORRUPT_MESSAGE: i16 = 2;

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// The compressed stream of many megabytes of zeros, put together from copies of a small one so that the test itself
/// stays small.
fn zeros(codec: Compression) -> Vec<u8> {
    const ONCE: usize = 64 << 10;
    let small = compress(codec, None, &vec![0; ONCE]).expect("zeros can be compressed");
    let copies = UNPACKED / ONCE;
    if codec != Compression::Lz4 {
        // Streams may stand one behind the other.
        return small.repeat(copies);
    }
    // An lz4 frame stands alone: seven bytes of header, independent blocks, four bytes of end mark.
    let (header, rest) = small.split_at(7);
    let (block, end) = rest.split_at(rest.len() - 4);
    [header, &block.repeat(copies), end].concat()
}

fn bomb(codec: Compression, records: &[u8]) -> Bytes {
    let mut header = BatchHeader::parse(&batch::of(&["x"])).expect("a batch");
    header.set_compression(codec);
    header.seal(records).expect("a small batch")
}

fn unpacking_topics(broker: &TestBroker) -> [&'static str; 2] {
    let mut client = broker.client();
    // Both need the records themselves: one to repack them, the other to look at each timestamp.
    client.create_topic(
        "repacked",
        1,
        &[("compression.type", "uncompressed"), ("max.message.bytes", "50000000")],
    );
    client.create_topic(
        "aged",
        1,
        &[("message.timestamp.before.max.ms", "3600000"), ("max.message.bytes", "50000000")],
    );
    ["repacked", "aged"]
}

#[test]
fn bombs_are_refused_within_bounded_memory() {
    alone::alone("hostile::bombs::bombs_are_refused_within_bounded_memory", || {
        let broker = TestBroker::with(&[("tidelog.max.decompressed.bytes", &UNPACKED_MAX.to_string())]);
        let topics = unpacking_topics(&broker);
        let bombs = CODECS.map(|codec| (codec, bomb(codec, &zeros(codec))));
        let mut client = broker.client();
        let before = alone::peak_resident_bytes();
        for (codec, records) in &bombs {
            for topic in topics {
                let answer = client.produce(topic, 0, records.clone());
                assert_eq!(answer.error_code, MESSAGE_TOO_LARGE, "{codec:?} into {topic}");
                assert_eq!(answer.base_offset, -1, "{codec:?} into {topic}");
                assert_eq!(client.end_offset(topic, 0), 0, "{codec:?} into {topic}");
            }
        }
        let largest = bombs.iter().map(|(_, records)| records.len() as u64).max().unwrap_or(0);
        let grown = alone::peak_resident_bytes() - before;
        assert!(grown < GROWTH_MAX + 4 * largest, "{grown} bytes for bombs of at most {largest}");
        broker.assert_serves();
    });
}

#[test]
fn broken_streams_are_refused_and_nothing_is_appended() {
    let broker = TestBroker::start();
    let topics = unpacking_topics(&broker);
    let mut client = broker.client();
    let plain = batch::of(&["a", "b"]);
    for codec in CODECS {
        let folded = compress(codec, None, &plain[HEADER_LEN..]).expect("records that compress");
        let cut = &folded[..folded.len() - 1];
        let noise = [0x5a; 40];
        for (what, records) in [("cut", cut), ("noise", &noise[..]), ("empty", &[][..])] {
            for topic in topics {
                let mut header = BatchHeader::parse(&plain).expect("a batch");
                header.set_compression(codec);
                let answer = client.produce(topic, 0, header.seal(records).expect("a small batch"));
                // An empty stream unpacks to no records in some codecs: too few for the header's count.
                let expected: &[i16] =
                    if what == "empty" { &[CORRUPT_MESSAGE, 87] } else { &[CORRUPT_MESSAGE] };
                assert!(
                    expected.contains(&answer.error_code),
                    "{codec:?} {what} into {topic}: {}",
                    answer.error_code
                );
                assert_eq!(client.end_offset(topic, 0), 0, "{codec:?} {what} into {topic}");
            }
        }
    }
    broker.assert_serves();
}

#[test]
fn every_codec_is_repacked_to_what_the_topic_wants() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for wanted in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("kept-{wanted}");
        client.create_topic(&topic, 1, &[("compression.type", wanted)]);
        for (codec, at) in [Compression::None].into_iter().chain(CODECS).zip(0_i64..) {
            let records = BatchBuilder::new()
                .compression(codec, None)
                .record(batch::now_ms(), Some(b"k"), Some(b"v"))
                .record(batch::now_ms(), None, Some(b"w"))
                .build()
                .expect("a batch");
            let answer = client.produce(&topic, 0, records);
            assert_eq!((answer.error_code, answer.base_offset), (0, at * 2), "{codec:?} into {topic}");
        }
        let stored = client.fetch(&topic, 0, 0).records.expect("records");
        let kept = if wanted == "uncompressed" { "none" } else { wanted };
        assert!(
            batch::headers(&stored)
                .iter()
                .all(|header| header.compression().map(|codec| codec.name()) == Ok(kept))
        );
        let values: Vec<String> = batch::records(&stored).iter().map(batch::Consumed::value_text).collect();
        assert_eq!(values, ["v", "w"].repeat(5), "{topic}");
    }
}
