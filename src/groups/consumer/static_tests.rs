//! Members with a `group.instance.id`: they go and come back without a rebalance.

use super::super::assign::Partitions;
use super::super::error::GroupError;
use super::super::request::ConsumerHeartbeat;
use super::LEFT_FOR_A_WHILE;
use super::MemberState::{Stable, UnreleasedPartitions, UnrevokedPartitions};
use super::testing::*;

/// Two static members, `m1` of instance `i1` and `m2` of `i2`, who share `a`.
fn two() -> Tested {
    let mut tested = Tested::new();
    tested.heartbeat(of_instance("i1", joining("m1", &["a"]))).expect("it joins");
    tested.heartbeat(of_instance("i2", joining("m2", &["a"]))).expect("it joins");
    tested.catch_up("m1");
    tested.catch_up("m2");
    assert_eq!(tested.standing("m1"), (Stable, 3, 2));
    assert_eq!(tested.standing("m2"), (Stable, 3, 2));
    tested
}

#[test]
fn who_comes_back_has_what_it_had() {
    let mut tested = two();
    let had = tested.owns("m1");
    let answer = tested.heartbeat(of_instance("i1", beat("m1", LEFT_FOR_A_WHILE))).expect("it goes");
    assert_eq!((answer.member_epoch, answer.member_id.as_deref()), (LEFT_FOR_A_WHILE, Some("m1")));
    assert_eq!((tested.group().len(), tested.group().group_epoch()), (2, 3));
    assert_eq!(tested.owns("m1"), had);
    assert_eq!(tested.group().state_name(), "Reconciling");

    let answer = tested.heartbeat(of_instance("i1", joining("m3", &["a"]))).expect("it comes back");
    assert_eq!((answer.member_epoch, answer.member_id.as_deref()), (3, Some("m3")));
    assert_eq!(answer.assignment.map(|all| tested.named(&all)), Some(had.clone()));
    assert_eq!(tested.owns("m3"), had);
    assert_eq!((tested.group().len(), tested.group().group_epoch()), (2, 3));
    assert_eq!(tested.group().static_member("i1").map(|id| &**id), Some("m3"));
    assert_eq!(tested.heartbeat(of_instance("i1", beat("m1", 3))), Err(GroupError::FencedInstanceId));
    assert_eq!(tested.heartbeat(beat("m1", 3)), Err(GroupError::UnknownMemberId));
    // What it owns since before it went may be committed with its new epoch, whatever that is.
    let standing = &tested.member("m3").stored.standing;
    assert!(standing.assigned.iter().all(|(_, _, epoch)| epoch == 0));
}

#[test]
fn it_may_come_back_with_its_own_id() {
    let mut tested = two();
    tested.heartbeat(of_instance("i1", beat("m1", LEFT_FOR_A_WHILE))).expect("it goes");
    let answer = tested.heartbeat(of_instance("i1", joining("m1", &["a"]))).expect("it comes back");
    assert_eq!((answer.member_epoch, tested.group().len()), (3, 2));
    assert_eq!(tested.standing("m1"), (Stable, 3, 2));
}

#[test]
fn the_place_is_taken_while_its_owner_has_not_left() {
    let mut tested = two();
    let message = "Static member m3 with instance id i1 cannot join the group because the instance id is owned by m1 \
                   member.";
    let error = GroupError::UnreleasedInstanceId(message.to_owned());
    let rows = tested.rows.clone();
    assert_eq!(tested.heartbeat(of_instance("i1", joining("m3", &["b"]))), Err(error));
    assert_eq!(tested.rows, rows);
    // Also to the owner itself.
    let again = tested.heartbeat(of_instance("i1", joining("m1", &["a"])));
    assert!(matches!(again, Err(GroupError::UnreleasedInstanceId(_))));
    // When it is gone the place is free.
    tested.wait(u64::from(SESSION.unsigned_abs()));
    assert!(tested.heartbeat(of_instance("i1", joining("m3", &["b"]))).is_ok());
}

#[test]
fn who_has_left_for_a_while_cannot_go_on() {
    let mut tested = two();
    tested.heartbeat(of_instance("i1", beat("m1", LEFT_FOR_A_WHILE))).expect("it goes");
    let fenced = tested.heartbeat(of_instance("i1", beat("m1", 3)));
    assert!(matches!(fenced, Err(GroupError::FencedMemberEpoch(_))));
    // It counts as gone when its session is over.
    tested.wait(u64::from(SESSION.unsigned_abs()));
    assert_eq!(tested.group().static_member("i1"), None);
}

#[test]
fn a_static_member_can_leave_for_good() {
    let mut tested = two();
    tested.heartbeat(of_instance("i1", beat("m1", -1))).expect("it leaves");
    assert_eq!((tested.group().len(), tested.group().group_epoch()), (1, 4));
    assert_eq!(tested.group().static_member("i1"), None);
    let wrong = tested.heartbeat(of_instance("i2", beat("m1", -1)));
    assert_eq!(wrong, Err(GroupError::FencedInstanceId));
}

#[test]
fn who_leaves_while_giving_up_gives_up() {
    let mut tested = Tested::new();
    tested.heartbeat(of_instance("i1", joining("m1", &["a"]))).expect("it joins");
    tested.heartbeat(of_instance("i2", joining("m2", &["a"]))).expect("it joins");
    tested.heartbeat(of_instance("i1", beat("m1", 2))).expect("a member");
    assert_eq!(tested.standing("m1").0, UnrevokedPartitions);
    tested.heartbeat(of_instance("i1", beat("m1", LEFT_FOR_A_WHILE))).expect("it goes");
    assert_eq!(tested.standing("m1").2, 2);
    // The other has what was given up, and the time to give up no longer counts.
    tested.heartbeat(of_instance("i2", beat("m2", 3))).expect("a member");
    assert_eq!(tested.standing("m2"), (Stable, 3, 2));
    tested.wait(u64::from(REBALANCE.unsigned_abs()));
    tested.heartbeat(of_instance("i1", joining("m3", &["a"]))).expect("it comes back");
    assert_eq!(tested.standing("m3"), (Stable, 3, 2));
}

#[test]
fn who_comes_back_is_told_what_happened_meanwhile() {
    let mut tested = two();
    tested.heartbeat(of_instance("i1", beat("m1", LEFT_FOR_A_WHILE))).expect("it goes");
    tested.heartbeat(joining("m3", &["a"])).expect("it joins");
    assert_eq!(tested.standing("m3").0, UnreleasedPartitions);
    let answer = tested.heartbeat(of_instance("i1", joining("m4", &["a"]))).expect("it comes back");
    assert_eq!(answer.member_epoch, 4);
    // It owned nothing when it came, so nothing has to be given up first.
    assert_eq!(tested.standing("m4").0, Stable);
    // With another subscription it makes a rebalance of its own.
    tested.heartbeat(of_instance("i1", beat("m4", LEFT_FOR_A_WHILE))).expect("it goes");
    let answer = tested.heartbeat(of_instance("i1", joining("m5", &["b"]))).expect("it comes back");
    assert_eq!((answer.member_epoch, answer.assignment), (5, Some(tested.of("b", &[0, 1]))));
}

#[test]
fn expressions_survive_the_exchange() {
    let mut tested = Tested::new();
    let by_regex = |id: &str| ConsumerHeartbeat {
        topics: None,
        topic_regex: Some("a|b".to_owned()),
        ..of_instance("i1", joining(id, &[]))
    };
    tested.heartbeat(by_regex("m1")).expect("it joins");
    assert_eq!(tested.standing("m1"), (Stable, 2, 6));
    tested.heartbeat(of_instance("i1", beat("m1", LEFT_FOR_A_WHILE))).expect("it goes");
    let answer = tested.heartbeat(by_regex("m2")).expect("it comes back");
    assert_eq!((answer.member_epoch, answer.assignment.map(|all| all.len())), (2, Some(6)));
    assert!(tested.group().is_subscribed_to("b"));
}

#[test]
fn who_comes_back_under_a_members_id_takes_that_place_too() {
    let mut tested = Tested::new();
    tested.heartbeat(of_instance("i1", joining("m1", &["b"]))).expect("it joins");
    let by_regex =
        ConsumerHeartbeat { topics: None, topic_regex: Some("a".to_owned()), ..joining("m2", &[]) };
    tested.heartbeat(by_regex.clone()).expect("it joins");
    tested.heartbeat(of_instance("i1", beat("m1", LEFT_FOR_A_WHILE))).expect("it goes");
    let request = ConsumerHeartbeat { topics: Some(Vec::new()), ..of_instance("i1", by_regex) };
    tested.heartbeat(request).expect("it comes back");
    assert_eq!(tested.group().len(), 1);
    tested.catch_up("m2");
    assert_eq!(tested.owns("m2").len(), 4);
}

#[test]
fn a_full_group_has_no_place_for_a_new_id() {
    let mut tested = two();
    tested.limits.members_max = 2;
    tested.heartbeat(of_instance("i1", beat("m1", LEFT_FOR_A_WHILE))).expect("it goes");
    // As in Kafka, although the place is its own.
    let refused = tested.heartbeat(of_instance("i1", joining("m3", &["a"])));
    assert_eq!(refused, Err(GroupError::GroupMaxSizeReached));
}

#[test]
fn a_dynamic_member_can_become_a_static_one() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.heartbeat(of_instance("i1", joining("m1", &["a"]))).expect("it joins again");
    assert_eq!(tested.group().static_member("i1").map(|id| &**id), Some("m1"));
    // And take another place.
    tested.heartbeat(of_instance("i2", joining("m1", &["a"]))).expect("it joins again");
    assert_eq!(tested.group().static_member("i1"), None);
    assert_eq!((tested.group().len(), tested.group().group_epoch()), (1, 2));
    let owned = Partitions::default();
    let lost = ConsumerHeartbeat { owned: Some(owned), ..of_instance("i1", beat("m1", 2)) };
    assert_eq!(tested.heartbeat(lost), Err(GroupError::UnknownMemberId));
}
