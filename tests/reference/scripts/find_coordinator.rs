//! FindCoordinator: who coordinates a group or a transactional id.

use kafka_protocol::messages::FindCoordinatorRequest;

use crate::play::play;
use crate::requests::text;

#[test]
fn find_coordinator() {
    play("find-coordinator", |s| {
        for version in 0..=3 {
            s.step(&format!("v{version} of a group"));
            s.call("a", version, &FindCoordinatorRequest::default().with_key(text("group")));
            s.step(&format!("v{version} of an empty group id"));
            s.call("a", version, &FindCoordinatorRequest::default());
        }
        for version in 1..=3 {
            for (what, key_type) in
                [("a transactional id", 1), ("a share partition", 2), ("an unknown type", 9)]
            {
                s.step(&format!("v{version} of {what}"));
                let request = FindCoordinatorRequest::default().with_key(text("key")).with_key_type(key_type);
                s.call("a", version, &request);
            }
            s.step(&format!("v{version} of an empty transactional id"));
            s.call("a", version, &FindCoordinatorRequest::default().with_key_type(1));
            s.step(&format!("v{version} of a negative type"));
            s.call("a", version, &FindCoordinatorRequest::default().with_key(text("key")).with_key_type(-1));
        }
        let keys = |keys: &[&str]| {
            FindCoordinatorRequest::default()
                .with_coordinator_keys(keys.iter().map(|key| text(key)).collect())
        };
        for version in 4..=6 {
            s.step(&format!("v{version} of several groups, one twice and one empty"));
            s.call("a", version, &keys(&["b", "a", "", "a"]));
            s.step(&format!("v{version} of nothing"));
            s.call("a", version, &keys(&[]));
            s.step(&format!("v{version} of transactional ids"));
            s.call("a", version, &keys(&["t", ""]).with_key_type(1));
            s.step(&format!("v{version} of a share partition without its parts"));
            s.call("a", version, &keys(&["no-parts"]).with_key_type(2));
            s.step(&format!("v{version} of an unknown type"));
            s.call("a", version, &keys(&["a", "b"]).with_key_type(9));
        }
    });
}
