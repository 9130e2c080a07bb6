//! Groups that change their protocol with the members they have (KIP-848).

use kafka_protocol::messages as m;

use super::member::{
    FIRST, JOIN, beat, broker, broker_with, commit, committed, consumer_described, described, heartbeat,
    refused, settle, sync, told, until_rebalance,
};
use super::{ask, code};
use crate::support::Client;
use crate::support::request::text;

/// JoinGroup of a member that says what it owns.
fn join_owning(client: &mut Client, member: &str, owned: &[i32]) -> m::JoinGroupResponse {
    let metadata = ask::owning(&["t"], "t", owned);
    let request = ask::join("g", member).with_protocols(vec![ask::protocol("range", metadata)]);
    client.call(JOIN, &request)
}

#[test]
fn from_classic_to_consumer_and_back_without_losing_a_member_or_an_offset() {
    let (broker, mut classic, topic) = broker();
    let one = settle(&mut classic, "g");
    let by_one = |generation| {
        ask::commit("g", "t", &[(0, 5)])
            .with_member_id(one.member_id.clone())
            .with_generation_id_or_member_epoch(generation)
    };
    assert_eq!(commit(&mut classic, &by_one(1)), [code::NONE]);

    // The first member of the new protocol converts the group.
    let mut consumer = broker.client();
    let entered = beat(&mut consumer, &ask::enter("g", "new", &["t"]));
    assert_eq!((entered.member_epoch, told(&entered)), (2, Some(vec![])));
    let shown = consumer_described(&mut consumer, "g");
    assert_eq!((shown.error_code, shown.members.len(), shown.group_epoch), (code::NONE, 2, 2));
    for member in &shown.members {
        assert_eq!(member.member_type, i8::from(member.member_id.as_str() == "new"));
    }
    assert_eq!(described(&mut classic, "g").error_code, code::GROUP_ID_NOT_FOUND);
    assert_eq!(committed(&mut classic, "g", "t", 0), 5);

    // The member of the old protocol is asked to join again, and told to give up half of what it has.
    until_rebalance(&mut classic, "g", &one);
    let again = join_owning(&mut classic, &one.member_id, &[0, 1, 2, 3]);
    assert_eq!((again.error_code, &again.member_id, again.generation_id), (code::NONE, &one.member_id, 1));
    let kept = sync(&mut classic, "g", &again, &[]).expect("an assignment");
    assert_eq!(kept, ask::assignment("t", &[0, 1]));
    let again = join_owning(&mut classic, &one.member_id, &[0, 1]);
    assert_eq!((again.error_code, again.generation_id), (code::NONE, 2));
    assert_eq!(sync(&mut classic, "g", &again, &[]), Ok(kept));
    assert_eq!(heartbeat(&mut classic, "g", &again), code::NONE);
    let given = beat(&mut consumer, &ask::beat("g", "new", 2));
    assert_eq!(told(&given), Some(vec![2, 3]));
    assert_eq!(commit(&mut classic, &by_one(2)), [code::NONE]);
    let owned = ask::owned(topic, &[2, 3]);
    assert_eq!(told(&beat(&mut consumer, &ask::beat("g", "new", 2).with_topic_partitions(owned))), None);
    assert_eq!(consumer_described(&mut consumer, "g").group_state.as_str(), "Stable");

    // The last member of the new protocol leaves: the group is a classic one, and its member leads it.
    beat(&mut consumer, &ask::beat("g", "new", -1));
    assert_eq!(consumer_described(&mut consumer, "g").error_code, code::GROUP_ID_NOT_FOUND);
    until_rebalance(&mut classic, "g", &again);
    let last = join_owning(&mut classic, &one.member_id, &[0, 1]);
    assert_eq!((last.error_code, &last.leader, last.members.len()), (code::NONE, &one.member_id, 1));
    assert!(last.generation_id > again.generation_id);
    let all = ask::assignment("t", &[0, 1, 2, 3]);
    assert_eq!(sync(&mut classic, "g", &last, &[(&one.member_id, all.clone())]), Ok(all));
    assert_eq!(described(&mut classic, "g").group_state.as_str(), "Stable");
    assert_eq!(committed(&mut classic, "g", "t", 0), 5);
}

#[test]
fn a_classic_member_joins_a_consumer_group() {
    let (broker, mut consumer, topic) = broker();
    beat(&mut consumer, &ask::enter("g", "new", &["t"]));
    let mut classic = broker.client();
    let request = ask::join("g", "");
    let id = super::member::member_id(&mut classic, &request);
    let joined = classic.call(JOIN, &request.with_member_id(id.clone()));
    // Members of a consumer group do not wait for each other, and nobody leads.
    assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (code::NONE, FIRST + 1, 0));
    assert_eq!(sync(&mut classic, "g", &joined, &[]), Ok(ask::assignment("t", &[])));
    let kept = told(&beat(&mut consumer, &ask::beat("g", "new", FIRST))).expect("it is to give something up");
    beat(&mut consumer, &ask::beat("g", "new", FIRST).with_topic_partitions(ask::owned(topic, &kept)));
    until_rebalance(&mut classic, "g", &joined);
    let again = join_owning(&mut classic, &id, &[]);
    let given: Vec<i32> = (0..4).filter(|partition| !kept.contains(partition)).collect();
    assert_eq!(sync(&mut classic, "g", &again, &[]), Ok(ask::assignment("t", &given)));
    let other = ask::join("g", "").with_protocol_type(text("connect"));
    assert_eq!(broker.client().call(JOIN, &other).error_code, code::INCONSISTENT_GROUP_PROTOCOL);
}

#[test]
fn an_empty_group_of_either_kind_becomes_the_other() {
    let (broker, mut client, _) = broker_with(&[("group.consumer.migration.policy", "disabled")]);
    commit(&mut client, &ask::commit("g", "t", &[(0, 5)]));
    beat(&mut client, &ask::enter("g", "a", &["t"]));
    assert_eq!(committed(&mut client, "g", "t", 0), 5);
    beat(&mut client, &ask::beat("g", "a", -1));
    assert_eq!(consumer_described(&mut client, "g").group_state.as_str(), "Empty");
    settle(&mut broker.client(), "g");
    assert_eq!(committed(&mut client, "g", "t", 0), 5);
    assert_eq!(consumer_described(&mut client, "g").error_code, code::GROUP_ID_NOT_FOUND);
}

#[test]
fn the_policy_decides_which_way_groups_may_go() {
    for (policy, up, down) in [
        ("bidirectional", true, true),
        ("upgrade", true, false),
        ("downgrade", false, true),
        ("disabled", false, false),
    ] {
        let (_broker, mut client, _) = broker_with(&[("group.consumer.migration.policy", policy)]);
        settle(&mut client, "g");
        let code = refused(&mut client, &ask::enter("g", "new", &["t"]));
        assert_eq!(code, if up { code::NONE } else { code::GROUP_ID_NOT_FOUND }, "{policy}");
        if !up {
            assert_eq!(described(&mut client, "g").group_state.as_str(), "Stable", "{policy}");
            continue;
        }
        beat(&mut client, &ask::beat("g", "new", -1));
        let is_consumer = consumer_described(&mut client, "g").error_code == code::NONE;
        assert_eq!(is_consumer, !down, "{policy}");
    }
}
