//! Groups over stops and crashes: members carry on with their ids and epochs, and nobody starts over.

use std::fs;
use std::path::Path;

use kafka_protocol::messages as m;

use super::member::{
    FETCH, FIRST, HEARTBEAT, JOIN, beat, broker, commit, committed, consumer_described, described, heartbeat,
    join, refused, settle, sync, told, until_rebalance,
};
use super::{ask, code};
use crate::support::request::text;
use crate::support::{Client, TestBroker, batch};

/// Ten records in each partition of `t`: offsets up to there are within the log.
fn fill(client: &mut Client) {
    for partition in 0..4 {
        let appended = client.produce("t", partition, batch::of(&["v"; 10]));
        assert_eq!((appended.error_code, appended.base_offset), (code::NONE, 0));
    }
}

/// Two classic members with half of `t` each, a consumer group that is being reconciled, and offsets.
struct Before {
    one: m::JoinGroupResponse,
    two: m::JoinGroupResponse,
    kept: Vec<i32>,
}

fn prepare(broker: &TestBroker, client: &mut Client) -> Before {
    fill(client);
    let one = settle(client, "classic");
    let mut second = broker.client();
    let waiting = second.begin(3, &ask::join("classic", ""));
    until_rebalance(client, "classic", &one);
    let one = client.call(JOIN, &ask::join("classic", &one.member_id));
    let two = second.finish::<m::JoinGroupRequest>(3, waiting);
    let halves = [
        (one.member_id.as_str(), ask::assignment("t", &[0, 1])),
        (two.member_id.as_str(), ask::assignment("t", &[2, 3])),
    ];
    assert_eq!(sync(client, "classic", &one, &halves), Ok(halves[0].1.clone()));
    let by_one = ask::commit("classic", "t", &[(0, 5), (1, 6)])
        .with_member_id(one.member_id.clone())
        .with_generation_id_or_member_epoch(2);
    assert_eq!(commit(client, &by_one), [code::NONE; 2]);

    beat(client, &ask::enter("consumer", "a", &["t"]));
    beat(client, &ask::enter("consumer", "b", &["t"]));
    let kept = told(&beat(client, &ask::beat("consumer", "a", FIRST))).expect("it is to give something up");
    let by_a = ask::commit("consumer", "t", &[(0, 7)])
        .with_member_id(text("a"))
        .with_generation_id_or_member_epoch(FIRST);
    assert_eq!(commit(client, &by_a), [code::NONE]);
    commit(client, &ask::commit("bare", "t", &[(3, 8)]));
    Before { one, two, kept }
}

/// Whether all goes on from where it was.
fn check(broker: &TestBroker, before: &Before, topic: uuid::Uuid, what: &str) {
    let mut client = broker.client();
    let Before { one, two, kept } = before;
    for member in [one, two] {
        assert_eq!(heartbeat(&mut client, "classic", member), code::NONE, "{what}");
    }
    assert_eq!(sync(&mut client, "classic", two, &[]), Ok(ask::assignment("t", &[2, 3])), "{what}");
    let shown = described(&mut client, "classic");
    assert_eq!((shown.group_state.as_str(), shown.members.len()), ("Stable", 2), "{what}");
    let stale = ask::heartbeat("classic", &one.member_id, 1);
    assert_eq!(client.call(HEARTBEAT, &stale).error_code, code::ILLEGAL_GENERATION, "{what}");
    assert_eq!([0, 1].map(|p| committed(&mut client, "classic", "t", p)), [5, 6], "{what}");
    assert_eq!(committed(&mut client, "consumer", "t", 0), 7, "{what}");
    assert_eq!(committed(&mut client, "bare", "t", 3), 8, "{what}");

    // What one member was giving up is still not the other one's.
    let shown = consumer_described(&mut client, "consumer");
    assert_eq!((shown.group_state.as_str(), shown.group_epoch), ("Reconciling", FIRST + 1), "{what}");
    assert_eq!(told(&beat(&mut client, &ask::beat("consumer", "b", FIRST + 1))), None, "{what}");
    let done = ask::beat("consumer", "a", FIRST).with_topic_partitions(ask::owned(topic, kept));
    assert_eq!(beat(&mut client, &done).member_epoch, FIRST + 1, "{what}");
    let given = told(&beat(&mut client, &ask::beat("consumer", "b", FIRST + 1))).expect("it was given up");
    let mut all = [kept.clone(), given].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3], "{what}");
    assert_eq!(refused(&mut client, &ask::beat("consumer", "a", 9)), code::FENCED_MEMBER_EPOCH, "{what}");
}

#[test]
fn members_carry_on_after_an_orderly_stop() {
    let (mut broker, mut client, topic) = broker();
    let before = prepare(&broker, &mut client);
    drop(client);
    broker.restart();
    check(&broker, &before, topic, "after a stop");
}

#[test]
fn members_carry_on_after_a_crash() {
    let (broker, mut client, topic) = broker();
    let before = prepare(&broker, &mut client);
    let image = broker.crash_image(|_| ());
    check(&image, &before, topic, "after a crash");
    // Whatever it did there is durable as well.
    let again = image.crash_image(|_| ());
    let mut client = again.client();
    assert_eq!(consumer_described(&mut client, "consumer").group_state.as_str(), "Stable");
    assert_eq!(beat(&mut client, &ask::beat("consumer", "a", FIRST + 1)).member_epoch, FIRST + 1);
    assert_eq!(heartbeat(&mut client, "classic", &before.one), code::NONE);
}

#[test]
fn every_acknowledged_commit_is_in_a_crash_image() {
    let (broker, mut client, _) = broker();
    fill(&mut client);
    for offset in 1..=10 {
        let group = format!("g-{}", offset % 3);
        assert_eq!(
            commit(&mut client, &ask::commit(&group, "t", &[(offset % 4, i64::from(offset))])),
            [code::NONE]
        );
        if offset % 5 == 0 {
            let image = broker.crash_image(|_| ());
            let mut reader = image.client();
            assert_eq!(committed(&mut reader, &group, "t", offset % 4), i64::from(offset));
        }
    }
}

#[test]
fn a_rebalance_that_was_under_way_begins_again() {
    let (mut broker, mut first, _) = broker();
    let one = settle(&mut first, "g");
    let mut second = broker.client();
    let waiting = second.begin(3, &ask::join("g", ""));
    until_rebalance(&mut first, "g", &one);
    broker.stop();
    // Who waits is told to look for the coordinator, or its connection ends.
    if let Some(frame) = second.read_frame() {
        let (id, answer) = crate::support::client::decode::<m::JoinGroupRequest>(3, frame);
        assert_eq!((id, answer.error_code), (waiting, 16));
    }
    broker.begin();
    let mut first = broker.client();
    // The one that was there is still a member, and finds its way back into the group.
    let again = first.call(JOIN, &ask::join("g", &one.member_id));
    assert_eq!((again.error_code, &again.member_id), (code::NONE, &one.member_id));
    assert!(again.generation_id >= one.generation_id);
    let mine = ask::assignment("t", &[0, 1, 2, 3]);
    assert_eq!(sync(&mut first, "g", &again, &[(&one.member_id, mine.clone())]), Ok(mine));
    assert_eq!(heartbeat(&mut first, "g", &again), code::NONE);
}

#[test]
fn a_generation_is_kept_from_its_assignment_on() {
    let (mut broker, mut client, _) = broker();
    let joined = join(&mut client, "g");
    drop(client);
    broker.restart();
    let mut client = broker.client();
    // The first generation had none yet: as in Kafka its member begins anew.
    assert_eq!(heartbeat(&mut client, "g", &joined), code::UNKNOWN_MEMBER_ID);
    let joined = settle(&mut client, "g");
    let again = client.call(JOIN, &ask::join("g", &joined.member_id));
    assert_eq!(again.generation_id, joined.generation_id + 1);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    // The second had none either: the member is still in the first.
    assert_eq!(heartbeat(&mut client, "g", &again), code::ILLEGAL_GENERATION);
    assert_eq!(heartbeat(&mut client, "g", &joined), code::NONE);
    assert_eq!(sync(&mut client, "g", &joined, &[]), Ok(ask::assignment("t", &[0, 1, 2, 3])));
}

#[test]
fn static_members_and_expressions_outlive_the_broker() {
    let (mut broker, mut client, _) = broker();
    let classic = ask::join("classic", "").with_group_instance_id(Some(text("one")));
    let joined = client.call(JOIN, &classic);
    sync(&mut client, "classic", &joined, &[(&joined.member_id, ask::assignment("t", &[2]))])
        .expect("synced");
    let by_expression = ask::enter("consumer", "a", &[])
        .with_subscribed_topic_names(None)
        .with_subscribed_topic_regex(Some(text("t|u")))
        .with_instance_id(Some(text("two")));
    beat(&mut client, &by_expression);
    beat(&mut client, &ask::beat("consumer", "a", -2).with_instance_id(Some(text("two"))));
    drop(client);
    broker.restart();
    let mut client = broker.client();
    let back = client.call(JOIN, &classic);
    assert_eq!((back.error_code, back.generation_id), (code::NONE, 1));
    assert_eq!(sync(&mut client, "classic", &back, &[]), Ok(ask::assignment("t", &[2])));
    let back = ask::enter("consumer", "b", &[])
        .with_subscribed_topic_names(None)
        .with_subscribed_topic_regex(Some(text("t|u")))
        .with_instance_id(Some(text("two")));
    assert_eq!(told(&beat(&mut client, &back)), Some(vec![0, 1, 2, 3]));
    let old = ask::beat("consumer", "a", FIRST).with_instance_id(Some(text("two")));
    assert_eq!(refused(&mut client, &old), code::FENCED_INSTANCE_ID);
}

#[test]
fn a_migrated_group_outlives_the_broker() {
    let (mut broker, mut client, _) = broker();
    let one = settle(&mut client, "g");
    beat(&mut client, &ask::enter("g", "new", &["t"]));
    drop(client);
    broker.restart();
    let mut client = broker.client();
    let shown = consumer_described(&mut client, "g");
    assert_eq!((shown.error_code, shown.members.len()), (code::NONE, 2));
    until_rebalance(&mut client, "g", &one);
    beat(&mut client, &ask::beat("g", "new", -1));
    drop(client);
    broker.restart();
    let mut client = broker.client();
    assert_eq!(consumer_described(&mut client, "g").error_code, code::GROUP_ID_NOT_FOUND);
    let again = client.call(JOIN, &ask::join("g", &one.member_id));
    assert_eq!((again.error_code, &again.leader), (code::NONE, &one.member_id));
}

/// Two batches of three records in partition 0, and where the second begins in the file.
fn two_batches(client: &mut Client) -> u64 {
    let first = batch::of(&["a", "b", "c"]);
    let length = first.len() as u64;
    assert_eq!(client.produce("t", 0, first).base_offset, 0);
    assert_eq!(client.produce("t", 0, batch::of(&["d", "e", "f"])).base_offset, 3);
    length
}

fn cut_log(path: &Path, length: u64) {
    let _ = fs::remove_file(path.join("recovery-point-offset-checkpoint"));
    let log = path.join("t-0").join("00000000000000000000.log");
    let file = fs::OpenOptions::new().write(true).open(log).expect("the log");
    file.set_len(length).expect("the log is cut");
}

#[test]
fn no_offset_points_beyond_a_log_that_a_crash_made_shorter() {
    let (mut broker, mut client, _) = broker();
    let length = two_batches(&mut client);
    commit(&mut client, &ask::commit("beyond", "t", &[(0, 6), (1, 9)]));
    commit(&mut client, &ask::commit("all", "t", &[(0, 5)]));
    commit(&mut client, &ask::commit("within", "t", &[(0, 2)]));
    let mut with_epoch = ask::commit("at-the-end", "t", &[(0, 3)]);
    with_epoch.topics[0].partitions[0].committed_leader_epoch = 0;
    commit(&mut client, &with_epoch);
    drop(client);
    broker.crash_and_restart(|path| cut_log(path, length));
    let mut client = broker.client();
    assert_eq!(client.end_offset("t", 0), 3);
    assert_eq!(committed(&mut client, "beyond", "t", 0), 3);
    // A log that nothing was ever written to ends at 0.
    assert_eq!(committed(&mut client, "beyond", "t", 1), 0);
    assert_eq!(committed(&mut client, "within", "t", 0), 2);
    // Asked for as a whole it is the same.
    let all = client.call(FETCH, &ask::fetch_offsets(vec![ask::offsets_of("all", None)]));
    assert_eq!(all.groups[0].topics[0].partitions[0].committed_offset, 3);
    let kept = ask::fetch_offsets(vec![ask::offsets_of("at-the-end", Some(("t", &[0])))]);
    let kept = client.call(FETCH, &kept).groups.remove(0).topics.remove(0).partitions.remove(0);
    assert_eq!((kept.committed_offset, kept.committed_leader_epoch), (3, 0));
    // A consumer goes on there, with what is written next.
    client.produce("t", 0, batch::of(&["g"]));
    assert_eq!(client.values("t", 0, 3), ["g"]);
    // From now on they may commit what they like.
    assert_eq!(commit(&mut client, &ask::commit("beyond", "t", &[(0, 100)])), [code::NONE]);
    assert_eq!(committed(&mut client, "beyond", "t", 0), 100);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    let left = ["beyond", "all", "within", "at-the-end"].map(|group| committed(&mut client, group, "t", 0));
    assert_eq!(left, [100, 3, 2, 3]);
}

#[test]
fn an_orderly_stop_leaves_offsets_beyond_the_log_alone() {
    let (mut broker, mut client, _) = broker();
    two_batches(&mut client);
    commit(&mut client, &ask::commit("g", "t", &[(0, 100)]));
    drop(client);
    broker.restart();
    assert_eq!(committed(&mut broker.client(), "g", "t", 0), 100);
}
