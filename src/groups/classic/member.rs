//! A member of a classic group.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::super::effects::Ticket;
use super::super::request::{Client, Protocol};

/// A member of a classic group. All times are milliseconds.
#[derive(Debug, Clone)]
pub struct Member {
    pub(super) id: Arc<str>,
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client: Client,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// In the member's order of preference; no name twice.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// The JoinGroup that is answered when the generation begins.
    pub(super) waiting_join: Option<Ticket>,
    /// The SyncGroup that is answered when the leader has assigned.
    pub(super) waiting_sync: Option<Ticket>,
    /// It has not been answered since it came, so it knows neither its id nor the generation, and cannot heartbeat.
    pub(super) is_new: bool,
    /// When the session ends, in ticks. None after it ended while a request of the member was waiting.
    pub(super) session_ends: Option<u64>,
    /// Where the member stands in the group's timers: never after `session_ends`.
    pub(super) timer: Option<u64>,
}

/// What outlives a restart of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMember {
    /// Its id.
    pub id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// Who it is.
    pub client: Client,
    /// Milliseconds that a rebalance waits for it.
    pub rebalance_timeout_ms: i32,
    /// Milliseconds without a heartbeat after which it is gone.
    pub session_timeout_ms: i32,
    /// Its protocols. A row holds only the group's protocol.
    pub protocols: Vec<Protocol>,
    /// Its assignment.
    pub assignment: Bytes,
}

impl Member {
    pub(super) fn new(stored: StoredMember) -> Self {
        Self {
            id: stored.id,
            instance_id: stored.instance_id,
            client: stored.client,
            rebalance_timeout_ms: stored.rebalance_timeout_ms,
            session_timeout_ms: stored.session_timeout_ms,
            protocols: stored.protocols,
            assignment: stored.assignment,
            waiting_join: None,
            waiting_sync: None,
            is_new: false,
            session_ends: None,
            timer: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Its `group.instance.id` (KIP-345).
    pub fn instance_id(&self) -> Option<&Arc<str>> {
        self.instance_id.as_ref()
    }

    /// Who it is, as it was when the member came.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Milliseconds that a rebalance waits for it.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.rebalance_timeout_ms
    }

    /// Milliseconds without a heartbeat after which it is gone.
    pub fn session_timeout_ms(&self) -> i32 {
        self.session_timeout_ms
    }

    /// The protocols it supports, in its order of preference. After a restart only the group's protocol is known.
    pub fn protocols(&self) -> &[Protocol] {
        &self.protocols
    }

    /// Its assignment; empty when it has none.
    pub fn assignment(&self) -> &Bytes {
        &self.assignment
    }

    /// Its metadata for a protocol; empty when it does not support it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|supported| supported.name == protocol);
        found.map(|supported| supported.metadata.clone()).unwrap_or_default()
    }

    /// Whether its JoinGroup is answered when the generation begins.
    pub fn waits_to_join(&self) -> bool {
        self.waiting_join.is_some()
    }

    /// Whether the group's row holds it: not before it was told of a generation.
    pub(crate) fn is_stored(&self) -> bool {
        !self.is_new
    }

    /// Its session is not counted while a request of it waits. A new member's is: the connection of a client that gave up
    /// is not seen to close, and the client comes again as another new member.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.waiting_join.is_some() || self.waiting_sync.is_some())
    }
}

/// Leaves the first protocol of each name. A request that names one twice would else count as two members' support.
pub(super) fn drop_repeated(protocols: &mut Vec<Protocol>) {
    let mut seen = HashSet::with_capacity(protocols.len());
    let firsts: Vec<bool> = protocols.iter().map(|protocol| seen.insert(protocol.name.as_str())).collect();
    drop(seen);
    let mut firsts = firsts.into_iter();
    protocols.retain(|_| firsts.next().unwrap_or(false));
}

/// What a group keeps of a request's protocols: copies, so that a few bytes of metadata do not keep the whole request in
/// memory.
pub(super) fn owned(mut protocols: Vec<Protocol>) -> Vec<Protocol> {
    for protocol in &mut protocols {
        protocol.metadata = Bytes::copy_from_slice(&protocol.metadata);
    }
    protocols
}
