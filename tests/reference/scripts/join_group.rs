//! JoinGroup that succeeds: first joins, rebalances, rejoins.

use kafka_protocol::messages::JoinGroupRequest;

use super::classic;
use crate::play::play;
use crate::requests::{join, protocol, protocols, some, sync};

#[test]
fn join_first() {
    play("join-first", |s| {
        for version in 0..=9 {
            let group = s.name(&format!("v{version}"));
            s.step(&format!("v{version} without a member id"));
            let first = s.call("a", version, &join(&group, ""));
            s.step(&format!("v{version} with the id it was given"));
            s.call("a", version, &join(&group, &first.member_id));
            s.step(&format!("v{version} synced"));
            s.call("a", version.min(3), &sync(&group, 1, &first.member_id, &[(&first.member_id, "all")]));
            s.step(&format!("v{version} once more, unchanged"));
            s.call("a", version, &join(&group, &first.member_id));
            s.step(&format!("v{version} once more before the sync, unchanged"));
            s.call("a", version, &join(&group, &first.member_id));
        }
        let group = s.name("reason");
        s.step("v8 with a reason");
        let first = s.call("a", 8, &join(&group, "").with_reason(some("because")));
        s.call("a", 8, &join(&group, &first.member_id).with_reason(some("")));
        s.step("v9 twice without a member id gives two ids");
        let group = s.name("two-ids");
        let one = s.call("a", 9, &join(&group, ""));
        let two = s.call("a", 9, &join(&group, ""));
        s.call("a", 9, &join(&group, &one.member_id));
        s.step("v9 the group does not wait for the id that nobody used");
        s.call("a", 3, &sync(&group, 1, &one.member_id, &[]));
        s.step("v9 and the other id still joins");
        s.park("b", 9, &join(&group, &two.member_id));
        s.call("a", 9, &join(&group, &one.member_id));
        s.finish::<JoinGroupRequest>("b");
    });
}

#[test]
fn join_rebalance() {
    play("join-rebalance", |s| {
        let group = s.name("group");
        s.step("one member is alone");
        let a = classic::stable(s, &group);
        s.step("a second one waits for it");
        let b = s.call("b", 9, &join(&group, "")).member_id.to_string();
        s.park("b", 9, &join(&group, &b).with_protocols(protocols(&[("range", "b's"), ("other", "b's")])));
        s.step("the first one joins again with other metadata, and leads");
        s.call("a", 9, &join(&group, &a).with_protocols(protocols(&[("range", "a's"), ("mine", "")])));
        s.finish::<JoinGroupRequest>("b");
        s.step("the follower joins again before the sync: the same generation is answered");
        s.call("b", 9, &join(&group, &b).with_protocols(protocols(&[("range", "b's"), ("other", "b's")])));
        s.step("the leader joins again before the sync: the same generation is answered");
        s.call("a", 9, &join(&group, &a).with_protocols(protocols(&[("range", "a's"), ("mine", "")])));
        s.step("both are given their part");
        s.call("a", 5, &sync(&group, 2, &a, &[(&a, "half of a"), (&b, "half of b")]));
        s.call("b", 5, &sync(&group, 2, &b, &[]));
        s.step("stable: the follower joins again unchanged: nothing happens");
        s.call("b", 9, &join(&group, &b).with_protocols(protocols(&[("range", "b's"), ("other", "b's")])));
        s.step("stable: the follower joins with other timeouts: nothing happens");
        let slow = join(&group, &b)
            .with_protocols(protocols(&[("range", "b's"), ("other", "b's")]))
            .with_session_timeout_ms(50_000);
        s.call("b", 9, &slow);
        s.step("stable: the follower changes the order of its protocols: a rebalance");
        s.park("b", 9, &join(&group, &b).with_protocols(protocols(&[("other", "b's"), ("range", "b's")])));
        s.call("a", 9, &join(&group, &a).with_protocols(protocols(&[("range", "a's"), ("mine", "")])));
        s.finish::<JoinGroupRequest>("b");
        s.step("completing: the follower with other metadata: a rebalance again");
        s.park("b", 9, &join(&group, &b).with_protocols(protocols(&[("range", "b's new")])));
        s.call("a", 9, &join(&group, &a).with_protocols(protocols(&[("range", "a's"), ("mine", "")])));
        s.finish::<JoinGroupRequest>("b");
        s.call("a", 5, &sync(&group, 4, &a, &[(&a, "1"), (&b, "2")]));
        s.call("b", 5, &sync(&group, 4, &b, &[]));
        s.step("stable: the leader joins again unchanged: a rebalance");
        s.park("a", 9, &join(&group, &a).with_protocols(protocols(&[("range", "a's"), ("mine", "")])));
        s.step("preparing: the same member joins on a second connection while the first still waits");
        s.park("a2", 9, &join(&group, &a).with_protocols(protocols(&[("range", "a's"), ("mine", "")])));
        s.step("preparing: the other one joins");
        s.call("b", 9, &join(&group, &b).with_protocols(protocols(&[("range", "b's new")])));
        s.finish::<JoinGroupRequest>("a2");
        s.still_waits("a");
    });
}

#[test]
fn join_protocol_choice() {
    play("join-protocol-choice", |s| {
        let both = protocols(&[("range", "r"), ("roundrobin", "rr")]);
        let reversed = protocols(&[("roundrobin", "rr"), ("range", "r")]);
        for (name, second) in [("alike", &both), ("unlike", &reversed)] {
            let group = s.name(name);
            s.step(&format!("{name}: one"));
            let a = s.call("a", 3, &join(&group, "").with_protocols(both.clone())).member_id;
            s.call("a", 3, &sync(&group, 1, &a, &[]));
            s.step(&format!("{name}: two"));
            s.park("b", 3, &join(&group, "").with_protocols(second.clone()));
            s.call("a", 3, &join(&group, &a).with_protocols(both.clone()));
            s.finish::<JoinGroupRequest>("b");
        }
        let group = s.name("majority");
        s.step("majority: one");
        let a = s.call("a", 3, &join(&group, "").with_protocols(both.clone())).member_id;
        s.call("a", 3, &sync(&group, 1, &a, &[]));
        s.step("majority: two that prefer the other protocol");
        for connection in ["b", "c"] {
            let id = s.call(connection, 9, &join(&group, "").with_protocols(reversed.clone())).member_id;
            s.park(connection, 9, &join(&group, &id).with_protocols(reversed.clone()));
        }
        s.call("a", 3, &join(&group, &a).with_protocols(both.clone()));
        s.finish::<JoinGroupRequest>("b");
        s.finish::<JoinGroupRequest>("c");
        s.step("a protocol without a name");
        let group = s.name("odd");
        s.call("a", 3, &join(&group, "").with_protocols(protocols(&[("", "x")])));
        s.step("metadata of no bytes");
        let group = s.name("no-metadata");
        s.call("a", 3, &join(&group, "").with_protocols(vec![protocol("range", Default::default())]));
        s.step("any protocol type will do");
        let group = s.name("connect");
        s.call("a", 7, &join(&group, "").with_protocol_type("connect".into()));
        s.call("a", 3, &join(&group, "").with_protocol_type("connect".into()));
    });
}
