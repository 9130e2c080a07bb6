//! Groups that change their kind, and slots with nothing in them.

use super::super::classic;
use super::super::effects::{Answer, Notice, RowKey};
use super::super::error::GroupError;
use super::super::group::Group;
use super::super::limits::MigrationPolicy;
use super::super::request::{JoinRequest, Joined, Protocol, SyncRequest};
use super::MemberState::{Stable, UnrevokedPartitions};
use super::consumer_protocol::{read_assignment, write_assignment};
use super::testing::*;

fn classic(tested: &Tested) -> &classic::ClassicGroup {
    match &tested.slot {
        Some(Group::Classic(group)) => group,
        other => panic!("no classic group, but {other:?}"),
    }
}

fn joined(answer: super::super::request::JoinAnswer) -> Joined {
    answer.result.expect("it joins")
}

fn at_once(id: &str, metadata: bytes::Bytes) -> JoinRequest {
    JoinRequest {
        requires_known_member_id: false,
        new_member_id: id.to_owned(),
        ..classic_join("", metadata)
    }
}

/// A stable classic group of one member `c1`, generation 1, that owns partitions 0 to 2 of `a`.
fn classic_group() -> Tested {
    let mut tested = Tested::new();
    let first = joined(tested.joined(at_once("c1", subscription(&["a"], &[]))));
    assert_eq!((first.generation, first.leader.as_str()), (1, "c1"));
    let assignment = write_assignment(1, [("a", &[0, 1, 2][..])].into_iter());
    let assignments = vec![("c1".to_owned(), assignment)];
    tested.synced(SyncRequest { assignments, ..classic_sync("c1", 1) }).expect("it assigns");
    tested
}

#[test]
fn a_classic_group_becomes_a_consumer_group_with_its_members() {
    let mut tested = classic_group();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    assert!(tested.notices.contains(&Notice::Converted { to: "consumer" }));
    assert_eq!(tested.group().group_epoch(), 2);
    let member = tested.member("c1");
    assert!(member.is_classic());
    assert_eq!((member.stored.standing.state, member.epoch()), (Stable, 1));
    assert_eq!(tested.owns("c1").len(), 3);
    // What nobody had is given at once, and the rest when the classic member gave it up.
    assert_eq!(tested.owns("m1"), [("a".to_owned(), 3)]);
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 1)), Err(GroupError::RebalanceInProgress));
    let owned = subscription(&["a"], &[("a", &[0, 1, 2])]);
    assert_eq!(joined(tested.joined(classic_join("c1", owned))).generation, 1);
    assert_eq!(tested.standing("c1"), (UnrevokedPartitions, 1, 2));
}

#[test]
fn whoever_waits_is_to_join_again() {
    let mut tested = classic_group();
    let waiting = tested.join(at_once("c2", subscription(&["a"], &[])));
    assert!(tested.answers.is_empty());
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    match tested.answers.remove(&waiting) {
        Some((_, Answer::Join(answer))) => assert_eq!(answer.result, Err(GroupError::RebalanceInProgress)),
        other => panic!("{other:?}"),
    }
    assert_eq!(tested.group().len(), 3);
    assert_eq!(joined(tested.joined(classic_join("c2", subscription(&["a"], &[])))).generation, 2);
}

#[test]
fn a_static_member_that_takes_its_own_place_leaves_nothing_unassigned() {
    let of_i = |request: JoinRequest| JoinRequest { instance_id: Some("i".to_owned()), ..request };
    let upgrade = |given: Option<&[i32]>| {
        let mut tested = Tested::new();
        let ticket = tested.join(of_i(at_once("c1", subscription(&["a"], &[]))));
        if let Some(given) = given {
            tested.wait(0);
            assert!(tested.answers.contains_key(&ticket));
            let assignments = vec![("c1".to_owned(), write_assignment(1, [("a", given)].into_iter()))];
            let sync =
                SyncRequest { assignments, instance_id: Some("i".to_owned()), ..classic_sync("c1", 1) };
            tested.synced(sync).expect("it assigns");
        }
        let answer = tested.heartbeat(of_instance("i", joining("m1", &["a"]))).expect("it takes over");
        assert_eq!(answer.assignment.map(|all| all.len()), Some(4));
        answer.member_epoch
    };
    // Everything was assigned: no rebalance. Else the group begins a new epoch.
    assert_eq!(upgrade(Some(&[0, 1, 2, 3])), 1);
    assert_eq!(upgrade(Some(&[0, 1, 2])), 2);
    assert_eq!(upgrade(None), 1);
}

#[test]
fn an_upgrade_needs_permission_and_members_that_can_be_read() {
    let mut tested = classic_group();
    let rows = tested.rows.clone();
    let refused = |tested: &mut Tested, why: &str| match tested.heartbeat(joining("m1", &["a"])) {
        Err(GroupError::GroupIdNotFound(message)) => assert!(message.contains(why), "{message}"),
        other => panic!("{other:?}"),
    };
    tested.limits.migration = MigrationPolicy::Downgrade;
    refused(
        &mut tested,
        "Cannot upgrade classic group g to consumer group because online upgrade is disabled.",
    );
    tested.limits.migration = MigrationPolicy::Upgrade;
    tested.limits.members_max = 0;
    refused(&mut tested, "the group size exceeds the consumer group maximum size");
    tested.limits.members_max = 1;
    assert_eq!(tested.heartbeat(joining("m1", &["a"])), Err(GroupError::GroupMaxSizeReached));
    assert_eq!(classic(&tested).state(), classic::State::Stable);
    assert_eq!(tested.rows, rows);
    tested.limits.members_max = 2;
    assert!(tested.heartbeat(joining("m1", &["a"])).is_ok());

    let mut connect = Tested::new();
    let request = JoinRequest { protocol_type: "connect".to_owned(), ..at_once("c1", bytes::Bytes::new()) };
    connect.joined(request);
    refused(&mut connect, "does not use the consumer embedded protocol");

    let mut unreadable = Tested::new();
    unreadable.joined(at_once("c1", bytes::Bytes::from_static(b"?")));
    refused(&mut unreadable, "the embedded consumer protocol is malformed");

    let mut custom = Tested::new();
    custom.joined(at_once("c1", subscription(&["a"], &[])));
    let assignment = bytes::Bytes::from_static(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9]);
    let assignments = vec![("c1".to_owned(), assignment)];
    custom.synced(SyncRequest { assignments, ..classic_sync("c1", 1) }).expect("it assigns");
    refused(&mut custom, "an unsupported custom assignor is in use");
}

#[test]
fn what_a_cooperative_member_is_still_giving_up_is_not_given_to_another() {
    let mut tested = Tested::new();
    let owned = subscription(&["a"], &[("a", &[0, 1, 2, 3])]);
    joined(tested.joined(at_once("c1", owned)));
    // The leader takes two away; the member has not had the time to give them up.
    let assignments = vec![("c1".to_owned(), write_assignment(1, [("a", &[0, 1][..])].into_iter()))];
    tested.synced(SyncRequest { assignments, ..classic_sync("c1", 1) }).expect("it assigns");
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    assert_eq!(tested.owns("m1"), []);
    assert_eq!(
        joined(tested.joined(classic_join("c1", subscription(&["a"], &[("a", &[0, 1])])))).generation,
        2
    );
    tested.heartbeat(beat("m1", 2)).expect("a member");
    assert_eq!(tested.owns("m1").len(), 2);
}

#[test]
fn a_partition_that_a_leader_gave_twice_is_kept_by_one() {
    let mut tested = Tested::new();
    joined(tested.joined(at_once("c1", eager_subscription(&["a"]))));
    let waiting = tested.join(at_once("c2", eager_subscription(&["a"])));
    let again = joined(tested.joined(classic_join("c1", eager_subscription(&["a"]))));
    assert!(tested.answers.contains_key(&waiting));
    let all = write_assignment(0, [("a", &[0, 1, 2, 3, 99][..])].into_iter());
    let assignments = vec![("c1".to_owned(), all.clone()), ("c2".to_owned(), all)];
    tested.synced(SyncRequest { assignments, ..classic_sync("c1", again.generation) }).expect("it assigns");
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    assert_eq!(tested.owns("m1"), []);
    for id in ["c1", "c2", "c1", "c2"] {
        tested.joined(classic_join(id, eager_subscription(&["a"])));
    }
    tested.heartbeat(beat("m1", 2)).or_else(|_| tested.heartbeat(joining("m1", &["a"]))).expect("a member");
    let owned = ["c1", "c2", "m1"].map(|id| tested.owns(id).len());
    assert_eq!(owned.iter().sum::<usize>(), 4, "{owned:?}");
    assert!(owned.iter().all(|count| *count > 0), "{owned:?}");
}

/// A consumer group of `m1` and a classic member `c1`, both with half of `a`, at epoch 3.
fn mixed() -> Tested {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.joined(classic_join("c1", subscription(&["a"], &[])));
    tested.catch_up("m1");
    tested.joined(classic_join("c1", subscription(&["a"], &[])));
    tested.synced(classic_sync("c1", 3)).expect("it is assigned");
    tested
}

#[test]
fn the_last_consumer_member_leaves_a_classic_group_behind() {
    let mut tested = mixed();
    let answer = tested.heartbeat(beat("m1", -1)).expect("it leaves");
    assert_eq!(answer.member_epoch, -1);
    let group = classic(&tested);
    assert_eq!((group.state(), group.generation(), group.len()), (classic::State::PreparingRebalance, 3, 1));
    assert_eq!(group.protocol_name(), Some("range"));
    assert!(tested.notices.contains(&Notice::Converted { to: "classic" }));
    assert_eq!(tested.rows.keys().collect::<Vec<_>>(), [&RowKey::Head]);
    // The classic member keeps its id and joins again.
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Err(GroupError::RebalanceInProgress));
    let next = joined(tested.joined(classic_join("c1", subscription(&["a"], &[("a", &[0])]))));
    assert_eq!((next.generation, next.leader.as_str(), next.members.len()), (4, "c1", 1));
}

#[test]
fn so_does_one_that_is_declared_gone_or_taken_out() {
    let mut silent = mixed();
    silent.wait(900);
    assert_eq!(silent.classic_heartbeat(&classic_beat("c1", 3)), Ok(()));
    silent.wait(100);
    assert_eq!(classic(&silent).len(), 1);

    let mut taken_out = mixed();
    taken_out.leave(vec![leaving("m1")]);
    assert_eq!(classic(&taken_out).len(), 1);
}

#[test]
fn a_downgrade_that_was_cut_off_goes_on_after_a_restart() {
    let mut tested = mixed();
    tested.heartbeat(beat("m1", -1)).expect("it leaves");
    tested.restart();
    assert_eq!(classic(&tested).state(), classic::State::PreparingRebalance);
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_downgrade_needs_permission_and_members() {
    let mut forbidden = mixed();
    forbidden.limits.migration = MigrationPolicy::Upgrade;
    forbidden.heartbeat(beat("m1", -1)).expect("it leaves");
    assert_eq!((forbidden.group().len(), forbidden.group().group_epoch()), (1, 4));

    let mut too_large = mixed();
    too_large.limits.classic.members_max = 0;
    too_large.heartbeat(beat("m1", -1)).expect("it leaves");
    assert_eq!(too_large.group().len(), 1);

    let mut alone = Tested::new();
    alone.heartbeat(joining("m1", &["a"])).expect("it joins");
    alone.heartbeat(beat("m1", -1)).expect("it leaves");
    assert_eq!(alone.group().state_name(), "Empty");

    let mut others = mixed();
    others.heartbeat(joining("m2", &["a"])).expect("it joins");
    others.heartbeat(beat("m1", -1)).expect("it leaves");
    assert_eq!(others.group().len(), 2);
}

/// A static consumer member `m1` of instance `i`, and a classic member `c1`, both with half of `a`, at epoch 3.
fn mixed_static() -> Tested {
    let mut tested = Tested::new();
    tested.heartbeat(of_instance("i", joining("m1", &["a"]))).expect("it joins");
    tested.joined(classic_join("c1", subscription(&["a"], &[])));
    tested.heartbeat(of_instance("i", beat("m1", 2))).expect("a member");
    tested.catch_up("m1");
    tested.joined(classic_join("c1", subscription(&["a"], &[])));
    tested.synced(classic_sync("c1", 3)).expect("it is assigned");
    tested
}

#[test]
fn a_static_member_that_comes_back_as_a_classic_one_makes_no_rebalance() {
    let mut tested = mixed_static();
    let had = tested.owns("m1");
    let request =
        JoinRequest { instance_id: Some("i".to_owned()), ..at_once("c2", subscription(&["a"], &[])) };
    let answer = joined(tested.joined(request));
    assert_eq!((answer.generation, answer.member_id.as_str(), answer.leader.as_str()), (3, "c2", ""));
    let group = classic(&tested);
    assert_eq!((group.state(), group.generation(), group.len()), (classic::State::Stable, 3, 2));
    assert_eq!(group.static_member("i").map(|id| &**id), Some("c2"));
    let sync = SyncRequest { instance_id: Some("i".to_owned()), ..classic_sync("c2", 3) };
    let synced = tested.synced(sync).expect("it is assigned");
    let read = read_assignment(&synced.assignment).expect("it is good");
    let numbers: Vec<i32> = had.into_iter().map(|(_, number)| number).collect();
    assert_eq!(read.partitions, [("a", numbers)]);
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 3)), Ok(()));
    assert_eq!(tested.rows.keys().collect::<Vec<_>>(), [&RowKey::Head]);
}

#[test]
fn with_another_subscription_it_does() {
    let mut tested = mixed_static();
    let request =
        JoinRequest { instance_id: Some("i".to_owned()), ..at_once("c2", subscription(&["b"], &[])) };
    let answer = joined(tested.joined(request));
    assert_eq!(answer.member_id, "c2");
    assert_eq!(classic(&tested).state(), classic::State::PreparingRebalance);
    assert_eq!(classic(&tested).len(), 2);
}

#[test]
fn nor_is_anybody_left_waiting_for_what_it_had() {
    let mut tested = mixed_static();
    // A third waits for a partition when the last consumer member comes back as a classic one.
    tested.joined(classic_join("c3", subscription(&["a"], &[])));
    tested.synced(classic_sync("c3", 4)).expect("it is assigned nothing yet");
    let request =
        JoinRequest { instance_id: Some("i".to_owned()), ..at_once("c2", subscription(&["a"], &[])) };
    joined(tested.joined(request));
    assert_eq!(classic(&tested).state(), classic::State::PreparingRebalance);
}

#[test]
fn an_empty_group_is_replaced_by_the_other_kind() {
    let mut tested = classic_group();
    tested.leave(vec![leaving("c1")]);
    assert_eq!(classic(&tested).state(), classic::State::Empty);
    let answer = tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    assert_eq!(answer.member_epoch, 2, "it is a new group");
    tested.heartbeat(beat("m1", -1)).expect("it leaves");
    // Also where the policy permits no conversion.
    tested.limits.migration = MigrationPolicy::Disabled;
    let first = joined(tested.joined(at_once("c1", subscription(&["a"], &[]))));
    assert_eq!(first.generation, 1);
    assert_eq!(tested.rows.keys().collect::<Vec<_>>(), [&RowKey::Head]);
    assert_eq!(tested.restored().map(|group| group.kind()), Some("classic"));
}

#[test]
fn a_refused_request_replaces_nothing() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.heartbeat(beat("m1", -1)).expect("it leaves");
    let rows = tested.rows.clone();
    let refused = JoinRequest { protocols: Vec::<Protocol>::new(), ..at_once("c1", bytes::Bytes::new()) };
    assert_eq!(tested.joined(refused).result, Err(GroupError::InconsistentGroupProtocol));
    let unknown = tested.joined(classic_join("c1", subscription(&["a"], &[])));
    assert_eq!((unknown.member_id.as_str(), unknown.result), ("c1", Err(GroupError::UnknownMemberId)));
    assert_eq!(tested.rows, rows);
    assert_eq!(tested.group().state_name(), "Empty");
}

#[test]
fn where_there_is_no_group_nothing_is_found() {
    let mut tested = Tested::new();
    let not_found = |message: &str| Err(GroupError::GroupIdNotFound(message.to_owned()));
    assert_eq!(tested.heartbeat(beat("m1", 1)), not_found("Consumer group g not found."));
    assert_eq!(tested.heartbeat(beat("m1", -1)), not_found("Group g not found."));
    let invalid = tested.heartbeat(beat("", 1));
    assert!(matches!(invalid, Err(GroupError::InvalidRequest(_))), "what is wrong by itself comes first");
    let unknown = tested.joined(classic_join("c1", subscription(&["a"], &[])));
    assert_eq!((unknown.member_id.as_str(), unknown.result), ("c1", Err(GroupError::UnknownMemberId)));
    assert_eq!(tested.synced(classic_sync("c1", 1)), Err(GroupError::UnknownMemberId));
    assert_eq!(tested.classic_heartbeat(&classic_beat("c1", 1)), Err(GroupError::UnknownMemberId));
    let left = tested.leave(vec![leaving("c1")]);
    assert_eq!(left[0].result, Err(GroupError::UnknownMemberId));
    assert!(tested.slot.is_none() && tested.rows.is_empty());
}

#[test]
fn a_classic_group_is_no_consumer_group() {
    let mut tested = classic_group();
    let not_found = || Err(GroupError::GroupIdNotFound("Group g is not a consumer group.".to_owned()));
    assert_eq!(tested.heartbeat(beat("m1", 1)), not_found());
    assert_eq!(tested.heartbeat(beat("m1", -1)), not_found());
    assert_eq!(classic(&tested).len(), 1);
}

#[test]
fn rows_of_an_unknown_kind_are_refused() {
    let tested = mixed();
    let restore = |head: &[u8]| {
        let mut effects = super::super::effects::Effects::default();
        Group::restored("g".into(), head, [], &tested.limits, tested.now, &mut effects)
            .map(|group| group.kind())
    };
    let head = tested.rows[&RowKey::Head].clone();
    assert_eq!(restore(&head), Ok("consumer"));
    assert!(restore(&[]).is_err());
    assert!(restore(&[9]).is_err());
    assert!(restore(&head[..head.len() - 1]).is_err());
}
