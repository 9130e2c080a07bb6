//! Rows of transactional ids and groups, each read back by those who own them.

use super::*;
use crate::record::TransactionOutcome::{self, Abort, Commit as Committed};
use crate::storage::MemoryState;
use crate::transactions::transaction::LAST_EPOCH;

fn topics() -> HashMap<String, Uuid> {
    HashMap::from([("t".to_owned(), Uuid::from_u128(7))])
}

fn meta(status: Status, epoch: i16) -> TransactionMeta {
    TransactionMeta {
        producer_id: 5,
        previous_producer_id: -1,
        next_producer_id: -1,
        producer_epoch: epoch,
        timeout_ms: 1000,
        status,
        partitions: vec![("t".to_owned(), 1), ("gone".to_owned(), 0), ("__consumer_offsets".to_owned(), 3)],
        updated_at_ms: 10,
        started_at_ms: 9,
        client_version: 2,
    }
}

fn stored(meta: TransactionMeta, next: &mut i64) -> (Transaction, Option<EndingRow>, TransactionFigures) {
    let store = MemoryState::new();
    let log = TransactionLog { ids: [("x".to_owned(), meta)].into() };
    let figures = transactions(&store, &log, &topics(), next, 100, &mut Vec::new()).expect("written");
    let row = store.get(KeySpace::Transactions, &transaction::key("x")).expect("read").expect("a row");
    let ending = store.get(KeySpace::TransactionEndings, &ending::key("x", 0)).expect("read");
    let ending = ending.map(|value| ending::read_value(&value).expect("readable"));
    (transaction::read_value(&row).expect("readable"), ending, figures)
}

#[test]
fn what_is_over_stays_over() {
    for (status, state) in [
        (Status::Empty, State::Empty),
        (Status::Complete(Committed), State::CompleteCommit),
        (Status::Complete(Abort), State::CompleteAbort),
    ] {
        let (row, ending, figures) = stored(meta(status, 3), &mut 50);
        assert_eq!((row.state, row.producer_id, row.producer_epoch), (state, 5, 3));
        assert!(row.partitions.is_empty() && ending.is_none());
        assert_eq!((figures.ids, figures.aborted, figures.carried_out), (1, 0, 0));
    }
}

#[test]
fn an_open_transaction_is_aborted_and_its_producer_fenced() {
    let (row, ending, figures) = stored(meta(Status::Open, 3), &mut 50);
    assert_eq!((row.state, row.producer_id, row.producer_epoch), (State::CompleteAbort, 5, 4));
    let ending = ending.expect("markers are to be written");
    assert_eq!((ending.outcome, ending.producer_id, ending.producer_epoch), (Abort, 5, 4));
    let of = TopicPartition { topic: Uuid::from_u128(7), partition: 1 };
    assert_eq!(ending.partitions.into_keys().collect::<Vec<_>>(), [of]);
    assert_eq!(figures.aborted, 1);
    // The last epoch of its id: it goes on with a new one.
    let mut next = 50;
    let (row, ending, _) = stored(meta(Status::Open, LAST_EPOCH), &mut next);
    assert_eq!((row.producer_id, row.producer_epoch, next), (50, 0, 51));
    assert_eq!(ending.expect("markers").producer_id, 5);
}

#[test]
fn a_decided_transaction_is_carried_out() {
    for outcome in [Committed, Abort] {
        let (row, ending, figures) = stored(meta(Status::Decided(outcome), 3), &mut 50);
        let complete =
            if outcome == TransactionOutcome::Commit { State::CompleteCommit } else { State::CompleteAbort };
        assert_eq!((row.state, row.producer_epoch, figures.carried_out), (complete, 3, 1));
        let ending = ending.expect("markers are to be written");
        assert_eq!((ending.outcome, ending.producer_epoch, ending.partitions.len()), (outcome, 3, 1));
    }
}

#[test]
fn groups_and_offsets_are_what_the_coordinator_reads() {
    let mut log = GroupLog::default();
    let commit = |offset, recorded_at, topic_id| Commit {
        offset,
        leader_epoch: 2,
        metadata: "m".to_owned(),
        committed_at_ms: 4,
        expires_at_ms: -1,
        topic_id,
        recorded_at,
    };
    let of = |topic: &str, partition| ("g".to_owned(), topic.to_owned(), partition);
    log.offsets.insert(of("t", 0), commit(10, 9, None));
    log.offsets.insert(of("t", 1), commit(11, 8, Some(Uuid::from_u128(7))));
    log.offsets.insert(of("t", 2), commit(12, 7, Some(Uuid::from_u128(8))));
    log.offsets.insert(of("gone", 0), commit(13, 6, None));
    let kind = |protocol_type: &str| ClassicMeta {
        protocol_type: protocol_type.to_owned(),
        generation: 3,
        state_since_ms: 5,
        members: 2,
    };
    log.classic.insert("c".to_owned(), kind("consumer"));
    log.consumer.insert("n".to_owned(), ConsumerMeta { epoch: 6, assignment_epoch: 6 });
    log.others.insert("s".to_owned(), "share");
    let store = MemoryState::new();
    let (mut figures, mut left_out) = (GroupFigures::default(), Vec::new());
    groups(&store, &log, &topics(), 100, &mut figures, &mut left_out).expect("written");
    assert_eq!((figures.groups, figures.offsets), (3, 2));
    assert_eq!(left_out.len(), 4, "{left_out:?}");
    let offset = |partition| {
        let key = committed_offset::key("g", OffsetKey { topic: Uuid::from_u128(7), partition });
        let value = store.get(KeySpace::Offsets, &key).expect("read")?;
        let (committed, order) = committed_offset::read_value(&value).expect("readable");
        Some((committed.offset, order))
    };
    assert_eq!((offset(0), offset(1), offset(2)), (Some((10, 2)), Some((11, 1)), None));
    for (id, kind) in [("c", "classic"), ("n", "consumer")] {
        let row = store.get(KeySpace::Groups, &store::key(id, &RowKey::Head)).expect("read").expect("a row");
        let now = Now { ticks_ms: 0, wall_ms: 0 };
        let limits = ConsumerLimits {
            session_timeout_ms: 1,
            heartbeat_interval_ms: 1,
            members_max: 1,
            assignors: vec![Assignor::Uniform],
            migration: crate::config::Migration::Bidirectional,
            regex_refresh_interval_ms: 1,
            classic: NO_LIMITS,
        };
        let read =
            Group::restored(id.into(), &row, [], &limits, now, &mut Effects::default()).expect("readable");
        assert_eq!((read.kind(), read.state_name(), read.protocol_type()), (kind, "Empty", "consumer"));
    }
}
