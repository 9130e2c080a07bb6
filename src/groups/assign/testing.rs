//! A group that tests can change step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{Assignor, GroupSpec, MemberSpec, Partitions};

/// The id of the test topic with this number.
pub(super) const fn topic(number: u32) -> Uuid {
    Uuid::from_u128(number as u128)
}

/// Partitions by the number of their topic.
pub(super) type ByTopic<'a> = &'a [(u32, &'a [i32])];

#[derive(Debug, Clone, Default)]
pub(super) struct Member {
    pub(super) instance_id: Option<String>,
    pub(super) subscribed: BTreeSet<Uuid>,
    pub(super) current: Partitions,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) members: BTreeMap<Arc<str>, Member>,
    pub(super) topics: BTreeMap<Uuid, i32>,
}

pub(super) type Target = BTreeMap<Arc<str>, Partitions>;

impl Group {
    /// A group over topics 1, 2, … with these numbers of partitions.
    pub(super) fn over(partitions: &[i32]) -> Self {
        Self { members: BTreeMap::new(), topics: (1..).map(topic).zip(partitions.iter().copied()).collect() }
    }

    pub(super) fn member(mut self, id: &str, subscribed: &[u32]) -> Self {
        let subscribed = subscribed.iter().copied().map(topic).collect();
        self.members.insert(id.into(), Member { subscribed, ..Member::default() });
        self
    }

    pub(super) fn static_member(mut self, id: &str, instance_id: &str, subscribed: &[u32]) -> Self {
        self = self.member(id, subscribed);
        self.members.get_mut(id).unwrap().instance_id = Some(instance_id.into());
        self
    }

    /// With this present target of a member.
    pub(super) fn owning(mut self, id: &str, current: ByTopic<'_>) -> Self {
        self.members.get_mut(id).unwrap().current = partitions(current);
        self
    }

    pub(super) fn without(mut self, id: &str) -> Self {
        self.members.remove(id).unwrap();
        self
    }

    pub(super) fn resize(mut self, number: u32, partitions: i32) -> Self {
        self.topics.insert(topic(number), partitions);
        self
    }

    pub(super) fn target(&self, assignor: Assignor) -> Target {
        self.target_in_order(assignor, false)
    }

    /// The target when members are listed in ascending or descending order.
    pub(super) fn target_in_order(&self, assignor: Assignor, descending: bool) -> Target {
        let mut members: Vec<_> = self
            .members
            .iter()
            .map(|(id, member)| MemberSpec {
                id: id.clone(),
                instance_id: member.instance_id.as_deref(),
                subscribed: &member.subscribed,
                current: &member.current,
            })
            .collect();
        if descending {
            members.reverse();
        }
        assignor.assign(&GroupSpec { members, topics: &self.topics })
    }

    /// The group with a new target in force.
    pub(super) fn assigned(mut self, assignor: Assignor) -> Self {
        for (id, partitions) in self.target(assignor) {
            self.members.get_mut(&id).unwrap().current = partitions;
        }
        self
    }

    pub(super) fn current(&self, id: &str) -> &Partitions {
        &self.members[id].current
    }

    /// Members by number of partitions, in order of ids.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.members.values().map(|member| member.current.len()).collect()
    }

    pub(super) fn total(&self) -> usize {
        self.sizes().iter().sum()
    }

    /// Partitions that members of both groups lost on the way to `after`.
    pub(super) fn taken_from_members(&self, after: &Self) -> usize {
        let both = self.members.iter().filter_map(|(id, member)| Some((member, after.members.get(id)?)));
        both.map(|(before, after)| before.current.difference(&after.current).len()).sum()
    }

    /// Everything an assignment must be, whoever made it.
    pub(super) fn assert_valid(&self) {
        let mut seen = Partitions::new();
        for (id, member) in &self.members {
            for (topic, partition) in member.current.iter() {
                assert!(member.subscribed.contains(&topic), "{id} got a topic it does not subscribe to");
                assert!(seen.insert(topic, partition), "partition {partition} of {topic} given twice");
            }
        }
        let mut expected = Partitions::new();
        for (topic, partitions) in &self.topics {
            if self.members.values().any(|member| member.subscribed.contains(topic)) {
                expected.extend_topic(*topic, 0..*partitions);
            }
        }
        assert_eq!(seen, expected);
    }
}

pub(super) fn partitions(of: ByTopic<'_>) -> Partitions {
    of.iter().flat_map(|(number, numbers)| numbers.iter().map(|n| (topic(*number), *n))).collect()
}
