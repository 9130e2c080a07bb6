//! Topics come, grow and go, and are found by name or by expression.

use super::super::error::GroupError;
use super::super::request::ConsumerHeartbeat;
use super::super::topics_view::TopicsView;
use super::testing::*;

fn by_regex(id: &str, pattern: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat { topics: None, topic_regex: Some(pattern.to_owned()), ..joining(id, &[]) }
}

/// The member takes part until it has what it is to have, and tells its epoch and what it owns.
fn caught_up(tested: &mut Tested, id: &str) -> (i32, usize) {
    tested.catch_up(id);
    (tested.member(id).epoch(), tested.owns(id).len())
}

#[test]
fn changes_of_subscribed_topics_make_a_rebalance() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a", "later"])).expect("it joins");
    assert_eq!(caught_up(&mut tested, "m1"), (2, 4));
    tested.topics.grow("a", 6);
    assert_eq!(caught_up(&mut tested, "m1"), (3, 6));
    tested.topics.create("later", 2);
    assert_eq!(caught_up(&mut tested, "m1"), (4, 8));
    tested.topics.delete("later");
    assert_eq!(caught_up(&mut tested, "m1"), (5, 6));
    // Made anew under the same name it is another topic.
    let before = tested.id("a");
    tested.topics.delete("a");
    tested.topics.create("a", 6);
    assert_ne!(before, tested.id("a"));
    assert_eq!(caught_up(&mut tested, "m1"), (6, 6));
}

#[test]
fn other_topics_do_not_matter() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    let rows = tested.rows.clone();
    tested.topics.create("other", 9);
    tested.topics.grow("b", 5);
    assert_eq!(caught_up(&mut tested, "m1"), (2, 4));
    assert_eq!(tested.rows, rows);
}

#[test]
fn changes_during_a_restart_are_noticed() {
    let mut tested = Tested::new();
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    tested.restart();
    assert_eq!(caught_up(&mut tested, "m1"), (2, 4));
    tested.topics.grow("a", 5);
    tested.restart();
    assert_eq!(caught_up(&mut tested, "m1"), (3, 5));
}

#[test]
fn the_number_of_the_topics_does_not_depend_on_their_order() {
    let hash = |topics: &[&str]| {
        let mut tested = Tested::new();
        tested.heartbeat(joining("m1", topics)).expect("it joins");
        tested.group().metadata_hash
    };
    assert_eq!(hash(&["a", "b"]), hash(&["b", "a"]));
    assert_ne!(hash(&["a", "b"]), hash(&["a"]));
    assert_eq!(hash(&["none"]), 0);
    // Stored, and compared after a restart by whatever version runs then.
    assert_eq!(hash(&["a"]), 0xfd70_e9f4_6a2b_1826);
}

#[test]
fn an_expression_is_resolved_at_once() {
    let mut tested = Tested::new();
    tested.topics.create("ab", 1);
    let answer = tested.heartbeat(by_regex("m1", "a.*")).expect("it joins");
    assert_eq!((answer.member_epoch, answer.assignment.map(|all| all.len())), (2, Some(5)));
    assert!(tested.group().is_subscribed_to("ab"));
    assert!(!tested.group().is_subscribed_to("b"));
    let described = tested.group().describe(&tested.limits);
    assert_eq!(described.members[0].topic_regex.as_deref(), Some("a.*"));
    assert!(described.members[0].topics.is_empty());
}

#[test]
fn names_and_an_expression_add_up() {
    let mut tested = Tested::new();
    let request = ConsumerHeartbeat { topics: Some(names(&["b", "a"])), ..by_regex("m1", "a") };
    let answer = tested.heartbeat(request).expect("it joins");
    assert_eq!(answer.assignment.map(|all| all.len()), Some(6));
}

#[test]
fn an_expression_is_looked_at_again_some_time_after_topics_changed() {
    let mut tested = Tested::new();
    tested.limits.session_timeout_ms = 1_000_000;
    tested.heartbeat(by_regex("m1", "a.*")).expect("it joins");
    tested.wait(1);
    tested.topics.create("ab", 1);
    assert_eq!(caught_up(&mut tested, "m1"), (2, 4));
    tested.wait(9_999);
    assert_eq!(caught_up(&mut tested, "m1"), (2, 4));
    tested.wait(1);
    assert_eq!(caught_up(&mut tested, "m1"), (3, 5));
    // A topic that is gone is noticed like any other.
    tested.topics.delete("ab");
    assert_eq!(caught_up(&mut tested, "m1"), (4, 4));
}

#[test]
fn the_refresh_interval_is_a_setting() {
    let mut tested = Tested::new();
    tested.limits.session_timeout_ms = 1_000_000;
    tested.limits.regex_refresh_interval_ms = 100;
    tested.heartbeat(by_regex("m1", "a.*")).expect("it joins");
    tested.topics.create("ab", 1);
    tested.wait(101);
    assert_eq!(caught_up(&mut tested, "m1"), (3, 5));
}

#[test]
fn members_share_an_expression() {
    let mut tested = Tested::new();
    tested.heartbeat(by_regex("m1", "a.*")).expect("it joins");
    tested.wait(1);
    tested.topics.create("ab", 2);
    // It is found as it was resolved for the first.
    tested.heartbeat(by_regex("m2", "a.*")).expect("it joins");
    caught_up(&mut tested, "m1");
    caught_up(&mut tested, "m2");
    assert_eq!(tested.owns("m1").len() + tested.owns("m2").len(), 4);
    tested.heartbeat(beat("m1", -1)).expect("it leaves");
    assert!(tested.group().is_subscribed_to("a"));
    tested.heartbeat(beat("m2", -1)).expect("it leaves");
    assert!(!tested.group().is_subscribed_to("a"));
    assert!(tested.group().stored_head().regexes.is_empty());
}

#[test]
fn an_expression_can_be_exchanged_and_ended() {
    let mut tested = Tested::new();
    tested.heartbeat(by_regex("m1", "a.*")).expect("it joins");
    let request = ConsumerHeartbeat { topic_regex: Some("b".to_owned()), ..beat("m1", 2) };
    tested.heartbeat(request).expect("a member");
    assert_eq!(caught_up(&mut tested, "m1"), (3, 2));
    let request = ConsumerHeartbeat { topic_regex: Some(String::new()), ..beat("m1", 3) };
    tested.heartbeat(request).expect("a member");
    assert_eq!(caught_up(&mut tested, "m1"), (4, 0));
    assert_eq!(tested.member("m1").stored.topic_regex, None);
    // An expression that matches the same topics as the names is another subscription all the same, as in Kafka.
    tested.heartbeat(by_regex("m1", "a")).expect("it joins again");
    let request = ConsumerHeartbeat { topic_regex: Some("[a]".to_owned()), ..beat("m1", 5) };
    tested.heartbeat(request).expect("a member");
    assert_eq!(caught_up(&mut tested, "m1"), (6, 4));
}

#[test]
fn a_bad_expression_changes_nothing() {
    let mut tested = Tested::new();
    let refused = tested.heartbeat(by_regex("m1", "(a"));
    assert!(matches!(refused, Err(GroupError::InvalidRegularExpression(_))));
    assert!(tested.slot.is_none() && tested.rows.is_empty());
    tested.heartbeat(joining("m1", &["a"])).expect("it joins");
    let rows = tested.rows.clone();
    let request = ConsumerHeartbeat {
        topic_regex: Some("(a".to_owned()),
        topics: Some(names(&["b"])),
        ..beat("m1", 2)
    };
    assert!(matches!(tested.heartbeat(request), Err(GroupError::InvalidRegularExpression(_))));
    assert_eq!(tested.rows, rows);
    // A wrong epoch comes first.
    let request = ConsumerHeartbeat { topic_regex: Some("(a".to_owned()), ..beat("m1", 7) };
    assert!(matches!(tested.heartbeat(request), Err(GroupError::FencedMemberEpoch(_))));
}

#[test]
fn expressions_are_kept_over_a_restart() {
    let mut tested = Tested::new();
    tested.heartbeat(by_regex("m1", "a.*")).expect("it joins");
    tested.restart();
    assert!(tested.group().is_subscribed_to("a"));
    assert_eq!(caught_up(&mut tested, "m1"), (2, 4));
    tested.topics.create("ab", 1);
    tested.restart();
    assert_eq!(caught_up(&mut tested, "m1"), (3, 5));
    assert!(tested.topics.by_name("ab").is_some());
}
