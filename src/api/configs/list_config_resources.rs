//! ListConfigResources (key 74): which resources have settings (KIP-1142; version 0: client metrics only, KIP-714).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use kafka_protocol::messages::list_config_resources_response::{ConfigResource, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;

use super::shape::{BROKER, GROUP, TOPIC};
use crate::api::context::Context;

/// First version that names types.
const TYPES_FROM: i16 = 1;
/// `ConfigResource.Type.BROKER_LOGGER`.
const BROKER_LOGGER: i8 = 8;
/// `ConfigResource.Type.CLIENT_METRICS`.
const CLIENT_METRICS: i8 = 16;
/// What Kafka lists, in its order; all of them when the client names none.
const LISTED: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

/// Lists the resources of the types asked for.
pub fn handle(context: &Context, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    let types = match context.version < TYPES_FROM {
        true => vec![CLIENT_METRICS],
        false if request.resource_types.is_empty() => LISTED.to_vec(),
        false => request.resource_types,
    };
    if types.iter().any(|wanted| !LISTED.contains(wanted)) {
        return ListConfigResourcesResponse::default()
            .with_error_code(ResponseError::UnsupportedVersion.code());
    }
    let image = context.services.image();
    let node = context.services.config.node_id.to_string();
    let mut resources = Vec::new();
    for listed in LISTED.into_iter().filter(|listed| types.contains(listed)) {
        let mut names: Vec<String> = match listed {
            TOPIC => image.topics().map(|topic| topic.name.to_string()).collect(),
            BROKER | BROKER_LOGGER => vec![node.clone()],
            GROUP => image.configured_groups().map(|group| group.to_string()).collect(),
            // Metrics from clients are not collected, so nobody has configured any.
            _ => Vec::new(),
        };
        names.sort_unstable();
        resources.extend(names.into_iter().map(|name| {
            ConfigResource::default()
                .with_resource_name(StrBytes::from_string(name))
                // Version 0 has no place for the type.
                .with_resource_type(if context.version < TYPES_FROM { CLIENT_METRICS } else { listed })
        }));
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}
