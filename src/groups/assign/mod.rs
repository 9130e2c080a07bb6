//! The server-side assignors of KIP-848: who of a group's members reads which partition.
//!
//! ```text
//!  members, subscriptions, present target ──▶ Assignor::assign ──▶ next target
//! ```
//!
//! Pure functions of their input: the same group gives the same target, whatever the order in which its members
//! are listed. The input is the group's present *target*, not what members own at the moment: how members get
//! from what they own to the target is the group's reconciliation, not a matter of assignment.

mod owners;
mod partitions;
mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

pub use partitions::Partitions;

/// What an assignor knows of one member.
#[derive(Debug, Clone)]
pub struct MemberSpec<'a> {
    /// The member id, unique in the group.
    pub id: Arc<str>,
    /// `group.instance.id` of a static member, unique in the group.
    pub instance_id: Option<&'a str>,
    /// The topics it subscribes to. Those that do not exist are ignored.
    pub subscribed: &'a BTreeSet<Uuid>,
    /// Its present target assignment. What it cannot keep (topic gone or no longer subscribed, no such partition,
    /// partition also in the target of a member with a lesser id) counts as unassigned.
    pub current: &'a Partitions,
}

/// What an assignor knows of a group.
#[derive(Debug, Clone)]
pub struct GroupSpec<'a> {
    /// All members, in any order.
    pub members: Vec<MemberSpec<'a>>,
    /// The topics that exist, with their number of partitions; at least those that are subscribed to.
    pub topics: &'a BTreeMap<Uuid, i32>,
}

/// A server-side assignor that a member may ask for (`ServerAssignor` in ConsumerGroupHeartbeat).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assignor {
    /// Spreads partitions evenly and moves as few as possible (Kafka's `UniformAssignor`).
    Uniform,
    /// Gives contiguous ranges, topic by topic, so that equal topics are co-partitioned (Kafka's `RangeAssignor`).
    Range,
}

impl Assignor {
    /// Every assignor, in the order of Kafka's default for `group.consumer.assignors`: the first is what a group
    /// gets whose members ask for none.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// The name that clients use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of that name, in exactly this spelling; `None` is `UNSUPPORTED_ASSIGNOR` to a client.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// The next target assignment: every member of the group is in it, if only with no partitions, and every
    /// partition of a topic that exists and has a subscriber is with exactly one subscriber.
    ///
    /// With M members, T topics, P partitions and E subscriptions (the sum over members), `range` costs
    /// `O(E log T + P + M log M)` and `uniform` `O(E + P log P)` when all members subscribe to the same topics. When
    /// they do not, `uniform` costs at most 16 rounds of `O((E + P) log M)` and then at most 2²⁵ steps of a search; a
    /// group so entangled that one of these bounds is hit gets a valid target that is less even than could be, and the
    /// next one goes on from there.
    pub fn assign(self, group: &GroupSpec<'_>) -> BTreeMap<Arc<str>, Partitions> {
        match self {
            Self::Uniform => uniform::assign(group),
            Self::Range => range::assign(group),
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignors_are_found_by_exactly_their_names() {
        assert_eq!(Assignor::by_name("uniform"), Some(Assignor::Uniform));
        assert_eq!(Assignor::by_name("range"), Some(Assignor::Range));
        for unknown in ["", "Range", "uniform ", "cooperative-sticky"] {
            assert_eq!(Assignor::by_name(unknown), None);
        }
    }
}
