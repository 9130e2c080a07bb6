//! Static members of classic groups (KIP-345).

use kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};

use super::classic;
use crate::play::play;
use crate::requests::{commit, heartbeat, join, leave_all, protocols, some, sync};

#[test]
fn static_members() {
    play("static-members", |s| {
        let topic = s.topic("topic", 1);
        for version in [5, 8, 9] {
            let group = s.name(&format!("v{version}"));
            let static_join = |member: &str| join(&group, member).with_group_instance_id(some("one"));
            s.step(&format!("v{version} a static member gets an id at once"));
            let first = s.call("a", version, &static_join("")).member_id;
            s.step(&format!("v{version} completing: it comes back without its id"));
            let second = s.call("a", version, &static_join("")).member_id;
            s.step(&format!("v{version} its old id is fenced"));
            s.call("x", version, &static_join(&first));
            s.call("x", 5, &sync(&group, 1, &first, &[]).with_group_instance_id(some("one")));
            s.call("x", 5, &sync(&group, 1, &first, &[]));
            s.call("x", 4, &heartbeat(&group, 1, &first).with_group_instance_id(some("one")));
            s.call("x", 4, &heartbeat(&group, 9, &first).with_group_instance_id(some("one")));
            s.call("x", 4, &heartbeat(&group, 1, &first));
            s.step(&format!("v{version} stable"));
            s.call(
                "a",
                5,
                &sync(&group, 2, &second, &[(&second, "all")]).with_group_instance_id(some("one")),
            );
            s.call("a", 4, &heartbeat(&group, 2, &second).with_group_instance_id(some("one")));
            s.step(&format!("v{version} stable: it comes back without its id: no rebalance"));
            let third = s.call("b", version, &static_join("")).member_id;
            let generation = 2;
            s.call("b", 5, &sync(&group, generation, &third, &[]).with_group_instance_id(some("one")));
            s.step(&format!("v{version} the id from before is fenced"));
            s.call("a", 4, &heartbeat(&group, 2, &second).with_group_instance_id(some("one")));
            s.call("a", 4, &heartbeat(&group, 2, &second));
            s.call("a", version, &static_join(&second));
            s.call("a", version, &join(&group, &second));
            let commit_at = |member: &str| {
                commit(&group, generation, member, &[(&topic, 0, 1)]).with_group_instance_id(some("one"))
            };
            s.call("a", 9, &commit_at(&second));
            s.call("a", 9, &commit_at(&second).with_generation_id_or_member_epoch(7));
            s.call("a", 9, &commit_at(&third));
            s.call("a", 9, &commit_at(&third).with_generation_id_or_member_epoch(7));
            s.call("a", 9, &commit_at("").with_generation_id_or_member_epoch(-1));
            s.call("a", 5, &leave_all(&group, &[(&second, Some("one"))]));
            s.step(&format!(
                "v{version} stable: it comes back with other metadata: no rebalance, the protocol is the same"
            ));
            let new = || protocols(&[("range", "new")]);
            let fourth = s.call("b", version, &static_join("").with_protocols(new())).member_id;
            s.call(
                "b",
                5,
                &sync(&group, 2, &fourth, &[(&fourth, "new")]).with_group_instance_id(some("one")),
            );
            s.step(&format!("v{version} stable: it comes back with another protocol: a rebalance"));
            let other = || protocols(&[("roundrobin", "new"), ("range", "new")]);
            let fourth = s.call("b", version, &static_join("").with_protocols(other())).member_id;
            let request = sync(&group, 3, &fourth, &[(&fourth, "new")]).with_group_instance_id(some("one"));
            s.call("b", 5, &request.with_protocol_name(some("roundrobin")));
            s.step(&format!("v{version} stable: it joins with its id"));
            s.call("b", version, &static_join(&fourth).with_protocols(other()));
            s.step(&format!("v{version} an unknown id with a known instance id, and the other way round"));
            s.call("x", version, &static_join("nobody"));
            s.call("x", version, &join(&group, &fourth).with_group_instance_id(some("two")));
            s.call("x", version, &join(&group, "nobody").with_group_instance_id(some("two")));
            s.step(&format!("v{version} another protocol type without an id"));
            s.call("x", version, &static_join("").with_protocol_type("connect".into()));
            s.call("x", version, &static_join("").with_protocols(protocols(&[("other", "")])));
            s.step(&format!("v{version} it leaves by its instance id alone"));
            s.call("x", 5, &leave_all(&group, &[("", Some("unknown")), ("", Some("one"))]));
            s.call("x", 5, &leave_all(&group, &[("", Some("one"))]));
        }
        s.step("an empty instance id");
        let group = s.name("empty");
        s.call("a", 5, &join(&group, "").with_group_instance_id(some("")));
    });
}

#[test]
fn static_pair() {
    play("static-pair", |s| {
        let group = s.name("group");
        let static_join =
            |instance: &str, member: &str| join(&group, member).with_group_instance_id(some(instance));
        s.step("a static pair forms");
        let a = s.call("a", 9, &static_join("one", "")).member_id;
        s.call("a", 3, &sync(&group, 1, &a, &[]));
        s.park("b", 9, &static_join("two", ""));
        s.call("a", 9, &static_join("one", &a));
        let b = s.finish::<JoinGroupRequest>("b").member_id;
        s.park("b", 3, &sync(&group, 2, &b, &[]));
        s.call("a", 3, &sync(&group, 2, &a, &[(&a, "half of a"), (&b, "half of b")]));
        s.finish::<SyncGroupRequest>("b");
        s.step("v9 the follower comes back");
        let b = s.call("b2", 9, &static_join("two", "")).member_id;
        s.call("b2", 5, &sync(&group, 2, &b, &[]));
        s.step("v5 the leader comes back: it still believes another one leads");
        let a = s.call("a2", 5, &static_join("one", "")).member_id;
        s.call("a2", 5, &sync(&group, 2, &a, &[]));
        s.step("v9 the leader comes back: it leads, and need not assign");
        let a = s.call("a3", 9, &static_join("one", "")).member_id;
        s.call("a3", 5, &sync(&group, 2, &a, &[]));
        s.step("nobody had to join again");
        s.call("b2", 4, &heartbeat(&group, 2, &b));
        s.step("preparing: a static member that waits is replaced");
        s.park("b2", 9, &static_join("two", &b).with_protocols(protocols(&[("range", "changed")])));
        s.park("b3", 9, &static_join("two", "").with_protocols(protocols(&[("range", "changed")])));
        s.finish::<JoinGroupRequest>("b2");
        s.call("a3", 9, &static_join("one", &a));
        let b = s.finish::<JoinGroupRequest>("b3").member_id;
        s.step("completing: a static member that waits for its sync is replaced");
        s.park("b3", 5, &sync(&group, 3, &b, &[]).with_group_instance_id(some("two")));
        s.park("b4", 9, &static_join("two", "").with_protocols(protocols(&[("range", "changed")])));
        s.finish::<SyncGroupRequest>("b3");
        s.step("the leader joins");
        s.call("a3", 9, &static_join("one", &a));
        s.finish::<JoinGroupRequest>("b4");
        s.step("leave with mixed results");
        let members = [("", Some("two")), ("", Some("three")), ("nobody", None), ("nobody", Some("one"))];
        s.call("x", 5, &leave_all(&group, &members));
    });
}

#[test]
fn static_beside_dynamic() {
    play("static-beside-dynamic", |s| {
        let group = s.name("group");
        s.step("a dynamic member");
        let a = classic::stable(s, &group);
        s.step("a static one comes");
        s.park("b", 9, &join(&group, "").with_group_instance_id(some("one")));
        s.call("a", 9, &join(&group, &a));
        let b = s.finish::<JoinGroupRequest>("b").member_id;
        s.call("a", 3, &sync(&group, 2, &a, &[(&a, "1"), (&b, "2")]));
        s.call("b", 3, &sync(&group, 2, &b, &[]));
        s.step("the dynamic member claims an instance id");
        s.call("a", 4, &heartbeat(&group, 2, &a).with_group_instance_id(some("one")));
        s.call("a", 4, &heartbeat(&group, 2, &a).with_group_instance_id(some("two")));
        s.step("the static member forgets its instance id");
        s.call("b", 4, &heartbeat(&group, 2, &b));
        s.call("b", 9, &join(&group, &b));
        s.step("the static member leaves by its member id alone");
        s.call("b", 5, &leave_all(&group, &[(&b, None)]));
        s.call("a", 4, &heartbeat(&group, 2, &a));
    });
}
