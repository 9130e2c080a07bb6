//! OffsetDelete, DeleteGroups and ListGroups.

use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, JoinGroupRequest, ListGroupsRequest, OffsetDeleteRequest,
};

use super::classic;
use crate::play::play;
use crate::requests::{
    commit, enter, fetch, group, groups, join, leave, protocol, subscription, sync, text, topic,
};

fn offset_delete(of: &str, topics: &[(&str, &[i32])]) -> OffsetDeleteRequest {
    let topics = topics.iter().map(|(name, partitions)| {
        let partitions = partitions
            .iter()
            .map(|partition| OffsetDeleteRequestPartition::default().with_partition_index(*partition));
        OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(partitions.collect())
    });
    OffsetDeleteRequest::default().with_group_id(group(of)).with_topics(topics.collect())
}

fn delete(names: &[&str]) -> DeleteGroupsRequest {
    DeleteGroupsRequest::default().with_groups_names(groups(names))
}

#[test]
fn offset_deletes() {
    play("offset-delete", |s| {
        let (one, two) = (s.topic("one", 2), s.topic("two", 1));
        let absent = s.name("absent");
        let group = s.name("group");
        s.step("an unknown group");
        s.call("x", 0, &offset_delete(&s.name("none"), &[(&one, &[0])]));
        s.call("x", 0, &offset_delete(&s.name("none"), &[]));
        s.call("x", 0, &offset_delete(&s.name("none"), &[(&absent, &[0])]));
        s.step("an empty group id");
        s.call("x", 0, &offset_delete("", &[(&one, &[0])]));
        s.step("a group that only has offsets");
        s.call("x", 9, &commit(&group, -1, "", &[(&one, 0, 1), (&one, 1, 1), (&two, 0, 1)]));
        s.call("x", 0, &offset_delete(&group, &[(&one, &[0, 5]), (&absent, &[0])]));
        s.call("x", 0, &offset_delete(&group, &[(&one, &[0])]));
        s.call("x", 0, &offset_delete(&group, &[]));
        s.call("x", 0, &offset_delete(&group, &[(&one, &[])]));
        s.call("x", 5, &fetch(&group, None));
        s.step("the last offset goes, and the group with it");
        s.call("x", 0, &offset_delete(&group, &[(&one, &[1]), (&two, &[0])]));
        s.call("x", 0, &offset_delete(&group, &[(&one, &[1])]));
        s.step("a stable group whose member subscribes to one of the topics");
        let group = s.name("stable");
        let protocols = vec![protocol("range", subscription(&[&one], &[]))];
        let a = s.call("a", 3, &join(&group, "").with_protocols(protocols)).member_id;
        s.call("a", 3, &sync(&group, 1, &a, &[]));
        s.call("a", 9, &commit(&group, 1, &a, &[(&one, 0, 1), (&two, 0, 1)]));
        s.call("x", 0, &offset_delete(&group, &[(&one, &[0]), (&two, &[0])]));
        s.call("x", 5, &fetch(&group, None));
        s.step("a stable group of another protocol type");
        let group = s.name("connect");
        let a = s.call("a", 3, &join(&group, "").with_protocol_type("connect".into())).member_id;
        s.call("a", 3, &sync(&group, 1, &a, &[]).with_protocol_type(crate::requests::some("connect")));
        s.call("a", 9, &commit(&group, 1, &a, &[(&one, 0, 1)]));
        s.call("x", 0, &offset_delete(&group, &[(&one, &[0])]));
        s.step("a group that all have left");
        s.call("a", 1, &leave(&group, &a));
        s.call("x", 0, &offset_delete(&group, &[(&one, &[0])]));
        s.step("a consumer group");
        let group = s.name("consumer");
        s.call("c", 1, &enter(&group, "m1", &[&one]));
        s.call("c", 9, &commit(&group, 2, "m1", &[(&one, 0, 1), (&two, 0, 1)]));
        s.call("x", 0, &offset_delete(&group, &[(&one, &[0]), (&two, &[0])]));
    });
}

#[test]
fn delete_groups() {
    play("delete-groups", |s| {
        let one = s.topic("one", 1);
        for version in 0..=2 {
            s.step(&format!("v{version} unknown, empty and twice"));
            let none = s.name("none");
            s.call("x", version, &delete(&[&none, "", &none]));
            s.call("x", version, &delete(&[]));
            s.step(&format!("v{version} a stable one and one with offsets"));
            let stable = s.name(&format!("stable-v{version}"));
            let offsets = s.name(&format!("offsets-v{version}"));
            classic::stable(s, &stable);
            s.call("x", 9, &commit(&offsets, -1, "", &[(&one, 0, 1)]));
            s.call("x", version, &delete(&[&stable, &offsets]));
            s.call("x", version, &delete(&[&stable, &offsets]));
            s.call("x", 5, &fetch(&offsets, None));
        }
        s.step("one in each other state");
        let (completing, preparing, pending, left) =
            (s.name("completing"), s.name("preparing"), s.name("pending"), s.name("left"));
        classic::joined(s, &completing);
        let a = classic::stable(s, &preparing);
        s.park("b", 3, &join(&preparing, ""));
        let id = s.call("c", 9, &join(&pending, "")).member_id;
        let gone = classic::stable(s, &left);
        s.call("a", 1, &leave(&left, &gone));
        s.call("x", 2, &delete(&[&completing, &preparing, &pending, &left]));
        s.step("the one that only had an id handed out");
        s.call("c", 9, &join(&pending, &id));
        s.step("the one that prepared a rebalance goes on");
        s.call("a", 3, &join(&preparing, &a));
        s.finish::<JoinGroupRequest>("b");
        s.step("a consumer group, with a member and without");
        let consumer = s.name("consumer");
        s.call("m", 1, &enter(&consumer, "m1", &[&one]));
        s.call("x", 2, &delete(&[&consumer]));
        s.call("m", 1, &crate::requests::beat(&consumer, "m1", -1));
        s.call("x", 2, &delete(&[&consumer]));
        s.call("x", 2, &delete(&[&consumer]));
    });
}

#[test]
fn list_groups() {
    play("list-groups", |s| {
        let one = s.topic("one", 1);
        s.step("a group in each state");
        classic::stable(s, &s.name("stable"));
        classic::joined(s, &s.name("completing"));
        let preparing = s.name("preparing");
        classic::stable(s, &preparing);
        s.park("b", 3, &join(&preparing, ""));
        s.call("x", 9, &commit(&s.name("offsets"), -1, "", &[(&one, 0, 1)]));
        s.call("x", 9, &join(&s.name("pending"), ""));
        s.call("x", 3, &join(&s.name("connect"), "").with_protocol_type("connect".into()));
        let (consumer, left) = (s.name("consumer"), s.name("consumer-left"));
        s.call("c", 1, &enter(&consumer, "m1", &[&one]));
        s.call("c", 1, &enter(&left, "m1", &[&one]));
        s.call("c", 1, &crate::requests::beat(&left, "m1", -1));
        for version in 0..=5 {
            s.step(&format!("v{version} all"));
            s.call("x", version, &ListGroupsRequest::default());
        }
        let states = |states: &[&str]| {
            ListGroupsRequest::default().with_states_filter(states.iter().map(|state| text(state)).collect())
        };
        for version in 4..=5 {
            for state in [
                "Stable",
                "stable",
                "STABLE",
                "Empty",
                "Dead",
                "Unknown",
                "",
                "nonsense",
                "PreparingRebalance",
                "preparingrebalance",
                "CompletingRebalance",
                "Assigning",
                "Reconciling",
            ] {
                s.step(&format!("v{version} in state {state:?}"));
                s.call("x", version, &states(&[state]));
            }
            s.step(&format!("v{version} in several states, one of them unknown"));
            s.call("x", version, &states(&["Empty", "nonsense", "Stable"]));
        }
        let types = |types: &[&str]| {
            ListGroupsRequest::default().with_types_filter(types.iter().map(|of| text(of)).collect())
        };
        for of in
            ["classic", "Classic", "consumer", "CONSUMER", "share", "streams", "unknown", "", "nonsense"]
        {
            s.step(&format!("v5 of type {of:?}"));
            s.call("x", 5, &types(&[of]));
        }
        s.step("v5 of several types, one of them unknown");
        s.call("x", 5, &types(&["consumer", "nonsense"]));
        s.step("v5 of a type in a state");
        let filtered = types(&["classic"]).with_states_filter(vec![text("Empty")]);
        s.call("x", 5, &filtered);
    });
}
