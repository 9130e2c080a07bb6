//! Offsets in transactions: AddOffsetsToTxn, TxnOffsetCommit, and OffsetFetch while they are pending.

use super::{ended, producer};
use crate::play::play;
use crate::requests::{commit, fetch, fetch_all, fetched, join, some, sync, text};
use crate::transaction_requests::{Producer, add_offsets, commit_in, describe, end};

#[test]
fn add_offsets_to_txn() {
    play("add-offsets", |s| {
        for version in 0..=4 {
            s.step(&format!("v{version} one, again, and another"));
            let (id, given) = producer(s, &format!("v{version}"));
            s.call("x", version, &add_offsets(&id, given, &s.name("g")));
            s.call("x", version, &add_offsets(&id, given, &s.name("g")));
            s.call("x", version, &add_offsets(&id, given, ""));
            s.step(&format!("v{version} of others"));
            s.call("x", version, &add_offsets(&id, given.stranger(), &s.name("g")));
            s.call("x", version, &add_offsets(&id, given.plus(1), &s.name("g")));
            s.call("x", version, &add_offsets(&s.name("unknown"), given, &s.name("g")));
            s.call("x", version, &add_offsets("", given, &s.name("g")));
        }
    });
}

#[test]
fn txn_offset_commit() {
    play("txn-offset-commit", |s| {
        let topic = s.topic("topic", 2);
        let absent = s.name("absent");
        for version in 0..=5 {
            let group = s.name(&format!("g{version}"));
            let (id, given) = producer(s, &format!("v{version}"));
            s.step(&format!("v{version} of others"));
            let offsets = &[(topic.as_str(), 0, 2)];
            s.call("x", version, &commit_in(&id, given.plus(1), &group, offsets));
            s.call("x", version, &commit_in(&id, given.stranger(), &group, offsets));
            s.call("x", version, &commit_in(&s.name("unknown"), given, &group, offsets));
            s.call("x", version, &commit_in("", given, &group, offsets));
            s.call("x", version, &commit_in(&id, given, "", offsets));
            s.step(&format!("v{version} of a group that is not enlisted"));
            s.call("x", version, &commit_in(&id, given, &group, &[(&topic, 0, 1)]));
            s.step(&format!("v{version} of an enlisted group"));
            s.quiet(3, &add_offsets(&id, given, &group));
            s.call("x", version, &commit_in(&id, given, &group, &[(&topic, 0, 5), (&topic, 1, 6)]));
            s.call("x", version, &commit_in(&id, given, &group, &[(&topic, 0, 7)]));
            s.call("x", version, &commit_in(&id, given, &group, &[]));
            s.step(&format!("v{version} of topics and partitions that there are not"));
            s.call(
                "x",
                version,
                &commit_in(&id, given, &group, &[(&absent, 0, 1), (&topic, 9, 1), (&topic, 0, 8)]),
            );
            s.step(&format!("v{version} of metadata that is too long"));
            let mut request = commit_in(&id, given, &group, &[(&topic, 0, 9)]);
            request.topics[0].partitions[0].committed_metadata = some(&"x".repeat(4097));
            s.call("x", version, &request);
            if version >= 3 {
                s.step(&format!("v{version} of members that there are not"));
                let request = commit_in(&id, given, &group, offsets);
                s.call("x", version, &request.clone().with_member_id(text("nobody")).with_generation_id(1));
                s.call("x", version, &request.clone().with_member_id(text("nobody")));
                s.call("x", version, &request.clone().with_generation_id(3));
                s.call("x", version, &request.with_group_instance_id(some("one")));
            }
            s.step(&format!("v{version} while they are pending"));
            s.call("x", 7, &fetch(&group, None));
            s.call("x", 7, &fetch(&group, None).with_require_stable(true));
            s.call("x", 7, &fetch(&group, Some(&[(&topic, &[0, 1])])).with_require_stable(true));
            s.step(&format!("v{version} after a commit"));
            ended(s, &id, given, true);
            s.call("x", 7, &fetch(&group, None).with_require_stable(true));
        }
    });
}

#[test]
fn pending_offsets() {
    play("pending-offsets", |s| {
        let topic = s.topic("topic", 3);
        let group = s.name("g");
        let (id, given) = producer(s, "a");
        let (other, of_other) = producer(s, "b");
        s.quiet(2, &commit(&group, -1, "", &[(&topic, 0, 1), (&topic, 1, 1)]));
        s.step("an offset of a transaction over one of nobody");
        s.call("x", 5, &commit_in(&id, given, &group, &[(&topic, 0, 5)]));
        for version in [6, 7] {
            s.call("x", version, &fetch(&group, None));
        }
        s.step("asked for stable ones");
        s.call("x", 7, &fetch(&group, None).with_require_stable(true));
        let topics: &[(&str, &[i32])] = &[(&topic, &[0, 1, 2])];
        s.call("x", 7, &fetch(&group, Some(topics)).with_require_stable(true));
        let all = vec![fetched(&group, None), fetched(&group, Some(topics)), fetched(&s.name("none"), None)];
        s.call("x", 8, &fetch_all(all.clone()).with_require_stable(true));
        s.call("x", 9, &fetch_all(all).with_require_stable(true));
        s.step("an offset of nobody over a pending one");
        s.call("x", 5, &commit(&group, -1, "", &[(&topic, 0, 9)]));
        s.call("x", 7, &fetch(&group, None));
        s.call("x", 7, &fetch(&group, None).with_require_stable(true));
        s.step("of two transactions");
        s.call("x", 5, &commit_in(&other, of_other, &group, &[(&topic, 0, 20), (&topic, 2, 20)]));
        s.call("x", 7, &fetch(&group, Some(topics)).with_require_stable(true));
        s.step("the first is committed: which offset counts that came later");
        let next = ended(s, &id, given, true);
        s.call("x", 7, &fetch(&group, Some(topics)).with_require_stable(true));
        s.call("x", 7, &fetch(&group, Some(topics)));
        s.step("the second is aborted");
        ended(s, &other, of_other, false);
        s.call("x", 7, &fetch(&group, Some(topics)).with_require_stable(true));
        s.step("a late offset of the ended transaction");
        s.call("x", 5, &commit_in(&id, given, &group, &[(&topic, 1, 77)]));
        s.call("x", 4, &commit_in(&id, given, &group, &[(&topic, 1, 77)]));
        s.step("the next transaction");
        s.call("x", 5, &commit_in(&id, next, &group, &[(&topic, 1, 30)]));
        s.call("x", 0, &describe(&[&id]));
        s.call("x", 5, &end(&id, next, true));
        s.until_transaction(&id, "CompleteCommit");
        s.call("x", 7, &fetch(&group, None).with_require_stable(true));
        s.step("a group that had nothing else, aborted");
        let of: Producer = next.plus(1);
        let alone = s.name("alone");
        s.call("x", 5, &commit_in(&id, of, &alone, &[(&topic, 0, 1)]));
        s.call("x", 7, &fetch(&alone, None).with_require_stable(true));
        ended(s, &id, of, false);
        s.call("x", 7, &fetch(&alone, None).with_require_stable(true));
    });
}

#[test]
fn txn_offset_commit_of_members() {
    play("txn-offset-commit-of-members", |s| {
        let topic = s.topic("topic", 1);
        let group = s.name("g");
        let (id, given) = producer(s, "a");
        let joined = s.quiet(3, &join(&group, ""));
        let member = joined.member_id.to_string();
        s.quiet(2, &sync(&group, joined.generation_id, &member, &[(&member, "")]));
        let offsets = &[(topic.as_str(), 0, 2)];
        for version in [3, 4, 5] {
            s.step(&format!("v{version} of a member, of others, and of an old generation"));
            let request = commit_in(&id, given, &group, offsets);
            let of = |member: &str, generation| {
                request.clone().with_member_id(text(member)).with_generation_id(generation)
            };
            s.quiet(3, &add_offsets(&id, given, &group));
            s.call("x", version, &of(&member, joined.generation_id));
            s.call("x", version, &of(&member, joined.generation_id - 1));
            s.call("x", version, &of(&member, joined.generation_id + 1));
            s.call("x", version, &of("nobody", joined.generation_id));
            s.call("x", version, &of("", -1));
            s.call("x", version, &of("", joined.generation_id));
            s.call("x", version, &of(&member, -1));
        }
    });
}
