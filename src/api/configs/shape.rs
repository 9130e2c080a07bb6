//! What the config requests share: resource types, codes of sources and types, and the change itself.

use std::collections::HashSet;

use kafka_protocol::ResponseError;

use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::config::{AlterOp, ConfigError, Source, TopicOverrides, ValueType, alter, resolve};
use crate::metadata::{SetOverridesError, Topic, TopicRef};

/// `ConfigResource.Type.TOPIC`.
pub const TOPIC: i8 = 2;
/// `ConfigResource.Type.BROKER`.
pub const BROKER: i8 = 4;

/// Code and message for the client.
pub type Refused = (i16, String);

/// `DescribeConfigsResponse.ConfigSource`.
pub fn source_code(source: Source) -> i8 {
    match source {
        Source::DynamicTopic => 1,
        Source::StaticBroker => 4,
        Source::Default => 5,
    }
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
    let code = if error.is_invalid_request() { ResponseError::InvalidRequest } else { ResponseError::InvalidConfig };
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

/// Why a change did not happen, in the client's terms.
struct Unchanged(Refused);

impl From<SetOverridesError> for Unchanged {
    fn from(error: SetOverridesError) -> Self {
        Unchanged((error.code(), error.to_string()))
    }
}

/// Changes a topic's overrides, starting from the present ones or from none.
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
    let broker = services.config.clone();
    let next = move |topic: &Topic| {
        let present = if replace { TopicOverrides::default() } else { TopicOverrides((*topic.overrides).clone()) };
        let next = alter(&present, &ops).and_then(|next| {
            // Each value may be good and all of them together contradict each other.
            resolve(&broker, &next)?;
            Ok(next.0)
        });
        next.map_err(|error| Unchanged(refused(&error)))
    };
    if validate_only {
        return next(topic).map(|_| ()).map_err(|Unchanged(refused)| refused);
    }
    // Decided by the writer, on what is there then: two changes at the same time must not undo each other.
    let changed = services.controller.edit_overrides(TopicRef::Id(topic.id), next).await;
    let topic = changed.map_err(|Unchanged(refused)| refused)?;
    // What is answered holds from the next request on. A partition that is being opened keeps its slot for as long as
    // that takes, so the runtime is told that this may wait.
    let config = services.topic_config(&topic);
    tokio::task::block_in_place(|| services.partitions.reconfigure(topic.id, topic.partitions, &config));
    Ok(())
}

/// Why a resource that is not a topic cannot be changed.
pub fn not_changeable(resource_type: i8) -> Refused {
    match resource_type {
        // As Kafka answers for a key that cannot be changed while it runs.
        BROKER => (
            ResponseError::InvalidRequest.code(),
            "broker settings are read at start: change server.properties and restart".to_owned(),
        ),
        other => (ResponseError::InvalidRequest.code(), format!("configs of resource type {other} are not served")),
    }
}
