//! How fast batches go into a log in the page cache: the step after validation, without fsync.
//!
//! The write() of the same bytes to a plain file is the limit, and printed first.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use tidelog::record::{BatchBuilder, BatchHeader, patch_prefix};
use tidelog::storage::segment::{FileCache, Log, LogConfig};

mod rounds;

use rounds::{print, rounds};

const ROUNDS: usize = 15;
/// Small enough for the page cache to take without writing back, and below one segment.
const BYTES_PER_ROUND: usize = 64 << 20;
const NOW_MS: i64 = 1_700_000_000_000;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 30,
        segment_ms: i64::MAX,
        index_interval_bytes: 4096,
        segment_index_bytes: 10 << 20,
    }
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    for batch_bytes in [1 << 10, 16 << 10, 64 << 10, 1 << 20] {
        let value = vec![b'x'; batch_bytes.min(1024)];
        let builder = (0..batch_bytes / value.len())
            .fold(BatchBuilder::new(), |batch, _| batch.record(NOW_MS, None, Some(&value)));
        let batch = builder.build().unwrap();
        let repetitions = BYTES_PER_ROUND / batch.len();
        let label = format!("{} KiB batches", batch_bytes / 1024);

        let file = File::create(dir.path().join("plain")).unwrap();
        let (mut position, mut written) = (0, 0);
        let plain = rounds(ROUNDS, repetitions, || {
            // Back to the start after each round, as the log below starts anew: pages are those of a file that grows.
            if written == repetitions {
                file.set_len(0).unwrap();
                (position, written) = (0, 0);
            }
            file.write_all_at(&batch, position).unwrap();
            position += batch.len() as u64;
            written += 1;
        });
        print(&format!("write() to a plain file, {label}"), batch.len(), plain);

        let header = BatchHeader::parse(&batch).unwrap();
        let create = |name: &str| {
            Log::create(&dir.path().join(name), [7; 16], config(), FileCache::new(16), NOW_MS).unwrap()
        };
        let mut number = 0;
        let mut log = create(&format!("log-{batch_bytes}-0"));
        let mut appended = 0;
        let ours = rounds(ROUNDS, repetitions, || {
            if appended == repetitions {
                std::fs::remove_dir_all(log.path()).unwrap();
                number += 1;
                log = create(&format!("log-{batch_bytes}-{number}"));
                appended = 0;
            }
            let mut header = header;
            header.base_offset = log.end_offset();
            header.partition_leader_epoch = 0;
            let prefix = patch_prefix(&header, header.base_offset, 0);
            black_box(log.append(prefix, &batch[prefix.len()..], &header, NOW_MS).unwrap());
            appended += 1;
        });
        print(&format!("append to a log, {label}"), batch.len(), ours);
        std::fs::remove_dir_all(log.path()).unwrap();
    }
}
