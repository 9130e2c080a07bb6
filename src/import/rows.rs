//! What the state store is to hold after an import: topics, groups, offsets, transactional ids, producer ids.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::ImportError;
use super::group_log::{ClassicMeta, Commit, ConsumerMeta, GroupLog};
use super::plan::{LeftOut, Plan};
use super::transaction_log::{Status, TransactionLog, TransactionMeta};
use crate::config::BrokerConfig;
use crate::groups::assign::Assignor;
use crate::groups::classic::ClassicGroup;
use crate::groups::consumer::{ConsumerGroup, StoredHead};
use crate::groups::effects::{Effects, Now, RowKey};
use crate::groups::group::Group;
use crate::groups::limits::{ClassicLimits, ConsumerLimits};
use crate::groups::offsets::{CommittedOffset, OffsetKey};
use crate::groups::store::classic_group::StoredGroup;
use crate::groups::store::{self, committed_offset};
use crate::metadata::store::producer_block;
use crate::metadata::topics::{plan_create, plan_group_overrides};
use crate::metadata::{
    Change, Journal as _, MetadataImage, NewTopic, PartitionLimit, StateJournal, apply, journal::Entry,
};
use crate::storage::{Durability, KeySpace, StateStore, WriteBatch};
use crate::transactions::store::ending::{self, EndingRow, OpenFrom};
use crate::transactions::store::transaction;
use crate::transactions::transaction::{Ending, NO_EPOCH, Refused, Transaction};
use crate::transactions::{Protocol, State, TopicPartition};

/// Topics written at once: their settings are at most 64 KiB each, far below the limit of a batch together.
const TOPICS_AT_ONCE: usize = 100;
/// Bytes of a batch at which it is written.
const BATCH_BYTES: usize = 1 << 20;

/// Writes rows in batches of bounded size. Nothing is durable before the store is flushed.
struct Writer<'a> {
    store: &'a dyn StateStore,
    batch: WriteBatch,
}

impl Writer<'_> {
    fn put(&mut self, space: KeySpace, key: Vec<u8>, value: Vec<u8>) -> Result<(), ImportError> {
        self.batch.put(space, key, value);
        if self.batch.bytes() < BATCH_BYTES {
            return Ok(());
        }
        self.finish()
    }

    fn finish(&mut self) -> Result<(), ImportError> {
        Ok(self.store.write(std::mem::take(&mut self.batch), Durability::Buffered)?)
    }
}

/// Writes the topics with their settings, and the settings of groups; returns how many partitions there are.
///
/// # Errors
/// When the store fails, or a topic is not permitted here (too many partitions, an impossible name).
pub fn metadata(
    store: Arc<dyn StateStore>,
    plan: &Plan,
    cluster_id: &str,
    node_id: i32,
    config: &BrokerConfig,
) -> Result<u64, ImportError> {
    let journal = StateJournal::new(store);
    let limit = PartitionLimit { per_broker: u32::try_from(config.max_partitions).unwrap_or(u32::MAX) };
    let mut image = MetadataImage::empty(cluster_id, node_id);
    let append = |changes: &[Change], image: &mut MetadataImage| {
        let after = apply(image, changes);
        journal
            .append(Entry { changes, before: image, after: &after })
            .map_err(|error| ImportError::Refused(error.to_string()))?;
        *image = after;
        Ok::<_, ImportError>(())
    };
    for topics in plan.topics.chunks(TOPICS_AT_ONCE) {
        let mut changes = Vec::with_capacity(topics.len());
        // Each is checked against those before it.
        let mut seen = image.clone();
        for topic in topics {
            let new = NewTopic {
                name: topic.name.clone(),
                partitions: i32::try_from(topic.dirs.len()).unwrap_or(i32::MAX),
                overrides: topic.overrides.clone(),
            };
            let change = plan_create(&seen, new, topic.id, limit)
                .map_err(|error| ImportError::Refused(format!("topic {}: {error}", topic.name)))?;
            seen = apply(&seen, std::slice::from_ref(&change));
            changes.push(change);
        }
        append(&changes, &mut image)?;
    }
    for (known, (group, overrides)) in plan.group_overrides.iter().enumerate() {
        let change = plan_group_overrides(group.as_str().into(), overrides.clone(), known)
            .map_err(|error| ImportError::Refused(format!("group {group}: {error}")))?;
        append(&[change], &mut image)?;
    }
    Ok(image.partition_count())
}

/// Ids of the topics that were imported, by name.
pub fn topic_ids(plan: &Plan) -> HashMap<String, Uuid> {
    plan.topics.iter().map(|topic| (topic.name.clone(), topic.id)).collect()
}

/// How many groups and offsets were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupFigures {
    pub groups: u64,
    pub offsets: u64,
}

/// Writes the groups and offsets of one partition of `__consumer_offsets`.
///
/// # Errors
/// When the store fails.
pub fn groups(
    store: &dyn StateStore,
    log: &GroupLog,
    topics: &HashMap<String, Uuid>,
    now_ms: i64,
    figures: &mut GroupFigures,
    left_out: &mut Vec<LeftOut>,
) -> Result<(), ImportError> {
    let mut writer = Writer { store, batch: WriteBatch::new() };
    let mut of_nobody: BTreeMap<&str, u64> = BTreeMap::new();
    let mut known = std::collections::BTreeSet::new();
    let mut order: Vec<_> = log.offsets.iter().collect();
    // The order of a group's commits is that of their places in the log.
    order.sort_by_key(|(_, commit)| commit.recorded_at);
    let mut orders: HashMap<&str, u64> = HashMap::new();
    for ((group, topic, partition), commit) in order {
        let id = topics.get(topic).filter(|id| commit.topic_id.is_none_or(|own| own == **id));
        let Some(topic) = id.copied().filter(|_| store::GROUP_ID_BYTES_MAX >= group.len()) else {
            *of_nobody.entry(topic).or_default() += 1;
            continue;
        };
        let order = orders.entry(group).or_default();
        *order += 1;
        let of = OffsetKey { topic, partition: *partition };
        let value = committed_offset::value(&committed(commit), *order);
        writer.put(KeySpace::Offsets, committed_offset::key(group, of), value)?;
        known.insert(group.as_str());
        figures.offsets += 1;
    }
    for (topic, count) in of_nobody {
        let what = format!("{count} committed offsets of topic {topic}");
        left_out.push(LeftOut { what, why: "that topic is not imported, or was made anew since".to_owned() });
    }
    let classic = log.classic.iter().map(|(id, meta)| (id, self::classic(id, meta, now_ms)));
    let consumer = log.consumer.iter().map(|(id, meta)| (id, self::consumer(id, meta, now_ms)));
    for (id, group) in classic.chain(consumer) {
        let Some(row) = group.row(&RowKey::Head) else { continue };
        writer.put(KeySpace::Groups, store::key(id, &RowKey::Head), row)?;
        known.insert(id.as_str());
    }
    figures.groups += known.len() as u64;
    let members: usize = log.classic.values().map(|meta| meta.members).sum();
    if members > 0 {
        let what = format!("{members} members of classic groups");
        left_out.push(LeftOut { what, why: "none is connected; they join again".to_owned() });
    }
    for (id, kind) in &log.others {
        let what = format!("{kind} group {id}");
        left_out.push(LeftOut { what, why: format!("{kind} groups are not served") });
    }
    writer.finish()
}

fn committed(commit: &Commit) -> CommittedOffset {
    CommittedOffset {
        offset: commit.offset,
        leader_epoch: commit.leader_epoch,
        metadata: commit.metadata.as_str().into(),
        committed_at_ms: commit.committed_at_ms,
        expires_at_ms: Some(commit.expires_at_ms).filter(|at| *at >= 0),
    }
}

fn classic(id: &str, meta: &ClassicMeta, now_ms: i64) -> Group {
    let stored = StoredGroup {
        generation: meta.generation.max(0),
        state_since_ms: if meta.state_since_ms >= 0 { meta.state_since_ms } else { now_ms },
        protocol_type: Some(meta.protocol_type.as_str()).filter(|kind| !kind.is_empty()).map(Arc::from),
        protocol_name: None,
        leader: None,
        members: Vec::new(),
    };
    let now = Now { ticks_ms: 0, wall_ms: now_ms };
    Group::Classic(ClassicGroup::restored(id.into(), stored, &NO_LIMITS, now, &mut Effects::default()))
}

fn consumer(id: &str, meta: &ConsumerMeta, now_ms: i64) -> Group {
    // Members that were there are gone: that is a change of the group.
    let group_epoch = meta.epoch.max(meta.assignment_epoch).max(0).saturating_add(1);
    let head =
        StoredHead { group_epoch, assignment_epoch: group_epoch, metadata_hash: 0, regexes: BTreeMap::new() };
    let limits = ConsumerLimits {
        session_timeout_ms: i32::MAX,
        heartbeat_interval_ms: i32::MAX,
        members_max: usize::MAX,
        assignors: vec![Assignor::Uniform],
        migration: crate::config::Migration::Bidirectional,
        regex_refresh_interval_ms: u64::MAX,
        classic: NO_LIMITS,
    };
    let now = Now { ticks_ms: 0, wall_ms: now_ms };
    Group::Consumer(ConsumerGroup::restored(id.into(), head, [], &limits, now))
}

/// A group without members meets no limit.
const NO_LIMITS: ClassicLimits = ClassicLimits {
    session_min_ms: 0,
    session_max_ms: i32::MAX,
    initial_rebalance_delay_ms: 0,
    members_max: usize::MAX,
    pending_members_max: 0,
};

/// How many transactional ids were written, and how many of their transactions will be ended by the first start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransactionFigures {
    pub ids: u64,
    /// Open ones, which are aborted: nobody is connected who would end them.
    pub aborted: u64,
    /// Decided ones, whose markers were not all written.
    pub carried_out: u64,
}

/// Writes the transactional ids. `next_producer_id` is the first id that nobody was given; some may be given out here.
///
/// # Errors
/// When the store fails.
pub fn transactions(
    store: &dyn StateStore,
    log: &TransactionLog,
    topics: &HashMap<String, Uuid>,
    next_producer_id: &mut i64,
    now_ms: i64,
    left_out: &mut Vec<LeftOut>,
) -> Result<TransactionFigures, ImportError> {
    let mut figures = TransactionFigures::default();
    let mut writer = Writer { store, batch: WriteBatch::new() };
    for (id, meta) in &log.ids {
        if meta.status == Status::Dead || meta.producer_id < 0 || meta.producer_epoch < 0 {
            let what = format!("transactional id {id}");
            left_out.push(LeftOut { what, why: "it has no producer".to_owned() });
            continue;
        }
        let (row, ending) = transaction_rows(meta, topics, next_producer_id, now_ms);
        figures.ids += 1;
        match meta.status {
            Status::Open => figures.aborted += 1,
            Status::Decided(_) => figures.carried_out += 1,
            Status::Empty | Status::Complete(_) | Status::Dead => {}
        }
        writer.put(KeySpace::Transactions, transaction::key(id), transaction::value(&row))?;
        if let Some(decided) = ending {
            let value = ending::value(&EndingRow::new(&decided, |_| OpenFrom::NotKnown));
            writer.put(KeySpace::TransactionEndings, ending::key(id, decided.serial), value)?;
        }
    }
    writer.finish()?;
    Ok(figures)
}

/// The row of a transactional id, and what is still to be done for its transaction.
fn transaction_rows(
    meta: &TransactionMeta,
    topics: &HashMap<String, Uuid>,
    next_producer_id: &mut i64,
    now_ms: i64,
) -> (Transaction, Option<Ending>) {
    let touched = meta.partitions.iter().filter_map(|(topic, partition)| {
        Some(TopicPartition { topic: *topics.get(topic)?, partition: *partition })
    });
    let state = match meta.status {
        Status::Empty | Status::Dead => State::Empty,
        Status::Open => State::Ongoing,
        Status::Decided(crate::record::TransactionOutcome::Commit) => State::PrepareCommit,
        Status::Decided(crate::record::TransactionOutcome::Abort) => State::PrepareAbort,
        Status::Complete(crate::record::TransactionOutcome::Commit) => State::CompleteCommit,
        Status::Complete(crate::record::TransactionOutcome::Abort) => State::CompleteAbort,
    };
    let is_open = state == State::Ongoing || state.is_prepared();
    let mut row = Transaction {
        producer_id: meta.producer_id,
        previous_producer_id: meta.previous_producer_id,
        producer_epoch: meta.producer_epoch,
        // Not stored by Kafka: a producer that lost its answer begins anew.
        last_producer_epoch: NO_EPOCH,
        next_producer_id: Some(meta.next_producer_id).filter(|id| *id >= 0 && state.is_prepared()),
        timeout_ms: meta.timeout_ms,
        state,
        partitions: touched.filter(|_| is_open).collect(),
        groups: Default::default(),
        started_at_ms: meta.started_at_ms,
        updated_at_ms: meta.updated_at_ms,
        ended_with: if meta.client_version >= 2 { Protocol::Second } else { Protocol::First },
        serial: 0,
    };
    if state == State::Ongoing {
        let ending = match row.fence(None, now_ms) {
            Err(Refused::NeedsProducerId) => {
                let spare = *next_producer_id;
                *next_producer_id += 1;
                row.fence(Some(spare), now_ms)
            }
            decided => decided,
        };
        return (row, ending.unwrap_or(None));
    }
    let outcome = match meta.status {
        Status::Decided(outcome) => outcome,
        _ => return (row, None),
    };
    let ending = Ending {
        serial: row.serial,
        producer_id: row.producer_id,
        producer_epoch: row.producer_epoch,
        outcome,
        partitions: row.partitions.clone(),
        groups: Default::default(),
    };
    (row, Some(ending))
}

/// Writes where producer ids go on.
///
/// # Errors
/// When the store fails.
pub fn producer_ids(store: &dyn StateStore, next: i64) -> Result<(), ImportError> {
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::ProducerIds, producer_block::KEY, producer_block::value(next.max(0)));
    Ok(store.write(batch, Durability::Buffered)?)
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
