use super::*;
use crate::storage::hooked_state::{HookedState, disk_error};
use crate::storage::{KeySpace, MemoryState};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

/// A store whose writes wait for a word, and fail while told so.
struct Gated {
    store: Arc<HookedState>,
    failing: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
}

fn start() -> (Gated, mpsc::Sender<()>, Journal, JournalThread) {
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let (failing, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (fails, counted) = (failing.clone(), writes.clone());
    let store = Arc::new(HookedState::new(MemoryState::new(), move |rows, batch, durability| {
        gate.lock().recv_timeout(Duration::from_secs(60)).expect("the test opens the gate");
        counted.fetch_add(1, Ordering::SeqCst);
        if fails.load(Ordering::SeqCst) { Err(disk_error()) } else { rows.write(batch, durability) }
    }));
    let (journal, thread) = Journal::start(store.clone(), Durability::Synced, |_| {}).expect("a thread");
    (Gated { store, failing, writes }, open, journal, thread)
}

fn row(key: &[u8], value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Groups, key, value);
    batch
}

#[tokio::test]
async fn what_arrives_during_a_write_is_the_next_round_and_order_holds() {
    let (gated, open, journal, thread) = start();
    let first = journal.append(1, row(b"k", b"1")).expect("taken");
    // The thread may or may not have begun with the first; either way at most two writes follow.
    let others: Vec<_> = (2..=9).map(|n| journal.append(1, row(b"k", &[b'0' + n])).expect("taken")).collect();
    assert_eq!(first.outcome(), None);
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert_eq!(first.await, Ok(()));
    for receipt in others {
        assert_eq!(receipt.await, Ok(()));
    }
    assert!(gated.writes.load(Ordering::SeqCst) <= 2);
    assert_eq!(gated.store.get(KeySpace::Groups, b"k"), Ok(Some(b"9".to_vec())));
    thread.stop();
    assert_eq!(journal.append(1, row(b"k", b"x")).map(drop), Err(Refused::Closed));
}

#[tokio::test]
async fn a_failure_fails_all_that_was_built_on_it_and_ends_the_term() {
    let (gated, open, journal, thread) = start();
    gated.failing.store(true, Ordering::SeqCst);
    let receipts: Vec<_> = (0..5).map(|_| journal.append(1, row(b"k", b"1")).expect("taken")).collect();
    open.send(()).unwrap();
    for receipt in receipts {
        assert_eq!(receipt.await, Err(NotDurable));
    }
    assert_eq!(journal.term(), 2);
    assert_eq!(journal.append(1, row(b"k", b"2")).map(drop), Err(Refused::OutOfDate));
    assert_eq!(gated.store.get(KeySpace::Groups, b"k"), Ok(None));

    gated.failing.store(false, Ordering::SeqCst);
    let again = journal.append(2, row(b"k", b"3")).expect("taken");
    open.send(()).unwrap();
    assert_eq!(again.await, Ok(()));
    assert_eq!(gated.store.get(KeySpace::Groups, b"k"), Ok(Some(b"3".to_vec())));
    thread.stop();
}

#[tokio::test]
async fn more_than_may_wait_is_refused_and_a_stop_writes_what_was_taken() {
    let (gated, open, journal, thread) = start();
    let big = vec![0; 8 << 20];
    let mut taken = Vec::new();
    let refused = loop {
        let key = [taken.len() as u8];
        match journal.append(1, row(&key, &big)) {
            Ok(receipt) => taken.push(receipt),
            Err(refused) => break refused,
        }
        assert!(taken.len() <= 2 * (QUEUED_BYTES_MAX / big.len()), "the queue is not bounded");
    };
    assert_eq!(refused, Refused::Busy);
    assert_eq!(journal.append(1, row(b"huge", &vec![0; MAX_BATCH_BYTES + 1])).map(drop), Err(Refused::Busy));
    for _ in 0..taken.len() {
        open.send(()).unwrap();
    }
    tokio::task::spawn_blocking(move || thread.stop()).await.unwrap();
    for (key, receipt) in taken.into_iter().enumerate() {
        assert_eq!(receipt.await, Ok(()));
        assert!(gated.store.get(KeySpace::Groups, &[key as u8]).unwrap().is_some());
    }
}
