//! As many elements as a frame may hold: what is done for each of them must not grow with their number. No time is
//! asserted; work that grows with the square of the number would run into the hang guard.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest, MetadataRequest,
};

use crate::support::{TestBroker, request};

/// Below the guard's limit on the elements of a frame.
const MANY: i32 = 90_000;

/// A name that no topic can have: nothing comes into being.
fn bad_name(number: i32) -> String {
    format!("a/{number}")
}

#[test]
fn topics_to_create() {
    let broker = TestBroker::start();
    let topics = (0..MANY).map(|number| request::new_topic(&bad_name(number), 1, &[])).collect();
    let response = broker.client().call(7, &request::create_topics(topics));
    assert_eq!(response.topics.len(), MANY as usize);
    assert!(response.topics.iter().all(|topic| topic.error_code == 17));
    broker.assert_serves();
}

#[test]
fn topics_to_extend() {
    let broker = TestBroker::start();
    let topic =
        |number| CreatePartitionsTopic::default().with_name(request::name(&bad_name(number))).with_count(2);
    let request = CreatePartitionsRequest::default()
        .with_topics((0..MANY).map(|number| topic(number).with_assignments(None)).collect())
        .with_validate_only(true);
    let response = broker.client().call(3, &request);
    assert_eq!(response.results.len(), MANY as usize);
    assert!(response.results.iter().all(|result| result.error_code == 3));
    broker.assert_serves();
}

#[test]
fn topics_to_describe() {
    let broker = TestBroker::start();
    let topic = |number| MetadataRequestTopic::default().with_name(Some(request::name(&bad_name(number))));
    let request = MetadataRequest::default().with_topics(Some((0..MANY).map(topic).collect()));
    let response = broker.client().call(9, &request);
    assert_eq!(response.topics.len(), MANY as usize);
    assert!(response.topics.iter().all(|topic| topic.error_code == 17));
    broker.assert_serves();
}

#[test]
fn settings_to_change() {
    let broker = TestBroker::start();
    let resource = |number| {
        AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(request::text(&bad_name(number)))
    };
    let request = IncrementalAlterConfigsRequest::default().with_resources((0..MANY).map(resource).collect());
    let response = broker.client().call(1, &request);
    assert_eq!(response.responses.len(), MANY as usize);
    assert!(response.responses.iter().all(|response| response.error_code == 17));
    broker.assert_serves();
}

#[test]
fn partitions_of_a_session() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]);
    let wanted = (0..MANY).map(|index| ("t", request::wanted(index, 0))).collect();
    let begun = client.call(11, &request::fetch(wanted).with_session_epoch(0));
    assert_eq!(begun.responses[0].partitions.len(), MANY as usize);
    let forgotten =
        ForgottenTopic::default().with_topic(request::name("t")).with_partitions((1..MANY).collect());
    let request = request::fetch(Vec::new())
        .with_session_id(begun.session_id)
        .with_session_epoch(1)
        .with_forgotten_topics_data(vec![forgotten]);
    let left = client.call(11, &request);
    assert_eq!((left.error_code, left.responses.len()), (0, 0), "what is left has no news");
    broker.assert_serves();
}

#[test]
fn offsets_to_look_up() {
    let broker = TestBroker::start();
    let mut request: ListOffsetsRequest = request::list_offsets("nowhere", 0, -1);
    let partition = request.topics[0].partitions[0].clone();
    request.topics[0].partitions =
        (0..MANY).map(|index| partition.clone().with_partition_index(index)).collect();
    let response = broker.client().call(10, &request);
    assert_eq!(response.topics[0].partitions.len(), MANY as usize);
    broker.assert_serves();
}
