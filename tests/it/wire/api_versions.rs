//! What is advertised is what is served, and what is not served is refused as Kafka refuses it.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};
use kafka_protocol::protocol::{Decodable, StrBytes};
use tidelog::protocol::catalog::{self, SERVED};

use crate::support::TestBroker;
use crate::support::client::prefixed;

/// Kafka's code for a version that is not served.
const UNSUPPORTED_VERSION: i16 = 35;
/// Kafka's code for a request that makes no sense.
const INVALID_REQUEST: i16 = 42;

fn request(version: i16) -> ApiVersionsRequest {
    let request = ApiVersionsRequest::default();
    if version < 3 {
        return request;
    }
    request
        .with_client_software_name(StrBytes::from_static_str("it"))
        .with_client_software_version(StrBytes::from_static_str("1.0"))
}

fn header_only(key: i16, version: i16, correlation_id: i32) -> Vec<u8> {
    let (key, version) = (key.to_be_bytes(), version.to_be_bytes());
    // Key, version, correlation id, null client id; what follows in later versions is left to the caller.
    [&key[..], &version, &correlation_id.to_be_bytes(), &[0xff, 0xff]].concat()
}

#[test]
fn every_version_lists_the_catalogue() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for version in 0..=4 {
        let response = client.call(version, &request(version));
        assert_eq!(response.error_code, 0, "v{version}");
        let told: Vec<_> =
            response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        let served: Vec<_> =
            SERVED.iter().map(|entry| (entry.key, entry.advertised_min, entry.max)).collect();
        assert_eq!(told, served, "v{version}");
    }
}

#[test]
fn a_version_from_the_future_is_told_the_range_in_the_oldest_form() {
    let broker = TestBroker::start();
    let own = catalog::find(catalog::API_VERSIONS).expect("ApiVersions is served");
    for version in [own.max + 1, 127, i16::MAX, -1, i16::MIN] {
        let mut client = broker.client();
        // What follows the header is not looked at: an empty tagged section, or the body where there is none.
        client.send(&prefixed(&[&header_only(18, version, 77)[..], &[0, 0x7f, 0xff, 0xff, 0xff]].concat()));
        let mut answer = Bytes::from(client.read_frame().expect("an answer"));
        assert_eq!(answer.get_i32(), 77, "v{version}");
        let response = ApiVersionsResponse::decode(&mut answer, 0).expect("a response of version 0");
        assert!(answer.is_empty(), "v{version}");
        assert_eq!(response.error_code, UNSUPPORTED_VERSION, "v{version}");
        let told: Vec<_> =
            response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        assert_eq!(told, [(18, own.min, own.max)], "v{version}");
        // The connection lives on: this is how a client finds its version.
        assert_eq!(client.call(own.max, &request(own.max)).error_code, 0, "v{version}");
    }
}

#[test]
fn client_names_that_are_none_are_refused() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let unnamed = ApiVersionsRequest::default();
    let response = client.call(3, &unnamed);
    assert_eq!(response.error_code, INVALID_REQUEST);
    assert!(response.api_keys.is_empty());
    let spaced = request(3).with_client_software_name(StrBytes::from_static_str("two words"));
    assert_eq!(client.call(3, &spaced).error_code, INVALID_REQUEST);
}

#[test]
fn unsupported_versions_of_other_apis_close_the_connection() {
    let broker = TestBroker::start();
    for entry in SERVED.iter().filter(|entry| entry.key != catalog::API_VERSIONS) {
        for version in [entry.min - 1, entry.max + 1, i16::MAX, i16::MIN] {
            let mut client = broker.client();
            client.send(&prefixed(&[&header_only(entry.key, version, 1)[..], &[0; 8]].concat()));
            client.assert_closed();
        }
    }
    broker.assert_serves();
}

#[test]
fn unknown_api_keys_close_the_connection() {
    let broker = TestBroker::start();
    let unknown = (-2..200).chain([i16::MIN, i16::MAX]).filter(|key| catalog::find(*key).is_none());
    for key in unknown {
        let mut client = broker.client();
        client.send(&prefixed(&[&header_only(key, 0, 1)[..], &[0; 8]].concat()));
        client.assert_closed();
    }
    broker.assert_serves();
}

#[test]
fn a_null_and_a_long_client_id_are_served() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    // Metadata v1 for no topics.
    client.send(&prefixed(&[&header_only(3, 1, 5)[..], &[0, 0, 0, 0]].concat()));
    assert!(client.read_frame().is_some());
    let mut long = header_only(3, 1, 6);
    long.truncate(8);
    long.extend_from_slice(&1_000_i16.to_be_bytes());
    long.extend_from_slice(&[b'c'; 1_000]);
    long.extend_from_slice(&[0, 0, 0, 0]);
    client.send(&prefixed(&long));
    assert!(client.read_frame().is_some());
}

#[test]
fn tags_that_nobody_knows_are_skipped() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    // Metadata v9 for no topics: unknown tagged fields in the header and in the body.
    let mut frame = header_only(3, 9, 8);
    frame.extend_from_slice(&[1, 0xe7, 0x07, 3, 1, 2, 3]);
    frame.extend_from_slice(&[1, 0, 0, 0, 2, 0xe6, 0x07, 1, 0xff, 0xe7, 0x07, 0]);
    client.send(&prefixed(&frame));
    let (correlation_id, response) =
        crate::support::client::decode::<MetadataRequest>(9, client.read_frame().expect("an answer"));
    assert_eq!((correlation_id, response.brokers.len()), (8, 1));
}
