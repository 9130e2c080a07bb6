//! Why a group refuses a request.

/// A refusal, named as in Kafka's protocol; `api/error_code.rs` maps it to its code. A message is for the answers that
/// can carry one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The group's state is not to be had for a moment; the client tries again.
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    /// The group's state was given up after a failed write; the client looks for the coordinator again.
    #[error("this broker does not coordinate the group at present")]
    NotCoordinator,
    /// The group id is empty or otherwise not usable.
    #[error("the group id is not valid")]
    InvalidGroupId,
    /// There is no such group, or one of another type.
    #[error("{0}")]
    GroupIdNotFound(String),
    /// The member is not, or no longer, in the group.
    #[error("the member is not known to the group")]
    UnknownMemberId,
    /// The member is to join again with the id it is now told (KIP-394).
    #[error("the group member needs a member id before it joins")]
    MemberIdRequired,
    /// The generation is not the present one.
    #[error("the generation is not the group's")]
    IllegalGeneration,
    /// Another member has taken over this `group.instance.id` (KIP-345).
    #[error("another member uses this group instance id")]
    FencedInstanceId,
    /// The static member that uses this `group.instance.id` has not left (KIP-848).
    #[error("{0}")]
    UnreleasedInstanceId(String),
    /// The member's epoch is not one the coordinator can accept; it joins again from epoch 0 (KIP-848).
    #[error("{0}")]
    FencedMemberEpoch(String),
    /// The member's epoch is behind; it takes its next heartbeat's answer and tries again (KIP-848).
    #[error("the member epoch is stale")]
    StaleMemberEpoch,
    /// The members are to join again.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// The protocol type or the protocols do not match the group's.
    #[error("the member's protocols do not match the group's")]
    InconsistentGroupProtocol,
    /// The session timeout lies outside the permitted range.
    #[error("the session timeout is not permitted")]
    InvalidSessionTimeout,
    /// The group is full.
    #[error("the group has reached its largest permitted size")]
    GroupMaxSizeReached,
    /// The server-side assignor is not offered.
    #[error("{0}")]
    UnsupportedAssignor(String),
    /// The subscription's regular expression cannot be used.
    #[error("{0}")]
    InvalidRegularExpression(String),
    /// The request contradicts itself.
    #[error("{0}")]
    InvalidRequest(String),
    /// The request's version is too old for who sends it.
    #[error("{0}")]
    UnsupportedVersion(String),
    /// The group has members.
    #[error("the group is not empty")]
    NonEmptyGroup,
    /// Offsets of a topic that the group subscribes to are not deleted.
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    /// A producer ends a transaction in an epoch before the one in which offsets were sent.
    #[error("the producer's epoch is over")]
    InvalidProducerEpoch,
    /// The text that goes with a committed offset is too long.
    #[error("the metadata of the offset is too long")]
    OffsetMetadataTooLarge,
}
