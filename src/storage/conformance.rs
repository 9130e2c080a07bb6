//! The contract of [`StateStore`] as tests. Every implementation runs [`run`] over a function that makes
//! a fresh place and returns its opener; calling the opener again after `close` is a restart.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::keyspace::KeySpace;
use super::state_store::{Durability, MAX_BATCH_BYTES, StateError, StateStore, WriteBatch};

type Model = BTreeMap<(KeySpace, Vec<u8>), Vec<u8>>;

/// Runs the whole suite. `place` makes a new empty place and returns its opener.
pub(crate) fn run<O>(place: impl Fn() -> O)
where
    O: FnMut() -> Arc<dyn StateStore>,
{
    absent_is_not_empty(&*place()());
    spaces_are_apart(&*place()());
    later_steps_of_a_batch_win(&*place()());
    scans_are_ordered_and_bounded(&*place()());
    a_scan_keeps_its_view(&*place()());
    an_oversized_batch_writes_nothing(&*place()());
    closed_answers_closed(&*place()());
    synced_rows_survive_reopen(place());
    behaves_as_a_map(&place);
}

fn put(store: &dyn StateStore, space: KeySpace, key: &[u8], value: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put(space, key, value);
    store.write(batch, Durability::Buffered).expect("write");
}

/// All rows under a prefix, in the order visited.
pub(crate) fn rows(store: &dyn StateStore, space: KeySpace, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    store
        .scan_prefix(space, prefix, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .expect("scan");
    found
}

fn absent_is_not_empty(store: &dyn StateStore) {
    assert_eq!(store.get(KeySpace::Topics, b"a"), Ok(None));
    put(store, KeySpace::Topics, b"a", b"");
    assert_eq!(store.get(KeySpace::Topics, b"a"), Ok(Some(Vec::new())));
    let mut batch = WriteBatch::new();
    batch.delete(KeySpace::Topics, *b"a");
    batch.delete(KeySpace::Topics, *b"never there");
    store.write(batch, Durability::Synced).expect("delete");
    assert_eq!(store.get(KeySpace::Topics, b"a"), Ok(None));
    store.write(WriteBatch::new(), Durability::Synced).expect("an empty batch");
}

fn spaces_are_apart(store: &dyn StateStore) {
    for space in KeySpace::ALL {
        put(store, space, b"same", space.name().as_bytes());
    }
    for space in KeySpace::ALL {
        let value = space.name().as_bytes().to_vec();
        assert_eq!(rows(store, space, b""), vec![(b"same".to_vec(), value)]);
    }
}

fn later_steps_of_a_batch_win(store: &dyn StateStore) {
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Cluster, *b"k", *b"1");
    batch.put(KeySpace::Cluster, *b"k", *b"2");
    batch.put(KeySpace::Cluster, *b"gone", *b"1");
    batch.delete(KeySpace::Cluster, *b"gone");
    batch.delete(KeySpace::Cluster, *b"back");
    batch.put(KeySpace::Cluster, *b"back", *b"3");
    store.write(batch, Durability::Synced).expect("write");
    let expected = vec![(b"back".to_vec(), b"3".to_vec()), (b"k".to_vec(), b"2".to_vec())];
    assert_eq!(rows(store, KeySpace::Cluster, b""), expected);
}

fn scans_are_ordered_and_bounded(store: &dyn StateStore) {
    // 0xff bytes are where a computed upper bound of a prefix goes wrong.
    let keys: [&[u8]; 6] = [b"", b"a", b"a\xff", b"a\xff\xff", b"b", b"\xff\xff"];
    for key in keys.iter().rev() {
        put(store, KeySpace::Topics, key, b"v");
    }
    let under = |prefix: &[u8]| -> Vec<Vec<u8>> {
        rows(store, KeySpace::Topics, prefix).into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(under(b""), keys.map(<[u8]>::to_vec).to_vec());
    assert_eq!(under(b"a"), keys[1..4].iter().map(|k| k.to_vec()).collect::<Vec<_>>());
    assert_eq!(under(b"a\xff"), keys[2..4].iter().map(|k| k.to_vec()).collect::<Vec<_>>());
    assert_eq!(under(b"\xff"), vec![b"\xff\xff".to_vec()]);
    assert_eq!(under(b"c"), Vec::<Vec<u8>>::new());

    let mut seen = 0;
    store
        .scan_prefix(KeySpace::Topics, b"a", &mut |_, _| {
            seen += 1;
            if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect("scan");
    assert_eq!(seen, 2);
}

fn a_scan_keeps_its_view(store: &dyn StateStore) {
    put(store, KeySpace::Topics, b"a", b"1");
    put(store, KeySpace::Topics, b"b", b"1");
    let mut seen = Vec::new();
    store
        .scan_prefix(KeySpace::Topics, b"", &mut |key, value| {
            put(store, KeySpace::Topics, b"b", b"2");
            put(store, KeySpace::Topics, b"c", b"2");
            seen.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .expect("scan");
    let expected = vec![(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())];
    assert_eq!(seen, expected);
    assert_eq!(rows(store, KeySpace::Topics, b"").len(), 3);
}

fn an_oversized_batch_writes_nothing(store: &dyn StateStore) {
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Topics, *b"small", *b"1");
    batch.put(KeySpace::Topics, *b"big", vec![0; MAX_BATCH_BYTES]);
    let refused = store.write(batch, Durability::Synced);
    assert!(matches!(refused, Err(StateError::BatchTooLarge { .. })), "{refused:?}");
    assert_eq!(store.get(KeySpace::Topics, b"small"), Ok(None));
}

fn closed_answers_closed(store: &dyn StateStore) {
    store.close().expect("close");
    store.close().expect("close again");
    assert_eq!(store.get(KeySpace::Topics, b"a"), Err(StateError::Closed));
    assert_eq!(store.flush(), Err(StateError::Closed));
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Topics, *b"a", *b"1");
    assert_eq!(store.write(batch, Durability::Buffered), Err(StateError::Closed));
    let scanned = store.scan_prefix(KeySpace::Topics, b"", &mut |_, _| ControlFlow::Break(()));
    assert_eq!(scanned, Err(StateError::Closed));
}

fn synced_rows_survive_reopen(mut open: impl FnMut() -> Arc<dyn StateStore>) {
    for round in 0..3u8 {
        let store = open();
        assert_eq!(rows(&*store, KeySpace::Topics, b"").len(), usize::from(round));
        let mut batch = WriteBatch::new();
        batch.put(KeySpace::Topics, vec![round], vec![round]);
        store.write(batch, Durability::Synced).expect("write");
        store.close().expect("close");
    }
}

/// Random batches and restarts against a plain map.
fn behaves_as_a_map<O>(place: &impl Fn() -> O)
where
    O: FnMut() -> Arc<dyn StateStore>,
{
    let op = (
        prop::sample::select(KeySpace::ALL.to_vec()),
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 255]), 0..4),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..16)),
    );
    let steps = prop::collection::vec((prop::collection::vec(op, 0..6), any::<bool>()), 0..12);
    let config = Config { cases: 12, ..Config::default() };
    TestRunner::new(config)
        .run(&steps, |steps| {
            let mut open = place();
            let mut store = open();
            let mut model = Model::new();
            for (ops, restart) in steps {
                let mut batch = WriteBatch::new();
                for (space, key, value) in ops {
                    match value {
                        Some(value) => {
                            batch.put(space, key.clone(), value.clone());
                            model.insert((space, key), value);
                        }
                        None => {
                            batch.delete(space, key.clone());
                            model.remove(&(space, key));
                        }
                    }
                }
                store.write(batch, Durability::Buffered).expect("write");
                if restart {
                    store.close().expect("close");
                    drop(store);
                    store = open();
                }
                for space in KeySpace::ALL {
                    let expected: Vec<_> = model
                        .iter()
                        .filter(|((owner, _), _)| *owner == space)
                        .map(|((_, key), value)| (key.clone(), value.clone()))
                        .collect();
                    prop_assert_eq!(rows(&*store, space, b""), expected);
                }
            }
            Ok(())
        })
        .expect("the store and the map agree");
}
