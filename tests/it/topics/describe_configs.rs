//! DescribeConfigs: every key with its value, where it comes from, and what it means.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};

use crate::support::{Client, TestBroker, request};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const DYNAMIC_TOPIC: i8 = 1;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const INVALID_REQUEST: i16 = 42;

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(request::text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| request::text(key)).collect()))
}

fn describe(client: &mut Client, version: i16, resource: DescribeConfigsResource) -> DescribeConfigsResult {
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3);
    client.call(version, &request).results.remove(0)
}

fn entry<'a>(result: &'a DescribeConfigsResult, key: &str) -> &'a DescribeConfigsResourceResult {
    result
        .configs
        .iter()
        .find(|config| config.name.as_str() == key)
        .unwrap_or_else(|| panic!("{key} is missing"))
}

#[test]
fn every_topic_key_is_told_with_its_source() {
    let broker = TestBroker::with(&[("log.segment.bytes", "2000000"), ("log.retention.hours", "5")]);
    let mut client = broker.client();
    client.create_topic("t", 1, &[("compression.type", "zstd")]);
    for version in 1..=4 {
        let result = describe(&mut client, version, resource(TOPIC, "t", None));
        assert_eq!((result.error_code, result.resource_type, result.resource_name.as_str()), (0, TOPIC, "t"));
        // Kafka 4.3 knows 33 keys of a topic that anyone may see; one more is our own.
        assert_eq!(result.configs.len(), 34, "v{version}");
        let own = entry(&result, "compression.type");
        assert_eq!(
            (own.value.as_deref(), own.config_source, own.read_only),
            (Some("zstd"), DYNAMIC_TOPIC, false)
        );
        let from_broker = entry(&result, "segment.bytes");
        assert_eq!(
            (from_broker.value.as_deref(), from_broker.config_source),
            (Some("2000000"), STATIC_BROKER)
        );
        let converted = entry(&result, "retention.ms");
        assert_eq!((converted.value.as_deref(), converted.config_source), (Some("18000000"), STATIC_BROKER));
        let untouched = entry(&result, "cleanup.policy");
        assert_eq!((untouched.value.as_deref(), untouched.config_source), (Some("delete"), DEFAULT));
        assert!(result.configs.iter().all(|config| !config.is_sensitive));
    }
}

#[test]
fn synonyms_come_in_the_order_in_which_they_count() {
    let broker = TestBroker::with(&[("compression.type", "lz4")]);
    let mut client = broker.client();
    client.create_topic("t", 1, &[("compression.type", "zstd")]);
    let result = describe(&mut client, 4, resource(TOPIC, "t", Some(&["compression.type"])));
    assert_eq!(result.configs.len(), 1, "only the key that was asked for");
    let synonyms: Vec<_> = result.configs[0]
        .synonyms
        .iter()
        .map(|synonym| {
            (synonym.name.to_string(), synonym.value.as_deref().map(str::to_owned), synonym.source)
        })
        .collect();
    let own = |value: &str, source| ("compression.type".to_owned(), Some(value.to_owned()), source);
    assert_eq!(synonyms, [own("zstd", DYNAMIC_TOPIC), own("lz4", STATIC_BROKER), own("producer", DEFAULT)]);
    let plain = DescribeConfigsRequest::default().with_resources(vec![resource(TOPIC, "t", None)]);
    let plain = client.call(4, &plain).results.remove(0);
    assert!(plain.configs.iter().all(|config| config.synonyms.is_empty() && config.documentation.is_none()));
}

#[test]
fn keys_have_types_and_documentation() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let result = describe(&mut client, 4, resource(TOPIC, "t", None));
    for config in &result.configs {
        let documentation = config.documentation.as_ref().unwrap_or_else(|| panic!("{:?}", config.name));
        assert!(documentation.len() > 20, "{:?}: {documentation:?}", config.name);
    }
    for (key, kind) in [
        ("preallocate", 1),
        ("compression.type", 2),
        ("segment.bytes", 3),
        ("retention.ms", 5),
        ("min.cleanable.dirty.ratio", 6),
        ("cleanup.policy", 7),
    ] {
        assert_eq!(entry(&result, key).config_type, kind, "{key}");
    }
}

#[test]
fn keys_can_be_chosen() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let chosen =
        describe(&mut client, 4, resource(TOPIC, "t", Some(&["retention.ms", "no.such.key", "segment.ms"])));
    let mut names: Vec<_> = chosen.configs.iter().map(|config| config.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["retention.ms", "segment.ms"]);
}

#[test]
fn the_broker_tells_its_settings() {
    let broker = TestBroker::with(&[("node.id", "7"), ("num.partitions", "3")]);
    let mut client = broker.client();
    let result = describe(&mut client, 4, resource(BROKER, "7", None));
    assert_eq!(result.error_code, 0);
    let own = entry(&result, "num.partitions");
    assert_eq!((own.value.as_deref(), own.config_source, own.read_only), (Some("3"), STATIC_BROKER, true));
    let untouched = entry(&result, "log.retention.hours");
    assert_eq!((untouched.value.as_deref(), untouched.config_source), (Some("168"), DEFAULT));
    assert!(result.configs.len() > 100, "{}", result.configs.len());
    for secret in result.configs.iter().filter(|config| config.config_type == 9) {
        assert!(secret.is_sensitive && secret.value.is_none(), "{:?} is told", secret.name);
    }
    let cluster = describe(&mut client, 4, resource(BROKER, "", None));
    assert_eq!((cluster.error_code, cluster.configs.len()), (0, 0), "nothing was changed while it ran");
}

#[test]
fn what_cannot_be_described() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for (kind, name, code) in [
        (TOPIC, "nowhere", UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "a/b", INVALID_TOPIC_EXCEPTION),
        (BROKER, "99", INVALID_REQUEST),
        (BROKER, "one", INVALID_REQUEST),
        (0, "t", INVALID_REQUEST),
        (99, "t", INVALID_REQUEST),
    ] {
        let result = describe(&mut client, 4, resource(kind, name, None));
        assert_eq!((result.error_code, result.configs.len()), (code, 0), "{kind} {name}");
        assert!(result.error_message.is_some(), "{kind} {name}");
        assert_eq!((result.resource_type, result.resource_name.as_str()), (kind, name));
    }
}
