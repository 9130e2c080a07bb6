//! Who may commit, what, and with which epoch.

use super::super::classic::OffsetsExpire;
use super::super::error::GroupError;
use super::super::request::{Committer, ConsumerHeartbeat};
use super::ConsumerGroup;
use super::testing::*;

fn committer(id: &str, epoch: i32) -> Committer {
    Committer { member_id: id.to_owned(), instance_id: None, generation_or_epoch: epoch }
}

/// `m1` owns half of `a` since epoch 2 and is at epoch 3; `m2` owns the other half since epoch 3.
fn two() -> Tested {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    tested.catch_up("m1");
    tested.catch_up("m2");
    tested
}

#[test]
fn the_present_epoch_may_commit_anything() {
    let tested = two();
    let right = tested.group().check_commit(&committer("m1", 3), 9).expect("it may");
    assert_eq!(right.check(tested.id("a"), 0), Ok(()));
    assert_eq!(right.check(tested.id("b"), 7), Ok(()));
}

#[test]
fn an_older_epoch_may_commit_what_it_owned_then() {
    let tested = two();
    let a = tested.id("a");
    let mine = tested.owns("m1");
    let right = tested.group().check_commit(&committer("m1", 2), 9).expect("it may");
    for partition in 0..4 {
        let is_mine = mine.contains(&("a".to_owned(), partition));
        let expected = if is_mine { Ok(()) } else { Err(GroupError::StaleMemberEpoch) };
        assert_eq!(right.check(a, partition), expected, "{partition}");
    }
    let too_old = tested.group().check_commit(&committer("m1", 1), 9).expect("it depends on the partition");
    assert_eq!(too_old.check(a, mine[0].1), Err(GroupError::StaleMemberEpoch));
    let right = tested.group().check_commit(&committer("m2", 2), 9).expect("it depends on the partition");
    assert_eq!(right.check(a, tested.owns("m2")[0].1), Err(GroupError::StaleMemberEpoch));
}

#[test]
fn what_is_being_given_up_may_still_be_committed() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    tested.heartbeat(joining("m3", &["a"])).expect("it joins");
    tested.heartbeat(beat("m1", 2)).expect("a member");
    let kept = tested.member("m1").stored.standing.assigned.partitions();
    tested.heartbeat(ConsumerHeartbeat { owned: Some(kept), ..beat("m1", 2) }).expect("a member");
    tested.heartbeat(joining("m4", &["a"])).expect("it joins");
    tested.heartbeat(beat("m1", 4)).expect("a member");
    let standing = &tested.member("m1").stored.standing;
    let (topic, partition, since) =
        standing.pending_revocation.iter().next().expect("something is to be given up");
    assert_eq!(since, 2);
    let right = tested.group().check_commit(&committer("m1", 3), 9).expect("it depends on the partition");
    assert_eq!(right.check(topic, partition), Ok(()));
}

#[test]
fn an_epoch_ahead_is_refused() {
    let tested = two();
    assert_eq!(tested.group().check_commit(&committer("m1", 4), 9).err(), Some(GroupError::StaleMemberEpoch));
}

#[test]
fn strangers_and_those_who_left_are_refused() {
    let mut tested = two();
    let unknown = Some(GroupError::UnknownMemberId);
    assert_eq!(tested.group().check_commit(&committer("m9", 3), 9).err(), unknown);
    assert_eq!(tested.group().check_commit(&committer("", -1), 9).err(), unknown, "the group has members");
    tested.heartbeat(beat("m1", -1)).expect("it leaves");
    assert_eq!(tested.group().check_commit(&committer("m1", 3), 9).err(), unknown);
    tested.heartbeat(beat("m2", -1)).expect("it leaves");
    assert!(tested.group().check_commit(&committer("", -1), 9).is_ok(), "the group is empty");
    assert_eq!(tested.group().check_commit(&committer("m2", 3), 9).err(), unknown);
}

#[test]
fn old_requests_cannot_commit_for_a_member() {
    let tested = two();
    let refused = tested.group().check_commit(&committer("m1", 3), 8).err();
    assert!(matches!(refused, Some(GroupError::UnsupportedVersion(_))));
    assert_eq!(tested.group().check_commit(&committer("m9", 3), 8).err(), Some(GroupError::UnknownMemberId));
}

#[test]
fn transactions_commit_for_nobody_or_for_a_member() {
    let tested = two();
    let group = tested.group();
    assert!(group.check_transactional_commit(&committer("", -1)).is_ok());
    assert!(group.check_transactional_commit(&committer("m1", 3)).is_ok());
    assert_eq!(
        group.check_transactional_commit(&committer("m9", 3)).err(),
        Some(GroupError::UnknownMemberId)
    );
    assert_eq!(
        group.check_transactional_commit(&committer("m1", 4)).err(),
        Some(GroupError::IllegalGeneration)
    );
    let right = group.check_transactional_commit(&committer("m1", 2)).expect("it depends on the partition");
    assert_eq!(right.check(tested.id("a"), tested.owns("m1")[0].1), Ok(()));
    let named = Committer { instance_id: Some("i".to_owned()), ..committer("", -1) };
    assert_eq!(group.check_transactional_commit(&named).err(), Some(GroupError::UnknownMemberId));
}

#[test]
fn offsets_are_read_by_anybody_or_with_the_present_epoch() {
    let tested = two();
    let group = tested.group();
    assert_eq!(group.check_fetch(&committer("", -1)), Ok(()));
    assert_eq!(group.check_fetch(&committer("m1", 3)), Ok(()));
    assert_eq!(group.check_fetch(&committer("m1", 2)), Err(GroupError::StaleMemberEpoch));
    assert_eq!(group.check_fetch(&committer("m1", 4)), Err(GroupError::StaleMemberEpoch));
    assert_eq!(group.check_fetch(&committer("m9", -1)), Err(GroupError::UnknownMemberId));
    assert_eq!(group.check_fetch(&committer("", 0)), Err(GroupError::UnknownMemberId));
}

#[test]
fn only_an_empty_group_is_deleted() {
    let tested = two();
    assert_eq!(tested.group().check_delete(), Err(GroupError::NonEmptyGroup));
    assert_eq!(tested.group().check_delete_offsets(), Ok(()));
    assert_eq!(tested.group().offsets_expire(), OffsetsExpire::FromCommit);
    assert_eq!(ConsumerGroup::new("g".into()).check_delete(), Ok(()));
}
