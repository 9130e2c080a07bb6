//! DescribeTransactions, ListTransactions, DescribeProducers and WriteTxnMarkers.

use super::{ended, enlist, producer, write};
use crate::play::play;
use crate::requests::{some, text};
use crate::transaction_requests::{
    describe, describe_producers, end, init, list_committed, marker, plain_records, produce, records,
    write_markers,
};
use kafka_protocol::messages::{ListTransactionsRequest, ProducerId};

#[test]
fn describe_transactions() {
    play("describe-transactions", |s| {
        let (topic, other) = (s.topic("topic", 3), s.topic("other", 1));
        let (id, of) = producer(s, "a");
        s.step("in every state");
        s.call("x", 0, &describe(&[&id]));
        enlist(s, &id, of, &[(&topic, &[2, 0]), (&other, &[0])]);
        s.call("x", 0, &describe(&[&id]));
        let of = ended(s, &id, of, true);
        s.call("x", 0, &describe(&[&id]));
        enlist(s, &id, of, &[(&topic, &[1])]);
        ended(s, &id, of, false);
        s.call("x", 0, &describe(&[&id]));
        s.quiet(4, &init(&id).with_transaction_timeout_ms(5000));
        s.call("x", 0, &describe(&[&id]));
        s.step("several, one twice, one not known, none");
        let unknown = s.name("unknown");
        s.call("x", 0, &describe(&[&id, &unknown, &id]));
        s.call("x", 0, &describe(&[""]));
        s.call("x", 0, &describe(&[]));
    });
}

#[test]
fn list_transactions() {
    play("list-transactions", |s| {
        let topic = s.topic("topic", 1);
        let (empty, _) = producer(s, "empty");
        let (ongoing, of) = producer(s, "ongoing");
        enlist(s, &ongoing, of, &[(&topic, &[0])]);
        let (committed, of_committed) = producer(s, "committed");
        enlist(s, &committed, of_committed, &[(&topic, &[0])]);
        ended(s, &committed, of_committed, true);
        for version in [0, 1, 2] {
            s.step(&format!("v{version} all"));
            s.call("x", version, &ListTransactionsRequest::default());
            s.step(&format!("v{version} by state"));
            for states in [
                vec!["Ongoing"],
                vec!["Empty", "CompleteCommit"],
                vec!["ongoing"],
                vec!["", "Odd", "Empty"],
                vec!["Dead"],
                vec!["PrepareEpochFence", "PrepareCommit"],
            ] {
                let states = states.into_iter().map(text).collect();
                s.call("x", version, &ListTransactionsRequest::default().with_state_filters(states));
            }
            s.step(&format!("v{version} by producer id"));
            for ids in [vec![of.id], vec![of.id, of_committed.id, -1], vec![-1]] {
                let ids = ids.into_iter().map(ProducerId).collect();
                s.call("x", version, &ListTransactionsRequest::default().with_producer_id_filters(ids));
            }
            s.step(&format!("v{version} by both"));
            let both = ListTransactionsRequest::default().with_state_filters(vec![text("Ongoing")]);
            s.call("x", version, &both.with_producer_id_filters(vec![ProducerId(of_committed.id)]));
        }
        for version in [1, 2] {
            s.step(&format!("v{version} by duration"));
            for duration in [-1, -2, 0, 3_600_000] {
                s.call("x", version, &ListTransactionsRequest::default().with_duration_filter(duration));
            }
        }
        s.step("v2 by pattern");
        for pattern in
            ["", ".*empty.*", "empty", "(", "list-transactions\\.(ongoing|empty)--[0-9a-f]+", &empty, "(?=a)"]
        {
            s.call("x", 2, &ListTransactionsRequest::default().with_transactional_id_pattern(some(pattern)));
        }
        s.step("v2 by pattern and state");
        let both =
            ListTransactionsRequest::default().with_transactional_id_pattern(some("list-transactions.*"));
        s.call("x", 2, &both.with_state_filters(vec![text("Empty")]));
    });
}

#[test]
fn describe_producers_of_partitions() {
    play("describe-producers", |s| {
        let topic = s.topic("topic", 2);
        let absent = s.name("absent");
        s.step("nobody, and of what there is not");
        s.call("x", 0, &describe_producers(&topic, &[0, 1]));
        s.call("x", 0, &describe_producers(&topic, &[0, 9]));
        s.call("x", 0, &describe_producers(&absent, &[0]));
        s.step("in a transaction, and outside of one");
        let (a, of_a) = producer(s, "a");
        let (_, of_b) = producer(s, "b");
        write(s, &a, of_a, &topic, 0, 0, "a1");
        write(s, &a, of_a, &topic, 0, 1, "a2");
        s.quiet(9, &produce(None, vec![(&topic, 0, plain_records(of_b, 0, &["b1", "b2"]))]));
        s.call("x", 0, &describe_producers(&topic, &[0]));
        s.step("after a commit of the second protocol");
        let of_a = ended(s, &a, of_a, true);
        s.call("x", 0, &describe_producers(&topic, &[0]));
        s.step("after one of the first");
        enlist(s, &a, of_a, &[(&topic, &[0])]);
        s.quiet(11, &produce(Some(&a), vec![(&topic, 0, records(of_a, 0, &["a3"]))]));
        s.call("x", 0, &describe_producers(&topic, &[0]));
        s.quiet(4, &end(&a, of_a, false));
        s.until_transaction(&a, "CompleteAbort");
        s.call("x", 0, &describe_producers(&topic, &[0]));
        s.step("a partition that was enlisted and not written to");
        enlist(s, &a, of_a, &[(&topic, &[1])]);
        s.quiet(4, &end(&a, of_a, true));
        s.until_transaction(&a, "CompleteCommit");
        s.call("x", 0, &describe_producers(&topic, &[1]));
    });
}

#[test]
fn write_txn_markers() {
    play("write-txn-markers", |s| {
        let topic = s.topic("topic", 2);
        let absent = s.name("absent");
        let (a, of) = producer(s, "a");
        write(s, &a, of, &topic, 0, 0, "a1");
        s.step("of no epoch");
        s.call("x", 1, &write_markers(vec![marker(of.at(-1), false, &topic, &[0])]));
        s.step("for what there is not");
        s.call("x", 1, &write_markers(vec![marker(of, false, &absent, &[0])]));
        s.call("x", 1, &write_markers(vec![marker(of, false, &topic, &[9])]));
        s.call("x", 1, &write_markers(vec![]));
        s.step("an abort of what is open, and again");
        s.call("x", 1, &write_markers(vec![marker(of, false, &topic, &[0])]));
        s.call("x", 6, &list_committed(&topic, 0, -1));
        s.call("x", 1, &write_markers(vec![marker(of, false, &topic, &[0])]));
        s.call("x", 6, &list_committed(&topic, 0, -1));
        s.call("x", 0, &describe_producers(&topic, &[0]));
        s.step("of an epoch before, after a later one");
        s.call("x", 1, &write_markers(vec![marker(of.plus(5), true, &topic, &[0])]));
        s.call("x", 1, &write_markers(vec![marker(of.plus(4), false, &topic, &[0])]));
        s.call("x", 0, &describe_producers(&topic, &[0]));
        s.step("of a producer that nobody knows, of two, and of a coordinator that is too old");
        s.call(
            "x",
            1,
            &write_markers(vec![
                marker(of.stranger(), true, &topic, &[0, 1]),
                marker(of.plus(6), false, &topic, &[1]),
            ]),
        );
        let later = marker(of.plus(6), true, &topic, &[0]).with_coordinator_epoch(7);
        s.call("x", 1, &write_markers(vec![later]));
        s.call("x", 1, &write_markers(vec![marker(of.plus(6), true, &topic, &[0])]));
        s.call("x", 0, &describe_producers(&topic, &[0, 1]));
    });
}
