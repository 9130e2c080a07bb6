//! Joining, reporting, being told: members that speak the consumer protocol.

use std::collections::BTreeSet;

use super::super::assign::Partitions;
use super::super::effects::Notice;
use super::super::error::GroupError;
use super::super::request::{Client, ConsumerHeartbeat};
use super::MemberState::{Stable, UnreleasedPartitions, UnrevokedPartitions};
use super::testing::*;

fn owning(id: &str, epoch: i32, owned: &Partitions) -> ConsumerHeartbeat {
    ConsumerHeartbeat { owned: Some(owned.clone()), ..beat(id, epoch) }
}

#[test]
fn the_first_member_is_given_everything() {
    let mut tested = Tested::new();
    let answer = tested.heartbeat(joining("m1", &["a", "b", "unknown"])).expect("it joins");
    assert_eq!(answer.member_id.as_deref(), Some("m1"));
    // A new group is of epoch 1; the member's subscription begins epoch 2.
    assert_eq!(answer.member_epoch, 2);
    assert_eq!(answer.heartbeat_interval_ms, 100);
    let all = tested.of("a", &[0, 1, 2, 3]).union(&tested.of("b", &[0, 1]));
    assert_eq!(answer.assignment, Some(all));
    assert_eq!(tested.standing("m1"), (Stable, 2, 6));
    assert_eq!(tested.group().state_name(), "Stable");
    assert!(tested.notices.contains(&Notice::MemberJoined("m1".into())));
    assert!(tested.notices.contains(&Notice::RebalanceEnded { millis: 0, generation: 2 }));
}

#[test]
fn an_old_client_is_given_its_id() {
    let mut tested = Tested::new();
    let request = ConsumerHeartbeat { version: 0, member_id: String::new(), ..joining("m1", &["a"]) };
    let answer = tested.heartbeat(request).expect("it joins");
    assert_eq!(answer.member_id.as_deref(), Some("given"));
    assert_eq!(tested.standing("given"), (Stable, 2, 4));
}

#[test]
fn a_member_without_topics_is_a_member() {
    let mut tested = Tested::new();
    let answer = tested.heartbeat(joining("m1", &[])).expect("it joins");
    assert_eq!((answer.member_epoch, answer.assignment), (1, Some(Partitions::default())));
    let answer = tested.heartbeat(joining("m2", &["none"])).expect("it joins");
    assert_eq!((answer.member_epoch, answer.assignment), (2, Some(Partitions::default())));
}

#[test]
fn partitions_go_from_one_to_the_other_by_way_of_nobody() {
    let mut tested = Tested::new();
    let all = tested.heartbeat(joining("m1", &["a"])).expect("it joins").assignment.expect("all");
    let second = tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    assert_eq!(second.assignment, Some(Partitions::default()));
    assert_eq!(tested.standing("m2"), (UnreleasedPartitions, 3, 0));
    assert_eq!(tested.group().state_name(), "Reconciling");

    // The first is told to give two up, and stays at its epoch until it says that it did.
    let told = tested.heartbeat(beat("m1", 2)).expect("a member");
    let kept = told.assignment.expect("it changed");
    assert_eq!((told.member_epoch, kept.len()), (2, 2));
    assert_eq!(tested.standing("m1"), (UnrevokedPartitions, 2, 2));
    let again = tested.heartbeat(owning("m1", 2, &all)).expect("a member");
    assert_eq!((again.member_epoch, again.assignment), (2, None));
    let waits = tested.heartbeat(beat("m2", 3)).expect("a member");
    assert_eq!((waits.member_epoch, waits.assignment), (3, None));

    let done = tested.heartbeat(owning("m1", 2, &kept)).expect("a member");
    assert_eq!((done.member_epoch, done.assignment), (3, None));
    assert_eq!(tested.standing("m1"), (Stable, 3, 2));
    let given = tested.heartbeat(beat("m2", 3)).expect("a member").assignment.expect("it changed");
    assert_eq!(given, all.difference(&kept));
    assert_eq!(tested.standing("m2"), (Stable, 3, 2));
    assert_eq!(tested.group().state_name(), "Stable");
}

#[test]
fn a_heartbeat_that_says_nothing_new_changes_nothing() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    let rows = tested.rows.clone();
    let answer = tested.heartbeat(beat("m1", 2)).expect("a member");
    assert_eq!((answer.member_epoch, answer.assignment), (2, None));
    assert_eq!(tested.rows, rows);
    // All of it again, in another order and twice: told all, but nothing is new.
    let request = ConsumerHeartbeat { topics: Some(names(&["a", "a"])), ..joining("m1", &[]) };
    let owned = tested.of("a", &[0, 1, 2, 3]);
    let request = ConsumerHeartbeat { member_epoch: 2, owned: Some(owned.clone()), ..request };
    let answer = tested.heartbeat(request).expect("a member");
    assert_eq!((answer.member_epoch, answer.assignment), (2, Some(owned)));
    assert_eq!(tested.rows, rows);
}

#[test]
fn a_full_request_is_told_all_and_others_what_changed() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    let full = ConsumerHeartbeat { member_epoch: 2, ..joining("m1", &["a"]) };
    assert!(tested.heartbeat(full.clone()).expect("a member").assignment.is_some());
    for partial in [
        ConsumerHeartbeat { rebalance_timeout_ms: -1, ..full.clone() },
        ConsumerHeartbeat { topics: None, ..full.clone() },
        ConsumerHeartbeat { owned: None, ..full },
    ] {
        assert_eq!(tested.heartbeat(partial).expect("a member").assignment, None);
    }
}

#[test]
fn epochs_that_cannot_be_are_fenced() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    tested.catch_up("m1");
    assert_eq!(tested.standing("m1"), (Stable, 3, 2));
    let owned = tested.member("m1").stored.standing.assigned.partitions();
    let fenced = |result: Result<_, GroupError>, how: &str| match result {
        Err(GroupError::FencedMemberEpoch(message)) => assert!(message.contains(how), "{message}"),
        other => panic!("{other:?}"),
    };
    fenced(
        tested.heartbeat(beat("m1", 4)),
        "a greater member epoch (4) than the one known by the group coordinator (3)",
    );
    fenced(tested.heartbeat(beat("m1", 1)), "a smaller member epoch (1)");
    // The epoch before, but without saying what it owns, or owning something else.
    fenced(tested.heartbeat(beat("m1", 2)), "a smaller member epoch (2)");
    let all = tested.of("a", &[0, 1, 2, 3]);
    fenced(tested.heartbeat(owning("m1", 2, &all)), "a smaller member epoch (2)");
    // The answer with the present epoch was lost.
    let answer = tested.heartbeat(owning("m1", 2, &owned)).expect("it may come with the epoch before");
    assert_eq!(answer.member_epoch, 3);
    assert_eq!(tested.heartbeat(owning("m1", 2, &Partitions::default())).map(|a| a.member_epoch), Ok(3));
}

#[test]
fn a_member_joins_again_from_epoch_0() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    tested.heartbeat(beat("m1", 2)).expect("a member");
    assert_eq!(tested.standing("m1").0, UnrevokedPartitions);
    // It has given up everything, so also what it was to give up.
    let answer = tested.heartbeat(joining("m1", &["a"])).expect("it joins again");
    assert_eq!((answer.member_epoch, answer.assignment.map(|all| all.len())), (3, Some(2)));
    assert_eq!(tested.group().len(), 2);
    assert_eq!(tested.group().group_epoch(), 3);
}

#[test]
fn strangers_are_unknown() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    assert_eq!(tested.heartbeat(beat("m2", 2)), Err(GroupError::UnknownMemberId));
    assert_eq!(tested.heartbeat(beat("m2", -1)), Err(GroupError::UnknownMemberId));
    assert_eq!(tested.heartbeat(of_instance("i", beat("m1", 2))), Err(GroupError::UnknownMemberId));
    assert_eq!(tested.heartbeat(of_instance("i", beat("m1", -2))), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_full_group_takes_nobody_but_its_members() {
    let mut tested = Tested::new();
    tested.limits.members_max = 1;
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    assert_eq!(tested.heartbeat(joining("m2", &["a"])), Err(GroupError::GroupMaxSizeReached));
    // That it is full comes before that it does not know the member.
    assert_eq!(tested.heartbeat(beat("m2", 2)), Err(GroupError::GroupMaxSizeReached));
    assert!(tested.heartbeat(joining("m1", &["a"])).is_ok());
    assert!(tested.heartbeat(beat("m1", -1)).is_ok());
    assert!(tested.heartbeat(joining("m2", &["a"])).is_ok());
}

#[test]
fn what_a_member_says_of_itself_is_kept() {
    let mut tested = Tested::new();
    let request = ConsumerHeartbeat {
        rack_id: Some("r1".to_owned()),
        assignor: Some("range".to_owned()),
        ..joining("m1", &["a"])
    };
    tested.heartbeat(request).expect("it joins");
    tested.heartbeat(beat("m1", 2)).expect("a member");
    let stored = tested.member("m1").stored.clone();
    assert_eq!(stored.rack_id.as_deref(), Some("r1"));
    assert_eq!(stored.assignor.map(|assignor| assignor.name()), Some("range"));
    assert_eq!(stored.rebalance_timeout_ms, REBALANCE);
    // Who it is is taken from every request.
    let client = Client { id: "another".to_owned(), host: "/10.0.0.1".to_owned() };
    let request = ConsumerHeartbeat {
        client: client.clone(),
        rack_id: Some("r2".to_owned()),
        assignor: Some("uniform".to_owned()),
        rebalance_timeout_ms: 7,
        ..beat("m1", 2)
    };
    let answer = tested.heartbeat(request).expect("a member");
    assert_eq!(answer.member_epoch, 2, "none of it makes a rebalance");
    let stored = &tested.member("m1").stored;
    assert_eq!(stored.client, client);
    assert_eq!(stored.rack_id.as_deref(), Some("r2"));
    assert_eq!(stored.assignor.map(|assignor| assignor.name()), Some("uniform"));
    assert_eq!(stored.rebalance_timeout_ms, 7);
}

#[test]
fn another_subscription_makes_a_rebalance() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    let request = ConsumerHeartbeat { topics: Some(names(&["b"])), ..beat("m1", 2) };
    let answer = tested.heartbeat(request).expect("a member");
    assert_eq!((answer.member_epoch, answer.assignment), (2, Some(Partitions::default())));
    let answer = tested.heartbeat(owning("m1", 2, &Partitions::default())).expect("a member");
    assert_eq!((answer.member_epoch, answer.assignment), (3, Some(tested.of("b", &[0, 1]))));
}

#[test]
fn a_member_that_gives_up_gives_up_what_it_no_longer_wants_too() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a", "b"])).expect("it joins");
    tested.heartbeat(joining("m2", &["a", "b"])).expect("it joins");
    tested.heartbeat(beat("m1", 2)).expect("a member");
    assert_eq!(tested.standing("m1"), (UnrevokedPartitions, 2, 3));
    let request = ConsumerHeartbeat { topics: Some(names(&["b"])), ..beat("m1", 2) };
    tested.heartbeat(request).expect("a member");
    let owned: BTreeSet<String> = tested.owns("m1").into_iter().map(|(topic, _)| topic).collect();
    assert!(!owned.contains("a"), "{owned:?}");
    assert_eq!(tested.standing("m1").0, UnrevokedPartitions);
}

#[test]
fn members_leave_and_the_others_share() {
    let mut tested = Tested::new();
    for id in ["m1", "m2"] {
        tested.heartbeat(joining(id, &["a"])).expect("it joins");
    }
    tested.catch_up("m1");
    tested.catch_up("m2");
    let answer = tested.heartbeat(beat("m1", -1)).expect("it leaves");
    assert_eq!((answer.member_epoch, answer.assignment, answer.heartbeat_interval_ms), (-1, None, 0));
    assert_eq!(answer.member_id.as_deref(), Some("m1"));
    assert!(tested.notices.contains(&Notice::MemberLeft("m1".into())));
    // The target is computed when the next member asks.
    assert_eq!(tested.group().state_name(), "Assigning");
    let answer = tested.heartbeat(beat("m2", 3)).expect("a member");
    assert_eq!((answer.member_epoch, answer.assignment.map(|all| all.len())), (4, Some(4)));
    tested.heartbeat(beat("m2", -1)).expect("it leaves");
    assert_eq!((tested.group().state_name(), tested.group().group_epoch()), ("Empty", 5));
    // A group without members goes on with its epochs.
    assert_eq!(tested.heartbeat(joining("m3", &["a"])).map(|answer| answer.member_epoch), Ok(6));
}

#[test]
fn most_members_choose_the_assignor() {
    let mut tested = Tested::new();
    let wanting = |id: &str, assignor: &str| ConsumerHeartbeat {
        assignor: Some(assignor.to_owned()),
        ..joining(id, &["a", "b"])
    };
    let describe = |tested: &Tested| tested.group().describe(&tested.limits).assignor;
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    assert_eq!(describe(&tested), "uniform");
    tested.heartbeat(wanting("m2", "range")).expect("it joins");
    assert_eq!(describe(&tested), "range");
    tested.heartbeat(wanting("m3", "uniform")).expect("it joins");
    assert_eq!(describe(&tested), "uniform", "the first in the settings of those with as many");
    tested.heartbeat(wanting("m4", "range")).expect("it joins");
    assert_eq!(describe(&tested), "range");
    // One that is no longer offered is not chosen.
    tested.limits.assignors.retain(|assignor| assignor.name() == "uniform");
    assert_eq!(describe(&tested), "uniform");
}

#[test]
fn the_description_shows_what_is_and_what_is_to_be() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.heartbeat(of_instance("i", joining("m2", &["a"]))).expect("it joins");
    let described = tested.group().describe(&tested.limits);
    assert_eq!((described.state, described.group_epoch, described.assignment_epoch), ("Reconciling", 3, 3));
    let [first, second] = &described.members[..] else { panic!("two members") };
    let a = tested.id("a");
    assert_eq!((first.member_id.as_str(), first.member_epoch, first.is_classic), ("m1", 2, false));
    assert_eq!(first.assigned, [(a, vec![0, 1, 2, 3])]);
    assert_eq!(first.target[0].1.len(), 2);
    assert_eq!(first.topics, ["a"]);
    assert_eq!((second.instance_id.as_deref(), second.assigned.len()), (Some("i"), 0));
}

#[test]
fn a_large_group_is_shared_in_a_few_rounds() {
    let mut tested = Tested::new();
    tested.topics.create("large", 300);
    let ids: Vec<String> = (0..30).map(|number| format!("m{number:02}")).collect();
    for id in &ids {
        tested.heartbeat(joining(id, &["large"])).expect("it joins");
    }
    for id in ids.iter().chain(&ids) {
        tested.catch_up(id);
    }
    assert_eq!(tested.group().state_name(), "Stable");
    for id in &ids {
        assert_eq!(tested.owns(id).len(), 10);
    }
}
