//! Tests of [`super::validate`].

use super::*;
use crate::record::BatchBuilder;
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;

fn rules() -> Rules {
    Rules {
        max_message_bytes: 1 << 20,
        compacted: false,
        log_append_time: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        target: TargetCompression::Producer,
        now_ms: NOW,
        zstd_allowed: true,
        max_decompressed_bytes: 1 << 22,
    }
}

fn builder(codec: Compression) -> BatchBuilder {
    BatchBuilder::new()
        .compression(codec, None)
        .producer(5, 0, 0)
        .record(NOW, Some(b"a"), Some(b"1"))
        .record_with_headers(NOW - 3, None, Some(b"2"), &[(b"h", None), (b"h", Some(b"x"))])
        .record(NOW + 7, Some(b"c"), None)
}

fn batch(codec: Compression) -> Bytes {
    builder(codec).build().unwrap()
}

fn edit(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(batch).unwrap();
    change(&mut header);
    header.seal(&batch[HEADER_LEN..]).unwrap()
}

fn refused(records: &Bytes, rules: &Rules) -> (InvalidBatch, InvalidKind) {
    let error = validate(records, rules).unwrap_err();
    let kind = error.kind();
    (error, kind)
}

macro_rules! assert_refused {
    ($records:expr, $rules:expr, $pattern:pat, $kind:ident) => {{
        let (error, kind) = refused(&$records, &$rules);
        assert!(matches!(error, $pattern), "{error:?}");
        assert_eq!(kind, InvalidKind::$kind);
    }};
}

#[test]
fn a_good_batch_is_the_same_memory() {
    for codec in Compression::ALL {
        let sent = batch(codec);
        let kept = validate(&sent, &rules()).unwrap();
        assert_eq!(kept.bytes.as_ptr(), sent.as_ptr(), "{codec:?}");
        assert_eq!(kept.header, BatchHeader::parse(&sent).unwrap());
    }
}

#[test]
fn log_append_time_stamps_the_header_and_nothing_else() {
    for codec in Compression::ALL {
        let sent = batch(codec);
        let kept = validate(&sent, &Rules { log_append_time: true, ..rules() }).unwrap();
        let was = BatchHeader::parse(&sent).unwrap();
        assert!(crc_matches(&kept.bytes) && kept.header.is_log_append_time());
        assert_eq!(kept.header, BatchHeader::parse(&kept.bytes).unwrap());
        assert_eq!((kept.header.max_timestamp, kept.header.base_timestamp), (NOW, was.base_timestamp));
        assert_eq!(kept.bytes[HEADER_LEN..], sent[HEADER_LEN..]);
    }
}

#[test]
fn every_codec_becomes_every_other() {
    let plain = batch(Compression::None);
    for from in Compression::ALL {
        for to in Compression::ALL {
            let target = TargetCompression::Codec(to, None);
            let kept = validate(&batch(from), &Rules { target, ..rules() }).unwrap();
            assert_eq!(kept.header.compression(), Ok(to));
            assert!(crc_matches(&kept.bytes));
            let records = decompress(to, &kept.bytes[HEADER_LEN..], 1 << 20).unwrap();
            assert_eq!(records, plain[HEADER_LEN..], "{from:?} to {to:?}");
        }
    }
}

#[test]
fn a_wrong_max_timestamp_is_set_right() {
    let target = TargetCompression::Codec(Compression::None, None);
    for codec in [Compression::None, Compression::Gzip] {
        let wrong = edit(&batch(codec), |h| h.max_timestamp = NOW);
        let kept = validate(&wrong, &Rules { target, ..rules() }).unwrap();
        assert_eq!(kept.header.max_timestamp, NOW + 7);
        assert!(crc_matches(&kept.bytes));
    }
}

#[test]
fn framing_faults() {
    let good = batch(Compression::None);
    assert_refused!(Bytes::new(), rules(), InvalidBatch::Empty, InvalidRecord);
    let twice = Bytes::from([&good[..], &good[..]].concat());
    assert_refused!(twice, rules(), InvalidBatch::TooManyBatches, InvalidRecord);
    let tail = Bytes::from([&good[..], &[0; 5]].concat());
    assert_refused!(tail, rules(), InvalidBatch::TrailingBytes(5), CorruptMessage);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        Bytes::from(bytes)
    };
    assert_refused!(with(16, 1), rules(), InvalidBatch::UnsupportedMagic(1), InvalidRecord);
    assert_refused!(with(16, 3), rules(), InvalidBatch::UnsupportedMagic(3), CorruptMessage);
    assert_refused!(with(8, 0x80), rules(), InvalidBatch::Malformed(_), CorruptMessage);
    assert_refused!(with(7, 1), rules(), InvalidBatch::BadOffsets, InvalidRecord);
    let last = good.len() - 1;
    assert_refused!(with(last, good[last] ^ 1), rules(), InvalidBatch::BadCrc { .. }, CorruptMessage);
    let small = Rules { max_message_bytes: last, ..rules() };
    assert_refused!(good, small, InvalidBatch::TooLarge { .. }, MessageTooLarge);
}

#[test]
fn header_faults() {
    for codec in Compression::ALL {
        let good = batch(codec);
        for (count, last) in [(0, -1), (-1, 2), (2, 2), (4, 2), (i32::MAX, i32::MAX - 1)] {
            let bad = edit(&good, |h| (h.record_count, h.last_offset_delta) = (count, last));
            assert_refused!(bad, rules(), InvalidBatch::RecordCount(_), InvalidRecord);
        }
        let bad = edit(&good, |h| h.base_sequence = -1);
        assert_refused!(bad, rules(), InvalidBatch::MissingSequence { .. }, InvalidRecord);
        let bad = edit(&good, |h| h.attributes |= 0x20);
        assert_refused!(bad, rules(), InvalidBatch::Control, InvalidRecord);
        let bad = edit(&good, |h| h.attributes |= 0x08);
        assert_refused!(bad, rules(), InvalidBatch::Timestamp { .. }, InvalidTimestamp);
        let bad = edit(&good, |h| h.attributes |= 0x07);
        assert_refused!(bad, rules(), InvalidBatch::UnsupportedCompression(7), UnsupportedCompressionType);
    }
    let old = Rules { zstd_allowed: false, ..rules() };
    assert_refused!(batch(Compression::Zstd), old, InvalidBatch::ZstdTooOld, UnsupportedCompressionType);
    assert!(validate(&batch(Compression::Lz4), &old).is_ok());
}

#[test]
fn record_faults() {
    let one_short = edit(&batch(Compression::None), |h| (h.record_count, h.last_offset_delta) = (2, 1));
    assert_refused!(one_short, rules(), InvalidBatch::Record(RecordError::Trailing(_)), InvalidRecord);
    let gap = BatchBuilder::new()
        .record_at(0, NOW, None, None, &[])
        .record_at(2, NOW, None, None, &[])
        .last_offset_delta(1)
        .build()
        .unwrap();
    assert_refused!(gap, rules(), InvalidBatch::BadOffsets, InvalidRecord);
    let compacted = Rules { compacted: true, ..rules() };
    for codec in Compression::ALL {
        let (error, kind) = refused(&batch(codec), &compacted);
        assert!(matches!(error, InvalidBatch::NullKey { batch_indices } if batch_indices == [1]));
        assert_eq!(kind, InvalidKind::InvalidRecord);
    }
}

#[test]
fn timestamps_out_of_range_are_named_in_every_codec() {
    let timestamps = [NOW, NOW - 1_001, NOW + 1_001, NO_TIMESTAMP, NOW - 1_000, NOW + 1_000];
    for codec in Compression::ALL {
        let mut builder = BatchBuilder::new().compression(codec, None);
        for timestamp in timestamps {
            builder = builder.record(timestamp, Some(b"k"), None);
        }
        let sent = builder.build().unwrap();
        let indices = |before, after| {
            let limits = Rules { timestamp_before_max_ms: before, timestamp_after_max_ms: after, ..rules() };
            match validate(&sent, &limits) {
                Ok(_) => vec![],
                Err(InvalidBatch::Timestamp { batch_indices }) => batch_indices,
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(indices(1_000, 1_000), [1, 2]);
        assert_eq!(indices(i64::MAX, 1_000), [2]);
        assert_eq!(indices(1_000, i64::MAX), [1]);
        assert_eq!(indices(i64::MAX, i64::MAX), [0i32; 0]);
        let stamped = Rules { timestamp_before_max_ms: 0, log_append_time: true, ..rules() };
        assert!(validate(&sent, &stamped).is_ok());
    }
}

#[test]
fn bombs_and_rubbish_are_refused_when_unfolded() {
    let zeros = vec![0; 1 << 20];
    let rules = Rules { compacted: true, max_decompressed_bytes: 1 << 16, ..rules() };
    for codec in Compression::ALL.into_iter().filter(|c| *c != Compression::None) {
        let bomb = BatchBuilder::new()
            .compression(codec, None)
            .record(NOW, Some(b"k"), Some(&zeros))
            .build()
            .unwrap();
        assert_refused!(
            bomb,
            rules,
            InvalidBatch::Decompress(DecompressError::TooLarge { .. }),
            MessageTooLarge
        );
        let rubbish = edit(&batch(Compression::None), |h| h.set_compression(codec));
        assert_refused!(
            rubbish,
            rules,
            InvalidBatch::Decompress(DecompressError::Corrupt { .. }),
            CorruptMessage
        );
    }
}

#[test]
fn a_batch_that_grows_past_the_limit_is_refused() {
    let zeros = vec![0; 100_000];
    let small = BatchBuilder::new()
        .compression(Compression::Zstd, None)
        .record(NOW, None, Some(&zeros))
        .build()
        .unwrap();
    let target = TargetCompression::Codec(Compression::None, None);
    let rules = Rules { max_message_bytes: 50_000, target, ..rules() };
    assert_refused!(small, rules, InvalidBatch::TooLarge { .. }, MessageTooLarge);
}

#[test]
fn no_truncation_is_accepted() {
    for codec in Compression::ALL {
        let good = batch(codec);
        for cut in 0..good.len() {
            assert!(validate(&good.slice(..cut), &rules()).is_err(), "{codec:?} {cut}");
        }
    }
}

proptest! {
    #[test]
    fn damaged_records_behind_a_good_crc_never_panic(
        codec in prop::sample::select(&Compression::ALL[..]),
        at: prop::sample::Index, byte: u8, compacted: bool, log_append_time: bool,
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let good = batch(codec);
        let mut payload = good[HEADER_LEN..].to_vec();
        let at = at.index(payload.len());
        payload[at] = byte;
        payload.extend(tail);
        let mut header = BatchHeader::parse(&good).unwrap();
        let sent = header.seal(&payload).unwrap();
        for to in Compression::ALL {
            let target = TargetCompression::Codec(to, None);
            if let Ok(kept) = validate(&sent, &Rules { target, compacted, log_append_time, ..rules() }) {
                prop_assert!(crc_matches(&kept.bytes));
                prop_assert_eq!(kept.header, BatchHeader::parse(&kept.bytes).unwrap());
            }
        }
    }

    #[test]
    fn random_headers_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..150), fit: bool) {
        if fit && bytes.len() >= HEADER_LEN {
            let length = (bytes.len() - LOG_OVERHEAD) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[..8].fill(0);
            bytes[16] = 2;
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let sent = Bytes::from(bytes);
        if let Ok(kept) = validate(&sent, &rules()) {
            prop_assert!(crc_matches(&kept.bytes));
        }
    }
}
