//! `range`: each topic is cut into contiguous ranges, one per subscriber, in the order of the members.
//!
//! Members that subscribe to the same topics get the same range of each topic with the same number of partitions,
//! which is what joins of streams need. The assignment is a function of the members' order alone, not of the
//! present target: static members, which come first and in the order of their instance ids, keep their ranges when
//! they restart under a new member id. As Kafka's `RangeAssignor`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::{GroupSpec, MemberSpec, Partitions};

/// How far a topic is given out.
struct Cut {
    /// Subscribers in all.
    subscribers: i32,
    /// Its partitions.
    partitions: i32,
    /// Subscribers that have had their range.
    served: i32,
    /// First partition not given out.
    next: i32,
}

impl Cut {
    /// The next subscriber's range: sizes differ by at most one, the longer ranges first.
    fn next_range(&mut self) -> std::ops::Range<i32> {
        let extra = i32::from(self.served < self.partitions % self.subscribers);
        let start = self.next;
        self.next += self.partitions / self.subscribers + extra;
        self.served += 1;
        start..self.next
    }
}

pub(super) fn assign(group: &GroupSpec<'_>) -> BTreeMap<Arc<str>, Partitions> {
    let mut members: Vec<&MemberSpec<'_>> = group.members.iter().collect();
    members.sort_by(|a, b| member_order(a, b));

    let mut cuts: BTreeMap<Uuid, Cut> = BTreeMap::new();
    for topic in members.iter().flat_map(|member| member.subscribed) {
        let Some(&partitions) = group.topics.get(topic) else { continue };
        cuts.entry(*topic).or_insert(Cut { subscribers: 0, partitions, served: 0, next: 0 }).subscribers += 1;
    }

    let mut target = BTreeMap::new();
    for member in members {
        let mut partitions = Partitions::new();
        for topic in member.subscribed {
            if let Some(cut) = cuts.get_mut(topic) {
                partitions.extend_topic(*topic, cut.next_range());
            }
        }
        target.insert(member.id.clone(), partitions);
    }
    target
}

/// Static members first, by instance id; then the others by member id.
fn member_order(a: &MemberSpec<'_>, b: &MemberSpec<'_>) -> Ordering {
    match (a.instance_id, b.instance_id) {
        (Some(x), Some(y)) => java_order(x, y),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
    .then_with(|| java_order(&a.id, &b.id))
}

/// As Java compares strings: by UTF-16 code units. Differs from the order of bytes above U+FFFF only.
fn java_order(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
