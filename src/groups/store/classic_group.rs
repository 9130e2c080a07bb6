//! A classic group's row: all of it that outlives a restart, as Kafka's `GroupMetadataValue` has it.
//!
//! ```text
//!   group   version u8 = 1 | generation i32 | state since i64 | protocol type? | protocol? | leader? | members u32 | member…
//!   member  id | instance id? | client id | client host | rebalance timeout i32 | session timeout i32 | metadata | assignment
//! ```
//!
//! Strings and bytes are a length of 4 bytes and the bytes; those with `?` have a byte before them that says 0 for none
//! or 1. A member's metadata is that for the group's protocol.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::groups::classic::{ClassicGroup, Member, State, StoredMember};
use crate::groups::request::{Client, Protocol};
use crate::storage::codec::{BadRow, Reader, put_bytes, put_optional_string, put_string};

const KIND: &str = "classic group";
const VERSION: u8 = 1;
/// What a member takes whose strings and bytes are all empty.
const MEMBER_BYTES_MIN: usize = 4 + 1 + 4 + 4 + 4 + 4 + 4 + 4;

/// What a row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGroup {
    /// The generation; 0 before the first.
    pub generation: i32,
    /// Milliseconds since the epoch when the state began.
    pub state_since_ms: i64,
    /// `consumer`, `connect`, …; there is one when there are members.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol; there is one when there are members.
    pub protocol_name: Option<Arc<str>>,
    /// One of the members, when there are any; else none.
    pub leader: Option<Arc<str>>,
    /// The members, each with the group's protocol only.
    pub members: Vec<StoredMember>,
}

/// The row of a group as it is after the decision that changed the row.
///
/// Members are stored with a generation whose assignments they know: of a stable group, and of one that has just begun to
/// rebalance out of that state. A group in the middle of a rebalance would be stored without members; no decision asks
/// for that, except for a new group's first row, which Kafka too writes before there is a generation.
pub fn encode(group: &ClassicGroup) -> Vec<u8> {
    let knows_assignments = match group.state() {
        State::Stable => true,
        State::PreparingRebalance => group.protocol_name().is_some(),
        State::Empty | State::CompletingRebalance | State::Dead => false,
    };
    let members: Vec<&Member> =
        group.members().filter(|member| knows_assignments && member.is_stored()).collect();
    let leader = group.leader().filter(|id| members.iter().any(|member| **member.id() == **id));
    let leader = leader.or(members.first().map(|member| &**member.id()));
    // Before its first generation it is not known to be anything but a name, as in Kafka.
    let is_begun = group.generation() > 0 || !members.is_empty();
    let mut out = Vec::with_capacity(64 + members.iter().map(|member| size_hint(member)).sum::<usize>());
    out.push(VERSION);
    out.extend_from_slice(&group.generation().to_be_bytes());
    out.extend_from_slice(&group.state_since_ms().to_be_bytes());
    put_optional_string(&mut out, group.protocol_type().filter(|_| is_begun));
    put_optional_string(&mut out, group.protocol_name().filter(|_| !members.is_empty()));
    put_optional_string(&mut out, leader);
    out.extend_from_slice(
        &u32::try_from(members.len()).expect("a group has far fewer members").to_be_bytes(),
    );
    for member in members {
        put_string(&mut out, member.id());
        put_optional_string(&mut out, member.instance_id().map(|id| &**id));
        put_string(&mut out, &member.client().id);
        put_string(&mut out, &member.client().host);
        out.extend_from_slice(&member.rebalance_timeout_ms().to_be_bytes());
        out.extend_from_slice(&member.session_timeout_ms().to_be_bytes());
        put_bytes(&mut out, &member.metadata(group.protocol_name().unwrap_or_default()));
        put_bytes(&mut out, member.assignment());
    }
    out
}

fn size_hint(member: &Member) -> usize {
    let metadata: usize = member.protocols().first().map_or(0, |protocol| protocol.metadata.len());
    MEMBER_BYTES_MIN + 256 + metadata + member.assignment().len()
}

/// Reads a row.
///
/// # Errors
/// [`BadRow`] when the bytes are not what [`encode`] writes; also when two members have the same id or the same instance
/// id, the leader is none of the members, or members have no protocol in common.
pub fn decode(value: &[u8]) -> Result<StoredGroup, BadRow> {
    let mut reader = Reader::new(KIND, value);
    reader.version(VERSION)?;
    let generation = reader.i32()?;
    let state_since_ms = reader.i64()?;
    let protocol_type = reader.optional_string()?.map(Arc::from);
    let protocol_name: Option<Arc<str>> = reader.optional_string()?.map(Arc::from);
    let leader: Option<Arc<str>> = reader.optional_string()?.map(Arc::from);
    let count = reader.count(MEMBER_BYTES_MIN)?;
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        members.push(read_member(&mut reader, protocol_name.as_deref().unwrap_or_default())?);
    }
    let group = StoredGroup { generation, state_since_ms, protocol_type, protocol_name, leader, members };
    check(&group).map_err(|reason| reader.bad(reason))?;
    reader.end()?;
    Ok(group)
}

fn read_member(reader: &mut Reader<'_>, protocol: &str) -> Result<StoredMember, BadRow> {
    Ok(StoredMember {
        id: reader.string()?.into(),
        instance_id: reader.optional_string()?.map(Arc::from),
        client: Client { id: reader.string()?.to_owned(), host: reader.string()?.to_owned() },
        rebalance_timeout_ms: reader.i32()?,
        session_timeout_ms: reader.i32()?,
        protocols: vec![Protocol {
            name: protocol.to_owned(),
            metadata: Bytes::copy_from_slice(reader.bytes()?),
        }],
        assignment: Bytes::copy_from_slice(reader.bytes()?),
    })
}

fn check(group: &StoredGroup) -> Result<(), &'static str> {
    if group.generation < 0 {
        return Err("its generation is negative");
    }
    let mut ids = HashSet::with_capacity(group.members.len());
    let mut instances = HashSet::new();
    for member in &group.members {
        if !ids.insert(&member.id) {
            return Err("two members have the same id");
        }
        if member.instance_id.as_ref().is_some_and(|instance| !instances.insert(instance)) {
            return Err("two members have the same group instance id");
        }
    }
    match (&group.leader, group.members.is_empty()) {
        (None, false) => Err("its members have no leader"),
        (Some(leader), _) if !ids.contains(leader) => Err("its leader is not a member"),
        (_, false) if group.protocol_type.is_none() || group.protocol_name.is_none() => {
            Err("its members have no protocol")
        }
        _ => Ok(()),
    }
}
