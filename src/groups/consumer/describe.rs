//! What ConsumerGroupDescribe shows.

use uuid::Uuid;

use super::super::assign::Partitions;
use super::super::limits::ConsumerLimits;
use super::super::request::{ConsumerDescription, ConsumerMemberDescription};
use super::group::ConsumerGroup;
use super::member::Member;

impl ConsumerGroup {
    /// The group as ConsumerGroupDescribe shows it. The caller leaves out partitions of topics that are no more.
    pub fn describe(&self, limits: &ConsumerLimits) -> ConsumerDescription {
        ConsumerDescription {
            state: self.state_name(),
            group_epoch: self.group_epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: self.assignor(limits).name().to_owned(),
            members: self.members.values().map(describe).collect(),
        }
    }
}

fn describe(member: &Member) -> ConsumerMemberDescription {
    let stored = &member.stored;
    let standing = &stored.standing;
    let held = standing.assigned.partitions().union(&standing.pending_revocation.partitions());
    ConsumerMemberDescription {
        member_id: member.id.to_string(),
        instance_id: stored.instance_id.as_deref().map(str::to_owned),
        rack_id: stored.rack_id.as_deref().map(str::to_owned),
        member_epoch: member.epoch(),
        client: stored.client.clone(),
        topics: stored.topics.iter().map(|name| name.to_string()).collect(),
        topic_regex: stored.topic_regex.as_deref().map(str::to_owned),
        // What it is to give up is still its own.
        assigned: by_topic(&held),
        target: by_topic(&stored.target),
        is_classic: member.is_classic(),
    }
}

fn by_topic(partitions: &Partitions) -> Vec<(Uuid, Vec<i32>)> {
    partitions.topics().map(|(topic, numbers)| (topic, numbers.to_vec())).collect()
}
