//! Snapshots of a directory that no broker runs on.

use std::fs;

use tidelog::control::snapshot::{self, Wanted};

use super::{are_one, names, names_with, place, take};
use crate::groups::ask as asking;
use crate::groups::member::{commit, committed};
use crate::support::{TestBroker, batch};

/// A stopped broker with three segments of one record each, and a committed offset.
fn stopped() -> TestBroker {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("segment.ms", "1000"), ("retention.ms", "-1")]);
    for number in 0..3 {
        client.produce("t", 0, batch::at(1_700_000_000_000 + number * 10_000, &[&number.to_string()]));
    }
    assert_eq!(commit(&mut client, &asking::commit("g", "t", &[(0, 3)])), [0]);
    drop(client);
    broker.stop();
    broker
}

fn assert_whole(broker: &TestBroker) {
    let mut client = broker.client();
    assert_eq!(client.values("t", 0, 0), ["0", "1", "2"]);
    assert_eq!(committed(&mut client, "g", "t", 0), 3);
}

#[test]
fn after_an_orderly_stop_sealed_segments_are_shared() {
    let mut broker = stopped();
    let (_dir, place) = place();
    let to = place.join("copy");
    let taken = take(&broker, &to);
    assert_eq!(taken.partitions, 1);
    let (original, copied) = (broker.partition_dir("t", 0), to.join("t-0"));
    let segments = names_with(&original, ".log");
    let shared: Vec<bool> =
        segments.iter().map(|name| are_one(&original.join(name), &copied.join(name))).collect();
    assert_eq!(shared, [true, true, false]);
    assert!(broker.path().join(".kafka_cleanshutdown").exists(), "the directory is as orderly as it was");
    let copy = broker.another_on(&to);
    assert_whole(&copy);
    broker.begin();
    assert_whole(&broker);
    let everything = place.join("everything");
    broker.stop();
    let taken =
        snapshot::take(broker.path(), &Wanted { to: everything.clone(), copy: true }).expect("a copy");
    assert_eq!(taken.shared_bytes, 0);
    assert_whole(&broker.another_on(&everything));
}

#[test]
fn after_a_crash_what_recovery_may_cut_is_not_shared() {
    let broker = stopped();
    fs::remove_file(broker.path().join(".kafka_cleanshutdown")).expect("the mark");
    let original = broker.partition_dir("t", 0);
    let segments = names_with(&original, ".log");
    // Only the first segment is known to be durable; the end of the last is torn.
    fs::write(broker.path().join("recovery-point-offset-checkpoint"), "0\n1\nt 0 1\n")
        .expect("the checkpoint");
    let last = original.join(&segments[2]);
    let mut torn = fs::read(&last).expect("the last segment");
    torn.pop();
    fs::write(&last, &torn).expect("the last segment");
    let (_dir, place) = place();
    let to = place.join("copy");
    take(&broker, &to);
    let shared: Vec<bool> =
        segments.iter().map(|name| are_one(&original.join(name), &to.join("t-0").join(name))).collect();
    assert_eq!(shared, [true, false, false]);
    let copy = broker.another_on(&to);
    assert_eq!(copy.client().values("t", 0, 0), ["0", "1"]);
    assert_eq!(fs::read(&last).expect("the last segment"), torn, "recovery of the copy is its own");
}

#[test]
fn other_directories_and_running_brokers_are_refused() {
    let (_dir, place) = place();
    let wanted = Wanted { to: place.join("copy"), copy: false };
    let told = format!("{:#}", snapshot::take(&place, &wanted).expect_err("nothing to copy"));
    assert!(told.contains("not the data directory of a broker"), "{told}");
    assert!(names(&place).is_empty());

    let mut broker = stopped();
    broker.begin();
    // Somebody has removed the socket: the lock still tells.
    fs::remove_file(broker.path().join("control.sock")).expect("the socket");
    let told = format!("{:#}", snapshot::take(broker.path(), &wanted).expect_err("a broker runs"));
    assert!(told.contains("a broker runs on") && told.contains("control.sock"), "{told}");
    assert_whole(&broker);
}
