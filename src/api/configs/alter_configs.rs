//! AlterConfigs (key 33): the legacy replacement of all of a resource's settings.

use kafka_protocol::messages::alter_configs_request::AlterConfigsRequest;
use kafka_protocol::messages::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::shape::{self, GROUP, TOPIC};
use crate::api::context::Context;
use crate::config::{AlterKind, AlterOp};

/// Replaces the overrides of each resource: what is not named goes back to its default.
pub async fn handle(context: Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    let names =
        request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.as_str()));
    let again = shape::named_again(names);
    for resource in &request.resources {
        let outcome = if again.contains(&(resource.resource_type, resource.resource_name.as_str())) {
            Err(shape::refused_again())
        } else if matches!(resource.resource_type, TOPIC | GROUP) {
            let ops = resource.configs.iter().map(|config| AlterOp {
                name: config.name.to_string(),
                op: AlterKind::Set,
                value: config.value.as_ref().map(ToString::to_string),
            });
            let (name, only) = (&resource.resource_name, request.validate_only);
            match resource.resource_type {
                GROUP => shape::change_group(&context, name, ops.collect(), true, only).await,
                _ => shape::change_topic(&context, name, ops.collect(), true, only).await,
            }
        } else {
            Err(shape::not_changeable(resource.resource_type))
        };
        let (code, message) = outcome.err().map_or((0, None), |(code, message)| (code, Some(message)));
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(message.map(StrBytes::from_string))
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone()),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}
