//! `__consumer_offsets`: shown as internal, and not to be written to.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{CreatePartitionsRequest, MetadataRequest};

use crate::play::play;
use crate::requests::topic;
use crate::support::{batch, request};

const OFFSETS: &str = "__consumer_offsets";

#[test]
fn internal_topic() {
    play("internal-topic", |s| {
        s.step("Metadata by name");
        let by_name = MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(topic(OFFSETS)))]));
        let known = s.quiet(12, &by_name);
        if let Some(found) = known.topics.first() {
            s.know_topic(found.topic_id, OFFSETS);
        }
        s.call("x", 12, &by_name);
        s.step("Metadata of all topics");
        s.topic("topic", 1);
        s.call("x", 0, &MetadataRequest::default().with_topics(Some(vec![])));
        s.call("x", 12, &MetadataRequest::default().with_topics(None));
        s.step("Produce");
        for (version, acks) in [(3, 1), (9, -1), (9, 1)] {
            s.call("x", version, &request::produce(OFFSETS, 0, acks, batch::at(0, &["value"])));
        }
        s.call("x", 9, &request::produce(OFFSETS, 999, -1, batch::at(0, &["value"])));
        s.step("CreateTopics");
        for (version, only) in [(2, false), (7, false), (7, true)] {
            let created = request::create_topics(vec![request::new_topic(OFFSETS, 1, &[])]);
            s.call("x", version, &created.with_validate_only(only));
        }
        s.step("CreatePartitions");
        let more =
            CreatePartitionsTopic::default().with_name(topic(OFFSETS)).with_count(1).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![more]).with_timeout_ms(30_000);
        s.call("x", 3, &request.with_validate_only(true));
    });
}
