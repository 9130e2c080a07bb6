//! DescribeTransactions, ListTransactions and DescribeProducers: what administrators see (KIP-664, KIP-994, KIP-1152).

use kafka_protocol::messages::{ListTransactionsRequest, ProducerId};

use super::ask;
use super::code;
use super::session::{BOTH, Protocol, Session, broker, described, init, producers};
use crate::support::request::text;
use crate::support::{Client, batch};

/// The ids that a ListTransactions names, sorted, with the states it did not know.
fn listed(
    client: &mut Client,
    version: i16,
    request: &ListTransactionsRequest,
) -> (Vec<String>, Vec<String>) {
    let answer = client.call(version, request);
    assert_eq!(answer.error_code, code::NONE);
    let mut ids: Vec<_> =
        answer.transaction_states.iter().map(|state| state.transactional_id.to_string()).collect();
    ids.sort();
    (ids, answer.unknown_state_filters.iter().map(ToString::to_string).collect())
}

fn all() -> ListTransactionsRequest {
    ListTransactionsRequest::default()
}

#[test]
fn a_transaction_is_described_in_each_state() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let id = format!("{protocol:?}");
        let before = batch::now_ms();
        let mut session = Session::open(&broker, &id, protocol);
        let empty = described(&mut client, &id);
        assert_eq!((empty.error_code, empty.transaction_state.as_str()), (code::NONE, "Empty"));
        assert_eq!(empty.transaction_start_time_ms, -1);
        assert_eq!((empty.transaction_timeout_ms, empty.topics.len()), (ask::LONG_MS, 0));
        session.write("t", 2, &["v"]);
        session.write("t", 0, &["v"]);
        let ongoing = described(&mut client, &id);
        assert_eq!(ongoing.transaction_state.as_str(), "Ongoing");
        assert!((before..=batch::now_ms()).contains(&ongoing.transaction_start_time_ms));
        assert_eq!((ongoing.producer_id.0, ongoing.producer_epoch), (session.of.id, session.of.epoch));
        let mut partitions = ongoing.topics[0].partitions.clone();
        partitions.sort_unstable();
        assert_eq!((ongoing.topics[0].topic.as_str(), partitions), ("t", vec![0, 2]));
        for (committed, name) in [(true, "CompleteCommit"), (false, "CompleteAbort")] {
            session.write("t", 0, &["v"]);
            let started = described(&mut client, &id).transaction_start_time_ms;
            session.end(committed);
            let complete = described(&mut client, &id);
            assert_eq!((complete.transaction_state.as_str(), complete.topics.len()), (name, 0));
            assert_eq!(complete.transaction_start_time_ms, started, "it stays to be seen");
        }
    }
}

#[test]
fn each_id_that_is_asked_for_is_answered() {
    let (_broker, mut client) = broker();
    let of = init(&mut client, "x");
    let states = client.call(0, &ask::describe(&["x", "unknown", "", "x"])).transaction_states;
    let told: Vec<_> = states
        .iter()
        .map(|state| (state.transactional_id.as_str(), state.error_code, state.producer_id.0))
        .collect();
    let expected = [
        ("x", code::NONE, of.id),
        ("unknown", code::TRANSACTIONAL_ID_NOT_FOUND, 0),
        ("", code::INVALID_REQUEST, 0),
        ("x", code::NONE, of.id),
    ];
    assert_eq!(told, expected);
    assert!(client.call(0, &ask::describe(&[])).transaction_states.is_empty());
}

#[test]
fn lists_are_filtered_by_state_producer_age_and_pattern() {
    let (broker, mut client) = broker();
    let empty = init(&mut client, "empty");
    let mut open = Session::open(&broker, "open", Protocol::Second);
    open.write("t", 0, &["v"]);
    let mut done = Session::open(&broker, "done", Protocol::First);
    done.write("t", 0, &["v"]);
    done.end(true);
    let strings = |ids: &[&str]| ids.iter().map(|id| id.to_string()).collect::<Vec<_>>();
    for version in 0..=2 {
        let mut by = |request: ListTransactionsRequest| listed(&mut client, version, &request);
        assert_eq!(by(all()), (strings(&["done", "empty", "open"]), vec![]), "v{version}");
        let states = |names: &[&str]| all().with_state_filters(names.iter().map(|name| text(name)).collect());
        assert_eq!(by(states(&["Ongoing"])), (strings(&["open"]), vec![]));
        let both = by(states(&["Empty", "CompleteCommit", "Empty"]));
        assert_eq!(both, (strings(&["done", "empty"]), vec![]));
        // Names are exact; nothing but unknown ones lists nothing.
        assert_eq!(by(states(&["ongoing"])), (vec![], strings(&["ongoing"])));
        assert_eq!(by(states(&["", "Odd", "Empty"])), (strings(&["empty"]), strings(&["", "Odd"])));
        let known = states(&["PrepareCommit", "PrepareAbort", "CompleteAbort", "Dead", "PrepareEpochFence"]);
        assert_eq!(by(known), (vec![], vec![]));
        let ids =
            |ids: &[i64]| all().with_producer_id_filters(ids.iter().map(|id| ProducerId(*id)).collect());
        assert_eq!(by(ids(&[empty.id, done.of.id, -1])), (strings(&["done", "empty"]), vec![]));
        assert_eq!(by(ids(&[-1])), (vec![], vec![]));
        let both = ids(&[empty.id]).with_state_filters(vec![text("Ongoing")]);
        assert_eq!(by(both), (vec![], vec![]));
        if version >= 1 {
            for duration in [-1, i64::MIN] {
                assert_eq!(by(all().with_duration_filter(duration)).0.len(), 3, "{duration}");
            }
            // What has not begun is older than anything.
            let old = by(all().with_duration_filter(3_600_000)).0;
            assert_eq!(old, ["empty"], "v{version}");
        }
        if version >= 2 {
            let mut like =
                |pattern: Option<&str>| by(all().with_transactional_id_pattern(pattern.map(text))).0;
            assert_eq!(like(None).len(), 3);
            assert_eq!(like(Some("")).len(), 3);
            assert_eq!(like(Some(".*e.*")), ["done", "empty", "open"]);
            assert_eq!(like(Some("open|done")), ["done", "open"]);
            assert_eq!(like(Some("pen")), Vec::<String>::new(), "all of the id has to match");
            let both = all()
                .with_transactional_id_pattern(Some(text("(open|done)")))
                .with_state_filters(vec![text("Ongoing")]);
            assert_eq!(by(both).0, ["open"]);
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(3));
    let young = all().with_duration_filter(1).with_state_filters(vec![text("Ongoing")]);
    assert_eq!(listed(&mut client, 2, &young).0, ["open"]);
}

#[test]
fn patterns_that_are_none_and_patterns_without_bounds_are_refused() {
    let (broker, mut client) = broker();
    init(&mut client, "x");
    let huge = "(a{1000}){1000}".to_owned();
    let long = "(".repeat(i16::MAX as usize);
    let nested = format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000));
    for pattern in ["(", "[", "*", "a{2,1}", "(?=a)", "\\", &huge, &long, &nested] {
        let answer = client.call(2, &all().with_transactional_id_pattern(Some(text(pattern))));
        let shown: String = pattern.chars().take(20).collect();
        assert_eq!(answer.error_code, code::INVALID_REGULAR_EXPRESSION, "{shown}");
        assert!(answer.transaction_states.is_empty(), "{shown}");
    }
    // Closing what was not opened does not end the pattern.
    let answer = client.call(2, &all().with_transactional_id_pattern(Some(text("y)|(?:x"))));
    assert_eq!(answer.error_code, code::INVALID_REGULAR_EXPRESSION);
    // Long texts are matched in a time that does not explode.
    init(&mut client, &"a".repeat(i16::MAX as usize));
    let answer = client.call(2, &all().with_transactional_id_pattern(Some(text("(a*)*b"))));
    assert_eq!((answer.error_code, answer.transaction_states.len()), (code::NONE, 0));
    broker.assert_serves();
}

#[test]
fn producers_are_described_with_their_open_transactions() {
    let (broker, mut client) = broker();
    assert!(producers(&mut client, "t", 0).is_empty());
    let mut second = Session::open(&broker, "second", Protocol::Second);
    let mut first = Session::open(&broker, "first", Protocol::First);
    second.write_at(1_000, "t", 0, &["a", "b"]);
    second.write_at(2_000, "t", 0, &["c"]);
    first.write_at(1_500, "t", 0, &["d"]);
    let shown = producers(&mut client, "t", 0);
    let told: Vec<_> = shown
        .iter()
        .map(|p| (p.producer_id.0, p.producer_epoch, p.last_sequence, p.last_timestamp, p.coordinator_epoch))
        .collect();
    assert_eq!(told, [(second.of.id, 0, 2, 2_000, -1), (first.of.id, 0, 0, 1_500, -1)]);
    let starts: Vec<i64> = shown.iter().map(|p| p.current_txn_start_offset).collect();
    assert_eq!(starts, [0, 3]);
    first.end(true);
    second.end(false);
    let shown = producers(&mut client, "t", 0);
    let told: Vec<_> = shown
        .iter()
        .map(|p| (p.producer_epoch, p.last_sequence, p.coordinator_epoch, p.current_txn_start_offset))
        .collect();
    assert_eq!(told, [(1, -1, 0, -1), (0, 0, 0, -1)], "the second protocol takes the epoch and its batches");
    // A partition that was enlisted and not written to has a marker, and so a producer, if its log was in use.
    assert!(producers(&mut client, "t", 3).is_empty());
    first.enlist("t", &[3]);
    first.end(true);
    let shown = producers(&mut client, "t", 3);
    assert_eq!((shown.len(), shown[0].last_sequence, shown[0].current_txn_start_offset), (1, -1, -1));
    let answer = client.call(0, &ask::describe_producers("t", &[0, 9]));
    let codes: Vec<i16> = answer.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [code::NONE, code::UNKNOWN_TOPIC_OR_PARTITION]);
    let answer = client.call(0, &ask::describe_producers("nowhere", &[0]));
    assert_eq!(answer.topics[0].partitions[0].error_code, code::UNKNOWN_TOPIC_OR_PARTITION);
}
