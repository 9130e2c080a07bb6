//! Whether a ConsumerGroupHeartbeat makes sense by itself (`GroupCoordinatorService` in Kafka 4.3).

use super::super::error::GroupError;
use super::super::limits::ConsumerLimits;
use super::super::request::ConsumerHeartbeat;
use super::member::LEFT_FOR_A_WHILE;

/// The version from which on the client gives itself its id (KIP-1082).
const CLIENT_GIVES_MEMBER_ID: i16 = 1;

/// Checks a request before its group is looked for.
///
/// # Errors
/// [`GroupError::InvalidRequest`], then [`GroupError::UnsupportedAssignor`], with Kafka's words.
pub fn validate(
    group_id: &str,
    request: &ConsumerHeartbeat,
    limits: &ConsumerLimits,
) -> Result<(), GroupError> {
    let needs_id =
        request.version >= CLIENT_GIVES_MEMBER_ID || request.member_epoch > 0 || request.member_epoch == -1;
    if needs_id {
        not_blank(Some(&request.member_id), "MemberId can't be empty.")?;
    }
    not_blank(Some(group_id), "GroupId can't be empty.")?;
    not_blank(request.instance_id.as_deref(), "InstanceId can't be empty.")?;
    not_blank(request.rack_id.as_deref(), "RackId can't be empty.")?;
    match request.member_epoch {
        0 => joins(request)?,
        LEFT_FOR_A_WHILE if request.instance_id.is_none() => {
            return Err(invalid("InstanceId can't be null."));
        }
        ..LEFT_FOR_A_WHILE => return Err(invalid("MemberEpoch is invalid.")),
        _ => {}
    }
    let Some(assignor) = &request.assignor else { return Ok(()) };
    if limits.assignors.iter().any(|offered| offered.name() == assignor) {
        return Ok(());
    }
    let offered: Vec<&str> = limits.assignors.iter().map(|offered| offered.name()).collect();
    Err(GroupError::UnsupportedAssignor(format!(
        "ServerAssignor {assignor} is not supported. Supported assignors: {}.",
        offered.join(", ")
    )))
}

fn joins(request: &ConsumerHeartbeat) -> Result<(), GroupError> {
    if request.rebalance_timeout_ms == -1 {
        return Err(invalid("RebalanceTimeoutMs must be provided in first request."));
    }
    if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
        return Err(invalid("TopicPartitions must be empty when (re-)joining."));
    }
    if request.topics.is_none() && request.topic_regex.is_none() {
        let message =
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.";
        return Err(invalid(message));
    }
    Ok(())
}

fn not_blank(value: Option<&str>, message: &str) -> Result<(), GroupError> {
    if value.is_some_and(is_blank) { Err(invalid(message)) } else { Ok(()) }
}

/// As Java's `String.trim` sees it: everything up to the space is white.
fn is_blank(value: &str) -> bool {
    value.chars().all(|char| char <= ' ')
}

fn invalid(message: &str) -> GroupError {
    GroupError::InvalidRequest(message.to_owned())
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
