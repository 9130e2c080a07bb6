//! DescribeConfigs (key 32): every key with its value, source, synonyms and documentation.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::protocol::StrBytes;

use super::shape::{self, BROKER, GROUP, Refused, TOPIC};
use crate::api::context::Context;
use crate::config::{ConfigEntry, TopicOverrides, describe_broker, describe_group, describe_topic};

/// Describes each resource for itself.
pub fn handle(context: &Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match entries(context, resource) {
            Ok(entries) => {
                let wanted = |entry: &ConfigEntry| match &resource.configuration_keys {
                    Some(keys) if !keys.is_empty() => keys.iter().any(|key| key.as_str() == &*entry.name),
                    // Kafka takes an empty list of keys for all keys.
                    _ => true,
                };
                let configs = entries.into_iter().filter(wanted).map(|entry| describe(&request, entry));
                result.with_configs(configs.collect())
            }
            Err((code, message)) => {
                result.with_error_code(code).with_error_message(Some(StrBytes::from_string(message)))
            }
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn entries(context: &Context, resource: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, Refused> {
    let services = &context.services;
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => {
            let image = services.image();
            let topic = image.topic(name).ok_or_else(|| {
                let error = match crate::metadata::topics::validate_name(name) {
                    Ok(()) => ResponseError::UnknownTopicOrPartition,
                    Err(_) => ResponseError::InvalidTopicException,
                };
                (error.code(), format!("The topic '{}' does not exist.", name.escape_debug()))
            })?;
            describe_topic(&services.config, &TopicOverrides((*topic.overrides).clone()))
                .map_err(|error| shape::refused(&error))
        }
        GROUP if name.is_empty() => {
            Err((ResponseError::InvalidRequest.code(), "Group name must not be empty".to_owned()))
        }
        GROUP => {
            let overrides = services.image().group_overrides(name).cloned().unwrap_or_default();
            Ok(describe_group(&services.config, &overrides))
        }
        // An empty name asks for the cluster-wide dynamic defaults, of which there are none.
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER if name.parse() == Ok(services.config.node_id) => Ok(describe_broker(&services.config)),
        BROKER => Err((
            ResponseError::InvalidRequest.code(),
            format!(
                "Unexpected broker id, expected {} or empty string, but received {}",
                services.config.node_id,
                name.escape_debug()
            ),
        )),
        other => Err(shape::not_changeable(other)),
    }
}

fn describe(request: &DescribeConfigsRequest, entry: ConfigEntry) -> DescribeConfigsResourceResult {
    let text = StrBytes::from_string;
    let synonyms = entry.synonyms.into_iter().map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(synonym.name.to_string()))
            .with_value(synonym.value.map(text))
            .with_source(shape::source_code(synonym.source))
    });
    let synonyms = if request.include_synonyms { synonyms.collect() } else { Vec::new() };
    let documentation = request.include_documentation.then(|| text(entry.documentation.to_string()));
    DescribeConfigsResourceResult::default()
        .with_name(text(entry.name.to_string()))
        .with_value(entry.value.map(text))
        .with_read_only(entry.read_only)
        .with_config_source(shape::source_code(entry.source))
        .with_is_sensitive(entry.is_sensitive)
        .with_synonyms(synonyms)
        .with_config_type(shape::type_code(entry.kind))
        .with_documentation(documentation)
}
