//! What holds of every assignment, on random groups through random changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::Assignor::{Range, Uniform};
use super::testing::{Group, topic};
use super::{Assignor, Partitions};

/// Topics that may exist; a higher number never does.
const TOPICS: u32 = 6;

/// Up to eight members, of whom some are static, that all subscribe to the same topics.
fn homogeneous() -> impl Strategy<Value = Group> {
    let members = prop::collection::btree_set("[a-z]{1,3}", 1..9);
    (topics(), members, prop::collection::btree_set(1..=TOPICS + 1, 1..5)).prop_map(
        |(topics, ids, subscribed)| {
            let subscribed: Vec<u32> = subscribed.into_iter().collect();
            ids.iter().enumerate().fold(Group::over(&topics), |group, (number, id)| match number % 3 {
                0 => group.static_member(id, &format!("i{}", id.len()).repeat(number + 1), &subscribed),
                _ => group.member(id, &subscribed),
            })
        },
    )
}

/// Up to eight members, each with subscriptions of its own.
fn heterogeneous() -> impl Strategy<Value = Group> {
    let subscribed = prop::collection::btree_set(1..=TOPICS + 1, 0..5);
    (topics(), prop::collection::btree_map("[a-z]{1,3}", subscribed, 1..9)).prop_map(|(topics, members)| {
        members.iter().fold(Group::over(&topics), |group, (id, subscribed)| {
            group.member(id, &subscribed.iter().copied().collect::<Vec<_>>())
        })
    })
}

fn topics() -> impl Strategy<Value = Vec<i32>> {
    prop::collection::vec(1..20i32, 1..=TOPICS as usize)
}

/// Either kind, with a present target that may be anything: uneven, contradictory, of topics that are gone.
fn any_state(groups: impl Strategy<Value = Group>) -> impl Strategy<Value = Group> {
    let claims = prop::collection::vec((any::<prop::sample::Index>(), 1..=TOPICS + 1, -1..22i32), 0..120);
    (groups, claims).prop_map(|(mut group, claims)| {
        let ids: Vec<_> = group.members.keys().cloned().collect();
        for (member, number, partition) in claims {
            group.members.get_mut(member.get(&ids)).unwrap().current.insert(topic(number), partition);
        }
        group
    })
}

/// The present target without what cannot be kept; of two claims the first counts.
fn keepable(group: &Group) -> Group {
    let mut group = group.clone();
    let mut taken = Partitions::new();
    let topics = group.topics.clone();
    for member in group.members.values_mut() {
        let subscribed = &member.subscribed;
        member.current.retain(|topic, partition| {
            let exists = topics.get(&topic).is_some_and(|partitions| (0..*partitions).contains(&partition));
            exists && subscribed.contains(&topic) && taken.insert(topic, partition)
        });
    }
    group
}

/// The least number of partitions that must be taken from members for sizes to differ by at most one.
fn least_moves(group: &Group) -> usize {
    let mut sizes = keepable(group).sizes();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let total = group.clone().assigned(Uniform).total();
    let (least, greater) = (total / sizes.len(), total % sizes.len());
    // The greater shares are best left with those who have most.
    sizes
        .iter()
        .enumerate()
        .map(|(rank, size)| size.saturating_sub(least + usize::from(rank < greater)))
        .sum()
}

/// Fails if some chain of handovers leads from a member to one that has at least two partitions less. That no such
/// chain exists is what makes an assignment the most even possible.
fn assert_most_even(group: &Group) {
    let members: Vec<_> = group.members.values().collect();
    for (start, from) in members.iter().enumerate() {
        let mut reached = BTreeSet::from([start]);
        let mut next = vec![start];
        while let Some(member) = next.pop() {
            let owned: Vec<_> = members[member].current.topics().map(|(topic, _)| topic).collect();
            for (other, to) in members.iter().enumerate() {
                if owned.iter().any(|topic| to.subscribed.contains(topic)) && reached.insert(other) {
                    assert!(
                        to.current.len() + 2 > from.current.len(),
                        "{from:?} should relieve itself to {to:?}"
                    );
                    next.push(other);
                }
            }
        }
    }
}

fn assert_even(group: &Group) {
    let (least, most) = (group.sizes().into_iter().min().unwrap(), group.sizes().into_iter().max().unwrap());
    assert!(most - least <= 1, "{:?}", group.sizes());
}

/// A change that a group may go through.
#[derive(Debug, Clone)]
enum Change {
    Join(String, BTreeSet<u32>),
    Leave(prop::sample::Index),
    Subscribe(prop::sample::Index, BTreeSet<u32>),
    Grow(u32, i32),
    Delete(u32),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let subscribed = || prop::collection::btree_set(1..=TOPICS, 0..5);
    let change = prop_oneof![
        ("[A-Z]{1,2}", subscribed()).prop_map(|(id, topics)| Change::Join(id, topics)),
        any::<prop::sample::Index>().prop_map(Change::Leave),
        (any::<prop::sample::Index>(), subscribed())
            .prop_map(|(member, topics)| Change::Subscribe(member, topics)),
        (1..=TOPICS, 1..9i32).prop_map(|(number, more)| Change::Grow(number, more)),
        (1..=TOPICS).prop_map(Change::Delete),
    ];
    prop::collection::vec(change, 1..12)
}

fn changed(mut group: Group, change: Change) -> Group {
    let ids: Vec<_> = group.members.keys().cloned().collect();
    match change {
        Change::Join(id, topics) => return group.member(&id, &topics.into_iter().collect::<Vec<_>>()),
        Change::Leave(member) if ids.len() > 1 => return group.without(member.get::<Arc<str>>(&ids)),
        Change::Leave(_) => {}
        Change::Subscribe(member, topics) => {
            group.members.get_mut(member.get(&ids)).unwrap().subscribed =
                topics.into_iter().map(topic).collect();
        }
        Change::Grow(number, more) => *group.topics.entry(topic(number)).or_default() += more,
        Change::Delete(number) => drop(group.topics.remove(&topic(number))),
    }
    group
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_partition_goes_to_one_subscriber(
        group in prop_oneof![any_state(homogeneous()), any_state(heterogeneous())],
    ) {
        for assignor in Assignor::ALL {
            let after = group.clone().assigned(assignor);
            after.assert_valid();
            prop_assert_eq!(after.target(assignor).len(), group.members.len());
            // Equal input, equal target, in whatever order members are listed.
            prop_assert_eq!(group.target_in_order(assignor, true), group.target(assignor));
            // Its own target gives an assignor nothing to change.
            let own: Vec<_> = after.members.iter().map(|(id, member)| (id.clone(), member.current.clone())).collect();
            prop_assert_eq!(after.target(assignor).into_iter().collect::<Vec<_>>(), own);
        }
    }

    #[test]
    fn ranges_are_contiguous_even_and_aligned(group in homogeneous()) {
        let after = group.clone().assigned(Range);
        for member in after.members.values() {
            for (id, numbers) in member.current.topics() {
                prop_assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
                let (partitions, members) = (group.topics[&id] as usize, group.members.len());
                prop_assert!((partitions / members..=partitions.div_ceil(members)).contains(&numbers.len()));
                for (other, _) in group.topics.iter().filter(|(other, n)| {
                    **n == group.topics[&id] && member.subscribed.contains(*other)
                }) {
                    prop_assert_eq!(member.current.of_topic(other), numbers);
                }
            }
        }
    }

    #[test]
    fn equal_subscriptions_are_evened_with_the_fewest_moves(group in any_state(homogeneous())) {
        let after = group.clone().assigned(Uniform);
        assert_even(&after);
        prop_assert_eq!(keepable(&group).taken_from_members(&after), least_moves(&group));
    }

    #[test]
    fn a_first_assignment_spreads_each_topic(group in homogeneous()) {
        let after = group.clone().assigned(Uniform);
        for member in after.members.values() {
            for (id, partitions) in group.topics.iter().filter(|(id, _)| member.subscribed.contains(*id)) {
                let (partitions, members) = (*partitions as usize, group.members.len());
                let own = member.current.of_topic(id).len();
                prop_assert!((partitions / members..=partitions.div_ceil(members)).contains(&own));
            }
        }
    }

    #[test]
    fn a_member_that_joins_takes_no_more_than_its_share(group in any_state(homogeneous()), id in "[A-Z]{2}") {
        let before = group.assigned(Uniform);
        let mut joined = before.clone();
        let subscribed = before.members.values().next().unwrap().subscribed.clone();
        joined.members.entry(id.as_str().into()).or_default().subscribed = subscribed;
        let after = joined.assigned(Uniform);
        assert_even(&after);
        let moved = before.taken_from_members(&after);
        prop_assert_eq!(moved, after.current(&id).len());
        prop_assert!(moved <= after.total().div_ceil(after.members.len()));
    }

    #[test]
    fn a_member_that_leaves_takes_nothing_from_the_others(
        group in any_state(homogeneous()),
        who in any::<prop::sample::Index>(),
    ) {
        // One more, so that somebody stays.
        let mut before = group;
        let subscribed = before.members.values().next().unwrap().subscribed.clone();
        before.members.entry("A".into()).or_default().subscribed = subscribed;
        let before = before.assigned(Uniform);
        let ids: Vec<_> = before.members.keys().cloned().collect();
        let after = before.clone().without(who.get::<Arc<str>>(&ids)).assigned(Uniform);
        assert_even(&after);
        prop_assert_eq!(before.taken_from_members(&after), 0);
    }

    #[test]
    fn added_partitions_move_none_of_the_others(
        group in any_state(homogeneous()), number in 1..=TOPICS, more in 0..30i32,
    ) {
        let before = group.assigned(Uniform);
        let partitions = before.topics.get(&topic(number)).copied().unwrap_or(0);
        let after = before.clone().resize(number, partitions + more).assigned(Uniform);
        assert_even(&after);
        prop_assert_eq!(before.taken_from_members(&after), 0);
    }

    #[test]
    fn different_subscriptions_are_as_even_as_can_be(group in any_state(heterogeneous())) {
        let after = group.clone().assigned(Uniform);
        after.assert_valid();
        assert_most_even(&after);
    }

    #[test]
    fn a_group_stays_valid_and_even_through_changes(group in heterogeneous(), changes in changes()) {
        let mut group = group.assigned(Uniform);
        for change in changes {
            group = changed(group, change).assigned(Uniform);
            group.assert_valid();
            assert_most_even(&group);
        }
    }
}
