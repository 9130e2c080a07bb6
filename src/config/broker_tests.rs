use super::*;
use crate::config::SecurityProtocol;

fn load(properties: &str) -> Result<Loaded, ConfigError> {
    BrokerConfig::load(&Sources { properties: Some(properties.to_owned()), ..Sources::default() })
}

fn refusal(properties: &str) -> String {
    load(properties).expect_err("must be refused").to_string()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// The shipped file, and its `key=value` lines with the comment sign taken off.
fn shipped() -> (String, Vec<(String, String)>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/server.properties");
    let text = std::fs::read_to_string(path).expect("the shipped file exists");
    // Prose starts with "# ", a commented key directly with "#".
    let active: String = text
        .lines()
        .filter(|line| !line.starts_with("# ") && !line.starts_with("##"))
        .map(|line| format!("{}\n", line.strip_prefix('#').unwrap_or(line)))
        .collect();
    let keys = properties::parse(&active).expect("valid");
    (text, keys)
}

#[test]
fn the_shipped_file_changes_nothing() {
    let (text, _) = shipped();
    let loaded = load(&text).expect("valid");
    assert_eq!(loaded.config, load("").expect("valid").config);
    assert!(loaded.config.raw.is_empty() && loaded.inert_named.is_empty());
}

#[test]
fn the_shipped_file_shows_every_default_that_acts() {
    let (_, keys) = shipped();
    for (key, value) in &keys {
        let row = broker_keys::find(key).unwrap_or_else(|| panic!("{key} is unknown"));
        assert_eq!(value, row.default.unwrap_or(""), "{key}");
    }
    for row in broker_keys::all().filter(|row| row.effect == Effect::Acts) {
        assert_eq!(
            keys.iter().filter(|(key, _)| key == row.name).count(),
            1,
            "{} is not shown once",
            row.name
        );
    }
}

#[test]
fn defaults_are_safe_and_kafkas() {
    let config = load("").expect("valid").config;
    assert_eq!(config.node_id, 1);
    let listener = config.listeners.first().expect("one");
    assert_eq!(listener.bind_address(), ("127.0.0.1", 9092));
    assert_eq!(listener.protocol, SecurityProtocol::Plaintext);
    assert_eq!(config.advertised.first().and_then(|a| a.host.as_deref()), Some("127.0.0.1"));
    assert_eq!(config.log_dirs, [PathBuf::from("./data")]);
    assert!(config.auto_create_topics && config.delete_topic_enable);
    assert_eq!((config.num_partitions, config.default_replication_factor), (1, 1));
    assert_eq!(config.socket_request_max_bytes, 104_857_600);
    assert_eq!(config.connections_max_idle_ms, Some(600_000));
    assert_eq!(config.max_inflight_bytes, 256 << 20);
    assert_eq!(config.max_inflight_bytes_per_connection, (100 << 20) + (64 << 10));
    assert_eq!(config.metrics_listener, Some(HostPort { host: "127.0.0.1".into(), port: 9404 }));
    assert_eq!(config.topic_defaults.flush_messages, 1);
    assert_eq!((config.max_partitions, config.max_decompressed_bytes), (100_000, 64 << 20));
}

#[test]
fn later_sources_win() {
    let sources = Sources {
        properties: Some("num.partitions=2\nnode.id=2\nlog.dirs=/file".to_owned()),
        environment: pairs(&[
            ("KAFKA_NUM_PARTITIONS", "3"),
            ("KAFKA_NODE_ID", "3"),
            ("KAFKA_HEAP_OPTS", "-Xmx1G"),
            ("HOME", "/root"),
        ]),
        overrides: pairs(&[("num.partitions", "4")]),
    };
    let config = BrokerConfig::load(&sources).expect("valid").config;
    assert_eq!((config.num_partitions, config.node_id), (4, 3));
    assert_eq!(config.log_dirs, [PathBuf::from("/file")]);
    assert_eq!(config.effective("num.partitions"), Some("4"));
    assert_eq!(config.effective("num.io.threads"), Some("8"));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    assert_eq!(
        refusal("log.dris=/data"),
        "unknown configuration log.dris (properties file); did you mean log.dirs?"
    );
    let sources = Sources { environment: pairs(&[("KAFKA_NUM_PARTITION", "1")]), ..Sources::default() };
    assert_eq!(
        BrokerConfig::load(&sources).map(|_| ()).map_err(|e| e.to_string()),
        Err("unknown configuration num.partition (environment variable KAFKA_NUM_PARTITION); \
             did you mean num.partitions?"
            .to_owned())
    );
    assert!(refusal("zookeeper.connect=z:2181").starts_with("unknown configuration zookeeper.connect"));
}

#[test]
fn keys_without_effect_are_named() {
    let loaded = load("num.io.threads=4\nnum.partitions=2\nlistener.name.x.y=1").expect("valid");
    assert_eq!(loaded.inert_named.len(), 2, "{:?}", loaded.inert_named);
    assert!(loaded.inert_named.iter().any(|line| line.starts_with("num.io.threads has no effect: ")));
}

#[test]
fn the_official_images_single_node_settings_start() {
    let sources = Sources {
        environment: pairs(&[
            ("KAFKA_NODE_ID", "1"),
            ("KAFKA_PROCESS_ROLES", "broker,controller"),
            ("KAFKA_LISTENERS", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
            ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://localhost:9092"),
            ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
            ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093"),
            ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
            ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
            ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
            ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
            ("KAFKA_NUM_PARTITIONS", "3"),
        ]),
        ..Sources::default()
    };
    let config = BrokerConfig::load(&sources).expect("valid").config;
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.num_partitions, 3);
}

#[test]
fn contradictions_and_unserved_promises_are_refused() {
    for (properties, part) in [
        ("node.id=1\nbroker.id=2", "broker.id is 2"),
        ("process.roles=controller", "must contain broker"),
        ("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "not served yet"),
        ("log.cleaner.dedupe.buffer.size=1048576", "at least 1MB per cleaner thread"),
        ("log.cleaner.io.buffer.load.factor=1.1", "at most 1"),
        ("log.cleaner.io.max.bytes.per.second=0", "must be above 0"),
        ("listeners=SSL://:9093", "not served yet"),
        ("log.dirs=a,,b", "needs a name"),
        ("log.dirs=a,a", "listed twice"),
        ("num.partitions=0", "Value must be at least 1"),
        ("num.partitions=many", "Not a number of type INT"),
        ("default.replication.factor=40000", "out of range"),
        ("auto.create.topics.enable=yes", "either true or false"),
        ("log.retention.hours=0", "unlimited (-1)"),
        ("log.roll.ms=0", "configuration log.roll.ms: Value must be at least 1"),
        ("tidelog.metrics.listener=9404", "expected host:port"),
        ("tidelog.max.inflight.bytes=1", "Value must be at least"),
        ("tidelog.max.inflight.bytes.per.connection=1", "Value must be at least"),
        ("a=\\u1", "line 1"),
    ] {
        let message = refusal(properties);
        assert!(message.contains(part), "{properties}: {message}");
    }
}

#[test]
fn older_names_and_absences_are_understood() {
    let config = load("broker.id=5\nlog.dir=/one\ntidelog.metrics.listener=\nbroker.rack=r1\nconnections.max.idle.ms=-1\nsocket.send.buffer.bytes=-1")
        .expect("valid")
        .config;
    assert_eq!((config.node_id, config.log_dirs.as_slice()), (5, [PathBuf::from("/one")].as_slice()));
    assert_eq!((config.metrics_listener, config.connections_max_idle_ms), (None, None));
    assert_eq!((config.rack.as_deref(), config.socket_send_buffer_bytes), (Some("r1"), None));
}

#[test]
fn inflight_bounds_grow_with_the_largest_request() {
    let config = load("socket.request.max.bytes=1073741824").expect("valid").config;
    assert!(config.max_inflight_bytes_per_connection > 1 << 30);
    assert!(config.max_inflight_bytes >= config.max_inflight_bytes_per_connection);
}
