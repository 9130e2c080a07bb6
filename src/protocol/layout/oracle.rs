//! The `kafka-protocol` crate's decoder and encoder for every request it has, by API key: what tests compare the
//! layouts and the guard with. `tests/guard_allocations.rs` includes this file too.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message, Request};

/// Runs `$body` with `$request` standing for the request type of `$key`; `None` when the crate has none.
macro_rules! for_request {
    ($key:expr, $request:ident => $body:expr) => {
        for_request!(@all $key, $request, $body,
                ProduceRequest, FetchRequest, ListOffsetsRequest, MetadataRequest,
                OffsetCommitRequest, OffsetFetchRequest, FindCoordinatorRequest,
                JoinGroupRequest, HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest,
                DescribeGroupsRequest, ListGroupsRequest, SaslHandshakeRequest,
                ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
                DeleteRecordsRequest, InitProducerIdRequest, OffsetForLeaderEpochRequest,
                AddPartitionsToTxnRequest, AddOffsetsToTxnRequest, EndTxnRequest,
                WriteTxnMarkersRequest, TxnOffsetCommitRequest, DescribeAclsRequest,
                CreateAclsRequest, DeleteAclsRequest, DescribeConfigsRequest,
                AlterConfigsRequest, AlterReplicaLogDirsRequest, DescribeLogDirsRequest,
                SaslAuthenticateRequest, CreatePartitionsRequest, CreateDelegationTokenRequest,
                RenewDelegationTokenRequest, ExpireDelegationTokenRequest,
                DescribeDelegationTokenRequest, DeleteGroupsRequest, ElectLeadersRequest,
                IncrementalAlterConfigsRequest, AlterPartitionReassignmentsRequest,
                ListPartitionReassignmentsRequest, OffsetDeleteRequest,
                DescribeClientQuotasRequest, AlterClientQuotasRequest,
                DescribeUserScramCredentialsRequest, AlterUserScramCredentialsRequest,
                VoteRequest, BeginQuorumEpochRequest, EndQuorumEpochRequest,
                DescribeQuorumRequest, AlterPartitionRequest, UpdateFeaturesRequest,
                EnvelopeRequest, FetchSnapshotRequest, DescribeClusterRequest,
                DescribeProducersRequest, BrokerRegistrationRequest, BrokerHeartbeatRequest,
                UnregisterBrokerRequest, DescribeTransactionsRequest, ListTransactionsRequest,
                AllocateProducerIdsRequest, ConsumerGroupHeartbeatRequest,
                ConsumerGroupDescribeRequest, ControllerRegistrationRequest,
                GetTelemetrySubscriptionsRequest, PushTelemetryRequest,
                AssignReplicasToDirsRequest, ListConfigResourcesRequest,
                DescribeTopicPartitionsRequest, ShareGroupHeartbeatRequest,
                ShareGroupDescribeRequest, ShareFetchRequest, ShareAcknowledgeRequest,
                AddRaftVoterRequest, RemoveRaftVoterRequest, UpdateRaftVoterRequest,
                InitializeShareGroupStateRequest, ReadShareGroupStateRequest,
                WriteShareGroupStateRequest, DeleteShareGroupStateRequest,
                ReadShareGroupStateSummaryRequest, DescribeShareGroupOffsetsRequest,
                AlterShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequest
        )
    };
    (@all $key:expr, $request:ident, $body:expr, $($name:ident),*) => {
        match $key {
            $(key if key == $name::KEY => {
                type $request = $name;
                Some($body)
            })*
            _ => None,
        }
    };
}

/// The versions the crate's request type can decode.
pub fn versions(key: i16) -> Option<(i16, i16)> {
    for_request!(key, Type => (Type::VERSIONS.min, Type::VERSIONS.max))
}

/// The crate's encoding of a request whose every field has its default.
pub fn encode_default(key: i16, version: i16) -> Option<anyhow::Result<Bytes>> {
    for_request!(key, Type => encode(&Type::default(), version))
}

/// Decodes a body and drops it; returns the number of bytes left over.
pub fn decode(key: i16, version: i16, mut body: Bytes) -> Option<anyhow::Result<usize>> {
    for_request!(key, Type => Type::decode(&mut body, version).map(|_| body.len()))
}

/// Decodes a body and encodes the result again; returns the bytes left over and the new encoding.
#[allow(dead_code, reason = "not every test that includes this file encodes")]
pub fn recode(key: i16, version: i16, mut body: Bytes) -> Option<anyhow::Result<(usize, Bytes)>> {
    for_request!(key, Type => {
        Type::decode(&mut body, version).and_then(|request| Ok((body.len(), encode(&request, version)?)))
    })
}

fn encode(request: &impl Encodable, version: i16) -> anyhow::Result<Bytes> {
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version)?;
    Ok(bytes.freeze())
}
