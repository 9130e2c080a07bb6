//! Bodies whose first length says two billion: whoever trusts it reserves memory until the process dies.

use tidelog::protocol::catalog;

use crate::support::TestBroker;
use crate::support::client::prefixed;

/// Highest API key that is tried; Kafka's keys end below it.
const KEYS_MAX: i16 = 100;
/// Highest version that is tried; Kafka's versions end below it.
const VERSIONS_MAX: i16 = 20;

/// Header with a null client id and, where the version has them, no tags.
fn header(key: i16, version: i16, tags: bool) -> Vec<u8> {
    let mut header = [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1], &[0xff, 0xff]].concat();
    header.extend(tags.then_some(0));
    header
}

fn try_on_every_api(body: &[u8]) {
    let broker = TestBroker::start();
    for key in -1..KEYS_MAX {
        for version in 0..VERSIONS_MAX {
            for tags in [false, true] {
                let mut client = broker.client();
                client.send(&prefixed(&[&header(key, version, tags)[..], body].concat()));
                client.finish_sending();
                // Closed, or answered with whatever the few bytes mean, then closed; never silence.
                while client.read_frame().is_some() {
                    assert!(catalog::find(key).is_some(), "key {key} v{version} is answered");
                }
            }
        }
    }
    broker.assert_serves();
}

#[test]
fn two_billion_elements() {
    try_on_every_api(&[0x7f, 0xff, 0xff, 0xff]);
}

#[test]
fn two_billion_elements_in_compact_form() {
    try_on_every_api(&[0xff, 0xff, 0xff, 0xff, 0x07]);
}

#[test]
fn a_varint_without_end() {
    try_on_every_api(&[0xff; 16]);
}

#[test]
fn a_negative_length_that_is_not_null() {
    try_on_every_api(&[0x80, 0, 0, 0]);
}

#[test]
fn no_body_at_all() {
    try_on_every_api(&[]);
}
