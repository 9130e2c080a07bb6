//! WriteTxnMarkers, with which an operator frees partitions from a transaction that hangs.

use super::ask::{self, Producer};
use super::code;
use super::session::{
    BOTH, Protocol, Session, broker, committed_values, fetch_committed, init, producers, stable_end,
};
use crate::groups::ask as asking;
use crate::groups::member::{commit, committed};
use crate::support::{Client, batch};

/// Codes of one marker, in the order of the answer.
fn written(client: &mut Client, of: Producer, committed: bool, topic: &str, partitions: &[i32]) -> Vec<i16> {
    let request = ask::write_markers(vec![ask::marker(of, committed, topic, partitions)]);
    let answer = client.call(1, &request);
    assert_eq!(answer.markers[0].producer_id.0, of.id);
    answer.markers[0].topics[0].partitions.iter().map(|p| p.error_code).collect()
}

#[test]
fn a_marker_ends_what_is_open_there_and_only_there() {
    let (broker, mut client) = broker();
    for protocol in BOTH {
        let mut session = Session::open(&broker, &format!("{protocol:?}"), protocol);
        let at = session.write("t", 0, &["a"]);
        let other = session.write("t", 1, &["a"]);
        assert_eq!(written(&mut client, session.of, false, "t", &[0]), [code::NONE]);
        assert_eq!((stable_end(&mut client, "t", 0), stable_end(&mut client, "t", 1)), (at + 2, other));
        assert_eq!(committed_values(&mut client, "t", 0, at), Vec::<String>::new());
        // Its own coordinator has the last word elsewhere.
        session.end(true);
        assert_eq!(stable_end(&mut client, "t", 1), other + 2);
        assert_eq!(committed_values(&mut client, "t", 1, other), ["a"]);
    }
}

#[test]
fn what_is_not_there_and_what_was_overtaken_is_refused() {
    let (broker, mut client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::First);
    let of = session.of;
    session.write("t", 0, &["a"]);
    let unknown = code::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(written(&mut client, of, false, "nowhere", &[0]), [unknown]);
    assert_eq!(written(&mut client, of, false, "t", &[9, -1]), [unknown; 2]);
    assert!(client.call(1, &ask::write_markers(vec![])).markers.is_empty());
    assert_eq!(stable_end(&mut client, "t", 0), 0, "none of it ended anything");
    assert_eq!(written(&mut client, of.plus(5), true, "t", &[0]), [code::NONE]);
    assert_eq!(written(&mut client, of.plus(4), false, "t", &[0]), [code::INVALID_PRODUCER_EPOCH]);
    assert_eq!(committed_values(&mut client, "t", 0, 0), ["a"]);
    // Coordinators are told apart as producers are.
    let of_coordinator = |epoch| {
        let marker = ask::marker(of.plus(5), false, "t", &[0]).with_coordinator_epoch(epoch);
        ask::write_markers(vec![marker])
    };
    let mut code =
        |epoch| client.call(1, &of_coordinator(epoch)).markers[0].topics[0].partitions[0].error_code;
    assert_eq!(code(3), code::NONE);
    assert_eq!(code(2), code::TRANSACTION_COORDINATOR_FENCED);
    assert_eq!(code(3), code::NONE, "the same again is appended again");
    assert_eq!(producers(&mut client, "t", 0)[0].coordinator_epoch, 3);
    assert_eq!(written(&mut client, Producer { id: 77, epoch: 0 }, false, "t", &[2]), [code::NONE]);
}

#[test]
fn several_markers_each_for_its_producer() {
    let (broker, mut client) = broker();
    let mut sessions = ["a", "b"].map(|id| Session::open(&broker, id, Protocol::Second));
    sessions[0].write("t", 0, &["a0"]);
    sessions[1].write("t", 0, &["b0"]);
    sessions[1].write("t", 1, &["b1"]);
    let [a, b] = [&sessions[0], &sessions[1]].map(|session| session.of);
    let request =
        ask::write_markers(vec![ask::marker(a, true, "t", &[0]), ask::marker(b, false, "t", &[0, 1])]);
    let answer = client.call(1, &request);
    let codes: Vec<Vec<i16>> = answer
        .markers
        .iter()
        .map(|marker| marker.topics[0].partitions.iter().map(|p| p.error_code).collect())
        .collect();
    assert_eq!(codes, [vec![0], vec![0, 0]]);
    assert_eq!(committed_values(&mut client, "t", 0, 0), ["a0"]);
    assert_eq!(committed_values(&mut client, "t", 1, 0), Vec::<String>::new());
}

#[test]
fn pending_offsets_are_ended_by_markers_on_the_offsets_topic() {
    let (broker, mut client) = broker();
    for (committed_by_marker, expected) in [(true, 5), (false, 1)] {
        for protocol in BOTH {
            let group = format!("g{committed_by_marker}{protocol:?}");
            let mut session = Session::open(&broker, &group, protocol);
            commit(&mut client, &asking::commit(&group, "t", &[(0, 1)]));
            session.write_offsets(&group, &[("t", 0, 5)]);
            let of_group = super::session::described(&mut client, &session.id).topics[0].partitions.clone();
            let elsewhere = [(of_group[0] + 1) % 50];
            let topic = "__consumer_offsets";
            assert_eq!(written(&mut client, session.of, committed_by_marker, topic, &elsewhere), [0]);
            assert_eq!(committed(&mut client, &group, "t", 0), 1, "another partition is not this one");
            assert_eq!(written(&mut client, session.of, committed_by_marker, topic, &of_group), [0]);
            assert_eq!(committed(&mut client, &group, "t", 0), expected);
            // There is nothing left for the end itself.
            session.end(!committed_by_marker);
            assert_eq!(committed(&mut client, &group, "t", 0), expected);
        }
    }
    let of = Producer { id: 1, epoch: 0 };
    assert_eq!(written(&mut client, of, true, "__consumer_offsets", &[50, -1]), [3, 3]);
}

#[test]
fn markers_are_control_batches_of_one_record() {
    let (broker, mut client) = broker();
    for (protocol, bump) in [(Protocol::First, 0), (Protocol::Second, 1)] {
        for committed in [true, false] {
            let id = format!("{protocol:?}{committed}");
            let mut session = Session::open(&broker, &id, protocol);
            let before = session.of;
            let at = session.write("t", 0, &["v"]);
            session.end(committed);
            let data = fetch_committed(&mut client, "t", 0, at + 1);
            let bytes = data.records.expect("the marker");
            let headers = batch::headers(&bytes);
            assert_eq!(headers.len(), 1);
            let header = &headers[0];
            assert!(header.is_control() && header.is_transactional());
            assert_eq!((header.base_offset, header.record_count, header.base_sequence), (at + 1, 1, -1));
            assert_eq!((header.producer_id, header.producer_epoch), (before.id, before.epoch + bump));
            let record = batch::records(&bytes).remove(0);
            // Version and kind; version and the coordinator's epoch.
            assert_eq!(record.key.as_deref(), Some(&[0, 0, 0, u8::from(committed)][..]));
            assert_eq!(record.value.as_deref(), Some(&[0, 0, 0, 0, 0, 0][..]));
        }
    }
    assert!(init(&mut client, "Firsttrue").epoch == 1);
}
