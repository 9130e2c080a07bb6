//! IncrementalAlterConfigs and AlterConfigs: settings change at once, as a whole, or not at all.

use kafka_protocol::messages::alter_configs_request as legacy;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use crate::support::{Client, TestBroker, batch, request};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;

fn change(key: &str, operation: i8, value: Option<&str>) -> AlterableConfig {
    AlterableConfig::default()
        .with_name(request::text(key))
        .with_config_operation(operation)
        .with_value(value.map(request::text))
}

fn resource(kind: i8, name: &str, configs: Vec<AlterableConfig>) -> AlterConfigsResource {
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(request::text(name))
        .with_configs(configs)
}

fn alter(client: &mut Client, configs: Vec<AlterableConfig>) -> i16 {
    let request =
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource(TOPIC, "t", configs)]);
    client.call(1, &request).responses[0].error_code
}

fn replace(client: &mut Client, version: i16, configs: &[(&str, &str)]) -> i16 {
    let configs = configs.iter().map(|(key, value)| {
        legacy::AlterableConfig::default()
            .with_name(request::text(key))
            .with_value(Some(request::text(value)))
    });
    let resource = legacy::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(request::text("t"))
        .with_configs(configs.collect());
    let response = client.call(version, &AlterConfigsRequest::default().with_resources(vec![resource]));
    response.responses[0].error_code
}

/// The topic's own settings.
fn own(client: &mut Client) -> Vec<(String, String)> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(request::text("t"))
        .with_configuration_keys(None);
    let response = client.call(4, &DescribeConfigsRequest::default().with_resources(vec![resource]));
    let own = response.results[0].configs.iter().filter(|config| config.config_source == 1);
    own.map(|config| {
        (config.name.to_string(), config.value.as_ref().map_or(String::new(), |v| v.to_string()))
    })
    .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[test]
fn settings_are_set_and_given_back() {
    let mut broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("retention.ms", "5000000")]);
    let changes =
        vec![change("retention.ms", SET, Some("6000000")), change("segment.ms", SET, Some("7000000"))];
    assert_eq!(alter(&mut client, changes), 0);
    assert_eq!(own(&mut client), pairs(&[("retention.ms", "6000000"), ("segment.ms", "7000000")]));
    assert_eq!(alter(&mut client, vec![change("retention.ms", DELETE, None)]), 0);
    assert_eq!(own(&mut client), pairs(&[("segment.ms", "7000000")]));
    drop(client);
    broker.crash_and_restart(|_| ());
    assert_eq!(own(&mut broker.client()), pairs(&[("segment.ms", "7000000")]));
}

#[test]
fn lists_grow_and_shrink() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let key = "leader.replication.throttled.replicas";
    assert_eq!(alter(&mut client, vec![change(key, SET, Some("0:1"))]), 0);
    assert_eq!(alter(&mut client, vec![change(key, APPEND, Some("1:1,2:1"))]), 0);
    assert_eq!(own(&mut client), pairs(&[(key, "0:1,1:1,2:1")]));
    assert_eq!(alter(&mut client, vec![change(key, APPEND, Some("1:1"))]), 0);
    assert_eq!(own(&mut client), pairs(&[(key, "0:1,1:1,2:1")]), "what is there is not added again");
    assert_eq!(alter(&mut client, vec![change(key, SUBTRACT, Some("1:1,9:9"))]), 0);
    assert_eq!(own(&mut client), pairs(&[(key, "0:1,2:1")]));
    assert_ne!(
        alter(&mut client, vec![change("retention.ms", APPEND, Some("1"))]),
        0,
        "a number is not a list"
    );
    assert_ne!(alter(&mut client, vec![change("retention.ms", SUBTRACT, Some("1"))]), 0);
}

#[test]
fn a_change_acts_at_once() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let large = batch::sized(5_000);
    assert_eq!(client.produce("t", 0, large.clone()).error_code, 0);
    assert_eq!(alter(&mut client, vec![change("max.message.bytes", SET, Some("1000"))]), 0);
    // When the change is answered, it holds.
    assert_eq!(client.produce("t", 0, large.clone()).error_code, 10);
    assert_eq!(alter(&mut client, vec![change("max.message.bytes", DELETE, None)]), 0);
    assert_eq!(client.produce("t", 0, large).error_code, 0);
}

#[test]
fn one_bad_key_spoils_the_change_of_its_resource() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("segment.ms", "7000000")]);
    for (bad, code) in [
        (change("no.such.key", SET, Some("1")), INVALID_CONFIG),
        (change("retention.bytes", SET, Some("many")), INVALID_CONFIG),
        (change("cleanup.policy", SET, Some("compress")), INVALID_CONFIG),
        (change("retention.bytes", SET, None), INVALID_REQUEST),
        (change("retention.bytes", 4, Some("1")), INVALID_REQUEST),
        (change("retention.bytes", -1, Some("1")), INVALID_REQUEST),
        (change("segment.ms", DELETE, None), INVALID_REQUEST),
    ] {
        // The last one names a key twice.
        let changes = vec![change("segment.ms", SET, Some("8000000")), bad.clone()];
        assert_eq!(alter(&mut client, changes), code, "{bad:?}");
        assert_eq!(own(&mut client), pairs(&[("segment.ms", "7000000")]), "{bad:?}");
    }
}

#[test]
fn changes_at_the_same_time_do_not_undo_each_other() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let keys = ["retention.ms", "segment.ms", "file.delete.delay.ms", "flush.ms"];
    for round in 1..=5 {
        let value = format!("{round}000000");
        // All are sent before any is answered, each on a connection of its own.
        let mut begun: Vec<(Client, i32)> = keys
            .iter()
            .map(|key| {
                let mut client = broker.client();
                let resources = vec![resource(TOPIC, "t", vec![change(key, SET, Some(&value))])];
                let id =
                    client.begin(1, &IncrementalAlterConfigsRequest::default().with_resources(resources));
                (client, id)
            })
            .collect();
        for (client, id) in &mut begun {
            let response = client.finish::<IncrementalAlterConfigsRequest>(1, *id);
            assert_eq!(response.responses[0].error_code, 0);
        }
        let mut expected: Vec<_> = keys.iter().map(|key| (key.to_string(), value.clone())).collect();
        expected.sort();
        assert_eq!(own(&mut client), expected);
    }
}

#[test]
fn validate_only_changes_nothing() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    for (value, code) in [("1000000", 0), ("soon", INVALID_CONFIG)] {
        let resources = vec![resource(TOPIC, "t", vec![change("retention.ms", SET, Some(value))])];
        let request =
            IncrementalAlterConfigsRequest::default().with_resources(resources).with_validate_only(true);
        assert_eq!(client.call(1, &request).responses[0].error_code, code, "{value}");
        assert_eq!(own(&mut client), []);
    }
}

#[test]
fn resources_that_cannot_be_changed() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let set = || vec![change("retention.ms", SET, Some("1000000"))];
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![
        resource(TOPIC, "nowhere", set()),
        resource(TOPIC, "..", set()),
        resource(BROKER, "1", vec![change("num.partitions", SET, Some("2"))]),
        resource(99, "t", set()),
        resource(TOPIC, "t", set()),
    ]);
    let response = client.call(1, &request);
    let codes: Vec<_> = response.responses.iter().map(|response| response.error_code).collect();
    assert_eq!(
        codes,
        [UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_REQUEST, INVALID_REQUEST, 0]
    );
    assert!(response.responses[..4].iter().all(|response| response.error_message.is_some()));
    assert_eq!(own(&mut client), pairs(&[("retention.ms", "1000000")]));
}

#[test]
fn a_resource_twice_in_one_request() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for topic in ["t", "u"] {
        client.create_topic(topic, 1, &[]);
    }
    let set = |topic: &str, value| resource(TOPIC, topic, vec![change("retention.ms", SET, Some(value))]);
    let resources = vec![set("t", "1000000"), set("u", "1000000"), set("t", "2000000")];
    let response = client.call(1, &IncrementalAlterConfigsRequest::default().with_resources(resources));
    let codes: Vec<_> = response.responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, 0, INVALID_REQUEST]);
    let legacy = |topic: &str, value: &str| {
        let config = legacy::AlterableConfig::default().with_name(request::text("retention.ms"));
        legacy::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(request::text(topic))
            .with_configs(vec![config.with_value(Some(request::text(value)))])
    };
    let resources = vec![legacy("t", "1000000"), legacy("u", "1000000"), legacy("t", "2000000")];
    let response = client.call(2, &AlterConfigsRequest::default().with_resources(resources));
    let codes: Vec<_> = response.responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, 0, INVALID_REQUEST]);
    assert_eq!(own(&mut client), []);
}

#[test]
fn the_legacy_request_replaces_everything() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[("retention.ms", "5000000"), ("segment.ms", "7000000")]);
    for version in 0..=2 {
        assert_eq!(replace(&mut client, version, &[("segment.ms", "8000000")]), 0);
        assert_eq!(own(&mut client), pairs(&[("segment.ms", "8000000")]), "v{version}");
        assert_eq!(replace(&mut client, version, &[("segment.ms", "never")]), INVALID_CONFIG);
        assert_eq!(own(&mut client), pairs(&[("segment.ms", "8000000")]), "v{version}");
        assert_eq!(replace(&mut client, version, &[]), 0);
        assert_eq!(own(&mut client), [], "v{version}");
    }
}
