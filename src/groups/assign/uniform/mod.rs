//! `uniform`: members own as equally many partitions as their subscriptions permit, and a new target keeps as much of
//! the present one as that allows. Balance goes before stickiness, as in Kafka's `UniformAssignor`.
//!
//! - All members subscribe to the same topics (the usual case): [homogeneous]. Sizes differ by at most one, and the
//!   number of partitions that change hands is the least possible.
//! - Otherwise [heterogeneous]: nobody's load can be brought closer to the others' by any chain of handovers. Its last
//!   steps are bounded by [`heterogeneous::ROUNDS`] and [`paths::BUDGET`].
//!
//! Members without any topic that exists take no part: a group is homogeneous if the others agree.

mod heterogeneous;
mod homogeneous;
mod loads;
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{GroupSpec, MemberSpec, Partitions};

pub(super) fn assign(group: &GroupSpec<'_>) -> BTreeMap<Arc<str>, Partitions> {
    let mut target: BTreeMap<Arc<str>, Partitions> =
        group.members.iter().map(|member| (member.id.clone(), Partitions::new())).collect();

    let exists = |topic: &&Uuid| group.topics.contains_key(*topic);
    let mut members: Vec<&MemberSpec<'_>> =
        group.members.iter().filter(|member| member.subscribed.iter().any(|topic| exists(&topic))).collect();
    // The result must not depend on the order in which members are listed.
    members.sort_by(|a, b| a.id.cmp(&b.id));
    let Some(first) = members.first().map(|member| member.subscribed) else { return target };

    let same = |other: &BTreeSet<Uuid>| {
        std::ptr::eq(first, other)
            || first == other
            || first.iter().filter(exists).eq(other.iter().filter(exists))
    };
    let assignments = if members.iter().all(|member| same(member.subscribed)) {
        homogeneous::assign(&members, group.topics, first)
    } else {
        heterogeneous::assign(&members, group.topics)
    };
    target.extend(members.iter().map(|member| member.id.clone()).zip(assignments));
    target
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
