//! Idempotence and transactions: what each producer last appended here, whether the next batch follows it, and up to where
//! every record is decided.
//!
//! The rules are Kafka's (`ProducerAppendInfo`, `ProducerStateManager`, KIP-98, KIP-360, KIP-890): the last five batches
//! of a producer are remembered, a repeat of one of them is answered with its offset and not appended again. A
//! transaction is open from its first batch to its marker; readers at read_committed stop in front of the oldest.

mod entry;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

pub use entry::{BATCHES_RETAINED, BatchMeta, Begun, ProducerEntry, increment_sequence};

use super::error::AppendError;
use crate::record::{BatchHeader, EndMarker, TransactionOutcome};
use crate::storage::segment::AbortedTransaction;

/// Whether the coordinator of a transaction vouches for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enlistment {
    /// Nobody asked it: the batch may only go into a transaction that is open here already.
    Unknown,
    /// The partition is part of the transaction, which cannot end before the batch is appended.
    Enlisted {
        /// The producer speaks the second protocol, where the first batch of a producer that is unknown here has sequence 0
        /// (KIP-890).
        begins_at_zero: bool,
    },
}

/// What is to be done with a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It follows: append it.
    Append,
    /// It is already in the log: answer with what was appended then.
    Duplicate(BatchMeta),
}

/// A transaction that is open in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Epoch of its batches.
    pub producer_epoch: i16,
    /// Offset of its first record here.
    pub first_offset: i64,
    /// When that was appended, milliseconds since the epoch; after a restart as near as the records' timestamps tell.
    pub began_ms: i64,
}

/// What DescribeProducers tells of a producer (KIP-664; `UnifiedLog.activeProducers`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerView {
    /// Which.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence of its last record, or -1.
    pub last_sequence: i32,
    /// Timestamp of its last batch or marker, milliseconds since the epoch, or -1.
    pub last_timestamp: i64,
    /// Epoch of the coordinator that wrote its last marker, or -1.
    pub coordinator_epoch: i32,
    /// Offset of the first record of its open transaction, or -1.
    pub current_txn_start_offset: i64,
}

/// A transaction with records whose marker is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended {
    first_offset: i64,
    last_offset: i64,
}

/// All producers of one partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Producers {
    entries: HashMap<i64, ProducerEntry>,
    /// Producers with an open transaction, by its first offset.
    open: BTreeMap<i64, i64>,
    /// Transactions that ended where readers may not look yet, in the order of their markers.
    ended: VecDeque<Ended>,
}

impl Producers {
    /// Decides about a batch of `header`'s producer. Batches without a producer id always append.
    ///
    /// # Errors
    /// In this order: [`AppendError::InvalidProducerEpoch`] for an epoch below the known one,
    /// [`AppendError::NotEnlisted`] for a transactional batch that nobody vouches for,
    /// [`AppendError::OutOfOrderSequence`] for a sequence that does not follow, and [`AppendError::InvalidTxnState`] for
    /// a batch outside the producer's open transaction.
    pub fn check(&self, header: &BatchHeader, enlistment: Enlistment) -> Result<Verdict, AppendError> {
        let producer_id = header.producer_id;
        let entry = self.entries.get(&producer_id);
        if let Some(earlier) = entry.and_then(|entry| entry.repeated(header)) {
            return Ok(Verdict::Duplicate(earlier));
        }
        if let Some(entry) = entry.filter(|entry| header.producer_epoch < entry.epoch) {
            let (found, current) = (header.producer_epoch, entry.epoch);
            return Err(AppendError::InvalidProducerEpoch { producer_id, found, current });
        }
        let open = entry.and_then(|entry| entry.transaction.map(|_| entry.epoch));
        let joins = header.is_transactional() && open == Some(header.producer_epoch);
        if header.is_transactional() && !joins && enlistment == Enlistment::Unknown {
            return Err(AppendError::NotEnlisted { producer_id });
        }
        if header.producer_id < 0 {
            // A transaction that belongs to nobody would never end.
            let refused = AppendError::InvalidTxnState { producer_id };
            return if header.is_transactional() { Err(refused) } else { Ok(Verdict::Append) };
        }
        if let Some(expected) = expected_sequence(entry, header, enlistment)
            && expected != header.base_sequence
        {
            let found = header.base_sequence;
            return Err(AppendError::OutOfOrderSequence { producer_id, found, expected });
        }
        if open.is_some() && !joins {
            // Either not part of the transaction, or of a later one: the marker of an earlier epoch is still missing, and
            // without it the records of both would share one fate.
            return Err(AppendError::InvalidTxnState { producer_id });
        }
        Ok(Verdict::Append)
    }

    /// Notes an appended data batch, whose header holds its final offsets.
    pub fn record(&mut self, header: &BatchHeader, now_ms: i64) {
        self.note(header, now_ms, now_ms);
    }

    /// Notes a data batch found in the log. It counts as heard of at `now_ms`, so that no producer expires by a restart.
    pub fn replay(&mut self, header: &BatchHeader, now_ms: i64) {
        self.note(header, now_ms, appended_ms(header.max_timestamp, now_ms));
    }

    fn note(&mut self, header: &BatchHeader, now_ms: i64, began_ms: i64) {
        if header.producer_id < 0 || header.is_control() {
            return;
        }
        let entry = self
            .entries
            .entry(header.producer_id)
            .or_insert_with(|| ProducerEntry::new(header.producer_epoch, now_ms));
        entry.enter(header.producer_epoch);
        entry.last_seen_ms = now_ms;
        entry.remember(BatchMeta::of(header));
        if header.is_transactional() && entry.transaction.is_none() {
            entry.transaction = Some(Begun { first_offset: header.base_offset, began_ms });
            self.open.insert(header.base_offset, header.producer_id);
        }
    }

    /// Decides about a marker.
    ///
    /// # Errors
    /// [`AppendError::InvalidProducerEpoch`] for an epoch below the known one, [`AppendError::CoordinatorFenced`] for
    /// one of a coordinator that another has succeeded.
    pub fn check_marker(&self, marker: &EndMarker) -> Result<(), AppendError> {
        let Some(entry) = self.entries.get(&marker.producer_id) else {
            return Ok(());
        };
        let producer_id = marker.producer_id;
        if marker.producer_epoch < entry.epoch {
            let (found, current) = (marker.producer_epoch, entry.epoch);
            return Err(AppendError::InvalidProducerEpoch { producer_id, found, current });
        }
        if marker.coordinator_epoch < entry.coordinator_epoch {
            let (found, current) = (marker.coordinator_epoch, entry.coordinator_epoch);
            return Err(AppendError::CoordinatorFenced { producer_id, found, current });
        }
        Ok(())
    }

    /// Notes an appended marker, or one found in the log, at its final `offset`. Returns the transaction that it aborted,
    /// if that had records.
    pub fn end(
        &mut self,
        marker: &EndMarker,
        offset: i64,
        timestamp: i64,
        now_ms: i64,
    ) -> Option<AbortedTransaction> {
        let entry = self
            .entries
            .entry(marker.producer_id)
            .or_insert_with(|| ProducerEntry::new(marker.producer_epoch, now_ms));
        entry.enter(marker.producer_epoch);
        entry.coordinator_epoch = marker.coordinator_epoch;
        entry.last_timestamp = timestamp;
        entry.last_seen_ms = now_ms;
        let begun = entry.transaction.take()?;
        self.open.remove(&begun.first_offset);
        self.ended.push_back(Ended { first_offset: begun.first_offset, last_offset: offset });
        (marker.outcome == TransactionOutcome::Abort).then(|| AbortedTransaction {
            producer_id: marker.producer_id,
            first_offset: begun.first_offset,
            last_offset: offset,
            last_stable_offset: self.open.keys().next().copied().unwrap_or(offset + 1),
        })
    }

    /// Forgets the ends of transactions whose markers are below `high_watermark`: they are decided for every reader.
    pub fn settle(&mut self, high_watermark: i64) {
        while self.ended.front().is_some_and(|ended| ended.last_offset < high_watermark) {
            self.ended.pop_front();
        }
        if self.ended.is_empty() && self.ended.capacity() > 64 {
            self.ended = VecDeque::new();
        }
    }

    /// The first offset that is not decided where readers may look up to `high_watermark`: that of the oldest transaction
    /// that is open, or whose marker is not below `high_watermark` (`ProducerStateManager.firstUnstableOffset`).
    pub fn first_unstable_offset(&self, high_watermark: i64) -> Option<i64> {
        let open = self.open.keys().next().copied();
        let ended = self.ended.iter().filter(|ended| ended.last_offset >= high_watermark);
        ended.map(|ended| ended.first_offset).chain(open).min()
    }

    /// The open transaction of a producer.
    pub fn open_transaction(&self, producer_id: i64) -> Option<OpenTransaction> {
        let entry = self.entries.get(&producer_id)?;
        let Begun { first_offset, began_ms } = entry.transaction?;
        Some(OpenTransaction { producer_id, producer_epoch: entry.epoch, first_offset, began_ms })
    }

    /// All open transactions, the oldest first.
    pub fn open_transactions(&self) -> impl Iterator<Item = OpenTransaction> {
        self.open.values().filter_map(|producer_id| self.open_transaction(*producer_id))
    }

    /// Whether a transaction is open.
    pub fn has_open_transactions(&self) -> bool {
        !self.open.is_empty()
    }

    /// What is told of each producer, in no order.
    pub fn views(&self) -> impl Iterator<Item = ProducerView> {
        self.iter().map(|(producer_id, entry)| ProducerView {
            producer_id,
            producer_epoch: entry.epoch,
            last_sequence: entry.last_sequence(),
            last_timestamp: entry.last_timestamp,
            coordinator_epoch: entry.coordinator_epoch,
            current_txn_start_offset: entry.transaction.map_or(-1, |begun| begun.first_offset),
        })
    }

    /// Forgets producers not heard of for `expiration_ms` (`producer.id.expiration.ms`), save those with an open
    /// transaction: without its producer it would never end.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.entries
            .retain(|_, entry| entry.transaction.is_some() || now_ms - entry.last_seen_ms < expiration_ms);
        if self.entries.capacity() > 64 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to_fit();
        }
    }

    /// The known producers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Puts back an entry from a snapshot.
    pub fn restore(&mut self, producer_id: i64, entry: ProducerEntry) {
        if let Some(begun) = entry.transaction {
            self.open.insert(begun.first_offset, producer_id);
        }
        self.entries.insert(producer_id, entry);
    }

    /// Number of known producers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The sequence that the next batch must begin with, if not any will do (`ProducerAppendInfo.checkSequence`).
fn expected_sequence(
    entry: Option<&ProducerEntry>,
    header: &BatchHeader,
    enlistment: Enlistment,
) -> Option<i32> {
    let Some(entry) = entry else {
        // A producer that is new here, or was forgotten, may start anywhere: its earlier batches may have been removed by
        // retention (KIP-360). Only the second protocol begins each transaction in an epoch of its own.
        return (enlistment == Enlistment::Enlisted { begins_at_zero: true }).then_some(0);
    };
    let last = entry.batches.back().filter(|_| header.producer_epoch == entry.epoch);
    Some(last.map_or(0, |last| increment_sequence(last.last_sequence, 1)))
}

/// When a record found in the log was appended, as near as its timestamp tells.
pub(super) fn appended_ms(timestamp: i64, now_ms: i64) -> i64 {
    if timestamp < 0 { now_ms } else { timestamp.min(now_ms) }
}
