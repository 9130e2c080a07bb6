//! A set of partitions of one topic or several.
//!
//! Partition numbers are kept as ascending lists, not as bitmaps: numbers come from clients too, and one
//! partition numbered `i32::MAX` must cost four bytes, not a quarter of a gibibyte.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use uuid::Uuid;

/// Partitions by topic id, each partition at most once. Iterates by ascending topic id, then number.
///
/// Two sets that hold the same partitions are equal: a topic without partitions is never kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Partitions {
    /// Ascending, without duplicates, never empty.
    topics: BTreeMap<Uuid, Vec<i32>>,
    /// Partitions in all of `topics`.
    len: usize,
}

impl Partitions {
    /// The empty set.
    pub const fn new() -> Self {
        Self { topics: BTreeMap::new(), len: 0 }
    }

    /// How many partitions, over all topics.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many topics have a partition here.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Whether this partition is in the set.
    pub fn contains(&self, topic: &Uuid, partition: i32) -> bool {
        self.of_topic(topic).binary_search(&partition).is_ok()
    }

    /// The partitions of one topic, ascending; empty if there is none.
    pub fn of_topic(&self, topic: &Uuid) -> &[i32] {
        self.topics.get(topic).map_or(&[], Vec::as_slice)
    }

    /// Each topic with its partitions, ascending.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (Uuid, &[i32])> {
        self.topics.iter().map(|(topic, numbers)| (*topic, numbers.as_slice()))
    }

    /// Each partition, by ascending topic id, then number.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, i32)> + '_ {
        self.topics.iter().flat_map(|(topic, numbers)| numbers.iter().map(|number| (*topic, *number)))
    }

    /// Adds a partition. Says whether it was new. Costs a copy of the topic's greater numbers.
    pub fn insert(&mut self, topic: Uuid, partition: i32) -> bool {
        let numbers = self.topics.entry(topic).or_default();
        let at = match numbers.last() {
            Some(last) if *last >= partition => match numbers.binary_search(&partition) {
                Ok(_) => return false,
                Err(at) => at,
            },
            // Ascending insertion, the usual case, is an append.
            _ => numbers.len(),
        };
        numbers.insert(at, partition);
        self.len += 1;
        true
    }

    /// Takes a partition out. Says whether it was there.
    pub fn remove(&mut self, topic: &Uuid, partition: i32) -> bool {
        let Some(numbers) = self.topics.get_mut(topic) else { return false };
        let Ok(at) = numbers.binary_search(&partition) else { return false };
        numbers.remove(at);
        if numbers.is_empty() {
            self.topics.remove(topic);
        }
        self.len -= 1;
        true
    }

    /// Takes a topic out and returns its partitions, ascending; empty if there was none.
    pub fn remove_topic(&mut self, topic: &Uuid) -> Vec<i32> {
        let numbers = self.topics.remove(topic).unwrap_or_default();
        self.len -= numbers.len();
        numbers
    }

    /// Adds partitions of one topic, in any order, duplicates allowed.
    pub fn extend_topic(&mut self, topic: Uuid, partitions: impl IntoIterator<Item = i32>) {
        let mut added: Vec<i32> = partitions.into_iter().collect();
        if !added.is_sorted_by(|a, b| a < b) {
            added.sort_unstable();
            added.dedup();
        }
        if added.is_empty() {
            return;
        }
        match self.topics.entry(topic) {
            Entry::Vacant(vacant) => {
                self.len += added.len();
                vacant.insert(added);
            }
            Entry::Occupied(mut occupied) => {
                let merged = merge(occupied.get(), &added, |_| true);
                self.len += merged.len() - occupied.get().len();
                occupied.insert(merged);
            }
        }
    }

    /// Keeps only the partitions for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Uuid, i32) -> bool) {
        self.topics.retain(|topic, numbers| {
            numbers.retain(|number| keep(*topic, *number));
            !numbers.is_empty()
        });
        self.len = self.topics.values().map(Vec::len).sum();
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for (topic, numbers) in other.topics() {
            union.extend_topic(topic, numbers.iter().copied());
        }
        union
    }

    /// What is here and not in `other`.
    pub fn difference(&self, other: &Self) -> Self {
        self.merged_by_topic(other, |side| side == Side::Left)
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.merged_by_topic(other, |side| side == Side::Both)
    }

    /// Whether everything here is in `other` too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.len <= other.len && self.difference(other).is_empty()
    }

    /// Whether nothing is in both.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.intersection(other).is_empty()
    }

    /// Merges topic by topic the topics that are here; `keep` never keeps what only `other` has.
    fn merged_by_topic(&self, other: &Self, keep: impl Fn(Side) -> bool) -> Self {
        let mut result = Self::new();
        for (topic, numbers) in self.topics() {
            let merged = merge(numbers, other.of_topic(&topic), &keep);
            if !merged.is_empty() {
                result.len += merged.len();
                result.topics.insert(topic, merged);
            }
        }
        result
    }
}

/// Which of two ascending lists have a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

/// The numbers of two ascending lists that `keep` wants, ascending, each once.
fn merge(left: &[i32], right: &[i32], keep: impl Fn(Side) -> bool) -> Vec<i32> {
    let (mut l, mut r) = (0, 0);
    let mut merged = Vec::with_capacity(left.len());
    while l < left.len() || r < right.len() {
        let order = match (left.get(l), right.get(r)) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let (number, side) = match order {
            Ordering::Less => (left[l], Side::Left),
            Ordering::Equal => (left[l], Side::Both),
            Ordering::Greater => (right[r], Side::Right),
        };
        l += usize::from(order.is_le());
        r += usize::from(order.is_ge());
        if keep(side) {
            merged.push(number);
        }
    }
    merged
}

impl Extend<(Uuid, i32)> for Partitions {
    fn extend<I: IntoIterator<Item = (Uuid, i32)>>(&mut self, partitions: I) {
        for (topic, partition) in partitions {
            self.insert(topic, partition);
        }
    }
}

impl FromIterator<(Uuid, i32)> for Partitions {
    fn from_iter<I: IntoIterator<Item = (Uuid, i32)>>(partitions: I) -> Self {
        let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in partitions {
            by_topic.entry(topic).or_default().push(partition);
        }
        let mut set = Self::new();
        for (topic, numbers) in by_topic {
            set.extend_topic(topic, numbers);
        }
        set
    }
}

#[cfg(test)]
#[path = "partitions_tests.rs"]
mod tests;
