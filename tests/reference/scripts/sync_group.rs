//! SyncGroup: who gets which assignment when, and what is refused.

use kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};

use super::classic;
use crate::play::play;
use crate::requests::{join, protocols, some, sync};

#[test]
fn sync_group() {
    play("sync-group", |s| {
        let group = s.name("group");
        s.step("a pair joins");
        let (a, b) = classic::pair_joined(s, &group);
        s.step("the follower waits for the leader");
        s.park("b", 5, &sync(&group, 2, &b, &[]));
        s.step("a follower's assignments do not count");
        s.park("b2", 5, &sync(&group, 2, &b, &[(&b, "mine")]));
        s.still_waits("b");
        s.step("the leader assigns, to a stranger too, and not to the follower");
        s.call("a", 5, &sync(&group, 2, &a, &[(&a, "a's"), ("stranger", "x")]));
        s.finish::<SyncGroupRequest>("b2");
        s.still_waits("b");
        s.step("stable: the leader's new assignments do not count");
        s.call("a", 5, &sync(&group, 2, &a, &[(&a, "new"), (&b, "new")]));
        s.step("stable: the follower asks again");
        for version in 0..=5 {
            s.call("b3", version, &sync(&group, 2, &b, &[]));
        }
        s.step("preparing: a rebalance is on");
        s.park("c", 3, &join(&group, ""));
        s.call("b3", 5, &sync(&group, 2, &b, &[]));
        s.step("preparing: the wrong generation");
        s.call("b3", 5, &sync(&group, 1, &b, &[]));
        s.step("both come");
        s.park("b3", 3, &join(&group, &b));
        s.call("a", 3, &join(&group, &a));
        s.finish::<JoinGroupRequest>("b3");
        s.finish::<JoinGroupRequest>("c");
        s.step("a follower waits, and a rebalance comes before the leader's assignment");
        s.park("b3", 5, &sync(&group, 3, &b, &[]));
        s.park("a", 3, &join(&group, &a).with_protocols(protocols(&[("range", "changed")])));
        s.finish::<SyncGroupRequest>("b3");
    });
}

#[test]
fn sync_refused() {
    play("sync-refused", |s| {
        let group = s.name("group");
        s.step("a pair joins");
        let (a, b) = classic::pair_joined(s, &group);
        let none = s.name("none");
        for version in [0, 3, 5] {
            s.step(&format!("v{version} of an unknown group"));
            s.call("x", version, &sync(&none, 1, "nobody", &[]));
            s.step(&format!("v{version} of an empty group id"));
            s.call("x", version, &sync("", 1, "nobody", &[]));
            s.step(&format!("v{version} of an unknown member"));
            s.call("x", version, &sync(&group, 2, "nobody", &[]));
            s.step(&format!("v{version} of no member"));
            s.call("x", version, &sync(&group, 2, "", &[]));
            s.step(&format!("v{version} of an unknown member and another generation"));
            s.call("x", version, &sync(&group, 1, "nobody", &[]));
            s.step(&format!("v{version} of another generation"));
            for generation in [1, 3, -1] {
                s.call("x", version, &sync(&group, generation, &b, &[]));
            }
        }
        s.step("v3 with an instance id that nobody has");
        s.call("x", 3, &sync(&group, 2, &b, &[]).with_group_instance_id(some("unknown")));
        s.step("v3 with an instance id that nobody has, of another generation");
        s.call("x", 3, &sync(&group, 1, &b, &[]).with_group_instance_id(some("unknown")));
        s.step("v5 without a protocol type, without a name, without both");
        s.call("x", 5, &sync(&group, 2, &b, &[]).with_protocol_type(None));
        s.call("x", 5, &sync(&group, 2, &b, &[]).with_protocol_name(None));
        s.call("x", 5, &sync(&group, 2, &b, &[]).with_protocol_name(None).with_protocol_type(None));
        s.call("x", 5, &sync(&none, 2, &b, &[]).with_protocol_type(None));
        s.call("x", 5, &sync("", 2, &b, &[]).with_protocol_type(None));
        let typed = |protocol_type: Option<&str>, name: Option<&str>| {
            sync(&group, 2, &b, &[])
                .with_protocol_type(protocol_type.map(crate::requests::text))
                .with_protocol_name(name.map(crate::requests::text))
        };
        s.step("v5 another protocol type");
        s.call("x", 5, &typed(Some("connect"), Some("range")));
        s.call("x", 5, &typed(Some("connect"), None));
        s.call("x", 5, &typed(Some(""), None));
        s.step("v5 another protocol name");
        s.call("x", 5, &typed(Some("consumer"), Some("other")));
        s.call("x", 5, &typed(Some("consumer"), Some("")));
        s.step("v5 another protocol name and another generation");
        s.call("x", 5, &typed(Some("consumer"), Some("other")).with_generation_id(1));
        s.step("v5 another protocol name of an unknown member");
        s.call("x", 5, &typed(Some("consumer"), Some("other")).with_member_id("nobody".into()));
        s.step("the right ones");
        s.park("b", 5, &typed(Some("consumer"), Some("range")));
        s.call("a", 5, &sync(&group, 2, &a, &[(&a, "1"), (&b, "2")]));
        s.finish::<SyncGroupRequest>("b");
        s.step("v5 stable: another protocol name");
        s.call("x", 5, &typed(Some("consumer"), Some("other")));
        s.step("stable: the leader assigned nothing");
        let group = s.name("nothing");
        let a = classic::joined(s, &group);
        s.call("a", 5, &sync(&group, 1, &a, &[]));
        s.step("the same member is assigned twice: which one counts");
        let group = s.name("twice");
        let a = classic::joined(s, &group);
        s.call("a", 5, &sync(&group, 1, &a, &[(&a, "first"), (&a, "second")]));
    });
}
