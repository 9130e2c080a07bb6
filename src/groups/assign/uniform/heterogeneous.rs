//! `uniform` when members subscribe to different topics.
//!
//! 1. Everybody keeps what it has of topics it still subscribes to.
//! 2. Free partitions go to the least loaded subscribers, the topics with the least choice first.
//! 3. Topic by topic, the most loaded owner hands over to the least loaded subscriber while they differ by two or more.
//! 4. What is left are chains (`a` can relieve only `b`, and `b` only `c`): [`paths`] finds and resolves them all.
//!
//! Balance goes before stickiness here too: a chain of n handovers moves n partitions to even out one. Kafka stops at
//! step 3.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use uuid::Uuid;

use super::super::owners::Owners;
use super::super::{MemberSpec, Partitions};
use super::loads::{Loads, Topic};
use super::paths;

/// Most rounds over the topics in step 3. Subscriptions that do not overlap need two, the second to see that nothing
/// is left to do; each further one about halves the differences (Kafka bounds its loop alike).
pub(super) const ROUNDS: usize = 16;

/// The assignments of `members`, in their order.
pub(super) fn assign(members: &[&MemberSpec<'_>], topics: &BTreeMap<Uuid, i32>) -> Vec<Partitions> {
    assign_within(members, topics, paths::BUDGET)
}

/// As [`assign`], with this many steps for step 4.
pub(super) fn assign_within(
    members: &[&MemberSpec<'_>],
    topics: &BTreeMap<Uuid, i32>,
    budget: u64,
) -> Vec<Partitions> {
    let wanted: BTreeSet<Uuid> = members.iter().flat_map(|member| member.subscribed).copied().collect();
    let mut owners = Owners::new(wanted.iter().filter_map(|id| Some((*id, *topics.get(id)?))));
    let mut loads = keep(members, &mut owners);
    place_free(&mut loads);
    level(&mut loads);
    paths::resolve(&mut loads, budget);
    settle(&mut owners, &loads);
    owners.into_assignments(members.len())
}

/// Step 1.
fn keep(members: &[&MemberSpec<'_>], owners: &mut Owners) -> Loads {
    let mut loads = Loads {
        topics: (0..owners.topics()).map(|_| Topic::default()).collect(),
        subscriptions: Vec::with_capacity(members.len()),
        load: vec![0; members.len()],
    };
    for (member, spec) in members.iter().enumerate() {
        let mut subscriptions = Vec::with_capacity(spec.subscribed.len());
        for id in spec.subscribed {
            let Some(number) = owners.topic_number(id) else { continue };
            let kept = owners.claim(member, number, spec.current.of_topic(id)).len() as u32;
            let topic = &mut loads.topics[number];
            subscriptions.push((number as u32, topic.subscribers.len() as u32));
            topic.subscribers.push(member as u32);
            topic.kept.push(kept);
            loads.load[member] += kept;
        }
        loads.subscriptions.push(subscriptions);
    }
    for (number, topic) in loads.topics.iter_mut().enumerate() {
        topic.share.clone_from(&topic.kept);
        topic.partitions = owners.places(number).len() as u32;
        topic.free = topic.partitions - topic.kept.iter().sum::<u32>();
    }
    loads
}

/// Step 2. Topics with many partitions for each of few subscribers come first: the others can even out after them.
fn place_free(loads: &mut Loads) {
    let mut order: Vec<usize> = (0..loads.topics.len()).collect();
    order.sort_by(|&a, &b| {
        let subscribers = |topic: usize| loads.topics[topic].subscribers.len() as u64;
        let partitions = |topic: usize| u64::from(loads.topics[topic].partitions);
        // Partitions per subscriber, descending, compared without dividing.
        let (left, right) = (partitions(a) * subscribers(b), partitions(b) * subscribers(a));
        right.cmp(&left).then(subscribers(a).cmp(&subscribers(b))).then(a.cmp(&b))
    });
    for number in order {
        let topic = &loads.topics[number];
        let least = |loads: &Loads, slot: usize| {
            let topic = &loads.topics[number];
            Reverse((loads.load[topic.subscribers[slot] as usize], slot))
        };
        let mut subscribers: BinaryHeap<_> =
            (0..topic.subscribers.len()).map(|slot| least(loads, slot)).collect();
        for _ in 0..topic.free {
            let Some(Reverse((_, slot))) = subscribers.pop() else { break };
            loads.place(number, slot);
            subscribers.push(least(loads, slot));
        }
    }
}

/// Step 3.
fn level(loads: &mut Loads) {
    for _ in 0..ROUNDS {
        let mut moved = false;
        for topic in 0..loads.topics.len() {
            moved |= level_topic(loads, topic);
        }
        if !moved {
            break;
        }
    }
}

/// Moves partitions of one topic until no owner has two more (over all topics) than a subscriber. Says whether any moved.
///
/// Each donor stays within one of the greatest load and each receiver within one of the least, so neither can become
/// the other: both heaps stay right although each knows only of its own changes.
fn level_topic(loads: &mut Loads, number: usize) -> bool {
    // Between equals, undo a move rather than make one.
    let donor = |loads: &Loads, slot: usize| {
        let topic = &loads.topics[number];
        (loads.load[topic.subscribers[slot] as usize], topic.gained(slot), Reverse(slot))
    };
    let receiver = |loads: &Loads, slot: usize| {
        let topic = &loads.topics[number];
        Reverse((loads.load[topic.subscribers[slot] as usize], !topic.lost(slot), slot))
    };
    let slots = 0..loads.topics[number].subscribers.len();
    let loads_of = slots.clone().map(|slot| donor(loads, slot).0);
    if loads_of.clone().max() <= loads_of.min().map(|least| least + 1) {
        return false;
    }

    let mut donors: BinaryHeap<_> = slots
        .clone()
        .filter(|&slot| loads.topics[number].share[slot] > 0)
        .map(|slot| donor(loads, slot))
        .collect();
    let mut receivers: BinaryHeap<_> = slots.map(|slot| receiver(loads, slot)).collect();
    let mut moved = false;
    while let (Some((most, _, Reverse(from))), Some(Reverse((least, _, to)))) =
        (donors.pop(), receivers.pop())
    {
        if most <= least + 1 {
            break;
        }
        loads.shift(number, from, to);
        moved = true;
        if loads.topics[number].share[from] > 0 {
            donors.push(donor(loads, from));
        }
        receivers.push(receiver(loads, to));
    }
    moved
}

/// Turns shares into owners: each member first keeps what it had, the lowest partitions first; what is then free goes
/// round the members that lack some.
fn settle(owners: &mut Owners, loads: &Loads) {
    for (number, topic) in loads.topics.iter().enumerate() {
        let mut lacks = topic.share.clone();
        for place in owners.places(number) {
            let Some(slot) = owners.at(place).and_then(|member| topic.slot(member)) else { continue };
            if lacks[slot] == 0 {
                owners.set(place, None);
            } else {
                lacks[slot] -= 1;
            }
        }
        let mut lacking: VecDeque<(u32, u32)> =
            topic.subscribers.iter().copied().zip(lacks).filter(|(_, lacks)| *lacks > 0).collect();
        for place in owners.places(number) {
            if owners.at(place).is_some() {
                continue;
            }
            let Some((member, lacks)) = lacking.pop_front() else { break };
            owners.set(place, Some(member as usize));
            if lacks > 1 {
                lacking.push_back((member, lacks - 1));
            }
        }
    }
}
