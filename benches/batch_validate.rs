//! How fast a batch is checked: the CRC and the walk over its records, or, compressed, the CRC alone.
//!
//! Aim: 5 GB/s and more for an uncompressed batch of 16 KiB. The CRC alone, printed first, is the limit.

use std::hint::black_box;

use bytes::Bytes;
use tidelog::record::{BatchBuilder, Compression, Rules, TargetCompression, crc_matches, validate};

mod rounds;

use rounds::{print, rounds};

const ROUNDS: usize = 31;
const BYTES_PER_ROUND: usize = 64 << 20;
const NOW_MS: i64 = 1_700_000_000_000;

fn rules() -> Rules {
    Rules {
        max_message_bytes: 16 << 20,
        compacted: false,
        log_append_time: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        target: TargetCompression::Producer,
        now_ms: NOW_MS,
        zstd_allowed: true,
        max_decompressed_bytes: 64 << 20,
    }
}

/// A batch with as many records of `value_bytes` as fit in `batch_bytes`, and one at least.
fn batch(batch_bytes: usize, value_bytes: usize, codec: Compression) -> Bytes {
    // Bytes without a pattern that a codec could use: the compressed batch is as long as the other.
    let mut state = 1u32;
    let mut value = || {
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(value_bytes).collect::<Vec<u8>>()
    };
    let records = (batch_bytes / value_bytes).max(1);
    let builder = BatchBuilder::new().compression(codec, None);
    (0..records).fold(builder, |batch, _| batch.record(NOW_MS, None, Some(&value()))).build().unwrap()
}

fn measure(what: &str, batch: &Bytes, mut work: impl FnMut(&Bytes)) {
    let repetitions = (BYTES_PER_ROUND / batch.len()).max(1);
    print(what, batch.len(), rounds(ROUNDS, repetitions, || work(black_box(batch))));
}

fn main() {
    let rules = rules();
    let check = |batch: &Bytes| {
        black_box(validate(batch, &rules).expect("a valid batch"));
    };
    let kib = |bytes: usize| bytes / 1024;
    for batch_bytes in [16 << 10, 64 << 10, 1 << 20] {
        let crc = batch(batch_bytes, 1024, Compression::None);
        measure(&format!("CRC alone, {} KiB", kib(batch_bytes)), &crc, |batch| {
            assert!(crc_matches(batch));
        });
        for value_bytes in [1024, 100] {
            let plain = batch(batch_bytes, value_bytes, Compression::None);
            measure(&format!("validate, {} KiB of {value_bytes} B records", kib(batch_bytes)), &plain, check);
        }
        let folded = batch(batch_bytes, 1024, Compression::Lz4);
        measure(&format!("validate, {} KiB compressed: header and CRC", kib(batch_bytes)), &folded, check);
    }
}
