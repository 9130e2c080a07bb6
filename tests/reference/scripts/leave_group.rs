//! LeaveGroup: of one member, of many, of some who are not there.

use kafka_protocol::messages::{JoinGroupRequest, LeaveGroupRequest};

use super::classic;
use crate::play::play;
use crate::requests::{heartbeat, join, leave, leave_all, some, sync};

#[test]
fn leave_group() {
    play("leave-group", |s| {
        let none = s.name("none");
        for version in 0..=2 {
            s.step(&format!("v{version}"));
            s.call("x", version, &leave(&none, "nobody"));
            s.call("x", version, &leave("", "nobody"));
            let group = s.name(&format!("v{version}"));
            let a = classic::stable(s, &group);
            s.call("x", version, &leave(&group, "nobody"));
            s.call("x", version, &leave(&group, ""));
            s.call("x", version, &leave(&group, &a));
            s.call("x", version, &leave(&group, &a));
        }
        for version in 3..=5 {
            s.step(&format!("v{version}"));
            s.call("x", version, &leave_all(&none, &[("nobody", None)]));
            s.call("x", version, &leave_all(&none, &[("", Some("nobody")), ("nobody", None)]));
            s.call("x", version, &leave_all(&none, &[]));
            s.call("x", version, &leave_all("", &[("nobody", None)]));
            s.call("x", version, &leave_all("", &[]));
            let group = s.name(&format!("v{version}"));
            let a = classic::stable(s, &group);
            s.call("x", version, &leave_all(&group, &[]));
            s.call("x", version, &leave_all(&group, &[("", None)]));
            s.call("x", version, &leave_all(&group, &[("nobody", None), (&a, Some("unknown"))]));
            s.call("x", version, &leave_all(&group, &[("nobody", None), (&a, None), (&a, None)]));
            s.call("x", version, &leave_all(&group, &[(&a, None)]));
        }
        s.step("v5 with a reason");
        let group = s.name("reason");
        let a = classic::stable(s, &group);
        let mut request: LeaveGroupRequest = leave_all(&group, &[(&a, None)]);
        request.members[0].reason = some("because");
        s.call("a", 5, &request);
        s.step("an id that has been handed out only");
        let group = s.name("pending");
        let id = s.call("a", 9, &join(&group, "")).member_id;
        s.call("a", 5, &leave_all(&group, &[(&id, None)]));
        s.call("a", 5, &leave_all(&group, &[(&id, None)]));
        s.call("a", 9, &join(&group, &id));
        s.step("one of a pair leaves: the other one must join again");
        let group = s.name("pair");
        let (a, b) = classic::pair(s, &group);
        s.call("b", 5, &leave_all(&group, &[(&b, None)]));
        s.call("a", 4, &heartbeat(&group, 2, &a));
        s.call("a", 9, &join(&group, &a));
        s.step("the leader leaves: the follower leads");
        let group = s.name("leader");
        let (a, b) = classic::pair(s, &group);
        s.call("a", 5, &leave_all(&group, &[(&a, None)]));
        s.call("b", 9, &join(&group, &b));
        s.step("the one that is waited for leaves: the rebalance ends");
        let group = s.name("awaited");
        let a = classic::stable(s, &group);
        s.park("b", 3, &join(&group, ""));
        s.call("a", 5, &leave_all(&group, &[(&a, None)]));
        s.finish::<JoinGroupRequest>("b");
        s.step("one leaves that waits for its join");
        let group = s.name("waits");
        let a = classic::stable(s, &group);
        s.park("b", 9, &join(&group, ""));
        let b = s.finish::<JoinGroupRequest>("b").member_id;
        s.park("b", 9, &join(&group, &b));
        s.call("x", 5, &leave_all(&group, &[(&b, None)]));
        s.finish::<JoinGroupRequest>("b");
        s.call("a", 9, &join(&group, &a));
        s.step("one leaves that waits for its sync");
        let group = s.name("sync-waits");
        let (a, b) = classic::pair_joined(s, &group);
        s.park("b", 3, &sync(&group, 2, &b, &[]));
        s.call("x", 5, &leave_all(&group, &[(&b, None)]));
        s.still_waits("b");
        s.call("a", 3, &sync(&group, 2, &a, &[]));
    });
}
