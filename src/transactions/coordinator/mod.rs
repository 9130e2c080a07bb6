//! The coordinator: decides for every transactional id, makes what was decided durable, and carries it out.
//!
//! ```text
//!   request ─ shard's lock ─ decision (pure) ─ rows into the journal ─ lock released ─ durable ─ markers ─ answer
//! ```
//!
//! Transactional ids are spread over 50 shards, as Kafka spreads them over the partitions of `__transaction_state`. The end
//! of a transaction is one atomic write: its row as it will be when all is done, the offsets that become visible, and an
//! *ending*, which says what is still to be done. From then on the outcome is decided. Markers follow, and when the logs
//! have made them durable, the ending goes. A crash in between leaves the ending, and the next start carries it out again.
//!
//! Locks are taken in this order: a shard here, the shards of groups, the journal; and a shard here, a partition. A log is
//! never opened under a shard's lock, because opening it may ask whose its open transactions are.

mod admin;
mod decided;
mod endings;
mod enlisting;
#[cfg(test)]
mod history_tests;
mod load;
pub mod metrics;
mod ownership;
mod shard;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info};

use super::end::EndRequest;
use super::error::TransactionError;
use super::init::{Init, InitRequest};
use super::store::{self, ending::EndingRow};
use super::transaction::{Ending, Producer, Protocol, Refused, Row, TopicPartition, Transaction};
use crate::groups::coordinator::Coordinator as Groups;
use crate::metadata::ProducerIds;
use crate::partition::registry::OpenError;
use crate::partition::{Partition, Registry};
use crate::record::TransactionOutcome;
use crate::storage::journal::{Journal, Receipt};
use crate::storage::{KeySpace, StateStore, WriteBatch};

pub use admin::{Described, Enlisted, Listed};
pub use decided::Decided;
pub use endings::Endings;

use endings::Work;
use metrics::TransactionMetrics;
use shard::Shard;

/// Epoch of this coordinator in the markers it writes. There is only ever one coordinator on one node.
const COORDINATOR_EPOCH: i32 = 0;

/// What a coordinator is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `transaction.max.timeout.ms`.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration_ms: i64,
    /// `transaction.partition.verification.enable`.
    pub verifies: bool,
    /// `tidelog.max.transactional.ids`.
    pub max_ids: usize,
}

/// Opens a partition's log if it is not open; `None` when its topic is gone. Blocks.
pub type OpenPartition = dyn Fn(TopicPartition) -> Option<Result<Arc<Partition>, OpenError>> + Send + Sync;

/// What the coordinator works on.
pub struct Parts {
    /// Holds the rows.
    pub store: Arc<dyn StateStore>,
    /// Makes changes durable; the groups' as well, so that one write can change both.
    pub journal: Journal,
    /// The logs.
    pub partitions: Arc<Registry>,
    /// Opens a log.
    pub open: Box<OpenPartition>,
    /// The groups, whose offsets are part of transactions.
    pub groups: Groups,
    /// Gives out producer ids.
    pub producer_ids: Arc<ProducerIds>,
}

/// A cheap handle; clones share one coordinator.
#[derive(Clone)]
pub struct Coordinator(Arc<Shared>);

struct Shared {
    shards: Vec<Mutex<Shard>>,
    parts: Parts,
    settings: Settings,
    /// Decided transactions on their way to be carried out.
    endings: mpsc::UnboundedSender<Work>,
    /// Transactional ids in all shards.
    known: AtomicUsize,
    /// Every shard was read once.
    counted: AtomicBool,
    metrics: TransactionMetrics,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator").field("known", &self.0.known).finish_non_exhaustive()
    }
}

impl Coordinator {
    /// A coordinator, and what carries out its decisions. Nothing is read before it is asked for, or
    /// [`Coordinator::load_all`] is called.
    pub fn new(parts: Parts, settings: Settings, metrics: TransactionMetrics) -> (Coordinator, Endings) {
        let (endings, decided) = mpsc::unbounded_channel();
        let shared = Shared {
            shards: (0..store::SHARDS).map(|_| Mutex::default()).collect(),
            parts,
            settings,
            endings,
            known: AtomicUsize::new(0),
            counted: AtomicBool::new(false),
            metrics,
        };
        let coordinator = Coordinator(Arc::new(shared));
        (coordinator.clone(), Endings::new(coordinator, decided))
    }

    /// InitProducerId of a transactional producer: its producer id and the epoch that is its own from now on.
    ///
    /// # Errors
    /// [`TransactionError`]; `ConcurrentTransactions` while what an earlier producer had begun is being aborted.
    pub async fn init_producer_id(
        &self,
        id: &str,
        timeout_ms: i32,
        expected: Option<Producer>,
    ) -> Result<Producer, TransactionError> {
        let (known_id, known_epoch) = expected.map_or((-1, -1), |expected| (expected.id, expected.epoch));
        check_id(id)?;
        let request = InitRequest::new(timeout_ms, known_id, known_epoch, self.0.settings.max_timeout_ms)?;
        let mut spare = None;
        loop {
            match self.init(id, request, spare) {
                Ok(decided) => return decided.settled().await,
                Err(Refused::Error(error)) => return Err(error),
                Err(Refused::NeedsProducerId) => spare = Some(self.producer_id().await?),
            }
        }
    }

    fn init(&self, id: &str, request: InitRequest, spare: Option<i64>) -> Result<Decided<Producer>, Refused> {
        // What is not read yet counts as well.
        if !self.0.counted.load(Ordering::Acquire) {
            self.load_all();
            self.0.counted.store(true, Ordering::Release);
        }
        let mut shard = self.shard(id)?;
        let now_ms = now_ms();
        if !shard.ids.contains_key(id) {
            let producer_id = spare.ok_or(Refused::NeedsProducerId)?;
            if self.0.known.fetch_add(1, Ordering::Relaxed) >= self.0.settings.max_ids {
                self.0.known.fetch_sub(1, Ordering::Relaxed);
                return Err(TransactionError::TooManyTransactionalIds.into());
            }
            let transaction = Transaction::create(request, producer_id, now_ms);
            let producer = transaction.producer();
            let id: Arc<str> = Arc::from(id);
            shard.ids.insert(id.clone(), transaction);
            let receipt = self.write(&mut shard, &id)?;
            info!(id = quoted(&id), producer_id, "a transactional id is used for the first time");
            return Ok(Decided::when(Ok(producer), Some(receipt)));
        }
        let Some((id, transaction)) = shard.get_mut(id)? else {
            return Err(TransactionError::CoordinatorNotAvailable.into());
        };
        match transaction.init(request, spare, now_ms) {
            Ok(Init::Ready(producer)) => {
                let receipt = self.write(&mut shard, &id)?;
                debug!(
                    id = quoted(&id),
                    producer.id, producer.epoch, "a producer took over a transactional id"
                );
                Ok(Decided::when(Ok(producer), Some(receipt)))
            }
            Ok(Init::Fenced(ending)) => {
                info!(id = quoted(&id), "an ongoing transaction is aborted for a new producer of its id");
                let answer = Err(TransactionError::ConcurrentTransactions);
                Ok(self.decided(&mut shard, &id, ending, answer)?)
            }
            Err(Refused::Error(error)) => Ok(Decided::when(Err(error), shard.receipt())),
            Err(Refused::NeedsProducerId) => Err(Refused::NeedsProducerId),
        }
    }

    /// EndTxn. The answer tells what the producer goes on with. It is given when the outcome is decided for good and the
    /// markers are in the logs; they may not be durable yet, but no crash changes the outcome.
    pub fn end(
        &self,
        id: &str,
        producer: Producer,
        outcome: TransactionOutcome,
        protocol: Protocol,
    ) -> Decided<Producer> {
        let request = EndRequest { producer, outcome, protocol };
        match self.try_end(id, request, None) {
            Ok(decided) => decided,
            Err(Refused::Error(error)) => Decided::Now(Err(error)),
            // The last epoch of a producer id is used up: it happens once in 32,767 transactions.
            Err(Refused::NeedsProducerId) => {
                let (coordinator, id) = (self.clone(), id.to_owned());
                Decided::Later(Box::pin(async move {
                    let spare = coordinator.producer_id().await?;
                    match coordinator.try_end(&id, request, Some(spare)) {
                        Ok(decided) => decided.settled().await,
                        Err(Refused::Error(error)) => Err(error),
                        Err(Refused::NeedsProducerId) => Err(TransactionError::CoordinatorNotAvailable),
                    }
                }))
            }
        }
    }

    fn try_end(
        &self,
        id: &str,
        request: EndRequest,
        spare: Option<i64>,
    ) -> Result<Decided<Producer>, Refused> {
        check_id(id)?;
        let mut shard = self.shard(id)?;
        let Some((id, transaction)) = shard.get_mut(id)? else {
            return Err(TransactionError::InvalidProducerIdMapping.into());
        };
        let ended = match transaction.end(request, spare, now_ms()) {
            Ok(ended) => ended,
            Err(Refused::Error(error)) => return Ok(Decided::when(Err(error), shard.receipt())),
            Err(Refused::NeedsProducerId) => return Err(Refused::NeedsProducerId),
        };
        match ended.row {
            Row::Unchanged => Ok(Decided::when(Ok(ended.producer), shard.receipt())),
            Row::Changed => Ok(self.decided(&mut shard, &id, ended.ending, Ok(ended.producer))?),
        }
    }

    /// Writes the row of a transaction that has just been decided, together with its ending and the offsets that become
    /// visible or go; then it is carried out.
    fn decided(
        &self,
        shard: &mut Shard,
        id: &Arc<str>,
        ending: Option<Ending>,
        answer: Result<Producer, TransactionError>,
    ) -> Result<Decided<Producer>, TransactionError> {
        let Some(ending) = ending else {
            let receipt = self.write(shard, id)?;
            return Ok(Decided::when(answer, Some(receipt)));
        };
        let mut rows = self.rows(shard, id);
        let row = EndingRow::new(&ending, |of| self.open_from(of, ending.producer_id));
        if !row.partitions.is_empty() {
            let key = store::ending::key(id, ending.serial);
            rows.put(KeySpace::TransactionEndings, key, store::ending::value(&row));
        }
        let groups: Vec<Arc<str>> = ending.groups.iter().cloned().collect();
        let (term, producer_id) = (shard.term, ending.producer_id);
        let ended = self.0.parts.groups.end_transaction(term, &groups, producer_id, ending.outcome, rows);
        let receipt = match ended {
            Ok(receipt) => receipt,
            Err(error) => {
                error!(id = quoted(id), %error, "the end of a transaction was not taken");
                self.give_up(shard);
                return Err(TransactionError::NotCoordinator);
            }
        };
        shard.wrote(receipt.clone());
        self.0.metrics.observe_decided(ending.outcome);
        let (answers, answered) = oneshot::channel();
        shard.begin_ending(id, ending.serial, row);
        let work = Work {
            id: id.clone(),
            serial: ending.serial,
            receipt: Some(receipt),
            answer: Some((answers, answer)),
        };
        self.carry_out_later(work);
        Ok(Decided::Later(Box::pin(async move {
            answered.await.unwrap_or(Err(TransactionError::NotCoordinator))
        })))
    }

    /// Queues the present row of an id.
    fn write(&self, shard: &mut Shard, id: &Arc<str>) -> Result<Receipt, TransactionError> {
        let rows = self.rows(shard, id);
        self.queue(shard, rows)
    }

    /// Queues rows.
    fn queue(&self, shard: &mut Shard, rows: WriteBatch) -> Result<Receipt, TransactionError> {
        match self.0.parts.journal.append(shard.term, rows) {
            Ok(receipt) => {
                shard.wrote(receipt.clone());
                Ok(receipt)
            }
            Err(refused) => {
                error!(%refused, "a change of a transaction was not taken");
                self.give_up(shard);
                Err(TransactionError::NotCoordinator)
            }
        }
    }

    /// The row of an id as it is to be stored, and what else is due to be written.
    fn rows(&self, shard: &mut Shard, id: &Arc<str>) -> WriteBatch {
        let mut rows = WriteBatch::new();
        for key in shard.done.drain(..) {
            rows.delete(KeySpace::TransactionEndings, key);
        }
        let key = store::transaction::key(id);
        match shard.ids.get(id) {
            Some(transaction) => {
                rows.put(KeySpace::Transactions, key, store::transaction::value(transaction));
            }
            None => rows.delete(KeySpace::Transactions, key),
        }
        rows
    }

    fn give_up(&self, shard: &mut Shard) {
        self.0.known.fetch_sub(shard.ids.len(), Ordering::Relaxed);
        shard.give_up();
    }

    /// The shard of an id, loaded.
    fn shard(&self, id: &str) -> Result<MutexGuard<'_, Shard>, TransactionError> {
        self.loaded(store::shard_of(id))
    }

    async fn producer_id(&self) -> Result<i64, TransactionError> {
        self.0.parts.producer_ids.next().await.map_err(|error| {
            error!(%error, "no producer id can be given out");
            TransactionError::CoordinatorNotAvailable
        })
    }
}

/// Whether a transactional id can be used.
fn check_id(id: &str) -> Result<(), TransactionError> {
    match id.is_empty() || id.len() > store::TRANSACTIONAL_ID_BYTES_MAX {
        true => Err(TransactionError::InvalidRequest),
        false => Ok(()),
    }
}

/// A transactional id for the log: the client chose it.
fn quoted(id: &str) -> String {
    id.escape_debug().to_string()
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
