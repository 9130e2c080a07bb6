//! Heartbeat of the classic protocol, in each state of a group.

use kafka_protocol::messages::JoinGroupRequest;

use super::classic;
use crate::play::play;
use crate::requests::{commit, heartbeat, join, leave, some, sync};

#[test]
fn heartbeat_states() {
    play("heartbeat", |s| {
        let none = s.name("none");
        s.step("an unknown group");
        for version in 0..=4 {
            s.call("x", version, &heartbeat(&none, 1, "nobody"));
        }
        s.step("an empty group id");
        for version in [0, 4] {
            s.call("x", version, &heartbeat("", 1, "nobody"));
        }
        let empty = s.name("empty");
        s.step("a group that only has offsets");
        let topic = s.topic("topic", 1);
        s.call("x", 9, &commit(&empty, -1, "", &[(&topic, 0, 1)]));
        s.call("x", 4, &heartbeat(&empty, 0, "nobody"));
        s.call("x", 4, &heartbeat(&empty, -1, ""));
        s.step("a group that all have left");
        let left = s.name("left");
        let gone = classic::stable(s, &left);
        s.call("a", 1, &leave(&left, &gone));
        s.call("a", 4, &heartbeat(&left, 1, &gone));

        let group = s.name("group");
        s.step("an id that has been handed out only");
        let pending = s.call("a", 9, &join(&group, "")).member_id;
        s.call("a", 4, &heartbeat(&group, 0, &pending));
        s.call("a", 4, &heartbeat(&group, -1, &pending));
        s.step("completing");
        let a = s.call("a", 9, &join(&group, &pending)).member_id;
        s.call("a", 4, &heartbeat(&group, 1, &a));
        s.step("stable");
        s.call("a", 4, &sync(&group, 1, &a, &[]));
        s.call("a", 4, &heartbeat(&group, 1, &a));
        for version in [0, 3, 4] {
            s.step(&format!("v{version} mistakes in a stable group"));
            s.call("x", version, &heartbeat(&group, 1, "nobody"));
            s.call("x", version, &heartbeat(&group, 1, ""));
            s.call("x", version, &heartbeat(&group, 2, "nobody"));
            s.call("x", version, &heartbeat(&group, 2, &a));
            s.call("x", version, &heartbeat(&group, 0, &a));
            s.call("x", version, &heartbeat(&group, -1, &a));
        }
        s.step("an instance id that nobody has");
        s.call("x", 4, &heartbeat(&group, 1, &a).with_group_instance_id(some("unknown")));
        s.call("x", 4, &heartbeat(&group, 2, &a).with_group_instance_id(some("unknown")));
        s.step("preparing");
        s.park("b", 3, &join(&group, ""));
        s.call("a", 4, &heartbeat(&group, 1, &a));
        s.call("a", 4, &heartbeat(&group, 2, &a));
        s.call("a", 4, &heartbeat(&group, 1, "nobody"));
        s.step("completing with two");
        s.call("a", 3, &join(&group, &a));
        let b = s.finish::<JoinGroupRequest>("b").member_id;
        s.call("a", 4, &heartbeat(&group, 1, &a));
        s.call("a", 4, &heartbeat(&group, 2, &a));
        s.call("b", 4, &heartbeat(&group, 2, &b));
    });
}
