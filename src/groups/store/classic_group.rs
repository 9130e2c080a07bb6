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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::effects::{Effects, Now};
    use crate::groups::limits::ClassicLimits;
    use proptest::prelude::*;

    const LIMITS: ClassicLimits = ClassicLimits {
        session_min_ms: 0,
        session_max_ms: i32::MAX,
        initial_rebalance_delay_ms: 0,
        members_max: usize::MAX,
        pending_members_max: 0,
    };

    fn restored(stored: StoredGroup) -> ClassicGroup {
        let now = Now { ticks_ms: 0, wall_ms: 0 };
        ClassicGroup::restored("g".into(), stored, &LIMITS, now, &mut Effects::default())
    }

    fn example() -> StoredGroup {
        StoredGroup {
            generation: 5,
            state_since_ms: 7,
            protocol_type: Some("t".into()),
            protocol_name: Some("p".into()),
            leader: Some("m".into()),
            members: vec![StoredMember {
                id: "m".into(),
                instance_id: Some("i".into()),
                client: Client { id: "c".to_owned(), host: "/h".to_owned() },
                rebalance_timeout_ms: 2,
                session_timeout_ms: 1,
                protocols: vec![Protocol { name: "p".to_owned(), metadata: Bytes::from_static(&[8]) }],
                assignment: Bytes::from_static(&[9, 9]),
            }],
        }
    }

    #[rustfmt::skip]
    const EXAMPLE: &[u8] = &[
        1,
        0, 0, 0, 5,
        0, 0, 0, 0, 0, 0, 0, 7,
        1, 0, 0, 0, 1, b't',
        1, 0, 0, 0, 1, b'p',
        1, 0, 0, 0, 1, b'm',
        0, 0, 0, 1,
            0, 0, 0, 1, b'm',
            1, 0, 0, 0, 1, b'i',
            0, 0, 0, 1, b'c',
            0, 0, 0, 2, b'/', b'h',
            0, 0, 0, 2,
            0, 0, 0, 1,
            0, 0, 0, 1, 8,
            0, 0, 0, 2, 9, 9,
    ];

    #[test]
    fn bytes_on_disk() {
        assert_eq!(encode(&restored(example())), EXAMPLE);
        let empty = StoredGroup {
            generation: 0,
            state_since_ms: -1,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: Vec::new(),
        };
        let bytes = [1, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(encode(&restored(empty.clone())), bytes);
        assert_eq!(decode(&bytes), Ok(empty));
    }

    #[test]
    fn a_row_that_contradicts_itself_is_refused() {
        let reason = |change: &dyn Fn(&mut StoredGroup)| {
            let mut stored = example();
            change(&mut stored);
            let mut out = vec![VERSION];
            write(&mut out, &stored);
            decode(&out).expect_err("refused").reason
        };
        let again =
            |stored: &StoredGroup, id: &str| StoredMember { id: id.into(), ..stored.members[0].clone() };
        assert_eq!(reason(&|stored| stored.generation = -1), "its generation is negative");
        assert_eq!(reason(&|stored| stored.leader = None), "its members have no leader");
        assert_eq!(reason(&|stored| stored.leader = Some("x".into())), "its leader is not a member");
        assert_eq!(reason(&|stored| stored.members.clear()), "its leader is not a member");
        assert_eq!(reason(&|stored| stored.protocol_type = None), "its members have no protocol");
        assert_eq!(reason(&|stored| stored.protocol_name = None), "its members have no protocol");
        let same_id = |stored: &mut StoredGroup| stored.members.push(again(stored, "m"));
        assert_eq!(reason(&same_id), "two members have the same id");
        let same_instance = |stored: &mut StoredGroup| stored.members.push(again(stored, "n"));
        assert_eq!(reason(&same_instance), "two members have the same group instance id");
    }

    /// Writes what [`encode`] never would.
    fn write(out: &mut Vec<u8>, stored: &StoredGroup) {
        out.extend_from_slice(&stored.generation.to_be_bytes());
        out.extend_from_slice(&stored.state_since_ms.to_be_bytes());
        for text in [&stored.protocol_type, &stored.protocol_name, &stored.leader] {
            put_optional_string(out, text.as_deref());
        }
        out.extend_from_slice(&u32::try_from(stored.members.len()).expect("few").to_be_bytes());
        for member in &stored.members {
            put_string(out, &member.id);
            put_optional_string(out, member.instance_id.as_deref());
            put_string(out, &member.client.id);
            put_string(out, &member.client.host);
            out.extend_from_slice(&member.rebalance_timeout_ms.to_be_bytes());
            out.extend_from_slice(&member.session_timeout_ms.to_be_bytes());
            put_bytes(out, &member.protocols[0].metadata);
            put_bytes(out, &member.assignment);
        }
    }

    #[test]
    fn a_number_of_members_allocates_nothing_that_is_not_there() {
        let mut bytes = EXAMPLE.to_vec();
        let count = 1 + 4 + 8 + 6 + 6 + 6;
        bytes[count..count + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(decode(&bytes).expect_err("refused").reason, "it is cut short");
    }

    fn stored() -> impl Strategy<Value = StoredGroup> {
        let member = (
            ".{0,8}",
            prop::option::of(".{0,8}"),
            (".{0,8}", ".{0,8}"),
            (any::<i32>(), any::<i32>()),
            prop::collection::vec(any::<u8>(), 0..20),
            prop::collection::vec(any::<u8>(), 0..20),
        );
        let members = prop::collection::vec(member, 0..5);
        (
            0..i32::MAX,
            any::<i64>(),
            prop::option::of("[a-z]{1,8}"),
            ".{0,8}",
            any::<prop::sample::Index>(),
            members,
        )
            .prop_map(|(generation, state_since_ms, protocol_type, protocol, leader, members)| {
                let mut ids = HashSet::new();
                let mut instances = HashSet::new();
                let mut kept = Vec::new();
                for (id, instance, client, timeouts, metadata, assignment) in members {
                    let is_new_instance = instance.as_ref().is_none_or(|id| instances.insert(id.clone()));
                    if is_new_instance && ids.insert(id.clone()) {
                        kept.push(StoredMember {
                            id: id.into(),
                            instance_id: instance.map(Arc::from),
                            client: Client { id: client.0, host: client.1 },
                            rebalance_timeout_ms: timeouts.0,
                            session_timeout_ms: timeouts.1,
                            protocols: vec![Protocol { name: protocol.clone(), metadata: metadata.into() }],
                            assignment: assignment.into(),
                        });
                    }
                }
                kept.sort_by(|a, b| a.id.cmp(&b.id));
                let is_begun = generation > 0 || !kept.is_empty();
                let protocol_type = protocol_type.filter(|_| is_begun);
                let protocol_type = protocol_type.or((!kept.is_empty()).then(|| "consumer".to_owned()));
                StoredGroup {
                    generation,
                    state_since_ms,
                    protocol_type: protocol_type.map(Arc::from),
                    protocol_name: (!kept.is_empty()).then(|| protocol.into()),
                    leader: (!kept.is_empty()).then(|| Arc::clone(&kept[leader.index(kept.len())].id)),
                    members: kept,
                }
            })
    }

    proptest! {
        #[test]
        fn round_trip(stored in stored(), cut in any::<prop::sample::Index>()) {
            let bytes = encode(&restored(stored.clone()));
            prop_assert_eq!(decode(&bytes), Ok(stored));
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
            prop_assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        /// Damage in one place is found, or leaves a group that works.
        #[test]
        fn damage_is_read_without_panic(stored in stored(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = encode(&restored(stored));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = decode(&bytes) {
                let group = restored(read.clone());
                prop_assert_eq!(group.len(), read.members.len());
                prop_assert!(decode(&encode(&group)).is_ok());
            }
        }
    }
}
