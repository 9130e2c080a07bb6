//! Transactions, in both protocols.

mod add_partitions;
mod admin;
mod end_txn;
mod fencing;
mod groups;
mod init_producer_id;
mod offsets;
mod produce;
mod read;
mod timeouts;
mod topics;

use kafka_protocol::messages::InitProducerIdResponse;

use crate::script::Script;
use crate::transaction_requests::{
    Producer, add, describe, end, fetch_uncommitted, init, list_committed, produce, records,
};

/// The name and the producer of a new transactional id, without a record of how it came to be.
fn producer(s: &mut Script, name: &str) -> (String, Producer) {
    let id = s.name(name);
    let mut answer = InitProducerIdResponse::default();
    // The coordinator of this id may not have read its part of the state yet.
    s.until_done(|s| {
        answer = s.quiet(4, &init(&id));
        answer.error_code
    });
    s.know_producer(answer.producer_id.0);
    (id, Producer::of(&answer))
}

/// Enlists partitions by the first protocol, unrecorded.
fn enlist(s: &mut Script, id: &str, of: Producer, topics: &[(&str, &[i32])]) {
    s.until_done(|s| {
        let answer = s.quiet(3, &add(id, of, topics));
        let results =
            answer.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
        results.map(|partition| partition.partition_error_code).max().unwrap_or_default()
    });
}

/// Writes one record with this value in a transaction of the second protocol, unrecorded.
fn write(s: &mut Script, id: &str, of: Producer, topic: &str, partition: i32, sequence: i32, value: &str) {
    s.until_done(|s| {
        let batch = records(of, sequence, &[value]);
        let answer = s.quiet(12, &produce(Some(id), vec![(topic, partition, batch)]));
        answer.responses.first().map_or(-1, |topic| topic.partition_responses[0].error_code)
    });
}

/// Ends a transaction by the second protocol, unrecorded, and waits until its markers are written.
fn ended(s: &mut Script, id: &str, of: Producer, committed: bool) -> Producer {
    let mut next = of;
    s.until_done(|s| {
        let answer = s.quiet(5, &end(id, of, committed));
        next = Producer { id: answer.producer_id.0, epoch: answer.producer_epoch };
        answer.error_code
    });
    s.know_producer(next.id);
    s.until_transaction(id, if committed { "CompleteCommit" } else { "CompleteAbort" });
    next
}

/// Records what a transactional id and a partition look like from outside.
fn look(s: &mut Script, id: &str, topic: &str) {
    s.call("x", 0, &describe(&[id]));
    s.call("x", 6, &list_committed(topic, 0, -1));
    s.call("x", 12, &fetch_uncommitted(topic, 0, 0));
}
