//! Heartbeats, and what becomes of members without.

use super::super::error::GroupError::*;
use super::super::request::JoinRequest;
use super::State;
use super::testing::*;

const SESSION: u64 = SESSION_MS.unsigned_abs() as u64;

#[test]
fn heartbeats_keep_a_member() {
    let mut tested = Tested::stable(&["a"]);
    for _ in 0..10 {
        tested.wait(SESSION - 1);
        assert_eq!(tested.heartbeat("a", 1), Ok(()));
    }
    tested.wait(SESSION - 1);
    assert_eq!(tested.group.state(), State::Stable);
    tested.wait(1);
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 2));
    assert_eq!(tested.heartbeat("a", 1), Err(UnknownMemberId));
    assert_eq!(tested.heartbeat("a", 2), Err(UnknownMemberId));
}

#[test]
fn refusals_come_in_kafkas_order() {
    assert_eq!(Tested::new().heartbeat("a", 0), Err(UnknownMemberId));
    let mut tested = Tested::stable(&["a@i", "b"]);
    assert_eq!(tested.heartbeat("x", 9), Err(UnknownMemberId));
    assert_eq!(tested.heartbeat("a@unknown", 9), Err(UnknownMemberId));
    assert_eq!(tested.heartbeat("b@i", 9), Err(FencedInstanceId));
    assert_eq!(tested.heartbeat("x@i", 9), Err(FencedInstanceId));
    assert_eq!(tested.heartbeat("a@i", 0), Err(IllegalGeneration));
    assert_eq!(tested.heartbeat("a@i", 2), Err(IllegalGeneration));
    assert_eq!(tested.heartbeat("a", 1), Ok(()), "a static member may leave its instance id out");
    tested.join(rejoin("a@i"));
    assert_eq!(tested.heartbeat("b", 9), Err(IllegalGeneration));
    assert_eq!(tested.heartbeat("b", 1), Err(RebalanceInProgress));
}

#[test]
fn members_heartbeat_while_the_leader_assigns() {
    let mut tested = Tested::completing(&["a", "b"]);
    assert_eq!(tested.heartbeat("a", 1), Ok(()));
    assert_eq!(tested.heartbeat("b", 1), Ok(()));
}

#[test]
fn a_heartbeat_during_a_rebalance_renews_the_session() {
    let mut tested = Tested::stable(&["a", "b"]);
    tested.join(rejoin("a"));
    for _ in 0..3 {
        tested.wait(SESSION - 1);
        assert_eq!(tested.heartbeat("b", 1), Err(RebalanceInProgress));
    }
    assert_eq!(tested.group.len(), 2);
}

#[test]
fn one_member_gone_makes_the_others_rebalance() {
    let mut tested = Tested::stable(&["a", "b"]);
    tested.wait(5_000);
    assert_eq!(tested.heartbeat("b", 1), Ok(()));
    tested.wait(5_000);
    assert_eq!((tested.group.state(), tested.group.leader()), (State::PreparingRebalance, Some("b")));
    assert_eq!(tested.heartbeat("b", 1), Err(RebalanceInProgress));
    let b = tested.join(rejoin("b"));
    assert_eq!((tested.joined(b).generation, tested.joined(b).members.len()), (2, 1));
}

#[test]
fn a_member_gone_during_a_rebalance_lets_it_end() {
    let mut tested = Tested::stable(&["a", "b"]);
    let a = tested.join(rejoin("a"));
    tested.wait(SESSION - 1);
    assert!(tested.is_waiting(a));
    tested.wait(1);
    assert_eq!(tested.joined(a).members.len(), 1);
}

#[test]
fn a_waiting_member_has_no_session_until_it_is_answered() {
    let mut tested = Tested::stable(&["a", "b"]);
    let a = tested.join(rejoin("a"));
    for _ in 0..5 {
        tested.wait(SESSION - 1);
        let _ = tested.heartbeat("b", 1);
    }
    assert!(tested.is_waiting(a));
    tested.join(rejoin("b"));
    tested.joined(a);
    // From the answer on, a has its session timeout, and the same for SyncGroup.
    let b = tested.sync(sync_of("b", 2));
    tested.wait(SESSION - 1);
    assert_eq!(tested.group.len(), 2);
    assert_eq!(tested.heartbeat("a", 2), Ok(()));
    tested.wait(SESSION - 1);
    assert!(tested.is_waiting(b), "b waits for longer than its session");
    tested.sync(sync_of("a", 2));
    tested.wait(SESSION - 1);
    assert_eq!(tested.group.state(), State::Stable);
    tested.wait(1);
    assert_eq!(tested.group.state(), State::Empty);
}

#[test]
fn a_member_gone_while_the_leader_assigns_begins_the_rebalance_again() {
    let mut tested = Tested::completing(&["a", "b"]);
    let b = tested.sync(sync_of("b", 1));
    tested.wait(SESSION);
    assert_eq!(tested.synced(b), Err(RebalanceInProgress));
    assert_eq!((tested.ids(), tested.group.state()), (vec!["b"], State::PreparingRebalance));
}

#[test]
fn a_new_session_timeout_counts_from_the_next_heartbeat() {
    let mut tested = Tested::stable(&["a"]);
    tested.join(JoinRequest { session_timeout_ms: 2_000, ..rejoin("a") });
    tested.sync(sync_of("a", 2));
    tested.wait(1_999);
    assert_eq!(tested.group.state(), State::Stable);
    tested.wait(1);
    assert_eq!(tested.group.state(), State::Empty);
}

#[test]
fn a_heartbeat_touches_no_timer() {
    let mut tested = Tested::stable(&["a", "b"]);
    // The restart leaves each timer where the session ends.
    tested.restart();
    let began = tested.ticks_ms;
    assert_eq!(tested.group.deadline(), Some(began + SESSION));
    tested.wait(1_000);
    assert_eq!(tested.heartbeat("a", 1), Ok(()));
    assert_eq!(tested.heartbeat("b", 1), Ok(()));
    assert_eq!(tested.group.deadline(), Some(began + SESSION));
    // The look at that time finds that both have heartbeated.
    tested.wait(SESSION - 1_000);
    assert_eq!((tested.group.len(), tested.group.deadline()), (2, Some(began + SESSION + 1_000)));
}

#[test]
fn a_late_tick_does_all_that_was_due() {
    let mut tested = Tested::stable(&["a", "b"]);
    let c = tested.join(member("c"));
    tested.ticks_ms += 250_000;
    tested.tick();
    assert_eq!(tested.ids(), ["c"]);
    assert_eq!(tested.joined(c).generation, 2);
    tested.ticks_ms += 250_000;
    tested.tick();
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 3));
    assert_eq!(tested.group.deadline(), None);
}
