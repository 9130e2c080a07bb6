//! Settings of groups, which need not exist yet.

use kafka_protocol::messages as m;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};

use super::member::{FIRST, beat, broker};
use super::{ask, code};
use crate::support::request::text;
use crate::support::{Client, TestBroker};

const GROUP: i8 = 32;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// `ConfigSource.GROUP_CONFIG`.
const OF_GROUP: i8 = 8;

const INTERVAL: &str = "consumer.heartbeat.interval.ms";
const SESSION: &str = "consumer.session.timeout.ms";

fn alter(client: &mut Client, group: &str, changes: &[(&str, i8, Option<&str>)]) -> i16 {
    let configs = changes.iter().map(|(key, operation, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(GROUP)
        .with_resource_name(text(group))
        .with_configs(configs.collect());
    let request = m::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.call(1, &request).responses[0].error_code
}

/// Value and source of a setting.
fn setting(client: &mut Client, group: &str, key: &str) -> (String, i8) {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(GROUP)
        .with_resource_name(text(group))
        .with_configuration_keys(Some(vec![text(key)]));
    let response = client.call(4, &m::DescribeConfigsRequest::default().with_resources(vec![resource]));
    assert_eq!(response.results[0].error_code, code::NONE);
    let config = &response.results[0].configs[0];
    (config.value.as_ref().expect("a value").to_string(), config.config_source)
}

fn resources(client: &mut Client, types: &[i8]) -> Vec<(i8, String)> {
    let response =
        client.call(1, &m::ListConfigResourcesRequest::default().with_resource_types(types.to_vec()));
    assert_eq!(response.error_code, code::NONE);
    let resources = response.config_resources.iter();
    resources.map(|resource| (resource.resource_type, resource.resource_name.to_string())).collect()
}

#[test]
fn a_setting_acts_on_its_group_alone_and_outlives_the_broker() {
    let (mut broker, mut client, _) = broker();
    assert_eq!(setting(&mut client, "g", INTERVAL).0, "5000");
    assert_eq!(
        alter(&mut client, "g", &[(INTERVAL, SET, Some("7000")), (SESSION, SET, Some("50000"))]),
        code::NONE
    );
    assert_eq!(setting(&mut client, "g", INTERVAL), ("7000".to_owned(), OF_GROUP));
    assert_eq!(setting(&mut client, "g", SESSION), ("50000".to_owned(), OF_GROUP));
    assert_eq!(setting(&mut client, "other", INTERVAL).0, "5000");
    assert_eq!(beat(&mut client, &ask::enter("g", "a", &["t"])).heartbeat_interval_ms, 7_000);
    assert_eq!(beat(&mut client, &ask::enter("other", "a", &["t"])).heartbeat_interval_ms, 5_000);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    assert_eq!(setting(&mut client, "g", SESSION), ("50000".to_owned(), OF_GROUP));
    assert_eq!(beat(&mut client, &ask::beat("g", "a", FIRST)).heartbeat_interval_ms, 7_000);
    // A change acts on the members that are there.
    assert_eq!(alter(&mut client, "g", &[(INTERVAL, DELETE, None)]), code::NONE);
    assert_eq!(beat(&mut client, &ask::beat("g", "a", FIRST)).heartbeat_interval_ms, 5_000);
    assert_eq!(setting(&mut client, "g", SESSION), ("50000".to_owned(), OF_GROUP));
}

#[test]
fn values_outside_the_brokers_bounds_are_refused() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for (key, value) in [
        (INTERVAL, "4999"),
        (INTERVAL, "15001"),
        (INTERVAL, "soon"),
        (SESSION, "44999"),
        (SESSION, "60001"),
        ("no.such.key", "1"),
    ] {
        assert_eq!(
            alter(&mut client, "g", &[(key, SET, Some(value))]),
            code::INVALID_CONFIG,
            "{key}={value}"
        );
    }
    assert_eq!(alter(&mut client, "", &[(INTERVAL, SET, Some("7000"))]), code::INVALID_REQUEST);
    assert_eq!(resources(&mut client, &[GROUP]), []);
}

#[test]
fn resources_are_listed_by_type() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    for group in ["zebra", "ant"] {
        assert_eq!(alter(&mut client, group, &[(INTERVAL, SET, Some("7000"))]), code::NONE);
    }
    let of = |kind: i8, name: &str| (kind, name.to_owned());
    assert_eq!(resources(&mut client, &[GROUP]), [of(GROUP, "ant"), of(GROUP, "zebra")]);
    assert_eq!(resources(&mut client, &[BROKER, TOPIC]), [of(TOPIC, "t"), of(BROKER, "1")]);
    assert_eq!(resources(&mut client, &[]).len(), 5);
    // Client metrics, which version 0 is about, are not collected.
    let of_version_0 = client.call(0, &m::ListConfigResourcesRequest::default());
    assert_eq!((of_version_0.error_code, of_version_0.config_resources.len()), (code::NONE, 0));
    let unknown =
        client.call(1, &m::ListConfigResourcesRequest::default().with_resource_types(vec![GROUP, 99]));
    assert_eq!((unknown.error_code, unknown.config_resources.len()), (code::UNSUPPORTED_VERSION, 0));
    assert_eq!(alter(&mut client, "ant", &[(INTERVAL, DELETE, None)]), code::NONE);
    assert_eq!(resources(&mut client, &[GROUP]), [of(GROUP, "zebra")]);
}
