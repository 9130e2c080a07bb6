//! `uniform` when all members subscribe to the same topics.
//!
//! With `P` partitions and `M` members, `P mod M` members get `P div M + 1` partitions, the others one less. Who owns
//! more than `P div M` already comes first for the greater share, so no more partitions move than must; Kafka hands
//! the greater shares out in an order of its own and may move one more per member.
//!
//! What is free goes round the members that lack some, one at a time, and who has too much gives up the topic of
//! which it has the most beyond its share: each topic's load is spread too, as far as that costs no further move.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use uuid::Uuid;

use super::super::owners::Owners;
use super::super::{MemberSpec, Partitions};

/// The assignments of `members`, in their order, over those of the `subscribed` topics that exist.
pub(super) fn assign(
    members: &[&MemberSpec<'_>],
    topics: &BTreeMap<Uuid, i32>,
    subscribed: &BTreeSet<Uuid>,
) -> Vec<Partitions> {
    let mut owners = Owners::new(subscribed.iter().filter_map(|id| Some((*id, *topics.get(id)?))));
    let mut kept: Vec<Kept> = members
        .iter()
        .enumerate()
        .map(|(member, spec)| Kept::claim(&mut owners, member, spec.current))
        .collect();

    let quotas = quotas(owners.partitions(), &kept);
    let mut lacking = VecDeque::new();
    for (member, (kept, quota)) in kept.iter_mut().zip(quotas).enumerate() {
        if kept.total > quota {
            for place in kept.give_up(kept.total - quota, &owners, members.len()) {
                owners.set(place, None);
            }
        } else if kept.total < quota {
            lacking.push_back((member, quota - kept.total));
        }
    }

    for place in 0..owners.partitions() {
        if owners.at(place).is_some() {
            continue;
        }
        // Quotas add up to the number of partitions, so somebody lacks one while one is free.
        let Some((member, lacks)) = lacking.pop_front() else { break };
        owners.set(place, Some(member));
        if lacks > 1 {
            lacking.push_back((member, lacks - 1));
        }
    }
    owners.into_assignments(members.len())
}

/// How many partitions each member is to own.
fn quotas(partitions: usize, kept: &[Kept]) -> Vec<usize> {
    let least = partitions / kept.len();
    let mut greater = partitions % kept.len();
    let mut quotas = vec![least; kept.len()];
    for more_than_least in [true, false] {
        for (quota, _) in
            quotas.iter_mut().zip(kept).filter(|(_, kept)| (kept.total > least) == more_than_least)
        {
            if greater == 0 {
                return quotas;
            }
            *quota += 1;
            greater -= 1;
        }
    }
    quotas
}

/// What one member could keep of its present target.
struct Kept {
    total: usize,
    /// By topic number, the places of its partitions, ascending.
    topics: Vec<(usize, Vec<usize>)>,
}

impl Kept {
    fn claim(owners: &mut Owners, member: usize, current: &Partitions) -> Self {
        let mut kept = Self { total: 0, topics: Vec::with_capacity(current.topic_count()) };
        for (id, partitions) in current.topics() {
            let Some(topic) = owners.topic_number(&id) else { continue };
            let places = owners.claim(member, topic, partitions);
            if !places.is_empty() {
                kept.total += places.len();
                kept.topics.push((topic, places));
            }
        }
        kept
    }

    /// Takes `count` places out, each from the topic that exceeds its share of one in `members` the most, the highest
    /// partition first.
    fn give_up(&mut self, count: usize, owners: &Owners, members: usize) -> Vec<usize> {
        // Excess is counted in partitions times members, to stay with whole numbers.
        let excess = |topic: usize, held: usize| (held * members) as i64 - owners.places(topic).len() as i64;
        let mut by_excess: BinaryHeap<_> = self
            .topics
            .iter()
            .enumerate()
            .map(|(index, (topic, places))| (excess(*topic, places.len()), Reverse(index)))
            .collect();
        let mut given_up = Vec::with_capacity(count);
        while given_up.len() < count {
            let Some((_, Reverse(index))) = by_excess.pop() else { break };
            let (topic, places) = &mut self.topics[index];
            given_up.extend(places.pop());
            if !places.is_empty() {
                by_excess.push((excess(*topic, places.len()), Reverse(index)));
            }
        }
        self.total -= given_up.len();
        given_up
    }
}
