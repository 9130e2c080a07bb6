//! A produce request from its frame to the batches in the log and the answer encoded, without sockets and without
//! fsync: time per batch, and allocations counted (`tests/produce_allocations.rs` holds the promise).

#[path = "../tests/counting/mod.rs"]
mod counting;
#[path = "../tests/in_process/mod.rs"]
mod in_process;
mod rounds;

use counting::{Counting, measured};
use in_process::{InProcess, batch};
use rounds::{print, rounds};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 15;
const BYTES_PER_ROUND: usize = 32 << 20;
const PARTITIONS: i32 = 64;
/// Requests whose allocations are counted: an index writes out its entries only now and then.
const COUNTED: u32 = 128;

fn main() {
    for (batch_bytes, value_bytes) in [(1 << 10, 100), (16 << 10, 100), (16 << 10, 1024), (64 << 10, 1024)] {
        let records = batch(batch_bytes, value_bytes);
        for batches in [1, 8, PARTITIONS] {
            // A broker of its own keeps the logs of all rounds within the page cache.
            let broker =
                InProcess::new(PARTITIONS, &[("log.flush.interval.messages", "9223372036854775807")]);
            let frame = broker.frame(batches, &records, -1);
            let bytes = records.len() * batches as usize;
            let took = rounds(ROUNDS, (BYTES_PER_ROUND / bytes).max(1), || {
                broker.expect_success(broker.begin(frame.clone()))
            });
            let (mut calls, mut asked) = (0usize, 0usize);
            for _ in 0..COUNTED {
                let (outcome, counts) = measured(|| broker.begin(frame.clone()));
                broker.expect_success(outcome);
                (calls, asked) = (calls + counts.calls, asked + counts.bytes);
            }
            print(
                &format!("{batches:>2} batches of {:>2} KiB, {value_bytes} B records", batch_bytes >> 10),
                bytes,
                took,
            );
            println!(
                "    {:.1} allocations, {} bytes per request",
                calls as f64 / f64::from(COUNTED),
                asked / COUNTED as usize
            );
        }
    }
}
