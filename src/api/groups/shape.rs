//! What the group requests share.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::Context;
use crate::groups::error::GroupError;
use crate::groups::request::Client;
use crate::protocol::guard::MAX_STRING_BYTES;

/// An owned string as the wire types have it.
pub fn text(owned: String) -> StrBytes {
    StrBytes::from_string(owned)
}

/// What is said of a refusal. It may quote what the client sent, and is cut where the whole would be longer than any client
/// reads.
pub fn message(error: &GroupError) -> StrBytes {
    let mut message = error.to_string();
    message.truncate(message.floor_char_boundary(MAX_STRING_BYTES));
    text(message)
}

/// A copy that does not keep the request's frame in memory.
pub fn owned(text: &Option<StrBytes>) -> Option<String> {
    text.as_ref().map(ToString::to_string)
}

/// Who sent the request, as Kafka shows it.
pub fn client(context: &Context) -> Client {
    Client { id: context.client_id.to_string(), host: format!("/{}", context.peer.remote.ip()) }
}

/// Kafka's code for a group id that must not be empty.
pub fn check_group_id(group: &str) -> Result<(), i16> {
    if group.is_empty() { Err(ResponseError::InvalidGroupId.code()) } else { Ok(()) }
}

/// Puts what came in one list together by topic, in the order in which each topic first came.
pub fn by_topic<T>(items: impl IntoIterator<Item = (Uuid, T)>) -> Vec<(Uuid, Vec<T>)> {
    let mut places: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut topics: Vec<(Uuid, Vec<T>)> = Vec::new();
    for (topic, item) in items {
        let place = *places.entry(topic).or_insert_with(|| {
            topics.push((topic, Vec::new()));
            topics.len() - 1
        });
        topics[place].1.push(item);
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        for (character, expected) in [("x", MAX_STRING_BYTES), ("ü", MAX_STRING_BYTES - 1)] {
            let long = message(&GroupError::InvalidRequest(character.repeat(MAX_STRING_BYTES)));
            assert_eq!(long.len(), expected);
            assert!(long.as_str().ends_with(character));
        }
        assert_eq!(message(&GroupError::InvalidRequest("short".into())).as_str(), "short");
    }
}
