//! The broker itself: DescribeCluster, DescribeLogDirs, FindCoordinator.

use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeLogDirsRequest, FindCoordinatorRequest, MetadataRequest,
};

use crate::support::{TestBroker, batch, request};

const INVALID_REQUEST: i16 = 42;
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
/// What a client may do is not told unless it asks.
const NOT_ASKED: i32 = i32::MIN;

#[test]
fn the_cluster_is_this_broker() {
    let broker = TestBroker::with(&[("node.id", "7"), ("broker.rack", "r1")]);
    let mut client = broker.client();
    let metadata = client.call(9, &MetadataRequest::default().with_topics(Some(Vec::new())));
    for version in 0..=2 {
        for asked in [false, true] {
            let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(asked);
            let response = client.call(version, &request);
            assert_eq!((response.error_code, response.controller_id.0), (0, 7), "v{version}");
            assert_eq!(Some(&response.cluster_id), metadata.cluster_id.as_ref(), "v{version}");
            assert_eq!(response.cluster_authorized_operations == NOT_ASKED, !asked, "v{version}");
            let node = &response.brokers[0];
            assert_eq!(
                (node.broker_id.0, node.host.as_str(), node.rack.as_deref()),
                (7, "127.0.0.1", Some("r1"))
            );
            assert_eq!(node.port, i32::from(broker.address().port()), "v{version}");
        }
    }
    let controllers = DescribeClusterRequest::default().with_endpoint_type(2);
    assert_eq!(client.call(1, &controllers).error_code, MISMATCHED_ENDPOINT_TYPE);
}

#[test]
fn log_directories_tell_their_sizes() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("a", 2, &[]);
    client.create_topic("b", 1, &[]);
    let written = batch::sized(3_000);
    client.produce("a", 1, written.clone());
    for version in 1..=4 {
        let response = client.call(version, &DescribeLogDirsRequest::default().with_topics(None));
        assert_eq!((response.error_code, response.results.len()), (0, 1), "v{version}");
        let dir = &response.results[0];
        let path = broker.path().canonicalize().expect("the data directory");
        assert_eq!((dir.error_code, dir.log_dir.as_str()), (0, path.to_str().expect("a path")), "v{version}");
        let sizes: Vec<_> = dir
            .topics
            .iter()
            .flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|part| (topic.name.to_string(), part.partition_index, part.partition_size))
            })
            .collect();
        let expected = [("a", 0, 0), ("a", 1, written.len() as i64), ("b", 0, 0)];
        assert_eq!(sizes, expected.map(|(name, index, size)| (name.to_owned(), index, size)), "v{version}");
        assert!(
            dir.topics
                .iter()
                .flat_map(|topic| &topic.partitions)
                .all(|part| part.offset_lag == 0 && !part.is_future_key)
        );
        if version >= 4 {
            assert!(dir.total_bytes > 0 && dir.usable_bytes >= 0 && dir.usable_bytes <= dir.total_bytes);
        }
    }
}

#[test]
fn log_directories_of_chosen_partitions() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("a", 3, &[]);
    let topics = [("a", vec![2, 7]), ("nowhere", vec![0])].map(|(name, partitions)| {
        DescribableLogDirTopic::default().with_topic(request::name(name)).with_partitions(partitions)
    });
    let response = client.call(4, &DescribeLogDirsRequest::default().with_topics(Some(topics.to_vec())));
    let told: Vec<_> = response.results[0]
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|part| (topic.name.to_string(), part.partition_index)))
        .collect();
    assert_eq!(told, [("a".to_owned(), 2)]);
}

#[test]
fn this_broker_coordinates_groups_and_transactions() {
    let broker = TestBroker::with(&[("node.id", "7")]);
    let mut client = broker.client();
    let port = i32::from(broker.address().port());
    for version in 0..=6 {
        for key_type in if version >= 1 { vec![0, 1] } else { vec![0] } {
            let request = FindCoordinatorRequest::default().with_key_type(key_type);
            let request = match version {
                0..4 => request.with_key(request::text("g")),
                _ => request.with_coordinator_keys(vec![request::text("g"), request::text("h")]),
            };
            let response = client.call(version, &request);
            if version < 4 {
                assert_eq!(
                    (response.error_code, response.node_id.0, response.port),
                    (0, 7, port),
                    "v{version}"
                );
                assert_eq!(response.host.as_str(), "127.0.0.1", "v{version}");
                continue;
            }
            let told: Vec<_> = response
                .coordinators
                .iter()
                .map(|c| (c.key.to_string(), c.error_code, c.node_id.0, c.port))
                .collect();
            assert_eq!(told, [("g".to_owned(), 0, 7, port), ("h".to_owned(), 0, 7, port)], "v{version}");
        }
    }
}

#[test]
fn coordinators_that_do_not_exist() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for key_type in [3, -1, 127] {
        let request = FindCoordinatorRequest::default().with_key_type(key_type).with_key(request::text("g"));
        let response = client.call(3, &request);
        assert_eq!((response.error_code, response.node_id.0), (INVALID_REQUEST, -1), "{key_type}");
        let request = FindCoordinatorRequest::default()
            .with_key_type(key_type)
            .with_coordinator_keys(vec![request::text("g")]);
        let response = client.call(4, &request);
        assert_eq!(
            (response.coordinators[0].error_code, response.coordinators[0].node_id.0),
            (INVALID_REQUEST, -1),
            "{key_type}"
        );
    }
}
