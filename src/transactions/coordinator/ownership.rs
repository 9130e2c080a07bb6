//! Whose are the open transactions of a log that was just opened? A crash may have left the batches of a transaction on the
//! disk, but not the row that says that the partition belongs to it.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::{info, warn};

use super::endings::mark;
use super::shard::Shard;
use super::{COORDINATOR_EPOCH, Coordinator, now_ms, quoted};
use crate::partition::{OpenTransaction, Partition};
use crate::record::{EndMarker, TransactionOutcome};
use crate::storage::journal::Receipt;
use crate::transactions::adopt::Adoption;
use crate::transactions::error::TransactionError;
use crate::transactions::store;
use crate::transactions::store::ending::OpenFrom;
use crate::transactions::transaction::{Producer, Row, TopicPartition};

/// Open transactions of one log that nobody has claimed yet, by producer id.
type Unclaimed = HashMap<i64, OpenTransaction>;

impl Coordinator {
    /// Sees to it that every transaction that is open in a log has somebody who will end it: the transactional id that it
    /// belongs to, or an ending that was left over; otherwise it is aborted now, or readers at read_committed would wait for
    /// ever. Called when the log is opened, before anybody else has it. No shard's lock may be held. Blocks.
    ///
    /// # Errors
    /// When the owners cannot be known or told: the log must not be used, as its transactions could end without it.
    pub fn claim(&self, partition: &Arc<Partition>) -> Result<(), TransactionError> {
        let mut told = None;
        let mut unclaimed: Unclaimed =
            partition.open_transactions().into_iter().map(|open| (open.producer_id, open)).collect();
        for number in 0..store::SHARDS {
            if unclaimed.is_empty() {
                break;
            }
            let mut shard = self.loaded(number)?;
            told = Receipt::later(told, self.claim_in(&mut shard, partition, &mut unclaimed)?);
        }
        unclaimed.into_values().for_each(|open| abort(partition, open));
        match told {
            Some(told) => told.wait().map_err(|_| TransactionError::NotCoordinator),
            None => Ok(()),
        }
    }

    /// [`Coordinator::claim`] for whoever opens logs, which the coordinator itself holds.
    pub fn claimer(&self) -> impl Fn(&Arc<Partition>) -> Result<(), String> + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.0);
        move |partition| {
            let coordinator = Coordinator(shared.upgrade().ok_or("the broker is stopping")?);
            coordinator
                .claim(partition)
                .map_err(|error| format!("its open transactions have no owner: {error}"))
        }
    }

    /// Takes out what belongs to this shard. What was queued for it has to be durable before the log is used.
    fn claim_in(
        &self,
        shard: &mut Shard,
        partition: &Arc<Partition>,
        unclaimed: &mut Unclaimed,
    ) -> Result<Option<Receipt>, TransactionError> {
        let of = TopicPartition { topic: partition.id().topic_id, partition: partition.id().index };
        for unsettled in shard.unsettled.values() {
            let row = &unsettled.row;
            let Some(from) = row.partitions.get(&of).copied() else { continue };
            let is_its = |open: &OpenTransaction| match from {
                OpenFrom::Offset(offset) => offset == open.first_offset,
                OpenFrom::NotKnown => open.producer_epoch <= row.producer_epoch,
                OpenFrom::Nothing => false,
            };
            if unclaimed.get(&row.producer_id).is_some_and(is_its) {
                unclaimed.remove(&row.producer_id);
                // What is about to be carried out comes here by itself, once its decision is durable. Where only this log was
                // left out, the transactional id goes on already, and the log must not before it has the marker.
                if unsettled.is_carried_out
                    && let Err(error) = mark(partition, row, from, true)
                {
                    warn!(partition = %partition.id(), %error, "a marker could not be written; it will be tried again");
                }
            }
        }
        let mut adopted = Vec::new();
        for (id, transaction) in &mut shard.ids {
            let Some(open) = unclaimed.get(&transaction.producer_id) else { continue };
            let producer = Producer { id: open.producer_id, epoch: open.producer_epoch };
            match transaction.adopt(producer, of, now_ms()) {
                Adoption::Mine(Row::Unchanged) | Adoption::Ending => {}
                Adoption::Mine(Row::Changed) => adopted.push(id.clone()),
                Adoption::NotMine => continue,
            }
            unclaimed.remove(&producer.id);
        }
        for id in adopted {
            info!(id = quoted(&id), partition = %partition.id(), "a partition is taken into the transaction that a crash left it out of");
            self.write(shard, &id)?;
        }
        Ok(shard.receipt())
    }
}

fn abort(partition: &Arc<Partition>, open: OpenTransaction) {
    // A log that came from elsewhere may know markers of a coordinator with a higher epoch.
    let known = partition.producers().into_iter().find(|known| known.producer_id == open.producer_id);
    let marker = EndMarker {
        producer_id: open.producer_id,
        producer_epoch: open.producer_epoch,
        coordinator_epoch: known
            .map_or(COORDINATOR_EPOCH, |known| known.coordinator_epoch.max(COORDINATOR_EPOCH)),
        outcome: TransactionOutcome::Abort,
    };
    let OpenTransaction { producer_id, producer_epoch, first_offset, .. } = open;
    match partition.append_marker_once(marker, Some(first_offset), now_ms()) {
        Ok(_) => {
            info!(partition = %partition.id(), producer_id, producer_epoch, first_offset, "a transaction that nobody would have ended was aborted");
        }
        Err(error) => {
            warn!(partition = %partition.id(), producer_id, producer_epoch, first_offset, %error, "a hanging transaction could not be aborted");
        }
    }
}
