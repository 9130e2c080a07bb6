//! DescribeCluster (key 60): brokers and controller.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::describe_cluster_request::DescribeClusterRequest;
use kafka_protocol::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::operations::{CLUSTER_OPERATIONS, NOT_ASKED};
use crate::api::context::Context;

/// `endpoint_type` of brokers (KIP-919).
const BROKERS: i8 = 1;

/// Describes this broker, which is the cluster.
pub fn handle(context: &Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    if context.version >= 1 && request.endpoint_type != BROKERS {
        return DescribeClusterResponse::default()
            .with_error_code(ResponseError::MismatchedEndpointType.code())
            .with_error_message(Some(StrBytes::from_static_str("this listener serves broker endpoints only")))
            .with_endpoint_type(BROKERS);
    }
    let config = &context.services.config;
    let (host, port) = context.advertised();
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(config.node_id))
        .with_host(StrBytes::from_string(host))
        .with_port(port)
        .with_rack(config.rack.clone().map(StrBytes::from_string));
    let operations =
        if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { NOT_ASKED };
    DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(StrBytes::from_string(context.services.image().cluster_id.to_string()))
        .with_controller_id(BrokerId(config.node_id))
        .with_brokers(vec![broker])
        .with_cluster_authorized_operations(operations)
}
