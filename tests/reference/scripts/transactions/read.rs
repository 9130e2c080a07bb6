//! Fetch and ListOffsets beside open, committed and aborted transactions.

use super::{ended, producer, write};
use crate::mask::script_time_ms;
use crate::play::play;
use crate::script::Script;
use crate::support::request::list_offsets;
use crate::transaction_requests::{
    Producer, fetch_committed, fetch_uncommitted, list_committed, plain_records, produce,
};

/// What readers of both kinds are given.
fn read(s: &mut Script, topic: &str, from: i64) {
    for version in [4, 11, 12] {
        s.call("x", version, &fetch_committed(topic, 0, from));
    }
    s.call("x", 12, &fetch_uncommitted(topic, 0, from));
    for timestamp in [-1, -2, -3] {
        s.call("x", 7, &list_committed(topic, 0, timestamp));
        s.call("x", 7, &list_offsets(topic, 0, timestamp));
    }
}

/// A record of nobody.
fn plain(s: &mut Script, topic: &str, value: &str) {
    let nobody = Producer { id: -1, epoch: -1 };
    s.quiet(9, &produce(None, vec![(topic, 0, plain_records(nobody, -1, &[value]))]));
}

#[test]
fn read_committed() {
    play("read-committed", |s| {
        let topic = s.topic("topic", 1);
        let (a, of_a) = producer(s, "a");
        let (b, of_b) = producer(s, "b");
        s.step("nothing there");
        read(s, &topic, 0);
        s.step("an open transaction from the start on");
        write(s, &a, of_a, &topic, 0, 0, "a1");
        plain(s, &topic, "p1");
        read(s, &topic, 0);
        s.step("two of them");
        write(s, &b, of_b, &topic, 0, 0, "b1");
        write(s, &a, of_a, &topic, 0, 1, "a2");
        read(s, &topic, 0);
        s.step("the later one is committed");
        let of_b = ended(s, &b, of_b, true);
        read(s, &topic, 0);
        s.step("the first one is aborted");
        let of_a = ended(s, &a, of_a, false);
        read(s, &topic, 0);
        s.step("from the middle of the aborted one on, from its end, and from after it");
        for from in [1, 3, 4, 5, 6] {
            s.call("x", 12, &fetch_committed(&topic, 0, from));
        }
        s.step("one that is open beside one that was aborted");
        write(s, &a, of_a, &topic, 0, 0, "a3");
        write(s, &b, of_b, &topic, 0, 0, "b2");
        let of_a = ended(s, &a, of_a, false);
        read(s, &topic, 3);
        s.step("past the last stable offset");
        for from in [7, 8, 9, 10] {
            s.call("x", 12, &fetch_committed(&topic, 0, from));
        }
        s.step("by time, at the edge of what is stable");
        for timestamp in [0, script_time_ms(), script_time_ms() + 1] {
            s.call("x", 7, &list_committed(&topic, 0, timestamp));
        }
        s.step("all is over");
        ended(s, &b, of_b, false);
        read(s, &topic, 0);
        s.step("an abort of nothing leaves nothing");
        ended(s, &a, of_a, false);
        s.call("x", 7, &list_offsets(&topic, 0, -1));
    });
}
