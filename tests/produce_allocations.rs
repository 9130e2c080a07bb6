//! What another batch in a produce request costs in memory: a few small allocations at most, and never a copy of its
//! records. Counted from the frame as the connection hands it over to the batch in the log and the answer encoded.

use bytes::Bytes;

mod counting;
mod in_process;

use counting::{Counting, Counts, measured};
use in_process::{InProcess, batch};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BATCHES: i32 = 64;
const BATCH_BYTES: usize = 16 * 1024;
/// Allocations that one more batch in a request may cost.
const MOST_ALLOCATIONS: f64 = 2.0;
/// Bytes that one more batch may cost: the structs of its request and of its answer. A copy would be sixteen times that.
const MOST_BYTES: f64 = 1024.0;
/// Requests over which is averaged: indexes grow by doubling, now and then.
const REQUESTS: usize = 32;

/// Allocations and bytes of a request with `batches` batches.
fn per_request(broker: &InProcess, batches: i32, records: &Bytes) -> (f64, f64) {
    let frame = broker.frame(batches, records, -1);
    let mut sum = Counts::default();
    for request in 0..REQUESTS * 2 {
        // The connection's buffer is not the request's doing: each request gets a frame of its own, made beforehand.
        let frame = Bytes::copy_from_slice(&frame);
        let (outcome, counts) = measured(|| broker.begin(frame));
        broker.expect_success(outcome);
        // The first half opens partitions and lets buffers reach their size.
        if request >= REQUESTS {
            sum.calls += counts.calls;
            sum.bytes += counts.bytes;
        }
    }
    (sum.calls as f64 / REQUESTS as f64, sum.bytes as f64 / REQUESTS as f64)
}

fn assert_cheap(settings: &[(&str, &str)]) {
    let broker = InProcess::new(BATCHES, settings);
    for value_bytes in [100, 1024] {
        let records = batch(BATCH_BYTES, value_bytes);
        let (calls_one, bytes_one) = per_request(&broker, 1, &records);
        let (calls_all, bytes_all) = per_request(&broker, BATCHES, &records);
        let more = f64::from(BATCHES - 1);
        let (calls, bytes) = ((calls_all - calls_one) / more, (bytes_all - bytes_one) / more);
        println!(
            "{value_bytes} B records: {calls:.2} allocations and {bytes:.0} bytes per batch; {calls_one:.1} and {bytes_one:.0} for the first"
        );
        assert!(
            calls <= MOST_ALLOCATIONS,
            "{calls:.2} allocations per batch with records of {value_bytes} bytes"
        );
        assert!(bytes <= MOST_BYTES, "{bytes:.0} bytes per batch with records of {value_bytes} bytes");
    }
}

#[test]
fn another_batch_costs_little_when_answered_from_the_page_cache() {
    assert_cheap(&[("log.flush.interval.messages", "9223372036854775807")]);
}

#[test]
fn another_batch_costs_little_when_answered_once_durable() {
    assert_cheap(&[("log.flush.interval.messages", "1")]);
}
