//! From the beginning of a rebalance to the new generation.

use super::super::effects::Notice;
use super::super::error::GroupError::*;
use super::super::request::JoinRequest;
use super::State;
use super::testing::*;

const TIMEOUT: u64 = REBALANCE_MS.unsigned_abs() as u64;

#[test]
fn an_empty_group_waits_for_members_to_come() {
    let mut tested = Tested::new();
    let a = tested.join(member("a"));
    tested.wait(DELAY_MS - 1);
    assert!(tested.is_waiting(a));
    assert_eq!(tested.group.state(), State::PreparingRebalance);
    tested.wait(1);
    assert_eq!((tested.joined(a).generation, tested.group.state()), (1, State::CompletingRebalance));
}

#[test]
fn each_new_member_lengthens_the_wait_once() {
    let mut tested = Tested::new();
    let a = tested.join(member("a"));
    tested.wait(DELAY_MS - 1);
    let b = tested.join(member("b"));
    tested.wait(1);
    assert!(tested.is_waiting(a), "b came in the first delay");
    tested.wait(DELAY_MS - 1);
    let c = tested.join(member("c"));
    tested.wait(1);
    assert!(tested.is_waiting(a), "c came in the second delay");
    tested.wait(DELAY_MS);
    for ticket in [a, b, c] {
        assert_eq!(tested.joined(ticket).generation, 1);
    }
}

#[test]
fn the_wait_ends_with_the_rebalance_timeout_even_when_members_keep_coming() {
    let mut tested = Tested::new();
    let timeout_ms = 7_000;
    let come = |name: &str| JoinRequest { rebalance_timeout_ms: timeout_ms, ..member(name) };
    let first = tested.join(come("m0"));
    let mut waited = 0;
    while tested.is_waiting(first) {
        tested.wait(500);
        waited += 500;
        if tested.is_waiting(first) {
            tested.join(come(&format!("m{waited}")));
        }
    }
    // 3000, then min(4000, 3000), then min(1000, 3000).
    assert_eq!(waited, 7_000);
}

#[test]
fn a_rebalance_timeout_below_the_delay_is_no_longer_wait() {
    let mut tested = Tested::new();
    let a = tested.join(JoinRequest { rebalance_timeout_ms: 1_000, ..member("a") });
    tested.join(member("b"));
    tested.wait(DELAY_MS);
    assert!(!tested.is_waiting(a));
}

#[test]
fn without_a_delay_the_generation_begins_at_once() {
    let mut tested = Tested::new();
    tested.limits.initial_rebalance_delay_ms = 0;
    let a = tested.join(member("a"));
    assert_eq!(tested.group.deadline(), Some(0));
    tested.tick();
    assert_eq!(tested.joined(a).generation, 1);
}

#[test]
fn the_generation_begins_when_all_have_joined() {
    let mut tested = Tested::stable(&["a", "b"]);
    let c = tested.join(member("c"));
    let a = tested.join(rejoin("a"));
    assert!(tested.is_waiting(a));
    let b = tested.join(rejoin("b"));
    for (ticket, members) in [(a, 3), (b, 0), (c, 0)] {
        let joined = tested.joined(ticket);
        assert_eq!((joined.generation, joined.leader.as_str()), (2, "a"));
        assert_eq!(joined.members.len(), members, "only the leader is told the members");
        assert!(!joined.skip_assignment);
    }
    let joined = tested.joined(a);
    assert_eq!(joined.members[2].member_id, "c");
    assert_eq!(joined.members[2].metadata, "metadata for range");
}

#[test]
fn a_member_with_an_id_that_has_not_joined_is_waited_for() {
    let mut tested = Tested::stable(&["a"]);
    tested.join(JoinRequest { requires_known_member_id: true, ..member("b") });
    assert_eq!(tested.group.state(), State::Stable, "asking for an id is no rebalance");
    let a = tested.join(rejoin("a"));
    assert!(tested.is_waiting(a));
    tested.join(rejoin("b"));
    assert_eq!(tested.joined(a).members.len(), 2);

    let mut tested = Tested::stable(&["a"]);
    tested.join(JoinRequest { requires_known_member_id: true, ..member("b") });
    let a = tested.join(rejoin("a"));
    tested.wait(u64::from(SESSION_MS.unsigned_abs()));
    assert_eq!(tested.joined(a).members.len(), 1, "the wait ends with the id");
}

#[test]
fn dynamic_members_that_do_not_join_in_time_are_gone() {
    let mut tested = Tested::stable(&["a", "b"]);
    let c = tested.join(member("c"));
    for _ in 0..11 {
        tested.wait(5_000);
        assert_eq!(tested.heartbeat("a", 1), Err(RebalanceInProgress));
        assert_eq!(tested.heartbeat("b", 1), Err(RebalanceInProgress));
    }
    assert!(tested.is_waiting(c));
    tested.wait(TIMEOUT - 55_000);
    let joined = tested.joined(c);
    assert_eq!((joined.leader.as_str(), joined.members.len()), ("c", 1));
    assert_eq!(tested.ids(), ["c"]);
    assert_eq!(tested.heartbeat("a", 1), Err(UnknownMemberId));
    assert_eq!(tested.heartbeat("a", 2), Err(UnknownMemberId));
}

#[test]
fn the_longest_rebalance_timeout_counts() {
    let mut tested = Tested::stable(&["a", "b"]);
    let ticket = tested.join(JoinRequest { rebalance_timeout_ms: 90_000, ..rejoin("a") });
    for _ in 0..17 {
        tested.wait(5_000);
        assert_eq!(tested.heartbeat("b", 1), Err(RebalanceInProgress));
    }
    assert!(tested.is_waiting(ticket), "the timeout was read when a joined");
    tested.wait(5_000);
    assert!(!tested.is_waiting(ticket));
}

#[test]
fn when_all_dynamic_members_are_late_the_group_is_empty() {
    let mut tested = Tested::stable(&["a"]);
    let b = tested.join(member("b"));
    tested.leave(&["b"]);
    assert_eq!(tested.refused(b), UnknownMemberId);
    for _ in 0..11 {
        tested.wait(5_000);
        let _ = tested.heartbeat("a", 1);
    }
    tested.wait(TIMEOUT - 55_000);
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 2));
    assert_eq!((tested.group.leader(), tested.group.protocol_name()), (None, None));
    assert_eq!(tested.writes, 3, "the new group, the stable group, the empty group");
    tested.restart();
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 2));
    assert_eq!(tested.group.protocol_type(), Some("consumer"));
}

#[test]
fn a_new_member_that_waits_is_given_up_after_five_minutes() {
    let mut tested = Tested::stable(&["a@i"]);
    let long =
        |request| JoinRequest { rebalance_timeout_ms: 900_000, session_timeout_ms: 300_000, ..request };
    tested.join(long(rejoin("a@i")));
    let a = tested.sync(sync_of("a@i", 2));
    assert!(tested.synced(a).is_ok());
    let b = tested.join(long(member("b")));
    for _ in 0..4 {
        tested.wait(60_000);
        assert_eq!(tested.heartbeat("a@i", 2), Err(RebalanceInProgress));
    }
    assert!(tested.is_waiting(b));
    tested.wait(60_000);
    assert_eq!((tested.join_answer(b).member_id.as_str(), tested.refused(b)), ("", UnknownMemberId));
    assert_eq!(tested.ids(), ["a"]);
}

#[test]
fn a_join_during_the_wait_of_an_empty_group_does_not_end_it() {
    let mut tested = Tested::new();
    let a = tested.join(member("a"));
    tested.leave(&["a"]);
    assert_eq!(tested.refused(a), UnknownMemberId);
    assert_eq!(tested.group.state(), State::PreparingRebalance);
    let b = tested.join(member("b"));
    assert!(tested.is_waiting(b));
    tested.wait(2 * DELAY_MS);
    assert_eq!(tested.joined(b).leader, "b");
}

#[test]
fn a_rebalance_that_begins_again_tells_waiting_members_to_join() {
    let mut tested = Tested::completing(&["a", "b"]);
    let sync = tested.sync(sync_of("b", 1));
    tested.join(member("c"));
    assert_eq!(tested.synced(sync), Err(RebalanceInProgress));
    assert_eq!(tested.group.state(), State::PreparingRebalance);
    assert_eq!(tested.writes, 1, "a generation without assignments is not stored");
}

#[test]
fn assignments_last_until_a_rebalance_that_did_not_end_begins_again() {
    let mut tested = Tested::stable(&["a", "b"]);
    let assignments = |tested: &Tested| -> Vec<usize> {
        tested.group.members().map(|member| member.assignment().len()).collect()
    };
    let before = assignments(&tested);
    tested.join(rejoin("a"));
    tested.join(rejoin("b"));
    assert_eq!((tested.group.state(), assignments(&tested)), (State::CompletingRebalance, before));
    tested.join(member("c"));
    assert_eq!((tested.group.state(), assignments(&tested)), (State::PreparingRebalance, vec![0, 0, 0]));
}

/// Kafka's protocol lets a client name any number as its timeout.
#[test]
fn timeouts_of_nothing_and_less_end_at_once_and_no_tick_lasts() {
    for rebalance_timeout_ms in [0, -1, i32::MIN] {
        let none = |request| JoinRequest { rebalance_timeout_ms, ..request };
        let mut tested = Tested::new();
        tested.join(none(member("a@i")));
        tested.wait(DELAY_MS);
        assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 2));

        tested.limits.initial_rebalance_delay_ms = 0;
        tested.join(none(member("a@i")));
        tested.tick();
        tested.restart();
        assert_eq!(tested.group.state(), State::Empty);
    }

    // A static member that does not join again, and nothing to wait for it.
    let mut tested = Tested::stable(&["a@i"]);
    let ticket = tested.join(JoinRequest { rebalance_timeout_ms: 0, ..rejoin("a@i") });
    assert_eq!(tested.joined(ticket).generation, 2);
    let sync = tested.sync(sync_of("a@i", 2));
    assert!(tested.synced(sync).is_ok());
    tested.join(JoinRequest { rebalance_timeout_ms: 1_000, ..member("b") });
    tested.leave(&["b"]);
    tested.wait(2_000);
    assert_eq!(tested.group.state(), State::PreparingRebalance);
    tested.wait(u64::from(SESSION_MS.unsigned_abs()) - 2_000);
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 3));
}

#[test]
fn what_happens_is_told() {
    let mut tested = Tested::new();
    tested.join(JoinRequest { reason: Some("start-up".to_owned()), ..member("a") });
    tested.wait(DELAY_MS);
    tested.wait(1_000);
    tested.sync(sync_of("a", 1));
    tested.leave(&["a"]);
    let told: Vec<String> = tested
        .notices
        .iter()
        .map(|notice| match notice {
            Notice::RebalanceBegan(reason) => format!("began: {reason}"),
            Notice::RebalanceEnded { millis, generation } => format!("ended: {millis} {generation}"),
            Notice::MemberJoined(id) => format!("joined: {id}"),
            Notice::MemberLeft(id) => format!("left: {id}"),
            Notice::MemberFenced { member, reason } => format!("fenced: {member}, {reason}"),
            Notice::Converted { to } => format!("converted: {to}"),
        })
        .collect();
    let expected = [
        "joined: a",
        "began: member a came; client reason: start-up",
        "ended: 4000 1",
        "left: a",
        "began: members left: a (not provided)",
        "ended: 0 2",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_group_larger_than_permitted_rebalances_after_a_restart() {
    let mut tested = Tested::stable(&["a", "b", "c"]);
    tested.limits.members_max = 2;
    tested.restart();
    assert_eq!((tested.group.state(), tested.group.len()), (State::PreparingRebalance, 3));
    assert_eq!(tested.commit("c", 1), Ok(()), "there is time to commit");
    let a = tested.join(rejoin("a"));
    tested.join(rejoin("b"));
    assert_eq!(tested.join(rejoin("c")), super::super::effects::Ticket(8));
    assert_eq!(tested.refused(super::super::effects::Ticket(8)), GroupMaxSizeReached);
    tested.wait(TIMEOUT);
    assert_eq!(tested.joined(a).generation, 2);
}

#[test]
fn after_a_restart_members_carry_on() {
    let mut tested = Tested::stable(&["a", "b@i"]);
    tested.wait(9_000);
    tested.restart();
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Stable, 1));
    assert_eq!(tested.group.leader(), Some("a"));
    tested.wait(9_000);
    assert_eq!(tested.heartbeat("a", 1), Ok(()), "each session begins anew");
    assert_eq!(tested.heartbeat("b@i", 1), Ok(()));
    assert_eq!(tested.commit("b@i", 1), Ok(()));
    let sync = tested.sync(sync_of("b@i", 1));
    assert_eq!(tested.synced(sync).expect("synced").assignment, assignment_of("b"));
    tested.wait(10_000);
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Empty, 2));
}

#[test]
fn a_rebalance_that_was_under_way_is_forgotten_by_a_restart() {
    let mut tested = Tested::stable(&["a", "b"]);
    tested.join(member("c"));
    tested.join(rejoin("a"));
    tested.join(rejoin("b"));
    assert_eq!(tested.group.generation(), 2);
    tested.restart();
    assert_eq!((tested.group.state(), tested.group.generation()), (State::Stable, 1));
    assert_eq!(tested.ids(), ["a", "b"]);
    assert_eq!(tested.heartbeat("a", 2), Err(IllegalGeneration));
    assert_eq!(tested.heartbeat("c", 2), Err(UnknownMemberId));
    // Both join again, the protocols they had besides the chosen one included.
    let a = tested.join(rejoin("a"));
    let b = tested.join(rejoin("b"));
    assert_eq!((tested.joined(a).generation, tested.joined(b).generation), (2, 2));
}
