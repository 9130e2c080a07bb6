//! Record bytes as a producer may send them, or as a torn segment may hold them: framing and validation never panic,
//! and a batch never reaches past the bytes that are there.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidelog::record::validate::validate;
use tidelog::record::{BatchHeader, Batches, Compression, Rules, TargetCompression, crc_matches};

#[path = "../allocation_limit.rs"]
mod allocation_limit;
#[path = "../checksums.rs"]
mod checksums;

/// Two topics that between them switch every check on.
const RULES: [Rules; 2] = [
    Rules {
        max_message_bytes: 1 << 20,
        compacted: false,
        log_append_time: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        target: TargetCompression::Producer,
        now_ms: 1_700_000_000_000,
        zstd_allowed: true,
        max_decompressed_bytes: 1 << 20,
    },
    Rules {
        max_message_bytes: 1 << 12,
        compacted: true,
        log_append_time: true,
        timestamp_before_max_ms: 3_600_000,
        timestamp_after_max_ms: 3_600_000,
        target: TargetCompression::Codec(Compression::Lz4, None),
        now_ms: 1_700_000_000_000,
        zstd_allowed: false,
        max_decompressed_bytes: 1 << 12,
    },
];

fuzz_target!(|records: &[u8]| {
    check(records);
    let mut sound = records.to_vec();
    checksums::repair(&mut sound, u8::MAX);
    if sound != records {
        check(&sound);
    }
});

fn check(records: &[u8]) {
    let mut batches = Batches::new(records);
    let mut framed = 0;
    for (_, batch) in batches.by_ref().map_while(Result::ok) {
        framed += batch.len();
    }
    assert!(framed <= records.len());
    assert_eq!(framed, batches.position());

    let records = Bytes::copy_from_slice(records);
    for rules in &RULES {
        // Refusing is the usual outcome; what is accepted has to be one sound batch, whatever had to be changed in it.
        let Ok(accepted) = validate(&records, rules) else {
            continue;
        };
        assert!(crc_matches(&accepted.bytes));
        assert_eq!(BatchHeader::parse(&accepted.bytes), Ok(accepted.header));
        assert_eq!(accepted.bytes.len(), accepted.header.size_in_bytes());
        assert!(accepted.bytes.len() <= rules.max_message_bytes);
    }
}
