//! Appends while no descriptor is left.

use super::error::AppendError;
use super::testing::{Bench, plain_of};

fn fills_segments() -> Bench {
    Bench::new(&[("segment.bytes", "1048576"), ("index.interval.bytes", "1")])
}

/// Appends until the next one begins a segment.
fn fill(bench: &Bench) -> i64 {
    let mut end = 0;
    while bench.partition.inner.lock().log.active_size() < 1_000_000 {
        end = bench.partition.append(&plain_of(100_000), 0).unwrap().end_offset;
    }
    end
}

#[tokio::test]
async fn a_segment_that_cannot_be_begun_is_begun_when_there_are_descriptors() {
    let bench = fills_segments();
    let end = fill(&bench);
    bench.registry.files.refuse_for_test(true);
    for _ in 0..3 {
        let refused = bench.partition.append(&plain_of(100_000), 0);
        assert!(matches!(refused, Err(AppendError::OutOfFiles)), "{refused:?}");
    }
    {
        let inner = bench.partition.inner.lock();
        assert!(inner.failed.is_none(), "{:?}", inner.failed);
        assert_eq!((inner.log.end_offset(), inner.log.segment_count()), (end, 1), "nothing was written");
    }
    // What fits goes on, and becomes durable.
    let small = bench.partition.append(&plain_of(100), 0).unwrap();
    bench.partition.committed(small.end_offset, std::time::Duration::from_secs(10)).await.unwrap();

    bench.registry.files.refuse_for_test(false);
    let large = bench.partition.append(&plain_of(100_000), 0).unwrap();
    assert_eq!(large.base_offset, small.end_offset);
    bench.partition.committed(large.end_offset, std::time::Duration::from_secs(10)).await.unwrap();
    assert_eq!(bench.partition.inner.lock().log.segment_count(), 2);
}

#[tokio::test]
async fn a_log_at_rest_that_cannot_be_opened_takes_appends_when_there_are_descriptors() {
    let bench = fills_segments();
    let first = bench.partition.append(&plain_of(100), 0).unwrap();
    bench.partition.committed(first.end_offset, std::time::Duration::from_secs(10)).await.unwrap();
    bench.partition.inner.lock().log.release_idle().unwrap();
    bench.registry.files.refuse_for_test(true);
    let refused = bench.partition.append(&plain_of(100), 0);
    assert!(matches!(refused, Err(AppendError::OutOfFiles)), "{refused:?}");
    // A time-driven flush meanwhile finds nothing to sync that it would have to open.
    bench.partition.tick(i64::MAX / 2, i64::MAX);
    bench.registry.files.refuse_for_test(false);
    let second = bench.partition.append(&plain_of(100), 0).unwrap();
    assert_eq!(second.base_offset, first.end_offset);
    bench.partition.committed(second.end_offset, std::time::Duration::from_secs(10)).await.unwrap();
}
