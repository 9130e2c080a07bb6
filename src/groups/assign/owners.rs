//! Who owns each partition while a target is worked out: one slot per partition of a sorted list of topics.

use std::ops::Range;

use uuid::Uuid;

use super::Partitions;

/// Marks a partition without an owner.
const NOBODY: u32 = u32::MAX;

/// The owner of each partition of some topics. Members are numbers from 0, as are topics: a topic's number is its
/// place in ascending order of ids.
pub(super) struct Owners {
    /// Ascending by id, each with the places of its partitions in `owner`.
    topics: Vec<(Uuid, Range<usize>)>,
    owner: Vec<u32>,
}

impl Owners {
    /// Nobody owns anything. `topics` must ascend by id; a number of partitions below zero counts as none.
    pub(super) fn new(topics: impl IntoIterator<Item = (Uuid, i32)>) -> Self {
        let mut end = 0;
        let topics: Vec<_> = topics
            .into_iter()
            .map(|(id, partitions)| {
                let start = end;
                end += usize::try_from(partitions).unwrap_or(0);
                (id, start..end)
            })
            .collect();
        debug_assert!(topics.is_sorted_by(|a, b| a.0 < b.0));
        Self { topics, owner: vec![NOBODY; end] }
    }

    /// How many partitions, over all topics.
    pub(super) fn partitions(&self) -> usize {
        self.owner.len()
    }

    /// How many topics.
    pub(super) fn topics(&self) -> usize {
        self.topics.len()
    }

    /// The number of a topic, if it is here.
    pub(super) fn topic_number(&self, id: &Uuid) -> Option<usize> {
        self.topics.binary_search_by(|(other, _)| other.cmp(id)).ok()
    }

    /// The places of a topic's partitions, ascending.
    pub(super) fn places(&self, topic: usize) -> Range<usize> {
        self.topics[topic].1.clone()
    }

    /// The owner of the partition at `place`.
    pub(super) fn at(&self, place: usize) -> Option<usize> {
        match self.owner[place] {
            NOBODY => None,
            member => Some(member as usize),
        }
    }

    /// Gives the partition at `place` to `member`, or to nobody.
    pub(super) fn set(&mut self, place: usize, member: Option<usize>) {
        self.owner[place] = member.map_or(NOBODY, |member| member as u32);
    }

    /// Gives `member` those of `wanted` partitions of `topic` that exist and are free. Returns their places, ascending.
    pub(super) fn claim(&mut self, member: usize, topic: usize, wanted: &[i32]) -> Vec<usize> {
        let places = self.places(topic);
        let mut claimed = Vec::with_capacity(wanted.len());
        for &partition in wanted {
            let Ok(offset) = usize::try_from(partition) else { continue };
            if offset < places.len() && self.at(places.start + offset).is_none() {
                self.set(places.start + offset, Some(member));
                claimed.push(places.start + offset);
            }
        }
        claimed
    }

    /// What each of `members` members owns.
    pub(super) fn into_assignments(self, members: usize) -> Vec<Partitions> {
        let mut assignments = vec![Partitions::new(); members];
        for (id, places) in self.topics {
            for (partition, &owner) in (0..).zip(&self.owner[places]) {
                if owner != NOBODY {
                    assignments[owner as usize].insert(id, partition);
                }
            }
        }
        assignments
    }
}
