//! Transactions over stops and crashes: what was decided is carried out, what was not goes on.

use std::fs;
use std::path::{Path, PathBuf};

use super::ask::{self, Producer};
use super::code;
use super::session::{
    BOTH, INIT, Protocol, Session, aborted, broker, broker_with, committed_values, described, eventually,
    fetch_committed, init, produced, producers, stable_end, state, until_stable,
};
use crate::groups::ask as asking;
use crate::groups::member::{commit, committed};
use crate::support::{Client, TestBroker};

/// Size of the batch of a marker, bytes.
const MARKER: u64 = 78;

/// How a broker went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Stop,
    /// The files are whole, but nothing says so.
    Crash,
    /// The files as they are while the broker runs.
    Kill,
}

const WAYS: [Way; 3] = [Way::Stop, Way::Crash, Way::Kill];

fn down_and_up(mut broker: TestBroker, way: Way) -> TestBroker {
    match way {
        Way::Stop => broker.restart(),
        Way::Crash => broker.crash_and_restart(|_| ()),
        Way::Kill => return broker.crash_image(|_| ()),
    }
    broker
}

fn the_log(path: &Path, partition: i32) -> PathBuf {
    path.join(format!("t-{partition}")).join("00000000000000000000.log")
}

/// Takes bytes off the end of a partition's log, as if they had not reached the disk.
fn lose(path: &Path, partition: i32, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(the_log(path, partition)).expect("the log");
    let length = file.metadata().expect("the log").len();
    file.set_len(length - bytes).expect("the log is cut");
    // No checkpoint may speak of what is lost.
    let _ = fs::remove_file(path.join("recovery-point-offset-checkpoint"));
}

#[test]
fn an_open_transaction_goes_on() {
    for way in WAYS {
        for protocol in BOTH {
            let what = format!("{way:?} {protocol:?}");
            let (broker, mut client) = broker();
            commit(&mut client, &asking::commit("g", "t", &[(0, 1)]));
            let mut session = Session::open(&broker, "x", protocol);
            session.write("t", 0, &["a", "b"]);
            session.write("t", 1, &["c"]);
            // Within the log: after a crash nobody may have read further than that.
            session.write_offsets("g", &[("t", 0, 2)]);
            let before = described(&mut client, "x");
            drop(client);
            let broker = down_and_up(broker, way);
            let mut client = broker.client();
            assert_eq!(described(&mut client, "x"), before, "{what}");
            assert_eq!((stable_end(&mut client, "t", 0), client.end_offset("t", 0)), (0, 2), "{what}");
            assert_eq!(producers(&mut client, "t", 0)[0].current_txn_start_offset, 0, "{what}");
            assert_eq!(committed(&mut client, "g", "t", 0), 1, "{what}");
            session.reconnect(&broker);
            // The first protocol may go on without enlisting again: the log itself knows the transaction.
            let records = session.batch("t", 0, &["d"]);
            let answer = session.send("t", 0, records);
            assert_eq!((answer.error_code, answer.base_offset), (code::NONE, 2), "{what}");
            session.write("t", 2, &["e"]);
            session.end(true);
            assert_eq!(committed_values(&mut client, "t", 0, 0), ["a", "b", "d"], "{what}");
            assert_eq!(committed_values(&mut client, "t", 1, 0), ["c"], "{what}");
            assert_eq!(committed_values(&mut client, "t", 2, 0), ["e"], "{what}");
            assert_eq!(committed(&mut client, "g", "t", 0), 2, "{what}");
        }
    }
}

#[test]
fn a_complete_transaction_stays_as_it_ended_and_its_end_can_be_repeated() {
    for way in WAYS {
        for protocol in BOTH {
            for commits in [true, false] {
                let what = format!("{way:?} {protocol:?} commits: {commits}");
                let (broker, mut client) = broker();
                let mut session = Session::open(&broker, "x", protocol);
                let sent: Vec<_> =
                    (0..7).map(|number| session.batch("t", 0, &[&number.to_string()])).collect();
                if protocol == Protocol::First {
                    session.enlist("t", &[0]);
                }
                for records in &sent {
                    assert_eq!(session.send("t", 0, records.clone()).error_code, code::NONE);
                }
                session.write_offsets("g", &[("t", 0, 5)]);
                let ending = session.of;
                session.end(commits);
                eventually("it is complete", || state(&mut client, "x").starts_with("Complete"));
                let before = described(&mut client, "x");
                drop(client);
                let broker = down_and_up(broker, way);
                let mut client = broker.client();
                eventually("nothing is under way", || {
                    let end = client.end_offset("t", 0);
                    end == 8 && stable_end(&mut client, "t", 0) == 8
                });
                let after = described(&mut client, "x");
                assert_eq!(
                    (&after.transaction_state, after.producer_epoch),
                    (&before.transaction_state, before.producer_epoch)
                );
                let expected: Vec<String> =
                    if commits { (0..7).map(|n| n.to_string()).collect() } else { vec![] };
                assert_eq!(committed_values(&mut client, "t", 0, 0), expected, "{what}");
                let ranges = if commits { vec![] } else { vec![(ending.id, 0)] };
                assert_eq!(aborted(&fetch_committed(&mut client, "t", 0, 3)), Some(ranges), "{what}");
                assert_eq!(committed(&mut client, "g", "t", 0), if commits { 5 } else { -1 }, "{what}");
                let again = client.call(protocol.end(), &ask::end("x", ending, commits));
                assert_eq!(again.error_code, code::NONE, "{what}");
                let other = client.call(protocol.end(), &ask::end("x", ending, !commits));
                assert_eq!(other.error_code, code::INVALID_TXN_STATE, "{what}");
                // Batches of before are known, unless their epoch is over.
                session.reconnect(&broker);
                for (number, records) in (0..).zip(&sent) {
                    let answer = session.send("t", 0, records.clone());
                    let expected = match (protocol, number) {
                        (Protocol::Second, _) => (code::INVALID_PRODUCER_EPOCH, -1),
                        // Not known any more, and so of no transaction that is open.
                        (Protocol::First, ..2) => (code::TRANSACTION_ABORTABLE, -1),
                        (Protocol::First, _) => (code::NONE, number),
                    };
                    assert_eq!((answer.error_code, answer.base_offset), expected, "{what} batch {number}");
                }
                session.write("t", 0, &["next"]);
                session.end(true);
                assert_eq!(committed_values(&mut client, "t", 0, 8), ["next"], "{what}");
            }
        }
    }
}

#[test]
fn what_was_decided_is_carried_out_after_a_power_cut_that_took_the_markers() {
    for protocol in BOTH {
        for commits in [true, false] {
            for lost in [&[0][..], &[1], &[0, 1]] {
                let what = format!("{protocol:?} commits: {commits}, lost in {lost:?}");
                let (broker, mut client) = broker();
                let mut session = Session::open(&broker, "x", protocol);
                // One before, so that there is something that the markers must not be taken for.
                session.write("t", 0, &["before"]);
                session.end(true);
                session.write("t", 0, &["a"]);
                session.write("t", 1, &["b"]);
                session.write_offsets("g", &[("t", 0, 3)]);
                session.end(commits);
                assert_eq!([0, 1].map(|p| stable_end(&mut client, "t", p)), [4, 2]);
                // The ending leaves the disk with a later write, or after ten seconds.
                let image = broker.crash_image(|path| {
                    lost.iter().for_each(|partition| lose(path, *partition, MARKER));
                });
                let mut client = image.client();
                eventually("the markers are written again", || {
                    [0, 1].map(|p| stable_end(&mut client, "t", p)) == [4, 2]
                });
                described(&mut client, "x");
                let mut expected = vec!["before"];
                expected.extend(commits.then_some("a"));
                assert_eq!(committed_values(&mut client, "t", 0, 0), expected, "{what}");
                let expected: &[&str] = if commits { &["b"] } else { &[] };
                assert_eq!(committed_values(&mut client, "t", 1, 0), expected, "{what}");
                assert_eq!(committed(&mut client, "g", "t", 0), if commits { 3 } else { -1 }, "{what}");
                session.reconnect(&image);
                let records = session.batch("t", 0, &["next"]);
                // The next transaction of the same id finds nothing of this one in its way.
                if protocol == Protocol::First {
                    session.enlist("t", &[0]);
                }
                assert_eq!(session.send("t", 0, records).error_code, code::NONE, "{what}");
                session.end(true);
                assert_eq!(committed_values(&mut client, "t", 0, 4), ["next"], "{what}");
                // Nothing is done twice by yet another start.
                drop(client);
                let mut image = image;
                image.restart();
                let mut client = image.client();
                assert_eq!([0, 1].map(|p| client.end_offset("t", p)), [6, 2], "{what}");
            }
        }
    }
}

#[test]
fn a_fence_that_was_decided_holds_after_a_power_cut() {
    for protocol in BOTH {
        let (broker, mut client) = broker();
        let mut zombie = Session::open(&broker, "x", protocol);
        zombie.write("t", 0, &["never"]);
        let of = init(&mut client, "x");
        assert_eq!(until_stable(&mut client, "t", 0), 2);
        let image = broker.crash_image(|path| lose(path, 0, MARKER));
        let mut client = image.client();
        zombie.reconnect(&image);
        let late = zombie.batch("t", 0, &["late"]);
        assert_eq!(zombie.send("t", 0, late).error_code, code::INVALID_PRODUCER_EPOCH, "{protocol:?}");
        let end = zombie.client.call(4, &ask::end("x", zombie.of, true));
        assert_eq!(end.error_code, code::PRODUCER_FENCED, "{protocol:?}");
        assert_eq!(until_stable(&mut client, "t", 0), 2, "{protocol:?}");
        assert_eq!(committed_values(&mut client, "t", 0, 0), Vec::<String>::new());
        assert_eq!(described(&mut client, "x").producer_epoch, of.epoch);
    }
}

#[test]
fn a_batch_that_was_lost_in_an_open_transaction_can_be_sent_again() {
    for protocol in BOTH {
        let (broker, client) = broker();
        let mut session = Session::open(&broker, "x", protocol);
        session.write("t", 0, &["a"]);
        let records = session.batch("t", 0, &["b"]);
        let length = records.len() as u64;
        // With acks=1 nothing is promised about the disk.
        let request = ask::produce(Some("x"), vec![("t", 0, records.clone())]).with_acks(1);
        assert_eq!(produced(&session.client.call(protocol.produce(), &request))[0].error_code, code::NONE);
        drop(client);
        let image = broker.crash_image(|path| lose(path, 0, length));
        session.reconnect(&image);
        let again = session.send("t", 0, records);
        assert_eq!((again.error_code, again.base_offset), (code::NONE, 1), "{protocol:?}");
        session.end(true);
        assert_eq!(committed_values(&mut image.client(), "t", 0, 0), ["a", "b"], "{protocol:?}");
    }
}

#[test]
fn what_was_open_and_lost_as_a_whole_ends_without_a_trace() {
    for protocol in BOTH {
        for commits in [true, false] {
            let (broker, _client) = broker();
            let mut session = Session::open(&broker, "x", protocol);
            // That the transaction is under way is on the disk, whatever becomes of the record.
            session.enlist("t", &[0]);
            let records = session.batch("t", 0, &["lost"]);
            let length = records.len() as u64;
            let request = ask::produce(Some("x"), vec![("t", 0, records)]).with_acks(1);
            assert_eq!(
                produced(&session.client.call(protocol.produce(), &request))[0].error_code,
                code::NONE
            );
            let image = broker.crash_image(|path| lose(path, 0, length));
            let mut client = image.client();
            assert_eq!(client.end_offset("t", 0), 0);
            session.reconnect(&image);
            session.end(commits);
            assert_eq!(committed_values(&mut client, "t", 0, 0), Vec::<String>::new());
            session.take_over(init(&mut client, "x"));
            session.write("t", 0, &["next"]);
            session.end(true);
            assert_eq!(committed_values(&mut client, "t", 0, 0), ["next"], "{protocol:?} {commits}");
        }
    }
}

#[test]
fn aborted_ranges_are_found_again_without_their_index() {
    let (broker, client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::Second);
    for number in 0..6 {
        session.write("t", 0, &[&number.to_string()]);
        session.end(number % 2 == 0);
    }
    let id = session.of.id;
    drop(client);
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 3] = [
        ("removed", |path| fs::remove_file(path).expect("the index")),
        ("emptied", |path| fs::write(path, []).expect("the index")),
        ("garbage", |path| fs::write(path, [0xa5; 100]).expect("the index")),
    ];
    for (what, damage) in damages {
        let image = broker.crash_image(|path| {
            let _ = fs::remove_file(path.join("recovery-point-offset-checkpoint"));
            damage(&path.join("t-0").join("00000000000000000000.txnindex"));
        });
        let mut client = image.client();
        let mut told = aborted(&fetch_committed(&mut client, "t", 0, 0)).expect("a list");
        told.sort_unstable();
        assert_eq!(told, [(id, 2), (id, 6), (id, 10)], "{what}");
        assert_eq!(committed_values(&mut client, "t", 0, 0), ["0", "2", "4"], "{what}");
    }
}

#[test]
fn producers_of_many_ids_are_known_again() {
    for way in WAYS {
        let (broker, mut client) = broker();
        let given: Vec<(String, Producer)> = (0..120)
            .map(|number| {
                let id = format!("id-{number}");
                let of = init(&mut client, &id);
                (id, of)
            })
            .collect();
        drop(client);
        let broker = down_and_up(broker, way);
        let mut client = broker.client();
        for (id, of) in &given {
            assert_eq!(init(&mut client, id), of.plus(1), "{way:?}");
        }
        // A repetition from before the stop is known as well.
        let (id, of) = &given[7];
        let again = client.call(INIT, &ask::init_again(id, of.plus(1)));
        assert_eq!((again.error_code, again.producer_epoch), (code::NONE, of.epoch + 2));
        drop(client);
        let broker = down_and_up(broker, way);
        let again = broker.client().call(INIT, &ask::init_again(id, of.plus(1)));
        assert_eq!((again.error_code, again.producer_epoch), (code::NONE, of.epoch + 2), "{way:?}");
    }
}

#[test]
fn sequences_in_a_transaction_are_known_after_a_crash() {
    for way in WAYS {
        for protocol in BOTH {
            let (broker, client) = broker();
            let mut session = Session::open(&broker, "x", protocol);
            let sent: Vec<_> = (0..7).map(|number| session.batch("t", 0, &[&number.to_string()])).collect();
            if protocol == Protocol::First {
                session.enlist("t", &[0]);
            }
            for records in &sent {
                assert_eq!(session.send("t", 0, records.clone()).error_code, code::NONE);
            }
            drop(client);
            let broker = down_and_up(broker, way);
            session.reconnect(&broker);
            for (number, records) in (0..).zip(&sent) {
                let again = session.send("t", 0, records.clone());
                let expected =
                    if number < 2 { (code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1) } else { (code::NONE, number) };
                assert_eq!((again.error_code, again.base_offset), expected, "{way:?} {protocol:?} {number}");
            }
            session.write("t", 0, &["7"]);
            session.end(true);
            let expected: Vec<String> = (0..8).map(|number| number.to_string()).collect();
            assert_eq!(committed_values(&mut broker.client(), "t", 0, 0), expected);
        }
    }
}

#[test]
fn a_producer_is_not_forgotten_while_its_transaction_is_open() {
    let (mut broker, mut client) = broker_with(&[("producer.id.expiration.ms", "1")]);
    let mut session = Session::open(&broker, "x", Protocol::Second);
    session.write("t", 0, &["a"]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(stable_end(&mut client, "t", 0), 0);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    assert_eq!(stable_end(&mut client, "t", 0), 0);
    session.reconnect(&broker);
    session.write("t", 0, &["b"]);
    session.end(true);
    assert_eq!(committed_values(&mut client, "t", 0, 0), ["a", "b"]);
}

#[test]
fn an_end_that_is_under_way_when_the_broker_stops_is_whole_afterwards() {
    for protocol in BOTH {
        for commits in [true, false] {
            let (mut broker, client) = broker();
            let mut session = Session::open(&broker, "x", protocol);
            for partition in 0..4 {
                session.write("t", partition, &["v"]);
            }
            session.write_offsets("g", &[("t", 0, 5)]);
            let ending = session.of;
            session.client.begin(protocol.end(), &ask::end("x", ending, commits));
            drop(client);
            broker.stop();
            broker.begin();
            let mut client = broker.client();
            // Either it was decided, or the request was never looked at: the client asks again.
            let answer = ended_at_last(&mut client, protocol, ending, commits);
            assert_eq!(answer, code::NONE, "{protocol:?} {commits}");
            for partition in 0..4 {
                eventually("it is over", || stable_end(&mut client, "t", partition) == 2);
                let expected: &[&str] = if commits { &["v"] } else { &[] };
                assert_eq!(committed_values(&mut client, "t", partition, 0), expected);
            }
            assert_eq!(committed(&mut client, "g", "t", 0), if commits { 5 } else { -1 });
        }
    }
}

/// EndTxn, again and again while something else is under way.
fn ended_at_last(client: &mut Client, protocol: Protocol, of: Producer, commits: bool) -> i16 {
    let mut told = code::NONE;
    eventually("an answer that lasts", || {
        told = client.call(protocol.end(), &ask::end("x", of, commits)).error_code;
        told != code::CONCURRENT_TRANSACTIONS
    });
    told
}

/// A crash image in which the batch of `session` in partition 0 of `t` has reached the disk, and the row that enlists it has
/// not. Nobody was promised either: the batch was written with acks=1.
fn without_the_row(broker: &TestBroker, session: &mut Session, values: &[&str]) -> TestBroker {
    // The state as it was before.
    let before = broker.crash_image(|_| ());
    let mut before = Some(before);
    let records = session.batch("t", 0, values);
    let request = ask::produce(Some(&session.id), vec![("t", 0, records)]).with_acks(1);
    assert_eq!(produced(&session.client.call(12, &request))[0].error_code, code::NONE);
    broker.crash_image(|path| {
        let mut before = before.take().expect("the earlier image");
        before.stop();
        fs::remove_dir_all(path.join("state")).expect("the state");
        fs::rename(before.path().join("state"), path.join("state")).expect("the earlier state");
    })
}

#[test]
fn a_batch_whose_row_was_lost_belongs_to_its_producers_transaction_still() {
    for commits in [true, false] {
        let (broker, _client) = broker();
        let mut session = Session::open(&broker, "x", Protocol::Second);
        let image = without_the_row(&broker, &mut session, &["a"]);
        let mut client = image.client();
        session.reconnect(&image);
        assert_eq!(stable_end(&mut client, "t", 0), 0, "nobody has decided");
        assert_eq!(state(&mut client, "x"), "Ongoing");
        session.write("t", 0, &["b"]);
        session.write("t", 1, &["c"]);
        session.end(commits);
        let expected: &[&str] = if commits { &["a", "b"] } else { &[] };
        assert_eq!(committed_values(&mut client, "t", 0, 0), expected);
    }
}

#[test]
fn a_batch_whose_row_was_lost_is_aborted_when_its_producer_is_gone() {
    let (broker, _client) = broker();
    let mut session = Session::open(&broker, "x", Protocol::Second);
    let image = without_the_row(&broker, &mut session, &["a"]);
    let mut client = image.client();
    // Another takes over. If somebody has looked at the log before, which the start does by itself, the batch was taken into the
    // transaction again, and goes with it; otherwise there is nothing to abort yet.
    eventually("another has taken over", || {
        let next = client.call(INIT, &ask::init("x"));
        assert!(
            [code::NONE, code::CONCURRENT_TRANSACTIONS].contains(&next.error_code),
            "{}",
            next.error_code
        );
        next.error_code == code::NONE && next.producer_epoch > session.of.epoch
    });
    eventually("readers go on", || stable_end(&mut client, "t", 0) == 2);
    assert_eq!(committed_values(&mut client, "t", 0, 0), Vec::<String>::new());
    assert_eq!(aborted(&fetch_committed(&mut client, "t", 0, 0)), Some(vec![(session.of.id, 0)]));
    session.reconnect(&image);
    let late = session.batch("t", 0, &["late"]);
    assert_eq!(session.send("t", 0, late).error_code, code::INVALID_PRODUCER_EPOCH);
}

#[test]
fn a_topic_that_is_gone_does_not_hold_up_what_is_carried_out_after_a_crash() {
    use kafka_protocol::messages::DeleteTopicsRequest;
    for protocol in BOTH {
        let (broker, mut client) = broker();
        client.create_topic("gone", 1, &[]);
        let mut session = Session::open(&broker, "x", protocol);
        session.write("t", 0, &["a"]);
        session.write("gone", 0, &["b"]);
        let delete =
            DeleteTopicsRequest::default().with_topic_names(vec![crate::support::request::name("gone")]);
        let end = ask::end("x", session.of, true);
        assert_eq!(client.call(5, &delete).responses[0].error_code, code::NONE);
        assert_eq!(client.call(protocol.end(), &end).error_code, code::NONE);
        assert_eq!(until_marked(&mut client), 2);
        let image = broker.crash_image(|path| lose(path, 0, MARKER));
        let mut client = image.client();
        assert_eq!(until_marked(&mut client), 2);
        assert_eq!(committed_values(&mut client, "t", 0, 0), ["a"], "{protocol:?}");
        let next = init(&mut client, "x");
        assert!(next.epoch > session.of.epoch);
    }
}

/// Waits for the marker behind the only record of partition 0 of `t`.
fn until_marked(client: &mut Client) -> i64 {
    eventually("the marker is there", || stable_end(client, "t", 0) > 1);
    stable_end(client, "t", 0)
}
