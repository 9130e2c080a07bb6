//! What the config requests share: resource types, codes of sources and types, and the change itself.

use std::collections::HashSet;

use kafka_protocol::ResponseError;

use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::config::{
    AlterOp, BrokerConfig, ConfigError, Source, TopicOverrides, ValueType, alter, alter_group, resolve,
};
use crate::metadata::{Overrides, SetOverridesError, Topic, TopicRef};

/// `ConfigResource.Type.TOPIC`.
pub const TOPIC: i8 = 2;
/// `ConfigResource.Type.BROKER`.
pub const BROKER: i8 = 4;

/// `ConfigResource.Type.GROUP` (KIP-848).
pub const GROUP: i8 = 32;

/// Code and message for the client.
pub type Refused = (i16, String);

/// `DescribeConfigsResponse.ConfigSource`.
pub fn source_code(source: Source) -> i8 {
    source.code()
}

/// `DescribeConfigsResponse.ConfigType`.
pub fn type_code(value_type: ValueType) -> i8 {
    match value_type {
        ValueType::Boolean => 1,
        ValueType::String => 2,
        ValueType::Int => 3,
        ValueType::Short => 4,
        ValueType::Long => 5,
        ValueType::Double => 6,
        ValueType::List => 7,
        ValueType::Class => 8,
        ValueType::Password => 9,
    }
}

/// Kafka's code for a refused setting.
pub fn refused(error: &ConfigError) -> Refused {
    let code =
        if error.is_invalid_request() { ResponseError::InvalidRequest } else { ResponseError::InvalidConfig };
    (code.code(), error.to_string())
}

/// The resources that one request names more than once: nobody can say which of the changes should hold.
pub fn named_again<'a>(all: impl Iterator<Item = (i8, &'a str)>) -> HashSet<(i8, &'a str)> {
    let mut seen = HashSet::new();
    all.filter(|resource| !seen.insert(*resource)).collect()
}

/// Kafka's answer for each of [`named_again`].
pub fn refused_again() -> Refused {
    (ResponseError::InvalidRequest.code(), "Each resource must appear at most once.".to_owned())
}

/// Changes a topic's overrides, starting from the present ones or from none. Two changes at once are made one after the
/// other, each on top of the one before.
///
/// # Errors
/// Code and message, as Kafka gives them; nothing is changed then.
pub async fn change_topic(
    context: &Context,
    name: &str,
    ops: Vec<AlterOp>,
    replace: bool,
    validate_only: bool,
) -> Result<(), Refused> {
    let services = &context.services;
    let image = services.image();
    let Some(topic) = image.topic(name) else {
        let error = match crate::metadata::topics::validate_name(name) {
            Ok(()) => ResponseError::UnknownTopicOrPartition,
            Err(_) => ResponseError::InvalidTopicException,
        };
        return Err((error.code(), format!("The topic '{}' does not exist.", name.escape_debug())));
    };
    let config = services.config.clone();
    let change = move |topic: &Topic| {
        let present =
            if replace { TopicOverrides::default() } else { TopicOverrides((*topic.overrides).clone()) };
        checked(&config, &present, &ops).map(|overrides| overrides.0).map_err(ChangeError)
    };
    if validate_only {
        return change(topic).map(drop).map_err(|error| error.0);
    }
    let changed = services.controller.edit_overrides(TopicRef::Id(topic.id), change).await;
    let topic = changed.map_err(|error| error.0)?;
    // What is answered holds from the next request on.
    services.partitions.reconfigure(topic.id, topic.partitions, &services.topic_config(&topic));
    Ok(())
}

/// A topic's overrides after `ops`, checked one by one and against each other.
///
/// # Errors
/// Code and message, as Kafka gives them.
pub fn checked(
    config: &BrokerConfig,
    present: &TopicOverrides,
    ops: &[AlterOp],
) -> Result<TopicOverrides, Refused> {
    let next = alter(present, ops).map_err(|error| refused(&error))?;
    resolve(config, &next).map_err(|error| refused(&error))?;
    Ok(next)
}

/// Changes a group's overrides, as [`change_topic`] a topic's. The group need not exist.
///
/// # Errors
/// Code and message, as Kafka gives them; nothing is changed then.
pub async fn change_group(
    context: &Context,
    name: &str,
    ops: Vec<AlterOp>,
    replace: bool,
    validate_only: bool,
) -> Result<(), Refused> {
    if name.is_empty() {
        return Err((
            ResponseError::InvalidRequest.code(),
            "Default group resources are not allowed.".to_owned(),
        ));
    }
    let services = &context.services;
    let config = services.config.clone();
    let change = move |present: &Overrides| {
        let none = Overrides::new();
        let present = if replace { &none } else { present };
        alter_group(&config, present, &ops).map_err(|error| ChangeError(refused(&error)))
    };
    if validate_only {
        let image = services.image();
        let present = image.group_overrides(name).cloned().unwrap_or_default();
        return change(&present).map(drop).map_err(|error| error.0);
    }
    services.controller.edit_group_overrides(name.into(), change).await.map_err(|error| error.0)
}

struct ChangeError(Refused);

impl From<SetOverridesError> for ChangeError {
    fn from(error: SetOverridesError) -> Self {
        ChangeError((error.code(), error.to_string()))
    }
}

/// Why a resource that is not a topic cannot be changed.
pub fn not_changeable(resource_type: i8) -> Refused {
    match resource_type {
        // As Kafka answers for a key that cannot be changed while it runs.
        BROKER => (
            ResponseError::InvalidRequest.code(),
            "broker settings are read at start: change server.properties and restart".to_owned(),
        ),
        other => {
            (ResponseError::InvalidRequest.code(), format!("configs of resource type {other} are not served"))
        }
    }
}
