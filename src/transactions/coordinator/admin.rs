//! What is shown of transactions.

use std::sync::Arc;

use super::shard::Shard;
use super::{Coordinator, Decided, check_id};
use crate::groups::store::shard_of;
use crate::storage::journal::Receipt;
use crate::transactions::error::TransactionError;
use crate::transactions::store;
use crate::transactions::transaction::{Producer, State, TopicPartition, Transaction};

/// What a transaction has touched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Enlisted {
    /// Partitions, by topic id.
    pub partitions: Vec<TopicPartition>,
    /// Partitions of `__consumer_offsets` that its groups belong to, ascending.
    pub offsets_partitions: Vec<i32>,
}

/// One transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Who uses it.
    pub producer: Producer,
    /// Timeout of its transactions, milliseconds.
    pub timeout_ms: i32,
    /// When the present or last transaction began, milliseconds since the epoch.
    pub started_at_ms: Option<i64>,
    /// What the present transaction has touched.
    pub enlisted: Enlisted,
}

/// One transactional id in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The id.
    pub transactional_id: Arc<str>,
    /// The present producer id.
    pub producer_id: i64,
    /// Where it stands.
    pub state: State,
    /// When the present or last transaction began, milliseconds since the epoch; -1 for none.
    pub started_at_ms: i64,
}

impl Coordinator {
    /// DescribeTransactions, for one id.
    pub fn describe(&self, id: &str) -> Decided<Described> {
        let describe = || {
            check_id(id)?;
            let mut shard = self.shard(id)?;
            let described =
                shard.ids.get_key_value(id).map(|(id, known)| described(known, shown(&shard, id, known)));
            let described = described.ok_or(TransactionError::TransactionalIdNotFound);
            Ok(Decided::when(described, shard.receipt()))
        };
        describe().unwrap_or_else(|error| Decided::Now(Err(error)))
    }

    /// ListTransactions: the ids that `admits` lets through.
    pub fn list(&self, admits: impl Fn(&Listed) -> bool) -> Decided<Vec<Listed>> {
        let mut found = Vec::new();
        let mut receipt = None;
        for number in 0..store::SHARDS {
            let mut shard = match self.loaded(number) {
                Ok(shard) => shard,
                Err(error) => return Decided::Now(Err(error)),
            };
            let listed = shard.ids.iter().map(|(id, known)| Listed {
                transactional_id: id.clone(),
                producer_id: known.producer_id,
                state: shown(&shard, id, known),
                started_at_ms: known.started_at_ms,
            });
            let listed: Vec<Listed> = listed.collect();
            receipt = Receipt::later(receipt, shard.receipt());
            drop(shard);
            // A pattern may take its time over long ids: transactions of the shard go on meanwhile.
            found.extend(listed.into_iter().filter(&admits));
        }
        Decided::when(Ok(found), receipt)
    }

    /// Shows every loaded id. For metrics; each shard's lock is held meanwhile.
    pub fn each(&self, mut visit: impl FnMut(&Arc<str>, &Transaction)) {
        for shard in &self.0.shards {
            let shard = shard.lock();
            shard.ids.iter().for_each(|(id, transaction)| visit(id, transaction));
        }
    }
}

/// A transaction is shown as complete when readers see it so: when its markers are durable.
fn shown(shard: &Shard, id: &Arc<str>, transaction: &Transaction) -> State {
    let last = transaction.serial.checked_sub(1).map(|serial| (id.clone(), serial));
    let is_unsettled = last.is_some_and(|last| shard.unsettled.contains_key(&last));
    match transaction.state {
        State::CompleteCommit if is_unsettled => State::PrepareCommit,
        State::CompleteAbort if is_unsettled => State::PrepareAbort,
        state => state,
    }
}

fn described(transaction: &Transaction, state: State) -> Described {
    let mut offsets_partitions: Vec<i32> =
        transaction.groups.iter().map(|group| i32::from(shard_of(group))).collect();
    offsets_partitions.sort_unstable();
    offsets_partitions.dedup();
    Described {
        state: state.name(),
        producer: transaction.producer(),
        timeout_ms: transaction.timeout_ms,
        started_at_ms: Some(transaction.started_at_ms).filter(|started| *started >= 0),
        enlisted: Enlisted {
            partitions: transaction.partitions.iter().copied().collect(),
            offsets_partitions,
        },
    }
}
