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

/// Deletes each topic for itself; all share one write to the disk.
pub async fn handle(context: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let wanted: Vec<(Option<TopicName>, Uuid)> = if context.version >= STATES_FROM {
        request.topics.into_iter().map(|state| (state.name, state.topic_id)).collect()
    } else {
        request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil())).collect()
    };
    let enabled = context.services.config.delete_topic_enable;
    // What is asked for, or why it is refused before anything is decided.
    let checked: Vec<Result<TopicRef, (ResponseError, &str)>> = wanted
        .iter()
        .map(|(name, id)| match (name, id.is_nil()) {
            _ if !enabled => Err((ResponseError::TopicDeletionDisabled, "Topic deletion is disabled.")),
            (Some(name), true) => Ok(TopicRef::Name(name.to_string())),
            (None, false) => Ok(TopicRef::Id(*id)),
            _ => Err((ResponseError::InvalidRequest, "either a name or an id is needed")),
        })
        .collect();
    let topics = checked.iter().filter_map(|topic| topic.as_ref().ok().cloned()).collect();
    let mut outcomes = context.services.controller.delete_topics(topics).await.into_iter();
    let responses = wanted.into_iter().zip(checked).map(|((name, id), checked)| {
        let result = DeletableTopicResult::default().with_topic_id(id).with_name(name);
        match checked {
            Err((error, message)) => refused(result, error.code(), message),
            Ok(_) => match outcomes.next() {
                Some(Ok(topic)) => result
                    .with_topic_id(topic.id)
                    .with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string())))),
                Some(Err(error)) => refused(result, error.code(), &error.to_string()),
                None => refused(
                    result,
                    ResponseError::UnknownServerError.code(),
                    "the topic was not decided about",
                ),
            },
        }
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

fn refused(result: DeletableTopicResult, code: i16, message: &str) -> DeletableTopicResult {
    result.with_error_code(code).with_error_message(Some(StrBytes::from_string(message.to_owned())))
}
