//! Commits, fetches, deletion, expiry, subscriptions, and what is shown.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::error::GroupError::*;
use super::super::request::{JoinRequest, Protocol};
use super::testing::*;
use super::{OffsetsExpire, State};

#[test]
fn outside_membership_offsets_are_committed_to_empty_groups_only() {
    let mut tested = Tested::new();
    assert_eq!(tested.commit("", -1), Ok(()));
    assert_eq!(tested.commit("anybody", -1), Ok(()));
    assert_eq!(tested.commit("anybody", 0), Err(UnknownMemberId));
    assert_eq!(tested.commit("", 0), Err(UnknownMemberId));
    let mut tested = Tested::stable(&["a"]);
    assert_eq!(tested.commit("", -1), Err(UnknownMemberId));
    assert_eq!(tested.commit("anybody", -1), Err(UnknownMemberId));
    assert_eq!(tested.commit("a", -1), Err(IllegalGeneration));
    tested.leave(&["a"]);
    assert_eq!(tested.commit("", -1), Ok(()));
    assert_eq!(tested.commit("a", 1), Err(UnknownMemberId));
}

#[test]
fn refusals_come_in_kafkas_order() {
    let mut tested = Tested::completing(&["a@i", "b"]);
    assert_eq!(tested.commit("x", 9), Err(UnknownMemberId));
    assert_eq!(tested.commit("x@i", 9), Err(FencedInstanceId));
    assert_eq!(tested.commit("a@j", 9), Err(UnknownMemberId));
    assert_eq!(tested.commit("@i", -1), Err(FencedInstanceId));
    assert_eq!(tested.commit("a@i", 9), Err(IllegalGeneration));
    assert_eq!(tested.commit("a@i", 1), Err(RebalanceInProgress));
    tested.sync(sync_of("a@i", 1));
    assert_eq!(tested.commit("a@i", 1), Ok(()));
    // Cooperative members commit while they go on reading.
    tested.join(rejoin("a@i"));
    assert_eq!(tested.commit("b", 1), Ok(()));
    assert_eq!(tested.commit("b", 2), Err(IllegalGeneration));
    tested.step(|group, _, effects| group.give_up(NotCoordinator, effects));
    assert_eq!(tested.commit("b", 1), Err(CoordinatorNotAvailable));
}

#[test]
fn a_commit_renews_the_session() {
    let mut tested = Tested::stable(&["a"]);
    for _ in 0..5 {
        tested.wait(9_999);
        assert_eq!(tested.commit("a", 1), Ok(()));
    }
    tested.wait(10_000);
    assert_eq!(tested.group.state(), State::Empty);
}

#[test]
fn transactional_commits_ask_for_less() {
    let mut tested = Tested::completing(&["a@i", "b"]);
    let check = |tested: &Tested, name: &str, generation| {
        tested.group.check_transactional_commit(&committer(name, generation))
    };
    assert_eq!(check(&tested, "", -1), Ok(()));
    assert_eq!(check(&tested, "b", 1), Ok(()), "in every state");
    assert_eq!(check(&tested, "b", 2), Err(IllegalGeneration));
    assert_eq!(check(&tested, "b", -1), Err(IllegalGeneration));
    assert_eq!(check(&tested, "x", 1), Err(UnknownMemberId));
    assert_eq!(check(&tested, "b@i", 1), Err(FencedInstanceId));
    assert_eq!(check(&Tested::new(), "x", -1), Ok(()));
    tested.step(|group, _, effects| group.give_up(NotCoordinator, effects));
    assert_eq!(check(&tested, "", -1), Err(CoordinatorNotAvailable));
}

#[test]
fn anybody_reads_offsets_of_a_group_that_lives() {
    let mut tested = Tested::stable(&["a"]);
    assert_eq!(tested.group.check_fetch(&committer("x", 7)), Ok(()));
    tested.step(|group, _, effects| group.give_up(NotCoordinator, effects));
    assert!(matches!(tested.group.check_fetch(&committer("a", 1)), Err(GroupIdNotFound(_))));
    assert!(matches!(tested.group.check_delete(), Err(GroupIdNotFound(_))));
    assert!(matches!(tested.group.check_delete_offsets(), Err(GroupIdNotFound(_))));
}

#[test]
fn groups_with_members_are_not_deleted() {
    let mut tested = Tested::new();
    assert_eq!((tested.group.check_delete(), tested.group.check_delete_offsets()), (Ok(()), Ok(())));
    tested.join(member("a"));
    assert_eq!(tested.group.check_delete(), Err(NonEmptyGroup));
    assert_eq!(tested.group.check_delete_offsets(), Ok(()), "consumers: by topic");

    let mut tested = Tested::new();
    tested.join(JoinRequest { protocol_type: "connect".to_owned(), ..member("w") });
    assert_eq!(tested.group.check_delete_offsets(), Err(NonEmptyGroup));
    tested.leave(&["w"]);
    tested.wait(DELAY_MS);
    assert_eq!((tested.group.check_delete(), tested.group.check_delete_offsets()), (Ok(()), Ok(())));
}

fn subscribed(name: &str, metadata: Bytes) -> JoinRequest {
    JoinRequest { protocols: vec![Protocol { name: "range".to_owned(), metadata }], ..member(name) }
}

#[test]
fn offsets_expire_as_the_group_is_used() {
    let mut tested = Tested::new();
    assert_eq!(tested.group.offsets_expire(), OffsetsExpire::FromCommit, "only a name");
    tested.join(subscribed("a", subscription(&["t"])));
    assert_eq!(tested.group.offsets_expire(), OffsetsExpire::Never);
    tested.wait(DELAY_MS);
    assert_eq!(tested.group.offsets_expire(), OffsetsExpire::Never);
    tested.sync(sync_of("a", 1));
    assert_eq!(tested.group.offsets_expire(), OffsetsExpire::FromCommit, "of topics not subscribed to");
    tested.leave(&["a"]);
    let emptied = tested.now().wall_ms;
    tested.wait(1_000);
    assert_eq!(tested.group.offsets_expire(), OffsetsExpire::From(emptied));
    tested.restart();
    assert_eq!(tested.group.offsets_expire(), OffsetsExpire::From(emptied));
}

#[test]
fn offsets_of_groups_the_broker_cannot_read_stay() {
    let mut tested = Tested::stable(&["a"]);
    assert_eq!(tested.group.offsets_expire(), OffsetsExpire::Never);
    assert!(tested.group.is_subscribed_to("any"));
    tested.leave(&["a"]);
    assert!(!tested.group.is_subscribed_to("any"), "an empty group reads nothing");

    let mut tested = Tested::new();
    tested.join(JoinRequest { protocol_type: "connect".to_owned(), ..member("w") });
    tested.wait(DELAY_MS);
    tested.sync(sync_of("w", 1));
    assert_eq!(tested.group.offsets_expire(), OffsetsExpire::Never);
    assert!(!tested.group.is_subscribed_to("any"));
}

#[test]
fn a_group_is_subscribed_to_its_members_topics() {
    let mut tested = Tested::new();
    tested.join(subscribed("a", subscription(&["t", "u"])));
    // A later version only adds to the end.
    let mut later = subscription(&["u", "v"]).to_vec();
    later[1] = 3;
    later.extend_from_slice(b"what version 3 adds");
    tested.join(subscribed("b", later.into()));
    tested.wait(2 * DELAY_MS);
    for (topic, is_subscribed) in [("t", true), ("u", true), ("v", true), ("w", false)] {
        assert_eq!(tested.group.is_subscribed_to(topic), is_subscribed, "{topic}");
    }
    tested.sync(sync_of("a", 1));
    tested.restart();
    assert!(tested.group.is_subscribed_to("v") && !tested.group.is_subscribed_to("w"));
}

#[test]
fn one_members_unreadable_metadata_makes_the_topics_unknown() {
    let whole = subscription(&["topic"]);
    let mut negative = whole.to_vec();
    negative[0] = 0x80;
    let mut many = whole.to_vec();
    many[2..6].copy_from_slice(&i32::MAX.to_be_bytes());
    let mut minus_one = whole.to_vec();
    minus_one[2..6].copy_from_slice(&(-1_i32).to_be_bytes());
    let mut text = whole.to_vec();
    text[8] = 0xff;
    let mut user_data = whole.to_vec();
    let end = user_data.len();
    user_data[end - 4..].copy_from_slice(&1_i32.to_be_bytes());
    for bad in [Vec::new(), whole[..end - 1].to_vec(), negative, many, minus_one, text, user_data] {
        let mut tested = Tested::new();
        tested.join(subscribed("a", subscription(&["t"])));
        tested.join(subscribed("b", bad.clone().into()));
        tested.wait(2 * DELAY_MS);
        assert!(tested.group.is_subscribed_to("any"), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_metadata_is_read_without_panic(metadata: Vec<u8>) {
        let mut tested = Tested::new();
        tested.join(subscribed("a", metadata.into()));
        tested.wait(DELAY_MS);
        prop_assert_eq!(tested.group.generation(), 1);
    }
}

#[test]
fn a_stable_group_is_shown_whole_and_another_in_part() {
    let mut tested = Tested::stable(&["a", "b@i"]);
    let shown = tested.group.describe();
    assert_eq!(
        (shown.state, shown.protocol_type.as_str(), shown.protocol.as_str()),
        ("Stable", "consumer", "range")
    );
    let b = &shown.members[1];
    assert_eq!((b.member_id.as_str(), b.instance_id.as_deref()), ("b", Some("i")));
    assert_eq!((b.client.id.as_str(), b.client.host.as_str()), ("client", "/127.0.0.1"));
    assert_eq!((&b.metadata[..], &b.assignment), (&b"metadata for range"[..], &assignment_of("b")));

    tested.join(rejoin("a"));
    let shown = tested.group.describe();
    assert_eq!((shown.state, shown.protocol.as_str()), ("PreparingRebalance", ""));
    assert_eq!((shown.members[1].metadata.len(), &shown.members[1].assignment), (0, &assignment_of("b")));
    let empty = Tested::new().group.describe();
    assert_eq!((empty.state, empty.protocol_type.as_str(), empty.members.len()), ("Empty", "", 0));
}
