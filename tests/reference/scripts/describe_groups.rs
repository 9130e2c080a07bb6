//! DescribeGroups and ConsumerGroupDescribe.

use kafka_protocol::messages::{ConsumerGroupDescribeRequest, DescribeGroupsRequest};

use super::classic;
use crate::play::play;
use crate::requests::{beat, commit, enter, groups, join, leave, some, sync};

fn describe(names: &[&str]) -> DescribeGroupsRequest {
    DescribeGroupsRequest::default().with_groups(groups(names))
}

fn describe_consumers(names: &[&str]) -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest::default().with_group_ids(groups(names))
}

#[test]
fn describe_groups() {
    play("describe-groups", |s| {
        let one = s.topic("one", 2);
        s.step("groups in all states");
        let names = [
            "stable",
            "completing",
            "preparing",
            "offsets",
            "pending",
            "connect",
            "left",
            "static",
            "consumer",
        ]
        .map(|name| s.name(name));
        let [stable, completing, preparing, offsets, pending, connect, left, fixed, consumer] = &names;
        classic::pair(s, stable);
        classic::joined(s, completing);
        classic::stable(s, preparing);
        s.park("p", 3, &join(preparing, ""));
        s.call("x", 9, &commit(offsets, -1, "", &[(&one, 0, 1)]));
        s.call("x", 9, &join(pending, ""));
        s.call("x", 3, &join(connect, "").with_protocol_type("connect".into()));
        let gone = classic::stable(s, left);
        s.call("a", 1, &leave(left, &gone));
        let id = s.call("x", 9, &join(fixed, "").with_group_instance_id(some("one"))).member_id;
        s.call("x", 5, &sync(fixed, 1, &id, &[(&id, "all")]));
        s.call("c", 1, &enter(consumer, "m1", &[&one]));
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let none = s.name("none");
        for version in 0..=6 {
            s.step(&format!("v{version} in all states"));
            s.call("x", version, &describe(&all));
            s.step(&format!("v{version} unknown, empty, twice"));
            s.call("x", version, &describe(&[&none, "", &none]));
            s.step(&format!("v{version} of nothing"));
            s.call("x", version, &describe(&[]));
        }
        for version in [3, 5, 6] {
            s.step(&format!("v{version} with authorized operations"));
            s.call(
                "x",
                version,
                &describe(&[offsets, &none, consumer]).with_include_authorized_operations(true),
            );
        }
        for version in 0..=1 {
            s.step(&format!("consumer v{version} in all states"));
            s.call("x", version, &describe_consumers(&all));
            s.step(&format!("consumer v{version} unknown, empty, twice"));
            s.call("x", version, &describe_consumers(&[&none, "", &none]));
            s.step(&format!("consumer v{version} of nothing"));
            s.call("x", version, &describe_consumers(&[]));
            s.step(&format!("consumer v{version} with authorized operations"));
            let asked = describe_consumers(&[consumer, &none]).with_include_authorized_operations(true);
            s.call("x", version, &asked);
        }
        s.step("a consumer group that all have left");
        s.call("c", 1, &beat(consumer, "m1", -1));
        s.call("x", 1, &describe_consumers(&[consumer]));
        s.call("x", 6, &describe(&[consumer]));
    });
}
