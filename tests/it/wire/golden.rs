//! Request and response bytes of every API and version, in `tests/golden/wire`.
//!
//! Everything that would differ from run to run is pinned by the broker's settings and directory (cluster id, address,
//! times) or masked by name in [`Capture::exchange`]: topic ids by [`MASKED_ID`], the random part of member ids by
//! [`MASKED_MEMBER`] or [`MASKED_SHORT_MEMBER`], the data directory and its room by fixed values. A mask is as long as what it stands for, so that
//! lengths are the broker's own.

use std::fs;

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::messages::alter_configs_request as alter;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use tidelog::metadata::store::cluster_id::parse_uuid_text;
use tidelog::protocol::catalog::SERVED;
use uuid::Uuid;

use crate::support::client::frame;
use crate::support::golden::{check, dump, is_writing, mask};
use crate::support::request::{self, name, text};
use crate::support::{Client, TestBroker, batch};

/// Stands for a topic id in the files.
const MASKED_ID: Uuid = Uuid::from_bytes([0xaa; 16]);
/// Stands for the random part of a member id of the classic protocol in the files.
const MASKED_MEMBER: &str = "mmmmmmmm-mmmm-mmmm-mmmm-mmmmmmmmmmmm";
/// Stands for a member id of the consumer protocol that the broker has given out.
const MASKED_SHORT_MEMBER: &str = "mmmmmmmmmmmmmmmmmmmmmm";
/// A fixed moment, milliseconds since the epoch.
pub(super) const BEGIN_MS: i64 = 1_700_000_000_000;
/// First Produce and Fetch version that names topics by id.
const TOPIC_ID_FROM: i16 = 13;

/// What one API says, version by version.
pub(super) struct Capture {
    pub(super) broker: TestBroker,
    pub(super) client: Client,
    pub(super) topic_id: Uuid,
    /// Random parts of member ids that the broker has given out.
    members: Vec<String>,
    /// Moments at which the broker did something, milliseconds since the epoch.
    moments: Vec<i64>,
    text: String,
}

impl Capture {
    /// A broker whose answers do not depend on the run, with the topic `golden` of two partitions; the first holds one
    /// batch of two records.
    pub(super) fn begin() -> Capture {
        let settings = [
            ("advertised.listeners", "PLAINTEXT://tide.example:9092"),
            ("num.partitions", "2"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("offset.metadata.max.bytes", "16"),
        ];
        let broker = TestBroker::prepared(&settings, |path| {
            let identity = "cluster.id=AAAAAAAAAAAAAAAAAAAAAQ\nnode.id=1\nversion=1\n";
            fs::write(path.join("meta.properties"), identity).expect("an identity");
        });
        let mut client = broker.client();
        let topic_id = client.create_topic("golden", 2, &[("retention.ms", "-1")]);
        let answer = client.produce("golden", 0, batch::at(BEGIN_MS, &["one", "two"]));
        assert_eq!((answer.error_code, answer.base_offset), (0, 0));
        Capture { broker, client, topic_id, members: Vec::new(), moments: Vec::new(), text: String::new() }
    }

    /// From now on the random part of this id is masked: its last 36 characters, or the whole of it when it is Kafka's 22
    /// characters of base 64.
    pub(super) fn mask_member(&mut self, id: &str) {
        let random = &id[id.len().saturating_sub(MASKED_MEMBER.len())..];
        let is_short = id.len() == MASKED_SHORT_MEMBER.len() && parse_uuid_text(id).is_some();
        assert!(is_short || Uuid::parse_str(random).is_ok(), "{id:?} does not end in a random id");
        self.members.push(random.to_owned());
    }

    /// From now on this moment is masked by [`BEGIN_MS`].
    pub(super) fn mask_moment(&mut self, at: i64) {
        self.moments.push(at);
    }

    /// Sends a request and notes both frames, topic ids and member ids masked.
    pub(super) fn exchange<Q: Request>(&mut self, what: &str, version: i16, request: &Q) -> Vec<u8> {
        let answer = self.ask(what, version, request);
        self.note(what, version, "response", &answer);
        answer
    }

    pub(super) fn ask<Q: Request>(&mut self, what: &str, version: i16, request: &Q) -> Vec<u8> {
        let bytes = frame(i32::from(version) + 1, version, request);
        self.client.send(&bytes);
        self.note(what, version, "request", &bytes[4..]);
        self.client.read_frame().unwrap_or_else(|| panic!("{what} v{version} is not answered"))
    }

    pub(super) fn note(&mut self, what: &str, version: i16, side: &str, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        mask(&mut bytes, self.topic_id.as_bytes(), MASKED_ID.as_bytes());
        for moment in &self.moments {
            mask(&mut bytes, &moment.to_be_bytes(), &BEGIN_MS.to_be_bytes());
        }
        for member in &self.members {
            let masked =
                [MASKED_MEMBER, MASKED_SHORT_MEMBER].into_iter().find(|masked| masked.len() == member.len());
            mask(&mut bytes, member.as_bytes(), masked.expect("one of the two forms").as_bytes());
        }
        self.text.push_str(&format!("# {what} v{version} {side}, {} bytes\n{}\n", bytes.len(), dump(&bytes)));
    }

    pub(super) fn check(self, file: &str) {
        check(&format!("wire/{file}.txt"), &self.text);
        drop(self.client);
        drop(self.broker);
    }
}

/// All versions of a request that are served.
pub(super) fn versions<Q: Request>() -> std::ops::RangeInclusive<i16> {
    let entry = SERVED.iter().find(|entry| entry.key == Q::KEY).expect("the API is served");
    entry.min..=entry.max
}

/// The response in `answer`, whose first bytes are its header.
pub(super) fn response<Q: Request>(version: i16, answer: &[u8]) -> Q::Response {
    crate::support::client::decode::<Q>(version, answer.to_vec()).1
}

#[test]
fn every_served_api_has_a_file() {
    if is_writing() {
        // The other tests are only about to make them.
        return;
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire");
    for entry in SERVED {
        let file = folder.join(format!("{}.txt", entry.name));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for version in entry.min..=entry.max {
            for side in ["request", "response"] {
                let wanted = format!(" v{version} {side},");
                assert!(text.contains(&wanted), "{} v{version} has no {side}", entry.name);
            }
        }
    }
}

#[test]
fn produce() {
    let mut capture = Capture::begin();
    for version in versions::<m::ProduceRequest>() {
        for (what, partition) in [("Produce", 0), ("Produce to a partition that does not exist", 7)] {
            let mut request = request::produce("golden", partition, -1, batch::at(BEGIN_MS, &["v"]));
            if version >= TOPIC_ID_FROM {
                request.topic_data[0].name = Default::default();
                request.topic_data[0].topic_id = capture.topic_id;
            }
            capture.exchange(what, version, &request);
        }
        let mut request = request::produce(
            "golden",
            1,
            -1,
            batch::changed(&batch::at(BEGIN_MS, &["v"]), |h| h.base_offset = 1),
        );
        if version >= TOPIC_ID_FROM {
            request.topic_data[0].name = Default::default();
            request.topic_data[0].topic_id = capture.topic_id;
        }
        capture.exchange("Produce of a batch with a base offset", version, &request);
    }
    capture.check("Produce");
}

#[test]
fn fetch() {
    let mut capture = Capture::begin();
    for version in versions::<m::FetchRequest>() {
        let wanted = |offset| vec![("golden", request::wanted(0, offset)), ("golden", request::wanted(1, 0))];
        for (what, offset) in [("Fetch", 1), ("Fetch out of range", 99)] {
            let mut request = request::fetch(wanted(offset));
            if version >= TOPIC_ID_FROM {
                request.topics[0].topic = Default::default();
                request.topics[0].topic_id = capture.topic_id;
            }
            capture.exchange(what, version, &request);
        }
        if version >= 7 {
            let request = request::fetch(Vec::new()).with_session_id(1234).with_session_epoch(5);
            capture.exchange("Fetch in a session that does not exist", version, &request);
        }
    }
    capture.check("Fetch");
}

#[test]
fn list_offsets() {
    let mut capture = Capture::begin();
    for version in versions::<m::ListOffsetsRequest>() {
        for (what, timestamp) in
            [("ListOffsets latest", -1), ("ListOffsets by time", BEGIN_MS), ("ListOffsets of no kind", -99)]
        {
            capture.exchange(what, version, &request::list_offsets("golden", 0, timestamp));
        }
    }
    capture.check("ListOffsets");
}

#[test]
fn metadata() {
    let mut capture = Capture::begin();
    // The first use of a partition since the start decides whether its epoch is told.
    assert_eq!(capture.client.end_offset("golden", 1), 0);
    for version in versions::<m::MetadataRequest>() {
        let topics = ["golden", "nowhere", "a/b"]
            .map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))));
        let mut request = m::MetadataRequest::default().with_topics(Some(topics.to_vec()));
        if version >= 4 {
            request.allow_auto_topic_creation = false;
        } else {
            // Older versions create what they name.
            request.topics.as_mut().expect("topics").remove(1);
        }
        capture.exchange("Metadata", version, &request);
        if version >= 1 {
            capture.exchange(
                "Metadata of all topics",
                version,
                &m::MetadataRequest::default().with_topics(None),
            );
        }
    }
    capture.check("Metadata");
}

#[test]
fn find_coordinator() {
    let mut capture = Capture::begin();
    for version in versions::<m::FindCoordinatorRequest>() {
        for (what, key_type) in [("FindCoordinator", 0), ("FindCoordinator of no kind", 9)] {
            let mut request = m::FindCoordinatorRequest::default();
            if version >= 4 {
                request.coordinator_keys = vec![text("group")];
            } else {
                request.key = text("group");
            }
            if version >= 1 {
                request.key_type = key_type;
            }
            capture.exchange(what, version, &request);
        }
    }
    capture.check("FindCoordinator");
}

#[test]
fn api_versions() {
    let mut capture = Capture::begin();
    for version in versions::<m::ApiVersionsRequest>() {
        let mut request = m::ApiVersionsRequest::default();
        if version >= 3 {
            capture.exchange("ApiVersions without a name", version, &request);
            request =
                request.with_client_software_name(text("golden")).with_client_software_version(text("1.0"));
        }
        capture.exchange("ApiVersions", version, &request);
    }
    capture.check("ApiVersions");
}

#[test]
fn create_topics() {
    let mut capture = Capture::begin();
    for version in versions::<m::CreateTopicsRequest>() {
        let wanted = vec![
            request::new_topic(&format!("new-{version}"), 1, &[("retention.ms", "1000000")]),
            request::new_topic("golden", 1, &[]),
            request::new_topic("a/b", 1, &[]),
            request::new_topic("copied", 1, &[]).with_replication_factor(3),
            request::new_topic("many", i32::MAX, &[]),
            request::new_topic("odd", 1, &[("no.such.key", "1")]),
        ];
        let request = request::create_topics(wanted);
        let mut answer = capture.ask("CreateTopics", version, &request);
        for topic in response::<m::CreateTopicsRequest>(version, &answer).topics {
            if !topic.topic_id.is_nil() {
                mask(&mut answer, topic.topic_id.as_bytes(), MASKED_ID.as_bytes());
            }
        }
        capture.note("CreateTopics", version, "response", &answer);
    }
    capture.check("CreateTopics");
}

#[test]
fn delete_topics() {
    let mut capture = Capture::begin();
    for version in versions::<m::DeleteTopicsRequest>() {
        let topic = format!("old-{version}");
        let id = capture.client.create_topic(&topic, 1, &[]);
        let mut request = m::DeleteTopicsRequest::default().with_timeout_ms(60_000);
        if version < 6 {
            request.topic_names = vec![name(&topic), name("nowhere")];
        } else {
            let state = |topic: &str| DeleteTopicState::default().with_name(Some(name(topic)));
            let unknown = DeleteTopicState::default().with_name(None).with_topic_id(Uuid::from_u128(1));
            request.topics = vec![state(&topic), state("nowhere"), unknown];
        }
        let mut answer = capture.ask("DeleteTopics", version, &request);
        let masked = mask(&mut answer, id.as_bytes(), MASKED_ID.as_bytes());
        assert_eq!(masked, usize::from(version >= 6), "v{version}");
        capture.note("DeleteTopics", version, "response", &answer);
    }
    capture.check("DeleteTopics");
}

#[test]
fn delete_records() {
    let mut capture = Capture::begin();
    for version in versions::<m::DeleteRecordsRequest>() {
        let partitions = [(0, i64::from(version.min(1))), (1, 99), (2, 0)].map(|(index, offset)| {
            DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset)
        });
        let topic =
            DeleteRecordsTopic::default().with_name(name("golden")).with_partitions(partitions.to_vec());
        let request = m::DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        capture.exchange("DeleteRecords", version, &request);
    }
    capture.check("DeleteRecords");
}

#[test]
fn init_producer_id() {
    let mut capture = Capture::begin();
    for version in versions::<m::InitProducerIdRequest>() {
        let request = m::InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000);
        capture.exchange("InitProducerId", version, &request);
    }
    capture.check("InitProducerId");
}

#[test]
fn offset_for_leader_epoch() {
    let mut capture = Capture::begin();
    for version in versions::<m::OffsetForLeaderEpochRequest>() {
        let partitions = [(0, 0), (0, 5), (9, 0)].map(|(index, epoch)| {
            OffsetForLeaderPartition::default()
                .with_partition(index)
                .with_leader_epoch(epoch)
                .with_current_leader_epoch(-1)
        });
        let topic =
            OffsetForLeaderTopic::default().with_topic(name("golden")).with_partitions(partitions.to_vec());
        capture.exchange(
            "OffsetForLeaderEpoch",
            version,
            &m::OffsetForLeaderEpochRequest::default().with_topics(vec![topic]),
        );
    }
    capture.check("OffsetForLeaderEpoch");
}

#[test]
fn describe_configs() {
    let mut capture = Capture::begin();
    let resource = |kind: i8, name: &str, keys: &[&str]| {
        let keys = keys.iter().map(|key| text(key)).collect();
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(Some(keys))
    };
    for version in versions::<m::DescribeConfigsRequest>() {
        let mut request = m::DescribeConfigsRequest::default()
            .with_resources(vec![
                resource(2, "golden", &["retention.ms", "cleanup.policy", "segment.bytes"]),
                resource(4, "1", &["num.partitions", "log.retention.hours"]),
                resource(2, "nowhere", &[]),
            ])
            .with_include_synonyms(true);
        if version >= 3 {
            request.include_documentation = true;
        }
        capture.exchange("DescribeConfigs", version, &request);
    }
    capture.check("DescribeConfigs");
}

#[test]
fn alter_configs() {
    let mut capture = Capture::begin();
    for version in versions::<m::AlterConfigsRequest>() {
        let resource = |topic: &str, value: &str| {
            let config =
                alter::AlterableConfig::default().with_name(text("segment.ms")).with_value(Some(text(value)));
            alter::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(topic))
                .with_configs(vec![config])
        };
        let resources =
            vec![resource("golden", "1000000"), resource("other", "soon"), resource("nowhere", "1000000")];
        capture.exchange(
            "AlterConfigs",
            version,
            &m::AlterConfigsRequest::default().with_resources(resources),
        );
    }
    capture.check("AlterConfigs");
}

#[test]
fn incremental_alter_configs() {
    let mut capture = Capture::begin();
    for version in versions::<m::IncrementalAlterConfigsRequest>() {
        let resource = |kind: i8, topic: &str, operation: i8| {
            let config = incremental::AlterableConfig::default()
                .with_name(text("segment.ms"))
                .with_config_operation(operation)
                .with_value(Some(text("1000000")));
            incremental::AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(topic))
                .with_configs(vec![config])
        };
        let resources = vec![
            resource(2, "golden", 0),
            resource(2, "other", 2),
            resource(2, "nowhere", 0),
            resource(4, "1", 0),
        ];
        let request = m::IncrementalAlterConfigsRequest::default().with_resources(resources);
        capture.exchange("IncrementalAlterConfigs", version, &request);
    }
    capture.check("IncrementalAlterConfigs");
}

#[test]
fn create_partitions() {
    let mut capture = Capture::begin();
    for version in versions::<m::CreatePartitionsRequest>() {
        let more = |topic: &str, count| {
            CreatePartitionsTopic::default().with_name(name(topic)).with_count(count).with_assignments(None)
        };
        for topic in ["grown", "kept"] {
            capture.client.create_topic(&format!("{topic}-{version}"), 2, &[]);
        }
        let topics = vec![
            more(&format!("grown-{version}"), 3),
            more(&format!("kept-{version}"), 2),
            more("golden", i32::MAX),
            more("nowhere", 3),
        ];
        let request = m::CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(60_000);
        capture.exchange("CreatePartitions", version, &request);
    }
    capture.check("CreatePartitions");
}

#[test]
fn describe_cluster() {
    let mut capture = Capture::begin();
    for version in versions::<m::DescribeClusterRequest>() {
        let request = m::DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        capture.exchange("DescribeCluster", version, &request);
        if version >= 1 {
            capture.exchange("DescribeCluster of controllers", version, &request.with_endpoint_type(2));
        }
    }
    capture.check("DescribeCluster");
}

#[test]
fn describe_topic_partitions() {
    let mut capture = Capture::begin();
    assert_eq!(capture.client.end_offset("golden", 1), 0);
    for version in versions::<m::DescribeTopicPartitionsRequest>() {
        let topics =
            ["golden", "nowhere"].map(|topic| TopicRequest::default().with_name(name(topic))).to_vec();
        for limit in [1, 10] {
            let request = m::DescribeTopicPartitionsRequest::default()
                .with_topics(topics.clone())
                .with_response_partition_limit(limit)
                .with_cursor(None);
            capture.exchange(&format!("DescribeTopicPartitions, {limit} at most,"), version, &request);
        }
    }
    capture.check("DescribeTopicPartitions");
}

#[test]
fn describe_log_dirs() {
    let mut capture = Capture::begin();
    for version in versions::<m::DescribeLogDirsRequest>() {
        let topic = DescribableLogDirTopic::default().with_topic(name("golden")).with_partitions(vec![0, 1]);
        let answer = capture.ask(
            "DescribeLogDirs",
            version,
            &m::DescribeLogDirsRequest::default().with_topics(Some(vec![topic])),
        );
        // Where the directory is and how full its file system, differs from run to run and changes lengths.
        let mut response = response::<m::DescribeLogDirsRequest>(version, &answer);
        let dir = &mut response.results[0];
        assert!(dir.log_dir.as_str().starts_with('/'));
        dir.log_dir = text("/masked");
        if version >= 4 {
            assert!(dir.total_bytes > 0);
            (dir.total_bytes, dir.usable_bytes) = (2, 1);
        }
        let masked = reencoded::<m::DescribeLogDirsRequest>(version, &answer, &response);
        capture.note("DescribeLogDirs", version, "response", &masked);
    }
    capture.check("DescribeLogDirs");
}

/// The header of `answer` with another body.
fn reencoded<Q: Request>(version: i16, answer: &[u8], response: &Q::Response) -> Vec<u8> {
    let body_len = {
        let mut rest = Bytes::copy_from_slice(answer);
        m::ResponseHeader::decode(&mut rest, Q::Response::header_version(version)).expect("a header");
        rest.len()
    };
    let mut bytes = bytes::BytesMut::from(&answer[..answer.len() - body_len]);
    response.encode(&mut bytes, version).expect("a response of this version");
    bytes.to_vec()
}
