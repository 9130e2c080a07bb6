//! Offsets in transactions: AddOffsetsToTxn, TxnOffsetCommit, and who sees them when.

use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{OffsetFetchRequest, TxnOffsetCommitRequest};

use super::ask::{self, Producer};
use super::code;
use super::session::{BOTH, Protocol, Session, broker, described, init, offset_codes, state};
use crate::groups::ask as asking;
use crate::groups::member::{beat, commit, committed, settle};
use crate::support::request::{name, text};
use crate::support::{Client, TestBroker};

/// What a reader who requires stable offsets is told of partitions of `t`: code and offset of each.
fn stable(client: &mut Client, group: &str, partitions: &[i32]) -> Vec<(i16, i64)> {
    let request = asking::fetch_offsets(vec![asking::offsets_of(group, Some(("t", partitions)))])
        .with_require_stable(true);
    let answer = client.call(9, &request);
    assert_eq!(answer.groups[0].error_code, code::NONE);
    answer.groups[0].topics[0].partitions.iter().map(|p| (p.error_code, p.committed_offset)).collect()
}

#[test]
fn groups_are_enlisted_by_the_present_producer_only() {
    let (_broker, mut client) = broker();
    for version in 0..=4 {
        let id = format!("x{version}");
        let of = init(&mut client, &id);
        let fenced = if version < 2 { code::INVALID_PRODUCER_EPOCH } else { code::PRODUCER_FENCED };
        let mut add = |id: &str, of: Producer, group: &str| {
            client.call(version, &ask::add_offsets(id, of, group)).error_code
        };
        assert_eq!(add(&id, of.plus(1), "g"), fenced, "v{version}");
        assert_eq!(add(&id, of.stranger(), "g"), code::INVALID_PRODUCER_ID_MAPPING, "v{version}");
        assert_eq!(add("unknown", of, "g"), code::INVALID_PRODUCER_ID_MAPPING, "v{version}");
        assert_eq!(add("", of, "g"), code::INVALID_REQUEST, "v{version}");
        assert_eq!(state(&mut client, &id), "Empty", "v{version}");
        for group in ["g", "g", ""] {
            let code = client.call(version, &ask::add_offsets(&id, of, group)).error_code;
            assert_eq!(code, code::NONE, "v{version}");
        }
        let shown = described(&mut client, &id);
        assert_eq!(shown.transaction_state.as_str(), "Ongoing");
        let mut partitions = shown.topics[0].partitions.clone();
        partitions.sort_unstable();
        // "g" has the hash 103, "" the hash 0, of 50 partitions.
        assert_eq!((shown.topics[0].topic.as_str(), partitions), ("__consumer_offsets", vec![0, 3]));
    }
}

#[test]
fn offsets_are_pending_until_the_end_and_then_seen_or_gone() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let id = format!("{protocol:?}");
        let mut session = Session::open(&broker, &id, protocol);
        let group = format!("g{protocol:?}");
        commit(&mut client, &asking::commit(&group, "t", &[(0, 1), (1, 1)]));
        for committed_at_end in [false, true] {
            session.write_offsets(&group, &[("t", 0, 5), ("t", 2, 6)]);
            // Whoever does not care sees what was committed before.
            assert_eq!([0, 1, 2].map(|p| committed(&mut client, &group, "t", p)), [1, 1, -1]);
            let unstable = (code::UNSTABLE_OFFSET_COMMIT, -1);
            let told = stable(&mut client, &group, &[0, 1, 2, 3]);
            assert_eq!(told, [unstable, (code::NONE, 1), unstable, (code::NONE, -1)]);
            session.end(committed_at_end);
            let (zero, two) = if committed_at_end { (5, 6) } else { (1, -1) };
            let told = stable(&mut client, &group, &[0, 1, 2]);
            assert_eq!(told, [(code::NONE, zero), (code::NONE, 1), (code::NONE, two)]);
        }
    }
}

#[test]
fn require_stable_is_known_from_version_7_on_and_said_in_each_versions_way() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::Second);
    commit(&mut client, &asking::commit("g", "t", &[(0, 1)]));
    session.write_offsets("g", &[("t", 0, 5)]);
    for version in 1..=7 {
        let topic =
            OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![0, 1]);
        let request = OffsetFetchRequest::default()
            .with_group_id(asking::group("g"))
            .with_topics(Some(vec![topic]))
            .with_require_stable(version >= 7);
        let answer = client.call(version, &request);
        let told: Vec<_> = answer.topics[0]
            .partitions
            .iter()
            .map(|p| (p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata.as_deref()))
            .collect();
        let first = match version >= 7 {
            true => (code::UNSTABLE_OFFSET_COMMIT, -1, -1, Some("")),
            false => (code::NONE, 1, -1, Some("note")),
        };
        assert_eq!(answer.error_code, code::NONE, "v{version}");
        assert_eq!(told, [first, (code::NONE, -1, -1, Some(""))], "v{version}");
    }
    for version in [8, 9] {
        // All of a group: a partition with nothing but a pending offset is not there yet.
        session.write_offsets("fresh", &[("t", 3, 9)]);
        let groups = ["g", "fresh"].map(|group| asking::offsets_of(group, None));
        let request = asking::fetch_offsets(groups.to_vec()).with_require_stable(true);
        let answer = client.call(version, &request);
        let told = &answer.groups[0].topics[0].partitions;
        assert_eq!((told.len(), told[0].error_code), (1, code::UNSTABLE_OFFSET_COMMIT), "v{version}");
        assert_eq!((answer.groups[1].error_code, answer.groups[1].topics.len()), (code::NONE, 0));
    }
}

#[test]
fn a_group_that_is_not_enlisted_is_refused_or_enlisted_as_the_version_has_it() {
    let (_broker, mut client) = broker();
    for version in 0..=5 {
        let id = format!("x{version}");
        let of = init(&mut client, &id);
        let group = format!("g{version}");
        let request = ask::commit_in(&id, of, &group, &[("t", 0, 5), ("t", 1, 6)]);
        let codes = offset_codes(&client.call(version, &request));
        let expected = match version {
            0..=3 => code::INVALID_TXN_STATE,
            4 => code::TRANSACTION_ABORTABLE,
            _ => code::NONE,
        };
        assert_eq!(codes, [expected; 2], "v{version}");
        assert_eq!(state(&mut client, &id), if version < 5 { "Empty" } else { "Ongoing" }, "v{version}");
        assert_eq!(client.call(4, &ask::add_offsets(&id, of, &group)).error_code, code::NONE);
        assert_eq!(offset_codes(&client.call(version, &request)), [code::NONE; 2], "v{version}");
        let end = if version < 5 { 4 } else { 5 };
        assert_eq!(client.call(end, &ask::end(&id, of, true)).error_code, code::NONE);
        assert_eq!([0, 1].map(|p| committed(&mut client, &group, "t", p)), [5, 6], "v{version}");
    }
}

#[test]
fn each_partition_and_each_producer_has_its_answer() {
    let (_broker, mut client) = broker();
    for version in 0..=5 {
        let id = format!("x{version}");
        let of = init(&mut client, &id);
        let group = format!("g{version}");
        assert_eq!(client.call(3, &ask::add_offsets(&id, of, &group)).error_code, code::NONE);
        let mut codes = |request: &TxnOffsetCommitRequest| offset_codes(&client.call(version, request));
        let one = |id: &str, of, group: &str| ask::commit_in(id, of, group, &[("t", 0, 5), ("t", 1, 5)]);
        assert_eq!(codes(&one(&id, of.plus(1), &group)), [code::INVALID_PRODUCER_EPOCH; 2], "v{version}");
        let mapping = [code::INVALID_PRODUCER_ID_MAPPING; 2];
        assert_eq!(codes(&one(&id, of.stranger(), &group)), mapping, "v{version}");
        assert_eq!(codes(&one("unknown", of, &group)), mapping, "v{version}");
        assert_eq!(codes(&one("", of, &group)), [code::INVALID_REQUEST; 2], "v{version}");
        assert_eq!(codes(&one(&id, of, "")), [code::INVALID_GROUP_ID; 2], "v{version}");
        let mut request =
            ask::commit_in(&id, of, &group, &[("nowhere", 0, 1), ("t", 9, 1), ("t", 0, 7), ("t", 1, 8)]);
        request.topics[1].partitions[1].committed_metadata = Some(text(&"x".repeat(4_097)));
        request.topics[1].partitions[2].committed_metadata = None;
        let unknown = code::UNKNOWN_TOPIC_OR_PARTITION;
        let expected = [unknown, unknown, code::OFFSET_METADATA_TOO_LARGE, code::NONE];
        assert_eq!(codes(&request), expected, "v{version}");
        assert_eq!(codes(&ask::commit_in(&id, of, &group, &[])), [0_i16; 0], "v{version}");
        assert_eq!(client.call(3, &ask::end(&id, of, true)).error_code, code::NONE);
        assert_eq!([0, 1].map(|p| committed(&mut client, &group, "t", p)), [-1, 8], "v{version}");
    }
}

#[test]
fn members_of_the_classic_protocol_are_checked() {
    let (broker, mut client) = broker_at_once();
    let joined = settle(&mut broker.client(), "g");
    let (member, generation) = (joined.member_id.to_string(), joined.generation_id);
    for (version, protocol) in [(3, Protocol::First), (4, Protocol::First), (5, Protocol::Second)] {
        let mut session = Session::open(&broker, &format!("x{version}"), protocol);
        let added = ask::add_offsets(&session.id, session.of, "g");
        assert_eq!(client.call(4, &added).error_code, code::NONE);
        let request = ask::commit_in(&session.id, session.of, "g", &[("t", 0, i64::from(version))]);
        let mut of = |member: &str, generation: i32| {
            let request = request.clone().with_member_id(text(member)).with_generation_id(generation);
            offset_codes(&client.call(version, &request)).remove(0)
        };
        assert_eq!(of(&member, generation - 1), code::ILLEGAL_GENERATION, "v{version}");
        assert_eq!(of(&member, generation + 1), code::ILLEGAL_GENERATION, "v{version}");
        assert_eq!(of(&member, -1), code::ILLEGAL_GENERATION, "v{version}");
        assert_eq!(of("nobody", generation), code::UNKNOWN_MEMBER_ID, "v{version}");
        assert_eq!(of("", generation), code::UNKNOWN_MEMBER_ID, "v{version}");
        assert_eq!(of("", -1), code::NONE, "v{version}");
        assert_eq!(of(&member, generation), code::NONE, "v{version}");
        let instance = request
            .clone()
            .with_member_id(text(&member))
            .with_generation_id(generation)
            .with_group_instance_id(Some(text("unknown")));
        assert_eq!(offset_codes(&client.call(version, &instance)), [code::UNKNOWN_MEMBER_ID], "v{version}");
        session.end(true);
        assert_eq!(committed(&mut client, "g", "t", 0), i64::from(version));
    }
}

#[test]
fn members_of_the_consumer_protocol_are_checked() {
    let (broker, mut client) = broker_at_once();
    let joined = beat(&mut client, &asking::enter("g", "m", &["t"]));
    let epoch = joined.member_epoch;
    let mut session = Session::open(&broker, "x", Protocol::Second);
    let request = ask::commit_in("x", session.of, "g", &[("t", 0, 4)]);
    let mut of = |member: &str, epoch: i32| {
        let request = request.clone().with_member_id(text(member)).with_generation_id(epoch);
        offset_codes(&client.call(5, &request)).remove(0)
    };
    // Clients of this request know generations, and are told in those words.
    for stale in [epoch - 1, epoch + 1] {
        assert_eq!(of("m", stale), code::ILLEGAL_GENERATION, "{stale}");
    }
    assert_eq!(of("nobody", epoch), code::UNKNOWN_MEMBER_ID);
    assert_eq!(of("m", epoch), code::NONE);
    session.end(true);
    assert_eq!(committed(&mut client, "g", "t", 0), 4);
}

#[test]
fn a_static_member_that_was_replaced_is_fenced() {
    let (broker, mut client) = broker_at_once();
    let join = asking::join("g", "").with_group_instance_id(Some(text("one")));
    let first = client.call(9, &join);
    assert_eq!(first.error_code, code::NONE);
    let sync = asking::sync("g", &first.member_id, first.generation_id, &[]);
    assert_eq!(client.call(5, &sync).error_code, code::NONE);
    let second = broker.client().call(9, &join);
    assert_eq!(second.error_code, code::NONE);
    assert_ne!(second.member_id, first.member_id);
    let mut session = Session::open(&broker, "x", Protocol::Second);
    for (member, generation, expected) in [
        (first.member_id, first.generation_id, code::FENCED_INSTANCE_ID),
        (second.member_id, second.generation_id, code::NONE),
    ] {
        let request = ask::commit_in("x", session.of, "g", &[("t", 0, 3)])
            .with_member_id(member)
            .with_generation_id(generation)
            .with_group_instance_id(Some(text("one")));
        assert_eq!(offset_codes(&client.call(5, &request)), [expected]);
    }
    session.end(true);
    assert_eq!(committed(&mut client, "g", "t", 0), 3);
}

#[test]
fn what_was_written_later_counts() {
    let (broker, mut client) = broker();
    let mut first = Session::open(&broker, "first", Protocol::Second);
    let mut second = Session::open(&broker, "second", Protocol::First);
    commit(&mut client, &asking::commit("g", "t", &[(0, 1)]));
    first.write_offsets("g", &[("t", 0, 5)]);
    commit(&mut client, &asking::commit("g", "t", &[(0, 9)]));
    second.write_offsets("g", &[("t", 0, 20)]);
    first.end(true);
    assert_eq!(committed(&mut client, "g", "t", 0), 9, "the plain commit came after the pending one");
    let unstable = [(code::UNSTABLE_OFFSET_COMMIT, -1)];
    assert_eq!(stable(&mut client, "g", &[0]), unstable, "stable only when both are over");
    second.end(true);
    assert_eq!(stable(&mut client, "g", &[0]), [(code::NONE, 20)]);
}

#[test]
fn records_and_offsets_of_several_groups_end_together() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let mut session = Session::open(&broker, &format!("{protocol:?}"), protocol);
        let groups: Vec<String> = (0..20).map(|number| format!("{protocol:?}{number}")).collect();
        for committed_at_end in [false, true] {
            for group in &groups {
                session.write_offsets(group, &[("t", 0, 7), ("t", 1, 8)]);
            }
            session.write("t", 0, &["v"]);
            assert!(described(&mut client, &session.id).topics.len() == 2);
            session.end(committed_at_end);
            let expected = if committed_at_end { [7, 8] } else { [-1, -1] };
            for group in &groups {
                assert_eq!([0, 1].map(|p| committed(&mut client, group, "t", p)), expected, "{group}");
            }
        }
    }
}

#[test]
fn an_abort_leaves_no_group_behind_that_had_nothing_else() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::Second);
    session.write_offsets("fresh", &[("t", 0, 1)]);
    session.end(false);
    assert_eq!(committed(&mut client, "fresh", "t", 0), -1);
    assert_eq!(stable(&mut client, "fresh", &[0]), [(code::NONE, -1)]);
}

/// A broker whose groups wait for nobody.
fn broker_at_once() -> (TestBroker, Client) {
    super::session::broker_with(&[crate::groups::member::AT_ONCE])
}
