//! Classic members in consumer groups, consumers in classic groups, and groups that turn from one into the other.

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, JoinGroupRequest, ListGroupsRequest,
};

use super::classic;
use crate::play::play;
use crate::requests::{
    beat, commit, enter, groups, heartbeat, join, leave, leave_all, owned, protocol, some, subscription, sync,
};
use crate::script::Script;

fn look(s: &mut Script, group: &str) {
    s.call("x", 6, &DescribeGroupsRequest::default().with_groups(groups(&[group])));
    s.call("x", 1, &ConsumerGroupDescribeRequest::default().with_group_ids(groups(&[group])));
    s.call("x", 5, &ListGroupsRequest::default());
}

fn reads(topic: &str, owned: &[i32]) -> Vec<JoinGroupRequestProtocol> {
    let owned: &[(&str, &[i32])] = if owned.is_empty() { &[] } else { &[(topic, owned)] };
    vec![protocol("range", subscription(&[topic], owned))]
}

#[test]
fn classic_requests_of_consumer_groups() {
    play("classic-in-consumer-group", |s| {
        let topic = s.topic("topic", 2);
        let id = s.topic_id(&topic);
        let group = s.name("group");
        s.step("a consumer group of one member");
        s.call("a", 1, &enter(&group, "m1", &[&topic]));
        s.step("classic requests of strangers and of the consumer itself");
        for member in ["nobody", "m1"] {
            s.call("x", 4, &heartbeat(&group, 2, member));
            s.call("x", 5, &sync(&group, 2, member, &[]));
        }
        s.call("x", 9, &join(&group, "nobody").with_protocols(reads(&topic, &[])));
        s.call("x", 1, &leave(&group, "nobody"));
        s.call("x", 5, &leave_all(&group, &[("nobody", None)]));
        s.step("joins that are refused");
        s.call("x", 9, &join(&group, "").with_protocol_type("connect".into()));
        s.call("x", 9, &join(&group, "").with_protocol_type("".into()));
        s.call("x", 9, &join(&group, "").with_protocols(vec![]));
        s.call("x", 9, &join(&group, "").with_protocols(reads(&topic, &[])).with_session_timeout_ms(1));
        s.step("a classic member joins");
        let first = s.call("c", 9, &join(&group, "").with_protocols(reads(&topic, &[])));
        let c = first.member_id.to_string();
        let joined = s.call("c", 9, &join(&group, &c).with_protocols(reads(&topic, &[])));
        s.call("c", 5, &sync(&group, joined.generation_id, &c, &[]));
        look(s, &group);
        s.step("its heartbeats");
        s.call("c", 4, &heartbeat(&group, joined.generation_id, &c));
        s.call("c", 4, &heartbeat(&group, 1, &c));
        s.call("c", 4, &heartbeat(&group, 9, &c));
        s.step("its syncs that are refused");
        s.call("c", 5, &sync(&group, 9, &c, &[]));
        s.call("c", 5, &sync(&group, joined.generation_id, &c, &[]).with_protocol_name(some("other")));
        s.call("c", 5, &sync(&group, joined.generation_id, &c, &[]).with_protocol_type(some("connect")));
        s.step("the consumer gives up a partition");
        let kept = s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(id, &[0, 1])])));
        let kept = kept.assignment.and_then(|given| given.topic_partitions.into_iter().next());
        let kept = kept.map_or(vec![0], |of| of.partitions);
        s.call("a", 1, &beat(&group, "m1", 2).with_topic_partitions(owned(&[(id, &kept)])));
        s.step("the classic member is told, and is given it");
        s.call("c", 4, &heartbeat(&group, joined.generation_id, &c));
        let again = s.call("c", 9, &join(&group, &c).with_protocols(reads(&topic, &[])));
        s.call("c", 5, &sync(&group, again.generation_id, &c, &[]));
        s.call("c", 4, &heartbeat(&group, again.generation_id, &c));
        s.step("commits of both");
        s.call("c", 9, &commit(&group, again.generation_id, &c, &[(&topic, 0, 1)]));
        s.call("c", 9, &commit(&group, 9, &c, &[(&topic, 0, 1)]));
        s.call("c", 7, &commit(&group, 9, &c, &[(&topic, 0, 1)]));
        s.call("a", 9, &commit(&group, 3, "m1", &[(&topic, 0, 1)]));
        s.step("the consumer leaves: the group is a classic one");
        s.call("a", 1, &beat(&group, "m1", -1));
        look(s, &group);
        s.call("c", 4, &heartbeat(&group, again.generation_id, &c));
        s.call("c", 9, &join(&group, &c).with_protocols(reads(&topic, &[])));
        s.step("a consumer heartbeat of a classic member makes it a consumer");
        let group = s.name("turns");
        s.call("a", 1, &enter(&group, "m1", &[&topic]));
        let c = s.call("c", 3, &join(&group, "").with_protocols(reads(&topic, &[])));
        s.call("c", 1, &beat(&group, &c.member_id, c.generation_id));
        look(s, &group);
        s.call("c", 4, &heartbeat(&group, c.generation_id, &c.member_id));
        s.step("a classic join of a consumer makes it a classic member of what stays a consumer group");
        let group = s.name("turns-back");
        s.call("a", 1, &enter(&group, "m1", &[&topic]));
        s.call("a", 9, &join(&group, "m1").with_protocols(reads(&topic, &[])));
        look(s, &group);
        s.call("a", 4, &heartbeat(&group, 2, "m1"));
    });
}

#[test]
fn consumers_in_classic_groups() {
    play("consumer-in-classic-group", |s| {
        let topic = s.topic("topic", 2);
        let id = s.topic_id(&topic);
        s.step("an empty classic group becomes a consumer group");
        let empty = s.name("empty");
        let gone = classic::stable(s, &empty);
        s.call("a", 1, &leave(&empty, &gone));
        s.call("a", 9, &commit(&empty, -1, "", &[(&topic, 0, 5)]));
        s.call("m", 1, &enter(&empty, "m1", &[&topic]));
        look(s, &empty);
        s.call("x", 5, &crate::requests::fetch(&empty, None));
        s.step("and an empty consumer group a classic one");
        s.call("m", 1, &beat(&empty, "m1", -1));
        look(s, &empty);
        let c = s.call("c", 9, &join(&empty, "")).member_id;
        s.call("c", 9, &join(&empty, &c));
        look(s, &empty);
        s.call("x", 5, &crate::requests::fetch(&empty, None));
        s.step("a stable classic group");
        let group = s.name("group");
        let a = s.call("a", 3, &join(&group, "").with_protocols(reads(&topic, &[]))).member_id;
        s.call("a", 5, &sync(&group, 1, &a, &[]));
        s.step("a consumer joins it: it becomes a consumer group");
        // `range` goes by the members' ids, of which one is generated but begins with "it".
        s.call("m", 1, &enter(&group, "m1", &[&topic]).with_server_assignor(some("range")));
        look(s, &group);
        s.step("the classic member must join again");
        s.call("a", 4, &heartbeat(&group, 1, &a));
        let joined = s.call("a", 9, &join(&group, &a).with_protocols(reads(&topic, &[])));
        s.call("a", 5, &sync(&group, joined.generation_id, &a, &[]));
        s.call("a", 4, &heartbeat(&group, joined.generation_id, &a));
        look(s, &group);
        s.step("the consumer has what the classic member left");
        s.call("m", 1, &beat(&group, "m1", joined.generation_id));
        s.step("the classic member leaves");
        s.call("a", 5, &leave_all(&group, &[(&a, None)]));
        let beat = beat(&group, "m1", joined.generation_id);
        s.call("m", 1, &beat.with_topic_partitions(owned(&[(id, &[1])])));
        look(s, &group);
        s.step("a classic group that prepares a rebalance");
        let preparing = s.name("preparing");
        let first = classic::joined(s, &preparing);
        s.call("a", 5, &sync(&preparing, 1, &first, &[]));
        s.park("b", 3, &join(&preparing, ""));
        s.call("m", 1, &enter(&preparing, "m1", &[&topic]));
        s.finish::<JoinGroupRequest>("b");
        look(s, &preparing);
        s.step("a classic group that completes a rebalance");
        let completing = s.name("completing");
        let one = classic::joined(s, &completing);
        s.call("m", 1, &enter(&completing, "m1", &[&topic]));
        s.call("a", 5, &sync(&completing, 1, &one, &[]));
        s.call("a", 4, &heartbeat(&completing, 1, &one));
        look(s, &completing);
        s.step("a classic group with an assignment that the broker cannot read");
        let unread = s.name("unread");
        let member = s.call("a", 3, &join(&unread, "").with_protocols(reads(&topic, &[]))).member_id;
        s.call("a", 5, &sync(&unread, 1, &member, &[(&member, "not an assignment")]));
        s.call("m", 1, &enter(&unread, "m1", &[&topic]));
        look(s, &unread);
    });
}
