use super::*;
use crate::storage::state_store::VisitRow;
use crate::storage::{KeySpace, MemoryState};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

/// A store whose writes wait for a word, and fail while told so.
struct Gated {
    rows: MemoryState,
    gate: Mutex<mpsc::Receiver<()>>,
    failing: AtomicBool,
    writes: AtomicU64,
}

impl StateStore for Gated {
    fn get(&self, space: KeySpace, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.rows.get(space, key)
    }
    fn scan_prefix(
        &self,
        space: KeySpace,
        prefix: &[u8],
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StateError> {
        self.rows.scan_prefix(space, prefix, visit)
    }
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StateError> {
        self.gate.lock().recv_timeout(Duration::from_secs(60)).expect("the test opens the gate");
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.failing.load(Ordering::SeqCst) {
            return Err(StateError::Unavailable { message: "disk".into(), retryable: true });
        }
        self.rows.write(batch, durability)
    }
    fn flush(&self) -> Result<(), StateError> {
        self.rows.flush()
    }
    fn close(&self) -> Result<(), StateError> {
        self.rows.close()
    }
}

fn start() -> (Arc<Gated>, mpsc::Sender<()>, Journal, JournalThread) {
    let (open, gate) = mpsc::channel();
    let store = Arc::new(Gated {
        rows: MemoryState::new(),
        gate: Mutex::new(gate),
        failing: AtomicBool::new(false),
        writes: AtomicU64::new(0),
    });
    let (journal, thread) = Journal::start(store.clone(), Durability::Synced, |_| {}).expect("a thread");
    (store, open, journal, thread)
}

fn row(key: &[u8], value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Groups, key, value);
    batch
}

#[tokio::test]
async fn what_arrives_during_a_write_is_the_next_round_and_order_holds() {
    let (store, open, journal, thread) = start();
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
    assert!(store.writes.load(Ordering::SeqCst) <= 2);
    assert_eq!(store.get(KeySpace::Groups, b"k"), Ok(Some(b"9".to_vec())));
    thread.stop();
    assert_eq!(journal.append(1, row(b"k", b"x")).map(drop), Err(Refused::Closed));
}

#[tokio::test]
async fn a_failure_fails_all_that_was_built_on_it_and_ends_the_term() {
    let (store, open, journal, thread) = start();
    store.failing.store(true, Ordering::SeqCst);
    let receipts: Vec<_> = (0..5).map(|_| journal.append(1, row(b"k", b"1")).expect("taken")).collect();
    open.send(()).unwrap();
    for receipt in receipts {
        assert_eq!(receipt.await, Err(NotDurable));
    }
    assert_eq!(journal.term(), 2);
    assert_eq!(journal.append(1, row(b"k", b"2")).map(drop), Err(Refused::OutOfDate));
    assert_eq!(store.get(KeySpace::Groups, b"k"), Ok(None));

    store.failing.store(false, Ordering::SeqCst);
    let again = journal.append(2, row(b"k", b"3")).expect("taken");
    open.send(()).unwrap();
    assert_eq!(again.await, Ok(()));
    assert_eq!(store.get(KeySpace::Groups, b"k"), Ok(Some(b"3".to_vec())));
    thread.stop();
}

#[tokio::test]
async fn more_than_may_wait_is_refused_and_a_stop_writes_what_was_taken() {
    let (store, open, journal, thread) = start();
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
        assert!(store.get(KeySpace::Groups, &[key as u8]).unwrap().is_some());
    }
}
