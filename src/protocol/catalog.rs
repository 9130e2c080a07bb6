//! The one table of the APIs we serve and their versions. It feeds both the dispatcher and the ApiVersions reply, so
//! nothing can be advertised that is not served, nor the other way round.

use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Message, VersionRange};

/// One API that this broker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Kafka's API key.
    pub key: i16,
    /// Kafka's name of the API.
    pub name: &'static str,
    /// Lowest version that is served.
    pub min: i16,
    /// Highest version that is served.
    pub max: i16,
    /// Lowest version that ApiVersions shows; differs from `min` for Produce only.
    pub advertised_min: i16,
}

const fn entry(key: i16, name: &'static str, range: VersionRange) -> Entry {
    Entry { key, name, min: range.min, max: range.max, advertised_min: range.min }
}

/// Librdkafka looks for Produce version 0 to decide about compression codecs, so Kafka shows it although it refuses it
/// (KAFKA-18659, `ApiKeys.PRODUCE_API_VERSIONS_RESPONSE_MIN_VERSION`).
const PRODUCE_ADVERTISED_MIN: i16 = 0;

/// Every API served, by ascending key. Ranges come from the request types: `ApiKey::valid_versions` of the crate
/// promises versions for three APIs that its types cannot decode.
pub const SERVED: &[Entry] = &[
    Entry { advertised_min: PRODUCE_ADVERTISED_MIN, ..entry(0, "Produce", m::ProduceRequest::VERSIONS) },
    entry(1, "Fetch", m::FetchRequest::VERSIONS),
    entry(2, "ListOffsets", m::ListOffsetsRequest::VERSIONS),
    entry(3, "Metadata", m::MetadataRequest::VERSIONS),
    entry(8, "OffsetCommit", m::OffsetCommitRequest::VERSIONS),
    entry(9, "OffsetFetch", m::OffsetFetchRequest::VERSIONS),
    entry(10, "FindCoordinator", m::FindCoordinatorRequest::VERSIONS),
    entry(11, "JoinGroup", m::JoinGroupRequest::VERSIONS),
    entry(12, "Heartbeat", m::HeartbeatRequest::VERSIONS),
    entry(13, "LeaveGroup", m::LeaveGroupRequest::VERSIONS),
    entry(14, "SyncGroup", m::SyncGroupRequest::VERSIONS),
    entry(15, "DescribeGroups", m::DescribeGroupsRequest::VERSIONS),
    entry(16, "ListGroups", m::ListGroupsRequest::VERSIONS),
    entry(18, "ApiVersions", m::ApiVersionsRequest::VERSIONS),
    entry(19, "CreateTopics", m::CreateTopicsRequest::VERSIONS),
    entry(20, "DeleteTopics", m::DeleteTopicsRequest::VERSIONS),
    entry(21, "DeleteRecords", m::DeleteRecordsRequest::VERSIONS),
    entry(22, "InitProducerId", m::InitProducerIdRequest::VERSIONS),
    entry(23, "OffsetForLeaderEpoch", m::OffsetForLeaderEpochRequest::VERSIONS),
    entry(24, "AddPartitionsToTxn", m::AddPartitionsToTxnRequest::VERSIONS),
    entry(25, "AddOffsetsToTxn", m::AddOffsetsToTxnRequest::VERSIONS),
    entry(26, "EndTxn", m::EndTxnRequest::VERSIONS),
    entry(27, "WriteTxnMarkers", m::WriteTxnMarkersRequest::VERSIONS),
    entry(28, "TxnOffsetCommit", m::TxnOffsetCommitRequest::VERSIONS),
    entry(32, "DescribeConfigs", m::DescribeConfigsRequest::VERSIONS),
    entry(33, "AlterConfigs", m::AlterConfigsRequest::VERSIONS),
    entry(35, "DescribeLogDirs", m::DescribeLogDirsRequest::VERSIONS),
    entry(37, "CreatePartitions", m::CreatePartitionsRequest::VERSIONS),
    entry(42, "DeleteGroups", m::DeleteGroupsRequest::VERSIONS),
    entry(44, "IncrementalAlterConfigs", m::IncrementalAlterConfigsRequest::VERSIONS),
    entry(47, "OffsetDelete", m::OffsetDeleteRequest::VERSIONS),
    entry(60, "DescribeCluster", m::DescribeClusterRequest::VERSIONS),
    entry(61, "DescribeProducers", m::DescribeProducersRequest::VERSIONS),
    entry(65, "DescribeTransactions", m::DescribeTransactionsRequest::VERSIONS),
    entry(66, "ListTransactions", m::ListTransactionsRequest::VERSIONS),
    entry(68, "ConsumerGroupHeartbeat", m::ConsumerGroupHeartbeatRequest::VERSIONS),
    entry(69, "ConsumerGroupDescribe", m::ConsumerGroupDescribeRequest::VERSIONS),
    entry(74, "ListConfigResources", m::ListConfigResourcesRequest::VERSIONS),
    entry(75, "DescribeTopicPartitions", m::DescribeTopicPartitionsRequest::VERSIONS),
];

/// Key of ApiVersions, which alone is answered for versions we do not serve (KIP-511).
pub const API_VERSIONS: i16 = 18;

/// The entry of an API key, or `None` when this broker does not serve it.
pub fn find(key: i16) -> Option<&'static Entry> {
    position(key).map(|index| &SERVED[index])
}

/// Where an API key stands in [`SERVED`].
pub fn position(key: i16) -> Option<usize> {
    SERVED.binary_search_by_key(&key, |entry| entry.key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sorted_by_key_and_finds_each_entry() {
        assert!(SERVED.windows(2).all(|pair| pair[0].key < pair[1].key));
        for entry in SERVED {
            assert_eq!(find(entry.key), Some(entry));
            assert!(entry.advertised_min <= entry.min && entry.min <= entry.max);
        }
        assert_eq!(find(4), None);
        assert_eq!(find(-1), None);
    }

    #[test]
    fn produce_is_shown_from_version_zero_but_served_from_three() {
        let produce = find(0).expect("Produce is served");
        assert_eq!((produce.advertised_min, produce.min), (0, 3));
    }
}
