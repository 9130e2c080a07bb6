//! Groups of the classic protocol in a certain state, for scripts that begin there.

use kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};

use crate::requests::{join, sync};
use crate::script::Script;

/// The version in which a member may join without an id of its own and gets one at once.
const ID_AT_ONCE: i16 = 3;

/// A group of one member, `a`, in CompletingRebalance: its member id. The generation is 1.
pub fn joined(s: &mut Script, group: &str) -> String {
    s.call("a", ID_AT_ONCE, &join(group, "")).member_id.to_string()
}

/// A stable group of one member, `a`: its member id. The generation is 1.
pub fn stable(s: &mut Script, group: &str) -> String {
    let a = joined(s, group);
    s.call("a", 3, &sync(group, 1, &a, &[(&a, "all")]));
    a
}

/// A group of the leader `a` and the follower `b` in CompletingRebalance: their member ids. The generation is 2.
pub fn pair_joined(s: &mut Script, group: &str) -> (String, String) {
    let a = stable(s, group);
    s.park("b", ID_AT_ONCE, &join(group, ""));
    s.call("a", ID_AT_ONCE, &join(group, &a));
    let b = s.finish::<JoinGroupRequest>("b").member_id.to_string();
    (a, b)
}

/// A stable group of the leader `a` and the follower `b`: their member ids. The generation is 2.
pub fn pair(s: &mut Script, group: &str) -> (String, String) {
    let (a, b) = pair_joined(s, group);
    s.park("b", 3, &sync(group, 2, &b, &[]));
    s.call("a", 3, &sync(group, 2, &a, &[(&a, "half of a"), (&b, "half of b")]));
    s.finish::<SyncGroupRequest>("b");
    (a, b)
}
