//! The partitions that a member owns, each with the epoch at which it was given to the member.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::groups::assign::Partitions;

/// Partitions by topic id, each with the member epoch since which the member owns it: a commit of an older epoch is by
/// somebody who did not own it (`ConsumerGroup.createAssignmentEpochValidator` in Kafka 4.3). No topic is without partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owned(BTreeMap<Uuid, BTreeMap<i32, i32>>);

impl Owned {
    /// All of these partitions, owned since `epoch`.
    pub fn since(partitions: &Partitions, epoch: i32) -> Self {
        partitions.iter().map(|(topic, partition)| (topic, partition, epoch)).collect()
    }

    /// Adds a partition, or changes its epoch.
    pub fn insert(&mut self, topic: Uuid, partition: i32, epoch: i32) {
        self.0.entry(topic).or_default().insert(partition, epoch);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of topics.
    pub fn topics(&self) -> usize {
        self.0.len()
    }

    /// Since when a partition is owned; none when it is not.
    pub fn epoch(&self, topic: Uuid, partition: i32) -> Option<i32> {
        self.0.get(&topic)?.get(&partition).copied()
    }

    /// Whether a partition is owned.
    pub fn contains(&self, topic: Uuid, partition: i32) -> bool {
        self.epoch(topic, partition).is_some()
    }

    /// Whether all of these are owned.
    pub fn contains_all(&self, partitions: &Partitions) -> bool {
        partitions.iter().all(|(topic, partition)| self.contains(topic, partition))
    }

    /// Whether any of these is owned.
    pub fn contains_any(&self, partitions: &Partitions) -> bool {
        partitions.iter().any(|(topic, partition)| self.contains(topic, partition))
    }

    /// Topic, partition and epoch, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, i32, i32)> + '_ {
        self.by_topic().flat_map(|(topic, set)| set.iter().map(move |(at, epoch)| (topic, *at, *epoch)))
    }

    /// The partitions and epochs of each topic, in order.
    pub fn by_topic(&self) -> impl Iterator<Item = (Uuid, &BTreeMap<i32, i32>)> {
        self.0.iter().map(|(topic, partitions)| (*topic, partitions))
    }

    /// The partitions alone.
    pub fn partitions(&self) -> Partitions {
        self.iter().map(|(topic, partition, _)| (topic, partition)).collect()
    }

    /// Forgets since when they are owned: whoever takes them over may commit with any epoch.
    pub fn reset_epochs(&mut self) {
        self.0.values_mut().flat_map(BTreeMap::values_mut).for_each(|epoch| *epoch = 0);
    }
}

impl FromIterator<(Uuid, i32, i32)> for Owned {
    fn from_iter<I: IntoIterator<Item = (Uuid, i32, i32)>>(all: I) -> Self {
        let mut owned = Self::default();
        all.into_iter().for_each(|(topic, partition, epoch)| owned.insert(topic, partition, epoch));
        owned
    }
}
