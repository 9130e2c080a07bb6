//! Who this data belongs to: one row in [`KeySpace::Cluster`](crate::storage::KeySpace::Cluster), written at
//! the first start and never again.
//!
//! ```text
//!   key    "identity"
//!   value  format version u8 | node id i32 | cluster id as length u32 and UTF-8
//! ```
//!
//! The row's version byte is also the version of the whole data directory: a newer one is refused.

use std::sync::Arc;

use uuid::Uuid;

use crate::metadata::error::BadRow;
use crate::storage::codec::{Reader, put_string};
use crate::storage::{Durability, KeySpace, StateError, StateStore, WriteBatch};

const KIND: &str = "cluster identity";
const KEY: &[u8] = b"identity";

/// The format this version writes, and the newest it reads.
pub const FORMAT_VERSION: u8 = 1;

/// The identity of a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// Kafka's text form of a UUID.
    pub cluster_id: Arc<str>,
    /// The broker whose data this is.
    pub node_id: i32,
}

/// Why a data directory is not ours to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The store refused.
    #[error(transparent)]
    State(#[from] StateError),
    /// The row makes no sense.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// Written by a newer version, which may keep things this one would overlook.
    #[error(
        "the data directory has format {stored}; this version reads up to {FORMAT_VERSION}. Start the newer version again, or use another directory"
    )]
    NewerFormat {
        /// The version found.
        stored: u8,
    },
    /// Another broker's data.
    #[error(
        "the data directory belongs to node {stored}, but node.id is {configured}. Correct node.id, or use another directory"
    )]
    OtherNode {
        /// The node id found.
        stored: i32,
        /// The node id asked for.
        configured: i32,
    },
    /// Another cluster's data.
    #[error("the data directory belongs to cluster {stored}, but cluster {configured} was asked for")]
    OtherCluster {
        /// The cluster id found.
        stored: Arc<str>,
        /// The cluster id asked for.
        configured: String,
    },
}

/// Reads the identity, or makes and syncs it at the first start. Blocks.
///
/// `wanted_cluster_id`, when given, must match what is stored, and is used at a first start instead of a
/// fresh one from `new_id`.
pub fn load_or_create(
    store: &dyn StateStore,
    node_id: i32,
    wanted_cluster_id: Option<&str>,
    new_id: impl FnOnce() -> Uuid,
) -> Result<ClusterIdentity, IdentityError> {
    if let Some(value) = store.get(KeySpace::Cluster, KEY)? {
        let identity = read_value(&value)?;
        return check(identity, node_id, wanted_cluster_id);
    }
    let cluster_id = wanted_cluster_id.map_or_else(|| uuid_text(new_id()), str::to_owned);
    let identity = ClusterIdentity { cluster_id: cluster_id.into(), node_id };
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Cluster, KEY, value(&identity));
    store.write(batch, Durability::Synced)?;
    Ok(identity)
}

fn check(
    found: ClusterIdentity,
    node_id: i32,
    wanted_cluster_id: Option<&str>,
) -> Result<ClusterIdentity, IdentityError> {
    if found.node_id != node_id {
        return Err(IdentityError::OtherNode { stored: found.node_id, configured: node_id });
    }
    match wanted_cluster_id {
        Some(wanted) if wanted != &*found.cluster_id => {
            Err(IdentityError::OtherCluster { stored: found.cluster_id, configured: wanted.to_owned() })
        }
        _ => Ok(found),
    }
}

fn value(identity: &ClusterIdentity) -> Vec<u8> {
    let mut out = vec![FORMAT_VERSION];
    out.extend_from_slice(&identity.node_id.to_be_bytes());
    put_string(&mut out, &identity.cluster_id);
    out
}

fn read_value(value: &[u8]) -> Result<ClusterIdentity, IdentityError> {
    if let Some(&stored) = value.first().filter(|stored| **stored > FORMAT_VERSION) {
        return Err(IdentityError::NewerFormat { stored });
    }
    let mut reader = Reader::new(KIND, value);
    reader.version(FORMAT_VERSION)?;
    let node_id = reader.i32()?;
    let cluster_id = Arc::from(reader.string()?);
    reader.end()?;
    Ok(ClusterIdentity { cluster_id, node_id })
}

/// The digits of unpadded base64url (RFC 4648 section 5).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kafka's text form of a UUID (`org.apache.kafka.common.Uuid.toString`): 22 characters of base64url.
pub fn uuid_text(id: Uuid) -> String {
    // 128 bits and 4 zero bits below them make 22 digits of 6 bits; the topmost digit is cut first.
    let bits = id.as_u128();
    let digit = |position: u32| {
        let shift = 122 - 6 * i64::from(position);
        let six = if shift >= 0 { bits >> shift } else { bits << -shift };
        char::from(DIGITS[(six & 63) as usize])
    };
    (0..22).map(digit).collect()
}

/// Reads Kafka's text form of a UUID; `None` when it is not one.
pub fn parse_uuid_text(text: &str) -> Option<Uuid> {
    if text.len() != 22 {
        return None;
    }
    let mut bits = 0u128;
    for (position, byte) in text.bytes().enumerate() {
        let six = DIGITS.iter().position(|digit| *digit == byte)? as u128;
        if position < 21 {
            bits = (bits << 6) | six;
        } else if six & 15 == 0 {
            // The last digit carries the 2 lowest bits; the other 4 must be zero.
            bits = (bits << 2) | (six >> 4);
        } else {
            return None;
        }
    }
    Some(Uuid::from_u128(bits))
}

/// A random id as Kafka makes them (`Uuid.randomUuid`): none of the first hundred values, which are
/// reserved, and none whose text starts with '-', which command lines take for an option.
pub fn random_uuid() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if id.as_u128() >= 100 && !uuid_text(id).starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryState;
    use proptest::prelude::*;

    #[test]
    fn created_once_and_found_again() {
        let store = MemoryState::new();
        let created = load_or_create(&store, 7, None, || Uuid::from_u128(500)).expect("create");
        assert_eq!(&*created.cluster_id, uuid_text(Uuid::from_u128(500)));
        let store = store.reopen();
        let never = || unreachable!("a known cluster needs no new id");
        assert_eq!(load_or_create(&store, 7, None, never), Ok(created.clone()));
        assert_eq!(load_or_create(&store, 7, Some(&created.cluster_id), never), Ok(created));
    }

    #[test]
    fn others_are_refused_with_a_message() {
        let store = MemoryState::new();
        load_or_create(&store, 7, Some("mine"), random_uuid).expect("create");
        let other_node = load_or_create(&store, 8, None, random_uuid).expect_err("another node");
        assert_eq!(other_node, IdentityError::OtherNode { stored: 7, configured: 8 });
        assert!(other_node.to_string().contains("node 7"), "{other_node}");
        let other = load_or_create(&store, 7, Some("yours"), random_uuid);
        assert!(matches!(other, Err(IdentityError::OtherCluster { .. })), "{other:?}");

        let mut batch = WriteBatch::new();
        batch.put(KeySpace::Cluster, KEY, [FORMAT_VERSION + 1, 9, 9]);
        store.write(batch, Durability::Synced).expect("write");
        let newer = load_or_create(&store, 7, None, random_uuid);
        assert_eq!(newer, Err(IdentityError::NewerFormat { stored: FORMAT_VERSION + 1 }));
    }

    #[test]
    fn text_as_kafka_writes_it() {
        // From Kafka's UuidTest and Uuid: ONE_UUID, METADATA_TOPIC_ID, and all bits set.
        assert_eq!(uuid_text(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(uuid_text(Uuid::from_u128(0)), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(uuid_text(Uuid::from_u128(u128::MAX)), "_____________________w");
        for bad in ["", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAA=="] {
            assert_eq!(parse_uuid_text(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trip(bits: u128) {
            let id = Uuid::from_u128(bits);
            prop_assert_eq!(parse_uuid_text(&uuid_text(id)), Some(id));
        }

        #[test]
        fn row_round_trip(cluster_id in "[a-zA-Z0-9_-]{0,40}", node_id: i32) {
            let identity = ClusterIdentity { cluster_id: cluster_id.into(), node_id };
            let bytes = value(&identity);
            prop_assert_eq!(read_value(&bytes), Ok(identity));
            prop_assert!(read_value(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
