//! Valid requests cut short at every byte, with the length prefix made right for what is left.

use tidelog::protocol::catalog::{Entry, SERVED};
use tidelog::protocol::layout::{self, ApiLayout, Field, FieldType};

use crate::support::TestBroker;
use crate::support::client::prefixed;

#[allow(dead_code, reason = "shared with the unit tests of the guard, which use all of it")]
#[path = "../../../src/protocol/layout/sample.rs"]
mod sample;

use sample::Sample;

fn request(entry: &Entry, version: i16, sample: Sample) -> Vec<u8> {
    let layout: &ApiLayout = layout::api(entry.key).expect("every served API has a layout");
    let mut frame =
        [&entry.key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1, 0, 2, b'i', b't']].concat();
    if layout.header_version(version) >= 2 {
        frame.push(0);
    }
    frame.extend(sample::encode(layout, version, sample));
    frame
}

/// Sends each prefix of the request on a connection of its own; each is closed or answered, never left waiting.
fn cut_everywhere(broker: &TestBroker, entry: &Entry, version: i16, sample: Sample) {
    let whole = request(entry, version, sample);
    for end in 0..whole.len() {
        let mut client = broker.client();
        client.send(&prefixed(&whole[..end]));
        client.finish_sending();
        while let Some(answer) = client.read_frame() {
            // A shorter request may be a valid one of fewer fields; then the answer is its own.
            assert_eq!(answer.get(..4), Some(&[0, 0, 0, 1][..]), "{} v{version} cut at {end}", entry.name);
        }
    }
}

fn cut_every_api(sample: Sample) {
    let broker = TestBroker::start();
    for entry in SERVED {
        for version in [entry.min, entry.max] {
            cut_everywhere(&broker, entry, version, sample);
        }
    }
    broker.assert_serves();
}

#[test]
fn full_requests_cut_at_every_byte() {
    cut_every_api(Sample::FULL);
}

#[test]
fn bare_requests_cut_at_every_byte() {
    cut_every_api(Sample::BARE);
}

#[test]
fn whole_requests_of_nonsense_are_survived() {
    let broker = TestBroker::start();
    for entry in SERVED {
        for version in entry.min..=entry.max {
            for sample in [Sample::FULL, Sample::BARE] {
                let mut client = broker.client();
                client.send(&prefixed(&request(entry, version, sample)));
                client.finish_sending();
                let answer = client.read_frame();
                // Produce asks for acks nobody knows or for none; every other request is answered.
                if entry.name != "Produce" {
                    let answer =
                        answer.unwrap_or_else(|| panic!("{} v{version} is not answered", entry.name));
                    assert_eq!(answer[..4], [0, 0, 0, 1], "{} v{version}", entry.name);
                }
            }
        }
    }
    broker.assert_serves();
}
