//! The target assignment: what every member is to own in the end. The role of Kafka's `TargetAssignmentBuilder`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::super::assign::{Assignor, GroupSpec, MemberSpec, Partitions};
use super::super::effects::{Effects, RowKey};
use super::super::limits::ConsumerLimits;
use super::super::topics_view::TopicsView;
use super::group::ConsumerGroup;
use super::member::Member;

impl ConsumerGroup {
    /// Computes the target assignment of the present group epoch, unless it is there.
    ///
    /// Kafka 4.3 may wait for more changes first (`group.consumer.assignment.interval.ms`); here it is computed at once.
    pub(super) fn update_target(
        &mut self,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        effects: &mut Effects,
    ) {
        if self.assignment_epoch >= self.group_epoch {
            return;
        }
        let assignor = self.assignor(limits);
        let mut target = self.compute_target(assignor, topics);
        self.assignment_epoch = self.group_epoch;
        self.unreconciled = 0;
        for (id, member) in &mut self.members {
            let target = target.remove(id).unwrap_or_default();
            if member.stored.target != target {
                member.stored.target = target;
                effects.changed(RowKey::Member(Arc::clone(id)));
            }
            self.unreconciled += usize::from(!member.stored.standing.is_reconciled_to(self.assignment_epoch));
        }
        effects.changed(RowKey::Head);
    }

    /// The assignor that most members ask for; among equals, and when nobody asks, the one that comes first in
    /// `group.consumer.assignors`.
    pub(super) fn assignor(&self, limits: &ConsumerLimits) -> Assignor {
        let votes = |assignor: Assignor| {
            self.members.values().filter(|member| member.stored.assignor == Some(assignor)).count()
        };
        let mut chosen = (limits.assignors.first().copied().unwrap_or(Assignor::Uniform), 0);
        for assignor in &limits.assignors {
            let count = votes(*assignor);
            if count > chosen.1 {
                chosen = (*assignor, count);
            }
        }
        chosen.0
    }

    fn compute_target(&self, assignor: Assignor, topics: &dyn TopicsView) -> BTreeMap<Arc<str>, Partitions> {
        let mut counts = BTreeMap::new();
        // Members with the same subscription, which is the rule, share its set.
        let mut by_subscription: BTreeMap<Subscription<'_>, BTreeSet<Uuid>> = BTreeMap::new();
        for member in self.members.values() {
            by_subscription.entry(Subscription::of(member)).or_insert_with(|| {
                let found = self.subscriptions.of(member).filter_map(|name| topics.by_name(name));
                found.map(|topic| (topic.id, counts.insert(topic.id, topic.partitions)).0).collect()
            });
        }
        let members = self.members.values().map(|member| MemberSpec {
            id: Arc::clone(&member.id),
            instance_id: member.stored.instance_id.as_deref(),
            subscribed: &by_subscription[&Subscription::of(member)],
            current: &member.stored.target,
        });
        assignor.assign(&GroupSpec { members: members.collect(), topics: &counts })
    }
}

/// What a member subscribes to, before it is resolved.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Subscription<'a> {
    names: &'a BTreeSet<Arc<str>>,
    regex: Option<&'a Arc<str>>,
}

impl<'a> Subscription<'a> {
    fn of(member: &'a Member) -> Self {
        Self { names: &member.stored.topics, regex: member.stored.topic_regex.as_ref() }
    }
}
