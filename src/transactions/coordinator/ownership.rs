//! Whose are the open transactions of a log that was just opened? A crash may have left the batches of a transaction on the
//! disk, but not the row that says that the partition belongs to it.

use std::sync::Arc;

use tracing::{info, warn};

use super::endings::mark;
use super::{COORDINATOR_EPOCH, Coordinator, now_ms, quoted};
use crate::partition::{OpenTransaction, Partition};
use crate::record::{EndMarker, TransactionOutcome};
use crate::transactions::adopt::Adoption;
use crate::transactions::error::TransactionError;
use crate::transactions::store;
use crate::transactions::store::ending::OpenFrom;
use crate::transactions::transaction::{Producer, Row, TopicPartition};

/// Who ends an open transaction.
enum Owner {
    /// A transactional id, sooner or later.
    Transaction,
    /// Nobody.
    Nobody,
}

impl Coordinator {
    /// Sees to it that every transaction that is open in a log has somebody who will end it: the transactional id that it
    /// belongs to, or an ending that was left over; otherwise it is aborted now, or readers at read_committed would wait for
    /// ever. Called when the log is opened, before anybody else has it. No shard's lock may be held.
    pub fn claim(&self, partition: &Arc<Partition>) {
        for open in partition.open_transactions() {
            match self.owner_of(partition, open) {
                Ok(Owner::Transaction) => {}
                Ok(Owner::Nobody) => abort(partition, open),
                // Readers wait, and nothing is lost; the next start asks again.
                Err(error) => {
                    warn!(partition = %partition.id(), producer_id = open.producer_id, %error, "nobody knows whose an open transaction is");
                }
            }
        }
    }

    /// [`Coordinator::claim`] for whoever opens logs, which the coordinator itself holds.
    pub fn claimer(&self) -> impl Fn(&Arc<Partition>) + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.0);
        move |partition| {
            if let Some(shared) = shared.upgrade() {
                Coordinator(shared).claim(partition);
            }
        }
    }

    fn owner_of(&self, partition: &Arc<Partition>, open: OpenTransaction) -> Result<Owner, TransactionError> {
        let of = TopicPartition { topic: partition.id().topic_id, partition: partition.id().index };
        for number in 0..store::SHARDS {
            let mut guard = self.loaded(number)?;
            let shard = &mut *guard;
            for unsettled in shard.unsettled.values() {
                let from = unsettled.row.partitions.get(&of).copied();
                let is_its = match from {
                    Some(OpenFrom::Offset(offset)) => offset == open.first_offset,
                    Some(OpenFrom::NotKnown) => open.producer_epoch <= unsettled.row.producer_epoch,
                    Some(OpenFrom::Nothing) | None => false,
                };
                if let Some(from) = from.filter(|_| is_its && unsettled.row.producer_id == open.producer_id) {
                    // Decided already: it must not go on now that the log can be written to again.
                    if let Err(error) = mark(partition, &unsettled.row, from, true) {
                        warn!(partition = %partition.id(), %error, "a marker could not be written; it will be tried again");
                    }
                    return Ok(Owner::Transaction);
                }
            }
            let owner = shard.ids.iter_mut().find(|(_, known)| known.producer_id == open.producer_id);
            let Some((id, transaction)) = owner else { continue };
            let producer = Producer { id: open.producer_id, epoch: open.producer_epoch };
            return match transaction.adopt(producer, of, now_ms()) {
                Adoption::Mine(Row::Unchanged) | Adoption::Ending => Ok(Owner::Transaction),
                Adoption::Mine(Row::Changed) => {
                    let id = id.clone();
                    info!(id = quoted(&id), partition = %partition.id(), "a partition is taken into the transaction that a crash left it out of");
                    self.write(shard, &id)?;
                    Ok(Owner::Transaction)
                }
                Adoption::NotMine => Ok(Owner::Nobody),
            };
        }
        Ok(Owner::Nobody)
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
