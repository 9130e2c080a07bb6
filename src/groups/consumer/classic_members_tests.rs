//! Members that speak the classic protocol inside a consumer group.

use super::super::error::GroupError;
use super::super::limits::MigrationPolicy;
use super::super::request::{
    Committer, ConsumerHeartbeat, HeartbeatRequest, JoinAnswer, JoinRequest, Leaving, Protocol, SyncRequest,
};
use super::MemberState::{Stable, UnreleasedPartitions, UnrevokedPartitions};
use super::consumer_protocol::read_assignment;
use super::testing::*;

const REBALANCE_MS: u64 = REBALANCE as u64;

/// A consumer member `m1` that owns all of `a`, at epoch 2.
fn one() -> Tested {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested
}

fn generation(answer: JoinAnswer) -> i32 {
    answer.result.expect("it joins").generation
}

fn assigned(tested: &mut Tested, request: SyncRequest) -> Vec<i32> {
    let synced = tested.synced(request).expect("it is assigned");
    let read = read_assignment(&synced.assignment).expect("it is good");
    assert!(!read.has_user_data);
    read.partitions
        .into_iter()
        .flat_map(|(topic, numbers)| {
            assert_eq!(topic, "a");
            numbers
        })
        .collect()
}

#[test]
fn a_classic_member_joins_is_given_an_id_and_waits_for_nobody() {
    let mut tested = one();
    let answer = tested.joined(classic_join("", subscription(&["a"], &[])));
    assert_eq!(
        answer,
        JoinAnswer { member_id: "given".to_owned(), result: Err(GroupError::MemberIdRequired) }
    );
    assert_eq!(tested.group().len(), 1);
    let joined = tested.joined(classic_join("given", subscription(&["a"], &[]))).result.expect("it joins");
    assert_eq!((joined.generation, joined.member_id.as_str()), (3, "given"));
    assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!((joined.leader.as_str(), joined.members.len(), joined.skip_assignment), ("", 0, false));
    assert_eq!(tested.standing("given"), (UnreleasedPartitions, 3, 0));
    assert_eq!(assigned(&mut tested, classic_sync("given", 3)), [0; 0]);
    assert_eq!(tested.classic_heartbeat(&classic_beat("given", 3)), Ok(()));
    // When the partitions are free it is to join again to be given them.
    tested.catch_up("m1");
    assert_eq!(tested.classic_heartbeat(&classic_beat("given", 3)), Err(GroupError::RebalanceInProgress));
    assert_eq!(generation(tested.joined(classic_join("given", subscription(&["a"], &[])))), 3);
    assert_eq!(assigned(&mut tested, classic_sync("given", 3)).len(), 2);
    assert_eq!(tested.classic_heartbeat(&classic_beat("given", 3)), Ok(()));
    let described = tested.group().describe(&tested.limits);
    assert_eq!(described.members.iter().filter(|member| member.is_classic).count(), 1);
}

#[test]
fn an_older_client_joins_at_once() {
    let mut tested = one();
    let request =
        JoinRequest { requires_known_member_id: false, ..classic_join("", subscription(&["a"], &[])) };
    assert_eq!(generation(tested.joined(request)), 3);
    assert_eq!(tested.standing("given").0, UnreleasedPartitions);
}

/// `m1` (consumer) and `c1` (classic) share `a` at epoch 3.
fn two() -> Tested {
    let mut tested = one();
    tested.joined(classic_join("c1", subscription(&["a"], &[])));
    tested.catch_up("m1");
    tested.joined(classic_join("c1", subscription(&["a"], &[])));
    assert_eq!(assigned(&mut tested, classic_sync("c1", 3)).len(), 2);
    assert_eq!(tested.standing("c1"), (Stable, 3, 2));
    tested
}

/// What a cooperative member says that it owns.
fn owning(tested: &Tested, id: &str) -> bytes::Bytes {
    let numbers: Vec<i32> = tested.owns(id).into_iter().map(|(_, number)| number).collect();
    subscription(&["a"], &[("a", &numbers)])
}

#[test]
fn a_cooperative_member_gives_up_before_others_are_given() {
    let mut tested = two();
    let before = owning(&tested, "c1");
    tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    tested.heartbeat(joining("m3", &["a"])).expect("it joins");
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Err(GroupError::RebalanceInProgress));
    assert_eq!(tested.synced(classic_sync("c1", 3)), Err(GroupError::RebalanceInProgress));
    // It joins with all it owns: it keeps its epoch, and is told what it may keep.
    assert_eq!(generation(tested.joined(classic_join("c1", before.clone()))), 3);
    assert_eq!(tested.standing("c1"), (UnrevokedPartitions, 3, 1));
    let kept = assigned(&mut tested, classic_sync("c1", 3));
    assert_eq!(kept.len(), 1);
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Err(GroupError::RebalanceInProgress));
    // Joining again without having given up changes nothing.
    assert_eq!(generation(tested.joined(classic_join("c1", before))), 3);
    assert_eq!(tested.standing("c1").0, UnrevokedPartitions);
    let after = subscription(&["a"], &[("a", &kept)]);
    assert_eq!(generation(tested.joined(classic_join("c1", after))), 5);
    assert_eq!(tested.standing("c1"), (Stable, 5, 1));
    assert_eq!(assigned(&mut tested, classic_sync("c1", 5)), kept);
}

#[test]
fn an_eager_member_has_given_up_everything_when_it_joins() {
    let mut tested = one();
    tested.joined(classic_join("c1", eager_subscription(&["a"])));
    tested.catch_up("m1");
    assert_eq!(generation(tested.joined(classic_join("c1", eager_subscription(&["a"])))), 3);
    assert_eq!(assigned(&mut tested, classic_sync("c1", 3)).len(), 2);
    tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Err(GroupError::RebalanceInProgress));
    assert_eq!(generation(tested.joined(classic_join("c1", eager_subscription(&["a"])))), 4);
    assert_eq!(tested.standing("c1").0, Stable);
}

#[test]
fn protocols_must_be_those_of_the_other_classic_members() {
    let mut tested = two();
    let protocol = |name: &str| Protocol { name: name.to_owned(), metadata: subscription(&["a"], &[]) };
    let join =
        |protocols: Vec<Protocol>| JoinRequest { protocols, ..classic_join("c2", subscription(&["a"], &[])) };
    let refused = JoinAnswer { member_id: String::new(), result: Err(GroupError::InconsistentGroupProtocol) };
    assert_eq!(tested.joined(join(vec![protocol("sticky")])), refused);
    assert_eq!(tested.joined(join(Vec::new())), refused);
    let other_type = JoinRequest { protocol_type: "connect".to_owned(), ..join(vec![protocol("range")]) };
    assert_eq!(tested.joined(other_type), refused);
    let unreadable = Protocol { metadata: bytes::Bytes::from_static(&[0]), ..protocol("range") };
    assert_eq!(tested.joined(join(vec![unreadable])), refused);
    assert_eq!(tested.group().len(), 2);
    assert!(
        tested.joined(join(vec![protocol("sticky"), protocol("range"), protocol("range")])).result.is_ok()
    );
}

#[test]
fn joins_are_refused_in_kafkas_order() {
    let mut tested = two();
    let request = classic_join("", subscription(&["a"], &[]));
    let session = JoinRequest { session_timeout_ms: 60_000, ..request.clone() };
    assert_eq!(tested.joined(session).result, Err(GroupError::InvalidSessionTimeout));
    tested.limits.members_max = 2;
    let bad = JoinRequest { protocols: Vec::new(), ..request.clone() };
    assert_eq!(tested.joined(bad).result, Err(GroupError::GroupMaxSizeReached));
    tested.limits.migration = MigrationPolicy::Disabled;
    assert_eq!(tested.joined(request.clone()).result, Err(GroupError::InconsistentGroupProtocol));
    // A policy of one way does not keep classic members out.
    tested.limits.migration = MigrationPolicy::Upgrade;
    tested.limits.members_max = 3;
    assert_eq!(tested.joined(request).result, Err(GroupError::MemberIdRequired));
}

#[test]
fn sync_and_heartbeat_are_refused_in_kafkas_order() {
    let mut tested = two();
    let sync = |tested: &mut Tested, request| tested.synced(request).err();
    assert_eq!(sync(&mut tested, classic_sync("c9", 3)), Some(GroupError::UnknownMemberId));
    // A member that does not speak the protocol.
    assert_eq!(sync(&mut tested, classic_sync("m1", 3)), Some(GroupError::UnknownMemberId));
    assert_eq!(tested.classic_heartbeat(&classic_beat("m1", 3)), Err(GroupError::UnknownMemberId));
    assert_eq!(sync(&mut tested, classic_sync("c1", 2)), Some(GroupError::IllegalGeneration));
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 4)), Err(GroupError::IllegalGeneration));
    let request = SyncRequest { protocol_name: Some("sticky".to_owned()), ..classic_sync("c1", 3) };
    assert_eq!(sync(&mut tested, request), Some(GroupError::InconsistentGroupProtocol));
    let request = SyncRequest { protocol_type: Some("connect".to_owned()), ..classic_sync("c1", 3) };
    assert_eq!(sync(&mut tested, request), Some(GroupError::InconsistentGroupProtocol));
    let request = SyncRequest { protocol_type: None, protocol_name: None, ..classic_sync("c1", 3) };
    let synced = tested.synced(request).expect("older versions do not name them");
    assert_eq!((synced.protocol_type, synced.protocol_name), (None, None));
    let of_nobody = SyncRequest { instance_id: Some("i".to_owned()), ..classic_sync("c1", 3) };
    assert_eq!(sync(&mut tested, of_nobody), Some(GroupError::UnknownMemberId));
}

fn static_join(id: &str) -> JoinRequest {
    JoinRequest { instance_id: Some("i".to_owned()), ..classic_join(id, subscription(&["a"], &[])) }
}

#[test]
fn a_static_classic_member_is_replaced_by_the_next() {
    let mut tested = one();
    let first = tested.joined(JoinRequest { new_member_id: "c1".to_owned(), ..static_join("") });
    assert_eq!((first.member_id.as_str(), generation(first.clone())), ("c1", 3));
    tested.catch_up("m1");
    tested.joined(static_join("c1"));
    let had = tested.owns("c1");
    assert_eq!(had.len(), 2);
    let next = tested.joined(JoinRequest { new_member_id: "c2".to_owned(), ..static_join("") });
    assert_eq!((next.member_id.as_str(), generation(next.clone())), ("c2", 3));
    assert_eq!((tested.group().len(), tested.group().group_epoch()), (2, 3));
    assert_eq!(tested.owns("c2"), had);
    assert_eq!(tested.joined(static_join("c1")).result, Err(GroupError::FencedInstanceId));
    let beat = HeartbeatRequest { instance_id: Some("i".to_owned()), ..classic_beat("c1", 3) };
    assert_eq!(tested.classic_heartbeat(&beat), Err(GroupError::FencedInstanceId));
    let sync = SyncRequest { instance_id: Some("i".to_owned()), ..classic_sync("c1", 3) };
    assert_eq!(tested.synced(sync), Err(GroupError::FencedInstanceId));
    let other = JoinRequest { instance_id: Some("j".to_owned()), ..static_join("c1") };
    assert_eq!(tested.joined(other).result, Err(GroupError::UnknownMemberId));
}

#[test]
fn a_static_member_upgrades_without_leaving() {
    let mut tested = one();
    tested.joined(JoinRequest { new_member_id: "c1".to_owned(), ..static_join("") });
    tested.catch_up("m1");
    tested.joined(static_join("c1"));
    let had = tested.owns("c1");
    // The place of a classic member is taken although it has not left.
    let answer = tested.heartbeat(of_instance("i", joining("m2", &["a"]))).expect("it takes over");
    assert_eq!((answer.member_epoch, tested.owns("m2")), (3, had));
    assert!(!tested.member("m2").is_classic());
    assert_eq!(tested.group().len(), 2);
}

#[test]
fn a_member_changes_its_protocol_under_the_same_id() {
    let mut tested = two();
    tested.wait(REBALANCE_MS - 1);
    let request = ConsumerHeartbeat { member_id: "c1".to_owned(), ..joining("c1", &["a"]) };
    assert_eq!(tested.heartbeat(request).map(|answer| answer.member_epoch), Ok(3));
    assert!(!tested.member("c1").is_classic());
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Err(GroupError::UnknownMemberId));
    tested.joined(classic_join("c1", subscription(&["a"], &[])));
    assert!(tested.member("c1").is_classic());
}

#[test]
fn who_is_told_to_join_must_join_in_time() {
    let mut tested = two();
    tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Err(GroupError::RebalanceInProgress));
    tested.wait(REBALANCE_MS - 1);
    // Being told again gives no more time.
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Err(GroupError::RebalanceInProgress));
    assert!(tested.group().member("c1").is_some());
    tested.wait(1);
    assert!(tested.group().member("c1").is_none());
}

#[test]
fn who_has_joined_must_sync_in_time() {
    let mut tested = one();
    tested.joined(classic_join("c1", subscription(&["a"], &[])));
    tested.wait(REBALANCE_MS - 1);
    assert!(tested.group().member("c1").is_some());
    tested.wait(1);
    assert!(tested.group().member("c1").is_none());
    // Who has synced is only asked for heartbeats.
    let mut tested = two();
    tested.wait(REBALANCE_MS);
    assert!(tested.group().member("c1").is_some());
}

#[test]
fn its_own_session_timeout_counts() {
    let mut tested = one();
    tested.limits.session_timeout_ms = 20 * SESSION;
    tested.heartbeat(beat("m1", 2)).expect("a member");
    let request =
        JoinRequest { session_timeout_ms: SESSION / 2, ..classic_join("c1", subscription(&["a"], &[])) };
    let generation = generation(tested.joined(request));
    tested.synced(classic_sync("c1", generation)).expect("it is assigned");
    tested.wait(u64::from(SESSION.unsigned_abs()) / 2 - 1);
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Ok(()));
    tested.wait(u64::from(SESSION.unsigned_abs()) / 2);
    assert!(tested.group().member("c1").is_none());
    assert!(tested.group().member("m1").is_some());
}

#[test]
fn members_of_either_protocol_can_be_taken_out() {
    let mut tested = two();
    tested.heartbeat(of_instance("i1", joining("m2", &["a"]))).expect("it joins");
    let entries = vec![
        leaving("c9"),
        leaving("c1"),
        Leaving { member_id: "wrong".to_owned(), instance_id: Some("i1".to_owned()), reason: None },
        Leaving { member_id: String::new(), instance_id: Some("i1".to_owned()), reason: None },
        Leaving { member_id: String::new(), instance_id: Some("none".to_owned()), reason: None },
    ];
    let left: Vec<_> = tested.leave(entries).into_iter().map(|left| left.result).collect();
    let expected = [
        Err(GroupError::UnknownMemberId),
        Ok(()),
        Err(GroupError::FencedInstanceId),
        Ok(()),
        Err(GroupError::UnknownMemberId),
    ];
    assert_eq!(left, expected);
    assert_eq!((tested.group().len(), tested.group().group_epoch()), (1, 5));
    // Nobody is left of those named: no rebalance.
    tested.leave(vec![leaving("c1")]);
    assert_eq!(tested.group().group_epoch(), 5);
}

#[test]
fn classic_members_commit_with_their_generation() {
    let tested = two();
    let committer =
        |epoch| Committer { member_id: "c1".to_owned(), instance_id: None, generation_or_epoch: epoch };
    assert!(tested.group().check_commit(&committer(3), 2).is_ok());
    assert_eq!(tested.group().check_commit(&committer(4), 2).err(), Some(GroupError::IllegalGeneration));
    let right = tested.group().check_commit(&committer(2), 2).expect("it depends on the partition");
    assert_eq!(right.check(tested.id("a"), 0), Err(GroupError::IllegalGeneration));
    assert_eq!(tested.group().check_fetch(&committer(2)), Err(GroupError::IllegalGeneration));
}

#[test]
fn a_rebalance_reaches_classic_members_when_only_they_are_left() {
    let mut tested = two();
    tested.limits.migration = MigrationPolicy::Upgrade;
    tested.heartbeat(beat("m1", -1)).expect("it leaves");
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Err(GroupError::RebalanceInProgress));
    let metadata = owning(&tested, "c1");
    assert_eq!(generation(tested.joined(classic_join("c1", metadata))), 4);
    assert_eq!(assigned(&mut tested, classic_sync("c1", 4)).len(), 4);
}
