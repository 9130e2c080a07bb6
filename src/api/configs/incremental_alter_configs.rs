//! IncrementalAlterConfigs (key 44): set, delete, append, subtract (KIP-339).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::shape::{self, GROUP, Refused, TOPIC};
use crate::api::context::Context;
use crate::config::{AlterKind, AlterOp};

/// Changes each resource for itself.
pub async fn handle(
    context: Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    let names =
        request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.as_str()));
    let again = shape::named_again(names);
    for resource in &request.resources {
        let outcome = if again.contains(&(resource.resource_type, resource.resource_name.as_str())) {
            Err(shape::refused_again())
        } else {
            change(&context, resource, request.validate_only).await
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
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

async fn change(
    context: &Context,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refused> {
    if !matches!(resource.resource_type, TOPIC | GROUP) {
        return Err(shape::not_changeable(resource.resource_type));
    }
    let mut ops = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        let kind = match config.config_operation {
            0 => AlterKind::Set,
            1 => AlterKind::Delete,
            2 => AlterKind::Append,
            3 => AlterKind::Subtract,
            other => {
                return Err((
                    ResponseError::InvalidRequest.code(),
                    format!("there is no config operation {other}"),
                ));
            }
        };
        ops.push(AlterOp {
            name: config.name.to_string(),
            op: kind,
            value: config.value.as_ref().map(ToString::to_string),
        });
    }
    if resource.resource_type == GROUP {
        return shape::change_group(context, &resource.resource_name, ops, false, validate_only).await;
    }
    shape::change_topic(context, &resource.resource_name, ops, false, validate_only).await
}
