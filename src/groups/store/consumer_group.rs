//! A consumer group's rows: one of the group as a whole, one per member. What Kafka keeps in six kinds of records.
//!
//! ```text
//!   head        version u8 = 1 | group epoch i32 | assignment epoch i32 | metadata hash u64 | expressions u32 | expression…
//!   expression  pattern | topics u32 | name…
//!   member      version u8 = 1 | instance id? | rack id? | client id | client host | rebalance timeout i32
//!               | topics u32 | name… | expression? | assignor? | state u8 | epoch i32 | previous epoch i32
//!               | assigned | pending revocation | target | classic u8 = 0 or 1
//!               | when 1: session timeout i32 | protocols u32 | (name | metadata)…
//!   assigned, pending revocation   topics u32 | (id 16 bytes | partitions u32 | (number i32 | epoch i32)…)…
//!   target                         topics u32 | (id 16 bytes | partitions u32 | number i32…)…
//! ```
//!
//! Strings and bytes are a length of 4 bytes and the bytes; those with `?` have a byte before them that says 0 for none or 1.
//! The member's id is in the key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::groups::assign::{Assignor, Partitions};
use crate::groups::consumer::{ClassicSide, MemberState, Owned, Standing, StoredHead, StoredMember};
use crate::groups::request::{Client, Protocol};
use crate::storage::codec::{BadRow, Reader, put_bytes, put_optional_string, put_string};

const HEAD: &str = "consumer group";
const MEMBER: &str = "consumer group member";
const VERSION: u8 = 1;

/// What the length of a string or of bytes takes.
const LENGTH_BYTES: usize = 4;
/// What a topic takes beside its partitions: its id and their number.
const TOPIC_BYTES: usize = 16 + 4;

/// The row of the group as a whole.
pub fn encode_head(head: &StoredHead) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&head.group_epoch.to_be_bytes());
    out.extend_from_slice(&head.assignment_epoch.to_be_bytes());
    out.extend_from_slice(&head.metadata_hash.to_be_bytes());
    put_count(&mut out, head.regexes.len());
    for (pattern, topics) in &head.regexes {
        put_string(&mut out, pattern);
        put_names(&mut out, topics);
    }
    out
}

/// Reads the row of the group as a whole.
///
/// # Errors
/// [`BadRow`] when the bytes are not what [`encode_head`] writes.
pub fn decode_head(value: &[u8]) -> Result<StoredHead, BadRow> {
    let mut reader = Reader::new(HEAD, value);
    reader.version(VERSION)?;
    let group_epoch = reader.i32()?;
    let assignment_epoch = reader.i32()?;
    if assignment_epoch < 0 || group_epoch < assignment_epoch {
        return Err(reader.bad("its epochs contradict each other"));
    }
    let metadata_hash = reader.u64()?;
    let mut regexes = BTreeMap::new();
    for _ in 0..reader.count(2 * LENGTH_BYTES)? {
        let pattern: Arc<str> = reader.string()?.into();
        let topics = read_names(&mut reader)?;
        if pattern.is_empty() || regexes.insert(pattern, topics).is_some() {
            return Err(reader.bad("an expression is empty or comes twice"));
        }
    }
    reader.end()?;
    Ok(StoredHead { group_epoch, assignment_epoch, metadata_hash, regexes })
}

/// The row of a member.
pub fn encode_member(member: &StoredMember) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_optional_string(&mut out, member.instance_id.as_deref());
    put_optional_string(&mut out, member.rack_id.as_deref());
    put_string(&mut out, &member.client.id);
    put_string(&mut out, &member.client.host);
    out.extend_from_slice(&member.rebalance_timeout_ms.to_be_bytes());
    put_names(&mut out, &member.topics);
    put_optional_string(&mut out, member.topic_regex.as_deref());
    put_optional_string(&mut out, member.assignor.map(Assignor::name));
    let standing = &member.standing;
    out.push(state_number(standing.state));
    out.extend_from_slice(&standing.epoch.to_be_bytes());
    out.extend_from_slice(&standing.previous_epoch.to_be_bytes());
    put_owned(&mut out, &standing.assigned);
    put_owned(&mut out, &standing.pending_revocation);
    put_partitions(&mut out, &member.target);
    out.push(u8::from(member.classic.is_some()));
    if let Some(classic) = &member.classic {
        out.extend_from_slice(&classic.session_timeout_ms.to_be_bytes());
        put_count(&mut out, classic.protocols.len());
        for protocol in &classic.protocols {
            put_string(&mut out, &protocol.name);
            put_bytes(&mut out, &protocol.metadata);
        }
    }
    out
}

/// Reads the row of a member.
///
/// # Errors
/// [`BadRow`] when the bytes are not what [`encode_member`] writes.
pub fn decode_member(value: &[u8]) -> Result<StoredMember, BadRow> {
    let mut reader = Reader::new(MEMBER, value);
    reader.version(VERSION)?;
    let instance_id = reader.optional_string()?.map(Arc::from);
    let rack_id = reader.optional_string()?.map(Arc::from);
    let client = Client { id: reader.string()?.to_owned(), host: reader.string()?.to_owned() };
    let rebalance_timeout_ms = reader.i32()?;
    let topics = read_names(&mut reader)?;
    let topic_regex = reader.optional_string()?.map(Arc::from);
    let assignor = match reader.optional_string()? {
        None => None,
        Some(name) => Some(Assignor::by_name(name).ok_or(reader.bad("its assignor is unknown"))?),
    };
    let standing = Standing {
        state: read_state(&mut reader)?,
        epoch: reader.i32()?,
        previous_epoch: reader.i32()?,
        assigned: read_owned(&mut reader)?,
        pending_revocation: read_owned(&mut reader)?,
    };
    let target = read_partitions(&mut reader)?;
    let classic = match reader.array()? {
        [0] => None,
        [1] => Some(read_classic(&mut reader)?),
        _ => return Err(reader.bad("a presence mark is neither 0 nor 1")),
    };
    reader.end()?;
    Ok(StoredMember {
        instance_id,
        rack_id,
        client,
        rebalance_timeout_ms,
        topics,
        topic_regex,
        assignor,
        standing,
        target,
        classic,
    })
}

fn read_classic(reader: &mut Reader<'_>) -> Result<ClassicSide, BadRow> {
    let session_timeout_ms = reader.i32()?;
    let count = reader.count(2 * LENGTH_BYTES)?;
    if count == 0 {
        return Err(reader.bad("it has no protocols"));
    }
    let mut protocols = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.string()?.to_owned();
        protocols.push(Protocol { name, metadata: Bytes::copy_from_slice(reader.bytes()?) });
    }
    Ok(ClassicSide { session_timeout_ms, protocols })
}

/// The numbers Kafka gives the states (`MemberState`).
fn state_number(state: MemberState) -> u8 {
    match state {
        MemberState::Stable => 0,
        MemberState::UnrevokedPartitions => 1,
        MemberState::UnreleasedPartitions => 2,
    }
}

fn read_state(reader: &mut Reader<'_>) -> Result<MemberState, BadRow> {
    match reader.array()? {
        [0] => Ok(MemberState::Stable),
        [1] => Ok(MemberState::UnrevokedPartitions),
        [2] => Ok(MemberState::UnreleasedPartitions),
        _ => Err(reader.bad("its state is unknown")),
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a group has far fewer of anything");
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_names(out: &mut Vec<u8>, names: &BTreeSet<Arc<str>>) {
    put_count(out, names.len());
    names.iter().for_each(|name| put_string(out, name));
}

fn read_names(reader: &mut Reader<'_>) -> Result<BTreeSet<Arc<str>>, BadRow> {
    let mut names = BTreeSet::new();
    for _ in 0..reader.count(LENGTH_BYTES)? {
        names.insert(Arc::from(reader.string()?));
    }
    Ok(names)
}

fn put_owned(out: &mut Vec<u8>, owned: &Owned) {
    put_count(out, owned.topics());
    for (topic, partitions) in owned.by_topic() {
        out.extend_from_slice(topic.as_bytes());
        put_count(out, partitions.len());
        for (partition, epoch) in partitions {
            out.extend_from_slice(&partition.to_be_bytes());
            out.extend_from_slice(&epoch.to_be_bytes());
        }
    }
}

fn read_owned(reader: &mut Reader<'_>) -> Result<Owned, BadRow> {
    let mut owned = Owned::default();
    for _ in 0..reader.count(TOPIC_BYTES)? {
        let topic = reader.uuid()?;
        for _ in 0..reader.count(8)? {
            owned.insert(topic, reader.i32()?, reader.i32()?);
        }
    }
    Ok(owned)
}

fn put_partitions(out: &mut Vec<u8>, partitions: &Partitions) {
    put_count(out, partitions.topic_count());
    for (topic, numbers) in partitions.topics() {
        out.extend_from_slice(topic.as_bytes());
        put_count(out, numbers.len());
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    }
}

fn read_partitions(reader: &mut Reader<'_>) -> Result<Partitions, BadRow> {
    let mut partitions = Partitions::default();
    for _ in 0..reader.count(TOPIC_BYTES)? {
        let topic = reader.uuid()?;
        let count = reader.count(4)?;
        let mut numbers = Vec::with_capacity(count);
        for _ in 0..count {
            numbers.push(reader.i32()?);
        }
        partitions.extend_topic(topic, numbers);
    }
    Ok(partitions)
}

#[cfg(test)]
#[path = "consumer_group_tests.rs"]
mod tests;
