//! DeleteTopics (key 20): by name, or by id from version 6 on.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::metadata::TopicRef;

/// First version that lists topics by name or id.
const STATES_FROM: i16 = 6;

/// Deletes each topic for itself.
pub async fn handle(context: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let wanted: Vec<(Option<TopicName>, Uuid)> = if context.version >= STATES_FROM {
        request.topics.into_iter().map(|state| (state.name, state.topic_id)).collect()
    } else {
        request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil())).collect()
    };
    let enabled = context.services.config.delete_topic_enable;
    let mut responses = Vec::with_capacity(wanted.len());
    for (name, id) in wanted {
        let result = DeletableTopicResult::default().with_topic_id(id).with_name(name.clone());
        let topic = match (&name, id.is_nil()) {
            (Some(name), true) => TopicRef::Name(name.to_string()),
            (None, false) => TopicRef::Id(id),
            _ => {
                responses.push(refused(result, ResponseError::InvalidRequest.code(), "either a name or an id is needed"));
                continue;
            }
        };
        if !enabled {
            responses.push(refused(result, ResponseError::TopicDeletionDisabled.code(), "Topic deletion is disabled."));
            continue;
        }
        let outcome = context.services.controller.delete_topics(vec![topic]).await.pop();
        responses.push(match outcome {
            Some(Ok(topic)) => result
                .with_topic_id(topic.id)
                .with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string())))),
            Some(Err(error)) => refused(result, error.code(), &error.to_string()),
            None => refused(result, ResponseError::UnknownServerError.code(), "the topic was not decided about"),
        });
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

fn refused(result: DeletableTopicResult, code: i16, message: &str) -> DeletableTopicResult {
    result.with_error_code(code).with_error_message(Some(StrBytes::from_string(message.to_owned())))
}
