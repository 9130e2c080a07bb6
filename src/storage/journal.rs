//! Makes the state of coordinators durable, many changes with one sync.
//!
//! A decision changes a group or a transaction in memory and puts its rows in the queue, under its shard's lock: rows of one
//! shard are queued in the order in which they were decided. One thread takes what is queued, writes it as one
//! synced batch, and releases everybody who waits for it; what is decided meanwhile is the next round.
//!
//! A failed write leaves open what is on disk, and state in memory that nobody may see. So a failure ends the present
//! *term*: what is queued fails with it, nothing more is taken for the old term, and every shard is loaded from the
//! store before it decides again.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::storage::state_store::MAX_BATCH_BYTES;
use crate::storage::{Durability, StateError, StateStore, WriteBatch};

/// Bytes of rows that may wait for the disk. Decisions beyond it are refused with a retriable error.
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// Bytes of rows that are written as one batch, at least the largest single change.
const WRITTEN_TOGETHER_BYTES: usize = MAX_BATCH_BYTES / 2;
/// How long the thread rests after a failed write: a full disk is not tried in a circle.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(100);

const PENDING: u8 = 0;
const DURABLE: u8 = 1;
const FAILED: u8 = 2;

/// The write failed, or the journal is closed: nobody knows whether the change holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the change could not be made durable")]
pub struct NotDurable;

/// Why a change was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A write failed since the shard was loaded: it must be loaded again.
    #[error("the state in memory is out of date")]
    OutOfDate,
    /// Too much waits for the disk.
    #[error("too many changes wait for the disk")]
    Busy,
    /// The broker is stopping.
    #[error("the journal is closed")]
    Closed,
}

/// What is written together.
#[derive(Debug, Default)]
struct Round {
    /// Rises from round to round.
    number: u64,
    outcome: AtomicU8,
    waiting: Mutex<Vec<Waker>>,
}

impl Round {
    fn next(&self) -> Arc<Round> {
        Arc::new(Round { number: self.number + 1, ..Round::default() })
    }

    fn end(&self, outcome: u8) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            self.outcome.store(outcome, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Resolves when the change it was given for, and every earlier one, is durable.
#[derive(Debug)]
pub struct Receipt {
    round: Arc<Round>,
    /// Where its waker is among those of the round, once it was polled: it is not looked for among thousands.
    place: Option<usize>,
}

impl Clone for Receipt {
    fn clone(&self) -> Self {
        Receipt { round: self.round.clone(), place: None }
    }
}

impl Receipt {
    /// The one of two whose round ends later. Rounds end in order.
    pub fn later(one: Option<Receipt>, other: Option<Receipt>) -> Option<Receipt> {
        match (one, other) {
            (Some(one), Some(other)) => {
                Some(if one.round.number >= other.round.number { one } else { other })
            }
            (one, other) => one.or(other),
        }
    }

    /// Waits for the outcome on this thread. Blocks.
    pub fn wait(self) -> Result<(), NotDurable> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut receipt = std::pin::pin!(self);
        loop {
            if let Poll::Ready(outcome) = receipt.as_mut().poll(&mut context) {
                return outcome;
            }
            std::thread::park();
        }
    }

    /// The outcome, when there is one.
    pub fn outcome(&self) -> Option<Result<(), NotDurable>> {
        match self.round.outcome.load(Ordering::Acquire) {
            PENDING => None,
            DURABLE => Some(Ok(())),
            _ => Some(Err(NotDurable)),
        }
    }
}

impl Future for Receipt {
    type Output = Result<(), NotDurable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        let round = self.round.clone();
        let mut waiting = round.waiting.lock();
        // The round ends under this lock: either the outcome is seen now, or the waker is found then.
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        match self.place.and_then(|place| waiting.get_mut(place)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                self.place = Some(waiting.len());
                waiting.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// Wakes a thread.
struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[derive(Default)]
struct Queue {
    batches: Vec<WriteBatch>,
    bytes: usize,
    round: Arc<Round>,
    closed: bool,
}

struct Shared {
    store: Arc<dyn StateStore>,
    durability: Durability,
    queue: Mutex<Queue>,
    arrived: Condvar,
    term: AtomicU64,
    observe: Box<dyn Fn(Written) + Send + Sync>,
}

/// One write, for the metrics.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Changes in it.
    pub changes: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether it is durable.
    pub succeeded: bool,
}

/// Takes changes. Clones write to the same queue.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("term", &self.term()).finish_non_exhaustive()
    }
}

/// The thread that writes; ends in [`JournalThread::stop`].
#[derive(Debug)]
pub struct JournalThread {
    journal: Journal,
    thread: JoinHandle<()>,
}

impl Journal {
    /// Starts the thread that writes to `store`, each write as durable as `durability` says.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        store: Arc<dyn StateStore>,
        durability: Durability,
        observe: impl Fn(Written) + Send + Sync + 'static,
    ) -> io::Result<(Journal, JournalThread)> {
        let shared = Shared {
            store,
            durability,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            term: AtomicU64::new(1),
            observe: Box::new(observe),
        };
        let journal = Journal(Arc::new(shared));
        let writer = journal.clone();
        let thread =
            std::thread::Builder::new().name("state-journal".into()).spawn(move || writer.write())?;
        Ok((journal.clone(), JournalThread { journal, thread }))
    }

    /// Rises with each failure. A shard loaded in an earlier term is out of date.
    pub fn term(&self) -> u64 {
        self.0.term.load(Ordering::Acquire)
    }

    /// Queues a change that was decided on state loaded in `term`.
    ///
    /// # Errors
    /// [`Refused`]; nothing was taken, and the caller's state in memory must be given up.
    pub fn append(&self, term: u64, batch: WriteBatch) -> Result<Receipt, Refused> {
        let mut queue = self.0.queue.lock();
        // The term changes under this lock.
        if term != self.term() {
            return Err(Refused::OutOfDate);
        }
        if queue.closed {
            return Err(Refused::Closed);
        }
        let bytes = batch.bytes();
        if bytes > MAX_BATCH_BYTES || queue.bytes.saturating_add(bytes) > QUEUED_BYTES_MAX {
            return Err(Refused::Busy);
        }
        queue.bytes += bytes;
        queue.batches.push(batch);
        let receipt = Receipt { round: queue.round.clone(), place: None };
        drop(queue);
        self.0.arrived.notify_one();
        Ok(receipt)
    }

    fn write(&self) {
        loop {
            let mut queue = self.0.queue.lock();
            while queue.batches.is_empty() {
                if queue.closed {
                    return;
                }
                self.0.arrived.wait(&mut queue);
            }
            let batches = std::mem::take(&mut queue.batches);
            queue.bytes = 0;
            let next = queue.round.next();
            let round = std::mem::replace(&mut queue.round, next);
            drop(queue);
            let changes = batches.len();
            let began = Instant::now();
            let outcome = self.write_all(batches);
            let written = Written { changes, took: began.elapsed(), succeeded: outcome.is_ok() };
            (self.0.observe)(written);
            match outcome {
                Ok(()) => round.end(DURABLE),
                Err(error) => {
                    tracing::error!(%error, changes, "state could not be written; groups and transactions are loaded again from the disk");
                    let after = self.end_term();
                    round.end(FAILED);
                    after.end(FAILED);
                    std::thread::sleep(REST_AFTER_FAILURE);
                }
            }
        }
    }

    /// What is queued was decided on what failed: it fails as well.
    fn end_term(&self) -> Arc<Round> {
        let mut queue = self.0.queue.lock();
        self.0.term.fetch_add(1, Ordering::AcqRel);
        queue.batches.clear();
        queue.bytes = 0;
        let next = queue.round.next();
        std::mem::replace(&mut queue.round, next)
    }

    /// Writes changes in order, each whole, as few batches as fit.
    fn write_all(&self, batches: Vec<WriteBatch>) -> Result<(), StateError> {
        let mut together = WriteBatch::new();
        for batch in batches {
            if !together.is_empty() && together.bytes() + batch.bytes() > WRITTEN_TOGETHER_BYTES {
                self.0.store.write(std::mem::take(&mut together), self.0.durability)?;
            }
            together.append(batch);
        }
        self.0.store.write(together, self.0.durability)
    }
}

impl JournalThread {
    /// Writes what is queued and ends the thread. Later changes are refused.
    pub fn stop(self) {
        self.journal.0.queue.lock().closed = true;
        self.journal.0.arrived.notify_all();
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes the coordinators' state had failed");
        }
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
