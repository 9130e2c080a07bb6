//! Who is gone, and when.

use super::super::assign::Partitions;
use super::super::effects::Notice;
use super::super::error::GroupError;
use super::super::request::ConsumerHeartbeat;
use super::MemberState::UnrevokedPartitions;
use super::testing::*;

const SESSION_MS: u64 = SESSION as u64;
const REBALANCE_MS: u64 = REBALANCE as u64;

fn is_fenced(tested: &Tested, id: &str) -> bool {
    tested
        .notices
        .iter()
        .any(|notice| matches!(notice, Notice::MemberFenced { member, .. } if **member == *id))
}

#[test]
fn a_silent_member_is_gone_after_its_session() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    tested.wait(SESSION_MS - 1);
    tested.heartbeat(beat("m2", 3)).expect("a member");
    assert!(!is_fenced(&tested, "m1"));
    tested.wait(1);
    assert!(is_fenced(&tested, "m1"));
    assert_eq!((tested.group().len(), tested.group().group_epoch()), (1, 4));
    assert_eq!(tested.heartbeat(beat("m1", 2)), Err(GroupError::UnknownMemberId));
    assert_eq!(tested.heartbeat(beat("m2", 3)).map(|answer| answer.assignment.map(|a| a.len())), Ok(Some(4)));
}

#[test]
fn heartbeats_keep_a_member_with_few_looks_at_the_clock() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    let first = tested.group().deadline().expect("there is one");
    assert_eq!(first, tested.now.ticks_ms + SESSION_MS);
    for _ in 0..20 {
        tested.wait(SESSION_MS / 2);
        tested.heartbeat(beat("m1", 2)).expect("a member");
        let deadline = tested.group().deadline().expect("there is one");
        assert!(deadline <= tested.now.ticks_ms + SESSION_MS);
    }
    tested.wait(SESSION_MS);
    assert!(tested.group().is_empty());
    assert_eq!(tested.group().deadline(), None);
}

#[test]
fn a_refused_heartbeat_does_not_renew_the_session() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.wait(SESSION_MS - 1);
    assert!(tested.heartbeat(beat("m1", 9)).is_err());
    tested.wait(1);
    assert!(is_fenced(&tested, "m1"));
}

#[test]
fn the_session_timeout_is_the_present_setting() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.limits.session_timeout_ms = 3 * SESSION;
    tested.limits.heartbeat_interval_ms = 77;
    assert_eq!(tested.heartbeat(beat("m1", 2)).map(|answer| answer.heartbeat_interval_ms), Ok(77));
    tested.wait(2 * SESSION_MS);
    assert!(!is_fenced(&tested, "m1"));
    tested.limits.session_timeout_ms = SESSION / 2;
    tested.heartbeat(beat("m1", 2)).expect("a member");
    tested.wait(SESSION_MS / 2);
    assert!(is_fenced(&tested, "m1"));
}

/// `m1` is giving up, `m2` waits.
fn revoking() -> Tested {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.heartbeat(joining("m2", &["a"])).expect("it joins");
    tested.heartbeat(beat("m1", 2)).expect("a member");
    assert_eq!(tested.standing("m1").0, UnrevokedPartitions);
    tested
}

#[test]
fn who_does_not_give_up_in_time_is_gone() {
    let mut tested = revoking();
    let all = tested.of("a", &[0, 1, 2, 3]);
    tested.wait(REBALANCE_MS - 1);
    tested.heartbeat(ConsumerHeartbeat { owned: Some(all), ..beat("m1", 2) }).expect("a member");
    assert!(!is_fenced(&tested, "m1"));
    tested.wait(1);
    assert!(is_fenced(&tested, "m1"));
    tested.heartbeat(beat("m2", 3)).expect("a member");
    assert_eq!(tested.owns("m2").len(), 4);
}

#[test]
fn who_gave_up_in_time_stays() {
    let mut tested = revoking();
    let kept = tested.member("m1").stored.standing.assigned.partitions();
    tested.wait(REBALANCE_MS - 1);
    tested.heartbeat(ConsumerHeartbeat { owned: Some(kept), ..beat("m1", 2) }).expect("a member");
    tested.heartbeat(beat("m2", 3)).expect("a member");
    tested.wait(REBALANCE_MS);
    assert_eq!(tested.group().len(), 2);
}

#[test]
fn giving_up_more_is_given_its_own_time() {
    let mut tested = revoking();
    let kept = tested.member("m1").stored.standing.assigned.partitions();
    tested.heartbeat(joining("m3", &["a"])).expect("it joins");
    tested.heartbeat(joining("m4", &["a"])).expect("it joins");
    tested.wait(REBALANCE_MS - 1);
    // It gave up two, and is told to give up one more.
    tested.heartbeat(ConsumerHeartbeat { owned: Some(kept), ..beat("m1", 2) }).expect("a member");
    assert_eq!(tested.standing("m1"), (UnrevokedPartitions, 2, 1));
    tested.wait(REBALANCE_MS - 1);
    assert!(!is_fenced(&tested, "m1"));
    tested.wait(1);
    assert!(is_fenced(&tested, "m1"));
}

#[test]
fn members_that_go_together_make_one_rebalance() {
    let mut tested = Tested::new();
    for id in ["m1", "m2", "m3"] {
        tested.heartbeat(joining(id, &["a"])).expect("it joins");
    }
    assert_eq!(tested.group().group_epoch(), 4);
    tested.wait(SESSION_MS);
    assert_eq!((tested.group().len(), tested.group().group_epoch()), (0, 5));
    assert_eq!(tested.rows.len(), 1, "only the head is left");
}

#[test]
fn after_a_restart_every_time_begins_anew() {
    let mut tested = revoking();
    tested.wait(REBALANCE_MS - 1);
    let before = tested.rows.clone();
    tested.restart();
    assert_eq!(tested.rows, before);
    assert_eq!(tested.group().state_name(), "Reconciling");
    let all = tested.of("a", &[0, 1, 2, 3]);
    tested.wait(REBALANCE_MS - 1);
    tested.heartbeat(ConsumerHeartbeat { owned: Some(all), ..beat("m1", 2) }).expect("it goes on");
    tested
        .heartbeat(ConsumerHeartbeat { owned: Some(Partitions::default()), ..beat("m2", 3) })
        .expect("it goes on");
    tested.wait(1);
    assert!(is_fenced(&tested, "m1"));
    assert!(!is_fenced(&tested, "m2"));
    tested.restart();
    tested.wait(SESSION_MS - 1);
    assert!(!is_fenced(&tested, "m2"));
    tested.wait(1);
    assert!(is_fenced(&tested, "m2"));
}
