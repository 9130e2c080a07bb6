use super::super::Assignor::Uniform;
use super::super::testing::{Group, Member, partitions, topic};
use super::*;

#[test]
fn members_without_topics_are_in_the_target_with_nothing() {
    assert!(Group::over(&[3]).target(Uniform).is_empty());
    let group = Group::over(&[3]).member("a", &[]).member("b", &[9]).assigned(Uniform);
    assert_eq!(group.sizes(), [0, 0]);
    assert_eq!(group.target(Uniform).len(), 2);
}

#[test]
fn topics_that_do_not_exist_are_ignored() {
    let group = Group::over(&[4]).member("a", &[1, 8]).member("b", &[1, 9]).assigned(Uniform);
    group.assert_valid();
    assert_eq!(group.sizes(), [2, 2]);
}

#[test]
fn a_member_without_topics_does_not_disturb_the_others() {
    let group =
        Group::over(&[3, 3]).member("a", &[1, 2]).member("b", &[]).member("c", &[2, 1]).assigned(Uniform);
    group.assert_valid();
    assert_eq!(group.sizes(), [3, 0, 3]);
}

#[test]
fn a_first_assignment_spreads_each_topic() {
    let group = Group::over(&[3, 3]).member("a", &[1, 2]).member("b", &[1, 2]).assigned(Uniform);
    assert_eq!(group.current("a"), &partitions(&[(1, &[0, 2]), (2, &[1])]));
    assert_eq!(group.current("b"), &partitions(&[(1, &[1]), (2, &[0, 2])]));
}

#[test]
fn members_beyond_the_number_of_partitions_get_nothing() {
    let group = Group::over(&[2]).member("a", &[1]).member("b", &[1]).member("c", &[1]).assigned(Uniform);
    assert_eq!(group.sizes(), [1, 1, 0]);
    // A new member of a lesser id takes nothing from those that have one.
    let joined = group.clone().member("A", &[1]).assigned(Uniform);
    assert_eq!(group.taken_from_members(&joined), 0);
    joined.assert_valid();
}

#[test]
fn an_uneven_target_is_evened_with_the_fewest_moves() {
    let group = Group::over(&[4, 4])
        .member("a", &[1, 2])
        .member("b", &[1, 2])
        .owning("a", &[(1, &[0, 1, 2, 3]), (2, &[0, 1, 2])])
        .owning("b", &[(2, &[3])]);
    let after = group.clone().assigned(Uniform);
    after.assert_valid();
    assert_eq!(after.sizes(), [4, 4]);
    assert_eq!(group.taken_from_members(&after), 3);
}

#[test]
fn the_greater_share_stays_with_who_has_it() {
    let group = Group::over(&[5])
        .member("a", &[1])
        .member("b", &[1])
        .owning("a", &[(1, &[0, 1])])
        .owning("b", &[(1, &[2, 3, 4])]);
    assert_eq!(group.taken_from_members(&group.clone().assigned(Uniform)), 0);
}

#[test]
fn added_partitions_go_to_who_lacks_some_and_move_none() {
    let group = Group::over(&[3, 3]).member("a", &[1, 2]).member("b", &[1, 2]).assigned(Uniform);
    let grown = group.clone().resize(1, 6).resize(2, 5).assigned(Uniform);
    grown.assert_valid();
    assert_eq!(grown.sizes().iter().sum::<usize>(), 11);
    assert!(grown.sizes().iter().all(|size| (5..=6).contains(size)));
    assert_eq!(group.taken_from_members(&grown), 0);
}

#[test]
fn partitions_that_went_are_dropped() {
    // As when a topic was deleted and created anew with fewer partitions under the same subscription.
    let group = Group::over(&[6]).member("a", &[1]).member("b", &[1]).assigned(Uniform).resize(1, 2);
    let after = group.assigned(Uniform);
    after.assert_valid();
    assert_eq!(after.sizes(), [1, 1]);
}

#[test]
fn a_new_member_takes_its_share_evenly_over_topics() {
    let group = Group::over(&[30, 30]).member("a", &[1, 2]).member("b", &[1, 2]).assigned(Uniform);
    let joined = group.clone().member("c", &[1, 2]).assigned(Uniform);
    joined.assert_valid();
    assert_eq!(joined.sizes(), [20, 20, 20]);
    assert_eq!(group.taken_from_members(&joined), 20);
    for member in joined.members.values() {
        assert_eq!(member.current.of_topic(&topic(1)).len(), 10);
    }
}

#[test]
fn who_leaves_takes_nothing_from_the_others() {
    let group =
        Group::over(&[4, 5]).member("a", &[1, 2]).member("b", &[1, 2]).member("c", &[1, 2]).assigned(Uniform);
    let after = group.clone().without("b").assigned(Uniform);
    after.assert_valid();
    assert_eq!(after.sizes(), [5, 4]);
    assert_eq!(group.taken_from_members(&after), 0);
}

#[test]
fn a_topic_that_all_give_up_is_dropped_and_the_rest_evened() {
    let owned =
        |group: Group| group.owning("a", &[(1, &[0, 1]), (2, &[0])]).owning("b", &[(1, &[2]), (2, &[1, 2])]);
    let group = owned(Group::over(&[3, 3]).member("a", &[2]).member("b", &[2]));
    let after = group.assigned(Uniform);
    after.assert_valid();
    assert_eq!(after.current("a"), &partitions(&[(2, &[0])]));
    assert_eq!(after.current("b"), &partitions(&[(2, &[1, 2])]));
}

#[test]
fn of_two_claims_to_a_partition_one_is_kept() {
    let group = Group::over(&[2])
        .member("a", &[1])
        .member("b", &[1])
        .owning("a", &[(1, &[0, 7, -1])])
        .owning("b", &[(1, &[0])]);
    let after = group.assigned(Uniform);
    after.assert_valid();
    assert_eq!(after.current("a"), &partitions(&[(1, &[0])]));
}

#[test]
fn different_subscriptions_are_balanced_over_all_topics() {
    // Only `a` can have topic 1: it gets none of topic 2.
    let group =
        Group::over(&[3, 6]).member("a", &[1, 2]).member("b", &[2]).member("c", &[2]).assigned(Uniform);
    group.assert_valid();
    assert_eq!(group.sizes(), [3, 3, 3]);
    assert_eq!(group.current("a"), &partitions(&[(1, &[0, 1, 2])]));
}

#[test]
fn different_subscriptions_with_more_members_than_partitions() {
    let group =
        Group::over(&[1, 2]).member("a", &[1]).member("b", &[1, 2]).member("c", &[2]).assigned(Uniform);
    group.assert_valid();
    assert_eq!(group.sizes(), [1, 1, 1]);
}

#[test]
fn different_subscriptions_keep_what_they_may() {
    let group = Group::over(&[4, 4, 4])
        .member("a", &[1, 3])
        .member("b", &[1, 2, 3])
        .owning("a", &[(1, &[0, 1, 2]), (3, &[0])])
        .owning("b", &[(1, &[3]), (3, &[1, 2])]);
    let after = group.clone().assigned(Uniform);
    after.assert_valid();
    assert_eq!(after.sizes(), [6, 6]);
    assert_eq!(group.taken_from_members(&after), 1);
}

#[test]
fn a_subscription_given_up_frees_its_partitions() {
    let group = Group::over(&[3, 3]).member("a", &[1, 2]).member("b", &[1, 2]).assigned(Uniform);
    let mut after = group.clone();
    after.members.get_mut("a").unwrap().subscribed.remove(&topic(1));
    let after = after.assigned(Uniform);
    after.assert_valid();
    assert_eq!(after.current("a"), &partitions(&[(2, &[0, 1, 2])]));
    assert_eq!(after.current("b"), &partitions(&[(1, &[0, 1, 2])]));
}

#[test]
fn chains_of_members_are_balanced_end_to_end() {
    // Neighbours differ by one, so no single handover helps; one from each to the next does.
    let group = Group::over(&[19, 11])
        .member("a", &[1])
        .member("b", &[1, 2])
        .member("c", &[2])
        .owning("a", &[(1, &[0, 1, 2, 3, 4, 5, 6, 7, 8])])
        .owning("b", &[(1, &[9, 10, 11, 12, 13, 14, 15, 16, 17, 18])])
        .owning("c", &[(2, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])]);
    let after = group.clone().assigned(Uniform);
    after.assert_valid();
    assert_eq!(after.sizes(), [10, 10, 10]);
    assert_eq!(group.taken_from_members(&after), 2);
}

/// Member i shares a topic of `width` partitions with member i + 1 only, and the last has everything it can.
fn slope(members: u32, width: i32) -> Group {
    let mut group = Group::over(&vec![width; members as usize - 1]);
    for number in 0..members {
        let id = format!("m{number:04}");
        group = group.member(&id, &[number.max(1), (number + 1).min(members - 1)]);
    }
    for number in 1..members {
        let all: Vec<i32> = (0..width).collect();
        group = group.owning(&format!("m{number:04}"), &[(number, &all)]);
    }
    group
}

#[test]
fn a_long_chain_is_balanced() {
    let after = slope(60, 60).assigned(Uniform);
    after.assert_valid();
    assert!(after.sizes().iter().all(|size| *size == 59));
}

/// The members of a group as an assignor gets them, for tests of one step.
fn specs(group: &Group) -> Vec<MemberSpec<'_>> {
    let members = group.members.iter();
    let spec = members.map(|(id, Member { subscribed, current, .. })| MemberSpec {
        id: id.clone(),
        instance_id: None,
        subscribed,
        current,
    });
    spec.collect()
}

#[test]
fn direct_handovers_level_all_but_chains() {
    // Everything is with one member; each other can take some of it directly.
    let all: Vec<i32> = (0..40).collect();
    let mut group = Group::over(&[40, 40, 40]).member("a", &[1, 2, 3]);
    group = group.owning("a", &[(1, &all), (2, &all), (3, &all)]);
    for (id, subscribed) in [("b", &[1][..]), ("c", &[2, 3]), ("d", &[3]), ("e", &[1, 2]), ("f", &[1, 2, 3])]
    {
        group = group.member(id, subscribed);
    }
    let specs = specs(&group);
    let assignments = heterogeneous::assign_within(&specs.iter().collect::<Vec<_>>(), &group.topics, 0);
    let sizes: Vec<usize> = assignments.iter().map(Partitions::len).collect();
    assert!(sizes.iter().all(|size| (19..=21).contains(size)), "{sizes:?}");
}

#[test]
fn a_used_up_budget_leaves_a_valid_target_and_the_next_goes_on() {
    let group = slope(40, 40);
    let members = specs(&group);
    let members: Vec<&MemberSpec<'_>> = members.iter().collect();
    let spread = |assignments: &[Partitions]| {
        assignments.iter().map(|partitions| partitions.len() * partitions.len()).sum::<usize>()
    };
    let mut before = usize::MAX;
    let mut improved = 0;
    for budget in [0, 1_000, 100_000] {
        let assignments = heterogeneous::assign_within(&members, &group.topics, budget);
        let mut after = group.clone();
        for (member, partitions) in after.members.values_mut().zip(&assignments) {
            member.current = partitions.clone();
        }
        after.assert_valid();
        improved += usize::from(spread(&assignments) < before);
        before = spread(&assignments);
    }
    assert_eq!((improved, before), (3, 40 * 39 * 39));
}
