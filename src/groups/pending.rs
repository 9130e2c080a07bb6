//! Offsets of open transactions of one group, by producer id: seen by nobody until the transaction is committed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::offsets::{CommittedOffset, OffsetKey};

/// One offset of an open transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingOffset {
    /// What is committed if the transaction is.
    pub committed: CommittedOffset,
    /// The epoch of the producer that sent it.
    pub producer_epoch: i16,
    /// When it was sent among all commits of the group, transactional or not.
    pub order: u64,
    /// It is from before an unclean stop, in which its log may have lost records.
    pub unverified: bool,
}

/// What one producer has pending in the group.
#[derive(Debug, Clone, Default)]
struct OfProducer {
    offsets: BTreeMap<OffsetKey, PendingOffset>,
    metadata_bytes: usize,
}

/// The pending offsets of a group.
#[derive(Debug, Clone, Default)]
pub struct PendingOffsets {
    producers: BTreeMap<i64, OfProducer>,
    /// The same by partition.
    partitions: BTreeSet<(OffsetKey, i64)>,
}

impl PendingOffsets {
    /// Keeps an offset. The last of a producer and partition counts.
    pub fn keep(&mut self, producer_id: i64, of: OffsetKey, pending: PendingOffset) {
        let producer = self.producers.entry(producer_id).or_default();
        producer.metadata_bytes += pending.committed.metadata.len();
        if let Some(earlier) = producer.offsets.insert(of, pending) {
            producer.metadata_bytes -= earlier.committed.metadata.len();
        }
        self.partitions.insert((of, producer_id));
    }

    /// Takes out everything that a producer has pending: its transaction ends.
    pub fn take(&mut self, producer_id: i64) -> BTreeMap<OffsetKey, PendingOffset> {
        let taken = self.producers.remove(&producer_id).unwrap_or_default().offsets;
        for of in taken.keys() {
            self.partitions.remove(&(*of, producer_id));
        }
        taken
    }

    /// Forgets what is pending for a partition; the producers that had something.
    pub fn remove(&mut self, of: OffsetKey) -> Vec<i64> {
        let producers: Vec<i64> = self.producers_of(of).collect();
        for producer_id in &producers {
            self.partitions.remove(&(of, *producer_id));
            let Some(producer) = self.producers.get_mut(producer_id) else { continue };
            if let Some(removed) = producer.offsets.remove(&of) {
                producer.metadata_bytes -= removed.committed.metadata.len();
            }
            if producer.offsets.is_empty() {
                self.producers.remove(producer_id);
            }
        }
        producers
    }

    fn producers_of(&self, of: OffsetKey) -> impl Iterator<Item = i64> {
        self.partitions.range((of, i64::MIN)..=(of, i64::MAX)).map(|(_, producer_id)| *producer_id)
    }

    /// Whether an open transaction may still change the offset of a partition (KIP-447).
    pub fn is_unstable(&self, of: OffsetKey) -> bool {
        self.producers_of(of).next().is_some()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// One pending offset.
    pub fn get(&self, producer_id: i64, of: OffsetKey) -> Option<&PendingOffset> {
        self.producers.get(&producer_id)?.offsets.get(&of)
    }

    /// The producers that have something pending, ascending.
    pub fn producers(&self) -> impl Iterator<Item = i64> {
        self.producers.keys().copied()
    }

    /// The latest epoch in which a producer sent what it has pending; none without.
    pub fn epoch(&self, producer_id: i64) -> Option<i16> {
        self.producers.get(&producer_id)?.offsets.values().map(|pending| pending.producer_epoch).max()
    }

    /// How many offsets a producer has pending, and the bytes of their metadata.
    pub fn size(&self, producer_id: i64) -> (usize, usize) {
        self.producers
            .get(&producer_id)
            .map_or((0, 0), |producer| (producer.offsets.len(), producer.metadata_bytes))
    }

    /// Everything that is pending, by producer id and partition.
    pub fn iter(&self) -> impl Iterator<Item = (i64, OffsetKey, &PendingOffset)> {
        self.producers.iter().flat_map(|(producer_id, producer)| {
            producer.offsets.iter().map(|(of, pending)| (*producer_id, *of, pending))
        })
    }

    /// The partitions for which something is pending, ascending, each once.
    pub fn partitions(&self) -> impl Iterator<Item = OffsetKey> {
        let mut last = None;
        self.partitions.iter().map(|(of, _)| *of).filter(move |of| last.replace(*of) != Some(*of))
    }
}
