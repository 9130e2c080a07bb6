use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::groups::store::{committed_offset, pending_offset};
use TransactionOutcome::{Abort, Commit};

fn of(topic: u128, partition: i32) -> OffsetKey {
    OffsetKey { topic: Uuid::from_u128(topic), partition }
}

fn offset(offset: i64) -> CommittedOffset {
    // The clock stands still: what wins does not depend on it.
    CommittedOffset {
        offset,
        leader_epoch: 1,
        metadata: "m".repeat(offset.unsigned_abs() as usize % 4).into(),
        committed_at_ms: 5,
        expires_at_ms: None,
    }
}

/// The offsets and the rows that were written for them.
#[derive(Default)]
struct Tested {
    offsets: GroupOffsets,
    rows: Rows,
}

#[derive(Default)]
struct Rows {
    committed: HashMap<Vec<u8>, Vec<u8>>,
    pending: HashMap<Vec<u8>, Vec<u8>>,
}

impl Tested {
    fn step(&mut self, step: impl FnOnce(&mut GroupOffsets, &mut ChangedOffsets)) -> ChangedOffsets {
        let mut changed = ChangedOffsets::default();
        step(&mut self.offsets, &mut changed);
        for of in &changed.committed {
            let key = committed_offset::key("g", *of);
            let committed = self.offsets.committed();
            match committed.get(*of).zip(committed.order(*of)) {
                Some((commit, order)) => {
                    drop(self.rows.committed.insert(key, committed_offset::value(commit, order)));
                }
                None => drop(self.rows.committed.remove(&key)),
            }
        }
        for (producer_id, of) in &changed.pending {
            let key = pending_offset::key("g", *producer_id, *of);
            match self.offsets.pending().get(*producer_id, *of) {
                Some(pending) => drop(self.rows.pending.insert(key, pending_offset::value(pending))),
                None => drop(self.rows.pending.remove(&key)),
            }
        }
        changed
    }

    fn commit(&mut self, of: OffsetKey, at: i64) {
        self.step(|offsets, changed| offsets.commit(of, offset(at), changed));
    }

    fn send(&mut self, producer_id: i64, of: OffsetKey, at: i64) {
        self.step(|offsets, changed| offsets.commit_pending((producer_id, 0), of, offset(at), changed));
    }

    fn end(&mut self, producer_id: i64, outcome: TransactionOutcome) -> ChangedOffsets {
        self.step(|offsets, changed| offsets.end_transaction(producer_id, outcome, |_| true, changed))
    }

    fn remove(&mut self, of: OffsetKey) {
        self.step(|offsets, changed| {
            offsets.remove(of, changed);
        });
    }

    /// The same from its rows.
    fn restart(&mut self) {
        let mut offsets = GroupOffsets::default();
        for (key, value) in &self.rows.committed {
            let (_, of) = committed_offset::read_key(key).expect("a key");
            let (committed, order) = committed_offset::read_value(value).expect("a value");
            offsets.restore(of, committed, order, false);
        }
        for (key, value) in &self.rows.pending {
            let (_, producer_id, of) = pending_offset::read_key(key).expect("a key");
            offsets.restore_pending(producer_id, of, pending_offset::read_value(value).expect("a value"));
        }
        self.offsets = offsets;
    }

    fn at(&self, of: OffsetKey) -> Option<i64> {
        self.offsets.committed().get(of).map(|committed| committed.offset)
    }

    fn is_unstable(&self, of: OffsetKey) -> bool {
        self.offsets.pending().is_unstable(of)
    }
}

#[test]
fn what_is_pending_shows_when_the_transaction_is_committed_and_goes_when_it_is_aborted() {
    let mut tested = Tested::default();
    tested.commit(of(1, 0), 3);
    tested.send(7, of(1, 0), 10);
    tested.send(7, of(1, 1), 11);
    tested.send(7, of(1, 1), 12);
    tested.send(8, of(1, 2), 20);
    assert_eq!((tested.at(of(1, 0)), tested.at(of(1, 1))), (Some(3), None));
    assert!(tested.is_unstable(of(1, 1)) && tested.is_unstable(of(1, 2)) && !tested.is_unstable(of(1, 3)));
    assert_eq!(tested.offsets.pending().producers().collect::<Vec<_>>(), [7, 8]);

    let changed = tested.end(7, Commit);
    assert_eq!(
        (tested.at(of(1, 0)), tested.at(of(1, 1))),
        (Some(10), Some(12)),
        "the last of each partition"
    );
    assert_eq!((changed.committed.len(), changed.pending.len()), (2, 2));
    assert!(!tested.is_unstable(of(1, 0)) && tested.is_unstable(of(1, 2)));
    tested.end(8, Abort);
    assert_eq!(tested.at(of(1, 2)), None);
    assert!(tested.offsets.pending().is_empty());
    assert_eq!(tested.end(8, Commit), ChangedOffsets::default(), "it ended already");
}

#[test]
fn the_commit_that_was_sent_last_wins() {
    for restarts in [false, true] {
        let mut tested = Tested::default();
        let restart = |tested: &mut Tested| {
            if restarts {
                tested.restart()
            }
        };
        // A plain commit, after the transactional one and before the end.
        tested.send(7, of(1, 0), 10);
        restart(&mut tested);
        tested.commit(of(1, 0), 5);
        restart(&mut tested);
        assert!(tested.is_unstable(of(1, 0)), "the transaction is still open");
        tested.end(7, Commit);
        assert_eq!(tested.at(of(1, 0)), Some(5));
        // Sent again after the plain commit.
        tested.send(7, of(1, 0), 11);
        tested.commit(of(1, 0), 6);
        restart(&mut tested);
        tested.send(7, of(1, 0), 12);
        tested.end(7, Commit);
        assert_eq!(tested.at(of(1, 0)), Some(12));
        // Two transactions: which is committed first does not count.
        tested.send(7, of(1, 0), 20);
        restart(&mut tested);
        tested.send(8, of(1, 0), 30);
        restart(&mut tested);
        tested.end(8, Commit);
        restart(&mut tested);
        tested.end(7, Commit);
        assert_eq!(tested.at(of(1, 0)), Some(30));
    }
}

#[test]
fn a_partition_that_is_forgotten_is_forgotten_by_open_transactions_too() {
    let mut tested = Tested::default();
    tested.send(7, of(1, 0), 10);
    tested.send(8, of(1, 0), 20);
    tested.send(8, of(1, 1), 21);
    tested.remove(of(1, 0));
    assert!(!tested.is_unstable(of(1, 0)) && tested.is_unstable(of(1, 1)));
    assert_eq!(tested.offsets.pending().producers().collect::<Vec<_>>(), [8]);
    tested.end(7, Commit);
    tested.end(8, Commit);
    assert_eq!((tested.at(of(1, 0)), tested.at(of(1, 1))), (None, Some(21)));
    assert_eq!(tested.offsets.partitions().collect::<Vec<_>>(), [of(1, 1)]);
    tested.remove(of(1, 1));
    assert!(tested.offsets.is_empty());
    assert_eq!((tested.rows.committed.len(), tested.rows.pending.len()), (0, 0));
}

#[test]
fn offsets_of_a_topic_that_is_gone_are_dropped_at_the_end() {
    let mut tested = Tested::default();
    tested.send(7, of(1, 0), 10);
    tested.send(7, of(2, 0), 20);
    let remains = |topic| topic == Uuid::from_u128(2);
    tested.step(|offsets, changed| offsets.end_transaction(7, Commit, remains, changed));
    assert_eq!((tested.at(of(1, 0)), tested.at(of(2, 0))), (None, Some(20)));
    assert!(tested.offsets.pending().is_empty() && tested.rows.pending.is_empty());
}

#[test]
fn an_unclean_stop_is_remembered_through_the_end_of_the_transaction() {
    let mut tested = Tested::default();
    tested.send(7, of(1, 0), 100);
    let mut pending = tested.offsets.pending().get(7, of(1, 0)).expect("pending").clone();
    pending.unverified = true;
    tested.offsets.restore_pending(7, of(1, 0), pending);
    tested.end(7, Commit);
    assert!(tested.offsets.committed().is_unverified(of(1, 0)));
    let changed = tested.step(|offsets, changed| assert!(offsets.verify(of(1, 0), 60, changed)));
    assert_eq!(changed.committed, BTreeSet::from([of(1, 0)]));
    assert_eq!(tested.at(of(1, 0)), Some(60));
    tested.restart();
    assert_eq!(tested.at(of(1, 0)), Some(60));
}

#[test]
fn the_highest_order_of_all_stops_nothing() {
    let mut tested = Tested::default();
    tested.offsets.restore(of(1, 0), offset(1), u64::MAX, false);
    tested.commit(of(1, 0), 2);
    tested.send(7, of(1, 1), 3);
    tested.end(7, Commit);
    assert_eq!((tested.at(of(1, 0)), tested.at(of(1, 1))), (Some(2), Some(3)));
}

/// A history as Kafka keeps it: a log of commits that is played from the beginning each time.
#[derive(Debug, Clone)]
enum Event {
    Commit(OffsetKey, i64),
    Send(i64, OffsetKey, i64),
    End(i64, bool),
    Remove(OffsetKey),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let partition = || (1u128..3, 0i32..3).prop_map(|(topic, partition)| of(topic, partition));
    let producer = || 7i64..10;
    prop_oneof![
        3 => (partition(), 0i64..100).prop_map(|(of, at)| Event::Commit(of, at)),
        6 => (producer(), partition(), 0i64..100).prop_map(|(producer, of, at)| Event::Send(producer, of, at)),
        3 => (producer(), any::<bool>()).prop_map(|(producer, commits)| Event::End(producer, commits)),
        1 => partition().prop_map(Event::Remove),
        1 => Just(Event::Restart),
    ]
}

type Placed = (usize, i64);

/// What is committed and what is pending after these events, each with its place in the log.
fn played(events: &[Event]) -> (BTreeMap<OffsetKey, Placed>, BTreeMap<(i64, OffsetKey), Placed>) {
    let (mut committed, mut pending) = (BTreeMap::new(), BTreeMap::new());
    for (place, event) in events.iter().enumerate() {
        match event {
            Event::Commit(of, at) => drop(committed.insert(*of, (place, *at))),
            Event::Send(producer, of, at) => drop(pending.insert((*producer, *of), (place, *at))),
            Event::Remove(removed) => {
                committed.remove(removed);
                pending.retain(|(_, of), _| of != removed);
            }
            Event::End(ended, commits) => {
                let of_it: Vec<_> = pending.extract_if(.., |(producer, _), _| producer == ended).collect();
                for ((_, of), sent) in of_it.into_iter().filter(|_| *commits) {
                    let latest: &mut Placed = committed.entry(of).or_insert(sent);
                    *latest = sent.max(*latest);
                }
            }
            Event::Restart => {}
        }
    }
    (committed, pending)
}

proptest! {
    #[test]
    fn any_history_ends_as_in_kafka(events in prop::collection::vec(event(), 1..60)) {
        let mut tested = Tested::default();
        for (count, event) in events.iter().enumerate() {
            match event {
                Event::Commit(of, at) => tested.commit(*of, *at),
                Event::Send(producer, of, at) => tested.send(*producer, *of, *at),
                Event::End(producer, commits) => {
                    drop(tested.end(*producer, if *commits { Commit } else { Abort }));
                }
                Event::Remove(of) => tested.remove(*of),
                Event::Restart => tested.restart(),
            }
            let (committed, pending) = played(&events[..=count]);
            let offsets = &tested.offsets;
            let shown: BTreeMap<_, _> = offsets.committed().iter().map(|(of, c)| (of, c.offset)).collect();
            prop_assert_eq!(shown, committed.iter().map(|(of, (_, at))| (*of, *at)).collect());
            let shown: BTreeMap<_, _> =
                offsets.pending().iter().map(|(producer, of, p)| ((producer, of), p.committed.offset)).collect();
            prop_assert_eq!(shown, pending.iter().map(|(key, (_, at))| (*key, *at)).collect());
            // The indices agree with it, and the rows with both.
            for producer in 7..10 {
                let of_it = pending.iter().filter(|((id, _), _)| *id == producer);
                let size = of_it.fold((0, 0), |(count, bytes), (_, (_, at))| (count + 1, bytes + (*at as usize) % 4));
                prop_assert_eq!(offsets.pending().size(producer), size);
                prop_assert_eq!(offsets.pending().epoch(producer), (size.0 > 0).then_some(0));
            }
            for partition in (1..3).flat_map(|topic| (0..3).map(move |partition| of(topic, partition))) {
                let is_pending = pending.keys().any(|(_, of)| *of == partition);
                prop_assert_eq!(tested.is_unstable(partition), is_pending);
                let is_known = is_pending || committed.contains_key(&partition);
                prop_assert_eq!(offsets.partitions().any(|of| of == partition), is_known);
            }
            prop_assert_eq!(tested.rows.committed.len(), committed.len());
            prop_assert_eq!(tested.rows.pending.len(), pending.len());
        }
    }
}
