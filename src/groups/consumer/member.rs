//! A member of a consumer group.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::assign::{Assignor, Partitions};
use super::super::request::{Client, Protocol};
use super::owned::Owned;

/// The member epoch of a static member that left and is expected back (KIP-848).
pub const LEFT_FOR_A_WHILE: i32 = -2;

/// How far a member is with its assignment (`MemberState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// It has what the target assignment of its epoch gives it.
    Stable,
    /// It was told to give partitions up and has not said that it did.
    UnrevokedPartitions,
    /// It waits for partitions that others have not given up.
    UnreleasedPartitions,
}

/// Where a member stands between its former assignment and the target: what reconciliation moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How far it is.
    pub state: MemberState,
    /// The epoch it has reached; [`LEFT_FOR_A_WHILE`] while a static member is away.
    pub epoch: i32,
    /// The epoch before: a member whose last answer was lost comes with this one.
    pub previous_epoch: i32,
    /// What it owns, or is being told to own.
    pub assigned: Owned,
    /// What it is to give up.
    pub pending_revocation: Owned,
}

impl Standing {
    /// Of a member that has just come (`ConsumerGroupMember.Builder`).
    pub fn new() -> Self {
        Self {
            state: MemberState::Stable,
            epoch: 0,
            previous_epoch: -1,
            assigned: Owned::default(),
            pending_revocation: Owned::default(),
        }
    }

    /// Whether it has all that the target of this epoch gives it.
    pub fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known of a member that speaks the classic protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicSide {
    /// Milliseconds without a heartbeat after which it is gone.
    pub session_timeout_ms: i32,
    /// In the member's order of preference, never empty; no name twice.
    pub protocols: Vec<Protocol>,
}

/// All of a member that outlives a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMember {
    /// `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// `client.rack`.
    pub rack_id: Option<Arc<str>>,
    /// Who it is.
    pub client: Client,
    /// Milliseconds it may take to give partitions up; -1 before it said.
    pub rebalance_timeout_ms: i32,
    /// Topics it subscribes to by name.
    pub topics: BTreeSet<Arc<str>>,
    /// The expression it subscribes by, never empty.
    pub topic_regex: Option<Arc<str>>,
    /// The server-side assignor it wants.
    pub assignor: Option<Assignor>,
    /// Where it stands.
    pub standing: Standing,
    /// What it is to own in the end.
    pub target: Partitions,
    /// Set when it speaks the classic protocol.
    pub classic: Option<ClassicSide>,
}

impl StoredMember {
    /// A member of which nothing is known yet.
    pub fn new() -> Self {
        Self {
            instance_id: None,
            rack_id: None,
            client: Client::default(),
            rebalance_timeout_ms: -1,
            topics: BTreeSet::new(),
            topic_regex: None,
            assignor: None,
            standing: Standing::new(),
            target: Partitions::default(),
            classic: None,
        }
    }
}

impl Default for StoredMember {
    fn default() -> Self {
        Self::new()
    }
}

/// A member of a consumer group: what is stored of it, and its timers. Ticks are milliseconds.
#[derive(Debug, Clone)]
pub struct Member {
    pub(super) id: Arc<str>,
    pub(super) stored: StoredMember,
    /// When the session ends, in ticks.
    pub(super) session_ends: u64,
    /// When it must have given up what it was told to, in ticks.
    pub(super) revocation_ends: Option<u64>,
    /// When a classic member that was told to join again must have joined, in ticks.
    pub(super) join_ends: Option<u64>,
    /// When a classic member that joined must have asked for its assignment, in ticks.
    pub(super) sync_ends: Option<u64>,
    /// Where the member stands in the group's timers: never after any of these.
    pub(super) timer: Option<u64>,
}

impl Member {
    pub(super) fn new(id: Arc<str>, stored: StoredMember) -> Self {
        Self {
            id,
            stored,
            session_ends: u64::MAX,
            revocation_ends: None,
            join_ends: None,
            sync_ends: None,
            timer: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What is stored of it.
    pub fn stored(&self) -> &StoredMember {
        &self.stored
    }

    /// Its epoch.
    pub fn epoch(&self) -> i32 {
        self.stored.standing.epoch
    }

    /// Whether it speaks the classic protocol.
    pub fn is_classic(&self) -> bool {
        self.stored.classic.is_some()
    }

    /// The earliest tick at which it may be gone.
    pub(super) fn next_deadline(&self) -> u64 {
        [self.revocation_ends, self.join_ends, self.sync_ends]
            .into_iter()
            .flatten()
            .fold(self.session_ends, u64::min)
    }
}
