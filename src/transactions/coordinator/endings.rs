//! Carries out what was decided: markers into the logs, and word to the client; later, when the markers are durable, the
//! ending is done with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::{COORDINATOR_EPOCH, Coordinator, now_ms, quoted};
use crate::partition::{AppendError, Partition};
use crate::record::EndMarker;
use crate::storage::journal::Receipt;
use crate::storage::{KeySpace, WriteBatch};
use crate::transactions::error::TransactionError;
use crate::transactions::store::{self, ending::EndingRow, ending::OpenFrom};
use crate::transactions::transaction::{Producer, TopicPartition};

/// "For ever", for markers to become durable: a failure of the log ends the waiting earlier.
const DURABLE_WITHIN: Duration = Duration::from_secs(365 * 24 * 3600);

type Answer = Result<Producer, TransactionError>;

/// A decided transaction to be carried out. What is to be done stands in its shard.
pub(super) struct Work {
    pub(super) id: Arc<str>,
    pub(super) serial: u64,
    /// The decision; nothing is done before it is durable. None for one that was found on the disk.
    pub(super) receipt: Option<Receipt>,
    /// Whom to tell, and what.
    pub(super) answer: Option<(oneshot::Sender<Answer>, Answer)>,
}

/// Markers that are written, and have to become durable.
struct Written {
    id: Arc<str>,
    serial: u64,
    ends: Vec<(Arc<Partition>, i64)>,
    /// The ending was found on the disk: its id is served again when it is gone from there.
    is_found: bool,
}

/// Carries out endings; see [`Endings::run`].
pub struct Endings {
    coordinator: Coordinator,
    decided: mpsc::UnboundedReceiver<Work>,
}

impl Endings {
    pub(super) fn new(coordinator: Coordinator, decided: mpsc::UnboundedReceiver<Work>) -> Endings {
        Endings { coordinator, decided }
    }

    /// Runs until `stopping` turns true and everything that was decided before is carried out.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let Endings { coordinator, mut decided } = self;
        let (written, settling) = mpsc::unbounded_channel();
        let settler = settle(coordinator.clone(), settling);
        let carrier = async move {
            loop {
                let work = tokio::select! {
                    biased;
                    work = decided.recv() => work,
                    () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => None,
                };
                match work {
                    Some(work) => coordinator.carry_out(work, &written).await,
                    None => return,
                }
            }
        };
        tokio::join!(carrier, settler);
    }
}

/// Waits for markers in the order in which they were written.
async fn settle(coordinator: Coordinator, mut settling: mpsc::UnboundedReceiver<Written>) {
    while let Some(Written { id, serial, ends, is_found }) = settling.recv().await {
        let mut durable = true;
        for (partition, end_offset) in ends {
            if let Err(error) = partition.committed(end_offset, DURABLE_WITHIN).await {
                warn!(id = quoted(&id), partition = %partition.id(), %error, "a marker did not become durable; it will be looked at again");
                durable = false;
            }
        }
        match (durable, is_found) {
            (true, false) => coordinator.settled(&id, serial),
            (true, true) => coordinator.drop_found(&id, serial).await,
            // Its topic was deleted meanwhile, or its disk failed.
            (false, _) => coordinator.leave(&id, serial),
        }
    }
}

impl Coordinator {
    /// Hands a decided transaction over to be carried out. It is on the disk, or on its way there: should nobody take it
    /// any more, the next start does.
    pub(super) fn carry_out_later(&self, work: Work) {
        drop(self.0.endings.send(work));
    }

    /// Where the transaction of a producer begins that is open in a partition.
    pub(super) fn open_from(&self, of: TopicPartition, producer_id: i64) -> OpenFrom {
        match self.0.parts.partitions.opened(of.topic, of.partition) {
            None => OpenFrom::NotKnown,
            Some(partition) => match partition.open_transaction(producer_id) {
                Some(open) => OpenFrom::Offset(open.first_offset),
                None => OpenFrom::Nothing,
            },
        }
    }

    async fn carry_out(&self, work: Work, written: &mpsc::UnboundedSender<Written>) {
        let Work { id, serial, receipt, answer } = work;
        let is_found = receipt.is_none();
        if let Some(receipt) = receipt
            && receipt.await.is_err()
        {
            // Nobody knows what was decided until the shard is read from the disk again.
            if let Some((whom, _)) = answer {
                drop(whom.send(Err(TransactionError::NotCoordinator)));
            }
            self.reload(&id);
            return;
        }
        let Some(row) = self.unsettled(&id, serial) else {
            // Read again from the disk since, where it is done with.
            if let Some((whom, what)) = answer {
                drop(whom.send(what));
            }
            return;
        };
        let mut ends = Vec::with_capacity(row.partitions.len());
        let mut is_whole = true;
        for (of, from) in &row.partitions {
            match self.reach(*of).await {
                Reached::Partition(partition) => match mark(&partition, &row, *from, is_found) {
                    Ok(Some(end_offset)) => ends.push((partition, end_offset)),
                    // Its marker may be there since a moment ago, and has to be durable as well.
                    Ok(None) => {
                        let end_offset = partition.log_end_offset();
                        ends.push((partition, end_offset));
                    }
                    Err(error) => {
                        is_whole = false;
                        warn!(id = quoted(&id), partition = %partition.id(), %error, "a marker could not be written; it will be tried again");
                    }
                },
                Reached::Gone => {}
                Reached::Offline => is_whole = false,
            }
        }
        self.carried_out(&id, serial, is_found, is_whole);
        if is_found {
            info!(id = quoted(&id), outcome = ?row.outcome, partitions = row.partitions.len(), "a transaction that was decided before is carried out");
        }
        if let Some((whom, what)) = answer {
            drop(whom.send(what));
        }
        if is_whole {
            drop(written.send(Written { id, serial, ends, is_found }));
        }
    }

    /// The partition, opened if it is not.
    async fn reach(&self, of: TopicPartition) -> Reached {
        if let Some(partition) = self.0.parts.partitions.opened(of.topic, of.partition) {
            return Reached::Partition(partition);
        }
        let coordinator = self.clone();
        match tokio::task::spawn_blocking(move || (coordinator.0.parts.open)(of)).await {
            Ok(Some(Ok(partition))) => Reached::Partition(partition),
            Ok(None) => Reached::Gone,
            Ok(Some(Err(error))) => {
                warn!(topic = %of.topic, partition = of.partition, %error, "a partition that needs a marker cannot be opened; it will be tried again");
                Reached::Offline
            }
            Err(error) => {
                error!(%error, "opening a partition failed");
                Reached::Offline
            }
        }
    }

    /// What is to be done for a decided transaction, unless it is done with.
    fn unsettled(&self, id: &Arc<str>, serial: u64) -> Option<EndingRow> {
        let shard = self.shard(id).ok()?;
        shard.unsettled.get(&(id.clone(), serial)).map(|unsettled| unsettled.row.clone())
    }

    /// Notes that the markers of a transaction are in the logs, but for those that could not be written.
    fn carried_out(&self, id: &Arc<str>, serial: u64, is_found: bool, is_whole: bool) {
        let Ok(mut shard) = self.shard(id) else { return };
        let shard = &mut *shard;
        if let Some(unsettled) = shard.unsettled.get_mut(&(id.clone(), serial)) {
            unsettled.is_carried_out |= !is_found;
            unsettled.is_left = !is_whole;
        }
        if let Some(transaction) = shard.ids.get_mut(id)
            && transaction.serial == serial + 1
        {
            transaction.complete(now_ms());
        }
    }

    /// Has an ending looked at again after a while.
    fn leave(&self, id: &Arc<str>, serial: u64) {
        let Ok(mut shard) = self.shard(id) else { return };
        if let Some(unsettled) = shard.unsettled.get_mut(&(id.clone(), serial)) {
            unsettled.is_left = true;
        }
    }

    /// The markers are durable: the ending leaves the disk with the next write of its shard.
    fn settled(&self, id: &Arc<str>, serial: u64) {
        let Ok(mut shard) = self.shard(id) else { return };
        if let Some(unsettled) = shard.unsettled.remove(&(id.clone(), serial))
            && !unsettled.row.partitions.is_empty()
        {
            shard.done.push(store::ending::key(id, serial));
        }
    }

    /// The markers of an ending that was found on the disk are durable: it is deleted there before its id is served. A log
    /// may have lost what was not acknowledged, and a later transaction of the same epoch may begin at the very offset that
    /// the ending notes.
    async fn drop_found(&self, id: &Arc<str>, serial: u64) {
        let queued = match self.shard(id) {
            Ok(mut shard) => {
                let mut rows = WriteBatch::new();
                rows.delete(KeySpace::TransactionEndings, store::ending::key(id, serial));
                self.queue(&mut shard, rows)
            }
            Err(error) => Err(error),
        };
        // Otherwise the shard is read again, and the ending found again.
        if let Ok(receipt) = queued
            && receipt.await.is_ok()
            && let Ok(mut shard) = self.shard(id)
        {
            shard.unsettled.remove(&(id.clone(), serial));
        }
    }

    /// Takes up again what could not be carried out. Called from time to time.
    pub(super) fn retry_endings(&self) {
        for number in 0..store::SHARDS {
            let Ok(shard) = self.loaded(number) else { continue };
            for ((id, serial), unsettled) in &shard.unsettled {
                if unsettled.is_left {
                    let work = Work { id: id.clone(), serial: *serial, receipt: None, answer: None };
                    self.carry_out_later(work);
                }
            }
        }
    }
}

/// What became of the attempt to reach a partition.
enum Reached {
    Partition(Arc<Partition>),
    /// Its topic is deleted.
    Gone,
    /// Not now.
    Offline,
}

/// Writes the marker of an ending into a partition; the offset behind it, or `None` when there is nothing to end.
pub(super) fn mark(
    partition: &Arc<Partition>,
    row: &EndingRow,
    from: OpenFrom,
    is_found: bool,
) -> Result<Option<i64>, AppendError> {
    let marker = EndMarker {
        producer_id: row.producer_id,
        producer_epoch: row.producer_epoch,
        coordinator_epoch: COORDINATOR_EPOCH,
        outcome: row.outcome,
    };
    let began = match from {
        OpenFrom::Offset(offset) => Some(offset),
        // A marker that ends nothing tells nobody anything; one is written where Kafka writes one, but not a second.
        OpenFrom::Nothing if is_found => return Ok(None),
        OpenFrom::Nothing => None,
        // Nobody but this ending could have ended it since: the log is asked only now.
        OpenFrom::NotKnown => match partition.open_transaction(row.producer_id) {
            Some(open) if open.producer_epoch <= row.producer_epoch => Some(open.first_offset),
            None if !is_found => None,
            _ => return Ok(None),
        },
    };
    match partition.append_marker_once(marker, began, now_ms()) {
        Ok(appended) => Ok(appended.map(|appended| appended.end_offset)),
        // The log knows a later epoch of the producer: the transaction ended long ago.
        Err(AppendError::InvalidProducerEpoch { .. } | AppendError::CoordinatorFenced { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
