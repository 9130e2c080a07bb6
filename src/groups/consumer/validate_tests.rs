//! What a request must look like by itself, and what is said when it does not.

use super::super::super::assign::Partitions;
use super::super::super::error::GroupError;
use super::super::super::request::ConsumerHeartbeat;
use super::super::testing::{beat, joining, limits};
use super::validate;

fn refused(request: ConsumerHeartbeat, message: &str) {
    let error = GroupError::InvalidRequest(message.to_owned());
    assert_eq!(validate("g", &request, &limits()), Err(error));
}

#[test]
fn sound_requests_pass() {
    let sound = [
        joining("m", &["a"]),
        joining("m", &[]),
        ConsumerHeartbeat { version: 0, member_id: String::new(), ..joining("m", &["a"]) },
        ConsumerHeartbeat { topics: None, topic_regex: Some("a.*".to_owned()), ..joining("m", &[]) },
        ConsumerHeartbeat { assignor: Some("range".to_owned()), ..joining("m", &["a"]) },
        beat("m", 5),
        beat("m", -1),
        ConsumerHeartbeat { instance_id: Some("i".to_owned()), ..beat("m", -2) },
    ];
    for request in sound {
        assert_eq!(validate("g", &request, &limits()), Ok(()), "{request:?}");
    }
}

#[test]
fn ids_are_not_blank() {
    refused(
        ConsumerHeartbeat { member_id: String::new(), ..joining("m", &["a"]) },
        "MemberId can't be empty.",
    );
    for epoch in [1, -1] {
        let request = ConsumerHeartbeat { version: 0, member_id: " ".to_owned(), ..beat("m", epoch) };
        refused(request, "MemberId can't be empty.");
    }
    refused(
        ConsumerHeartbeat { instance_id: Some(String::new()), ..beat("m", 1) },
        "InstanceId can't be empty.",
    );
    refused(ConsumerHeartbeat { rack_id: Some("\t ".to_owned()), ..beat("m", 1) }, "RackId can't be empty.");
    let error = GroupError::InvalidRequest("GroupId can't be empty.".to_owned());
    assert_eq!(validate(" ", &beat("m", 1), &limits()), Err(error));
}

#[test]
fn a_first_request_says_all() {
    let request = ConsumerHeartbeat { rebalance_timeout_ms: -1, ..joining("m", &["a"]) };
    refused(request, "RebalanceTimeoutMs must be provided in first request.");
    let owned: Partitions = [(uuid::Uuid::from_u128(1), 0)].into_iter().collect();
    for owned in [None, Some(owned)] {
        let request = ConsumerHeartbeat { owned, ..joining("m", &["a"]) };
        refused(request, "TopicPartitions must be empty when (re-)joining.");
    }
    let request = ConsumerHeartbeat { topics: None, ..joining("m", &["a"]) };
    let message = "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.";
    refused(request, message);
}

#[test]
fn negative_epochs_are_those_of_leaving() {
    refused(beat("m", -2), "InstanceId can't be null.");
    refused(
        ConsumerHeartbeat { instance_id: Some("i".to_owned()), ..beat("m", -3) },
        "MemberEpoch is invalid.",
    );
}

#[test]
fn only_offered_assignors_are_taken() {
    let request = ConsumerHeartbeat { assignor: Some("sticky".to_owned()), ..joining("m", &["a"]) };
    let message = "ServerAssignor sticky is not supported. Supported assignors: uniform, range.".to_owned();
    assert_eq!(validate("g", &request, &limits()), Err(GroupError::UnsupportedAssignor(message)));
    let mut fewer = limits();
    fewer.assignors.retain(|assignor| assignor.name() == "uniform");
    let request = ConsumerHeartbeat { assignor: Some("range".to_owned()), ..joining("m", &["a"]) };
    assert!(matches!(validate("g", &request, &fewer), Err(GroupError::UnsupportedAssignor(_))));
}

#[test]
fn what_is_wrong_first_is_told_first() {
    // Id, then group, instance and rack, then the epoch's own rules, then the assignor.
    let all_wrong = ConsumerHeartbeat {
        member_id: String::new(),
        instance_id: Some(String::new()),
        rack_id: Some(String::new()),
        rebalance_timeout_ms: -1,
        owned: None,
        topics: None,
        assignor: Some("sticky".to_owned()),
        ..joining("m", &["a"])
    };
    refused(all_wrong.clone(), "MemberId can't be empty.");
    let request = ConsumerHeartbeat { member_id: "m".to_owned(), ..all_wrong };
    refused(request.clone(), "InstanceId can't be empty.");
    let request = ConsumerHeartbeat { instance_id: None, ..request };
    refused(request.clone(), "RackId can't be empty.");
    let request = ConsumerHeartbeat { rack_id: None, ..request };
    refused(request.clone(), "RebalanceTimeoutMs must be provided in first request.");
    let request = ConsumerHeartbeat { rebalance_timeout_ms: 1, ..request };
    refused(request, "TopicPartitions must be empty when (re-)joining.");
}
