//! What members and administrators ask of a group, and the answers, free of the wire's versions.

use bytes::Bytes;
use uuid::Uuid;

use super::assign::Partitions;
use super::error::GroupError;

/// A protocol that a classic member supports: an assignor's name and the member's subscription in its own encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Name, such as `range`.
    pub name: String,
    /// Opaque to the classic protocol; `ConsumerProtocolSubscription` for consumers.
    pub metadata: Bytes,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// `client.id`.
    pub id: String,
    /// The client's address, as Kafka shows it: `/127.0.0.1`.
    pub host: String,
}

/// JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Who asks.
    pub client: Client,
    /// Empty at the first join.
    pub member_id: String,
    /// The id to give a new member: the instance id or else the client id, a dash and a random UUID.
    pub new_member_id: String,
    /// `group.instance.id` (KIP-345).
    pub instance_id: Option<String>,
    /// `consumer`, `connect`, …
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// Milliseconds without a heartbeat after which the member is gone.
    pub session_timeout_ms: i32,
    /// Milliseconds that a rebalance waits for the member.
    pub rebalance_timeout_ms: i32,
    /// Version 4 and later: a new dynamic member first gets an id and then joins with it (KIP-394).
    pub requires_known_member_id: bool,
    /// Version 9 and later: the leader can be told to skip the assignment (KIP-814).
    pub supports_skipping_assignment: bool,
    /// Why the member joins (KIP-800); for the log.
    pub reason: Option<String>,
}

/// One member as the leader is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// A successful join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The generation that begins.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The protocol that was chosen.
    pub protocol_name: Option<String>,
    /// Id of the leader.
    pub leader: String,
    /// The leader is not to assign (KIP-814).
    pub skip_assignment: bool,
    /// Id of the member that is answered.
    pub member_id: String,
    /// All members; empty except for the leader.
    pub members: Vec<JoinedMember>,
}

/// The answer to a [`JoinRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAnswer {
    /// The id the answer names, also when refused.
    pub member_id: String,
    /// The join, or why it is refused.
    pub result: Result<Joined, GroupError>,
}

/// SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    /// The member.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// The generation it knows.
    pub generation: i32,
    /// Version 5 and later: checked against the group's (KIP-559).
    pub protocol_type: Option<String>,
    /// Version 5 and later: checked against the group's (KIP-559).
    pub protocol_name: Option<String>,
    /// From the leader: member id and assignment.
    pub assignments: Vec<(String, Bytes)>,
}

/// The answer to a [`SyncRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The group's protocol.
    pub protocol_name: Option<String>,
    /// The member's assignment.
    pub assignment: Bytes,
}

/// The answer to a [`SyncRequest`].
pub type SyncAnswer = Result<Synced, GroupError>;

/// Heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// The member.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// The generation it knows.
    pub generation: i32,
}

/// One member of a LeaveGroup request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// The member; empty when only the instance id is known.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Why it leaves (KIP-800); for the log.
    pub reason: Option<String>,
}

/// What became of one [`Leaving`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// As in the request.
    pub member_id: String,
    /// As in the request.
    pub instance_id: Option<String>,
    /// Whether it left.
    pub result: Result<(), GroupError>,
}

/// ConsumerGroupHeartbeat (KIP-848). `None` means "as before".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    /// Who asks.
    pub client: Client,
    /// Given by the client from version 1 on (KIP-1082); may be empty at the first join of version 0.
    pub member_id: String,
    /// The id to give a member that joins with an empty id (version 0).
    pub new_member_id: String,
    /// 0 joins, -1 leaves, -2 leaves for a while (static members).
    pub member_epoch: i32,
    /// `group.instance.id`.
    pub instance_id: Option<String>,
    /// `client.rack`.
    pub rack_id: Option<String>,
    /// Milliseconds the member may take to give partitions up; -1 when unchanged.
    pub rebalance_timeout_ms: i32,
    /// Topics by name.
    pub topics: Option<Vec<String>>,
    /// Topics by regular expression (version 1); empty ends the subscription by expression.
    pub topic_regex: Option<String>,
    /// The server-side assignor the member wants.
    pub assignor: Option<String>,
    /// The partitions that the member owns.
    pub owned: Option<Partitions>,
    /// Version 0: the request could not carry an expression and an empty member id is permitted.
    pub version: i16,
}

/// The answer to a [`ConsumerHeartbeat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHeartbeatAnswer {
    /// The member's id, also in the answer to a leave.
    pub member_id: Option<String>,
    /// The member's epoch; -1 or -2 in the answer to a leave.
    pub member_epoch: i32,
    /// Milliseconds until the next heartbeat.
    pub heartbeat_interval_ms: i32,
    /// The partitions the member should own, when it is told.
    pub assignment: Option<Partitions>,
}

/// Who commits offsets, or reads them, and with what right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committer {
    /// Empty outside group membership.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Generation (classic) or member epoch (consumer); negative outside group membership.
    pub generation_or_epoch: i32,
}

/// A classic group, or a classic view of one, for DescribeGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicDescription {
    /// The state's name in Kafka.
    pub state: &'static str,
    /// The protocol type.
    pub protocol_type: String,
    /// The chosen protocol; empty unless stable.
    pub protocol: String,
    /// The members.
    pub members: Vec<ClassicMemberDescription>,
}

/// A member of a [`ClassicDescription`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Who it is.
    pub client: Client,
    /// Its metadata for the chosen protocol; empty unless stable.
    pub metadata: Bytes,
    /// Its assignment, as it is in any state.
    pub assignment: Bytes,
}

/// A consumer group for ConsumerGroupDescribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerDescription {
    /// The state's name in Kafka: Empty, Assigning, Reconciling, Stable.
    pub state: &'static str,
    /// The group epoch.
    pub group_epoch: i32,
    /// The epoch of the target assignment.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor: String,
    /// The members.
    pub members: Vec<ConsumerMemberDescription>,
}

/// A member of a [`ConsumerDescription`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Its rack.
    pub rack_id: Option<String>,
    /// Its epoch.
    pub member_epoch: i32,
    /// Who it is.
    pub client: Client,
    /// Names it subscribes to.
    pub topics: Vec<String>,
    /// Expression it subscribes by.
    pub topic_regex: Option<String>,
    /// What it owns now, with what it is to give up.
    pub assigned: Vec<(Uuid, Vec<i32>)>,
    /// What it should own.
    pub target: Vec<(Uuid, Vec<i32>)>,
    /// Whether it speaks the classic protocol.
    pub is_classic: bool,
}
