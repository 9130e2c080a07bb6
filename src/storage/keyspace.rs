//! The whole state database on one screen: which key spaces exist, who owns each, and the shape of its rows.
//!
//! A key space is a column family in RocksDB and a map in memory. A new one is added here only when its
//! owner is written; a name, once shipped, never changes its meaning, because it is on people's disks.

/// One independent, ordered map of byte keys to byte values.
///
/// | space | owner | key | value |
/// |---|---|---|---|
/// | `Topics` | `metadata/store/topic.rs` | topic name, UTF-8 | id, partition count, creation index |
/// | `Configs` | `metadata/store/topic_override.rs` | topic id, 16 bytes | all overrides of that topic |
/// | `Cluster` | `metadata/store/cluster_id.rs` and `metadata/store/mod.rs` | a fixed word | identity; last metadata index |
/// | `ProducerIds` | `metadata/store/producer_block.rs` | a fixed word | first producer id not yet reserved |
/// | `Groups` | `groups/store/mod.rs` | shard, group id, member id | the group as a whole, or one member |
/// | `Offsets` | `groups/store/committed_offset.rs` | shard, group id, topic id, partition | one committed offset |
/// | `GroupConfigs` | `metadata/store/group_override.rs` | group id, UTF-8 | all overrides of that group |
/// | `PendingOffsets` | `groups/store/pending_offset.rs` | shard, group id, producer id, topic id, partition | one offset of a transaction that is open |
/// | `Transactions` | `transactions/store/transaction.rs` | shard, transactional id | its producer id, epoch and present transaction |
/// | `TransactionEndings` | `transactions/store/ending.rs` | shard, transactional id, serial number | what is still to be done for a transaction whose outcome is decided |
///
/// A write batch is atomic across key spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySpace {
    /// Topics that exist. Keyed by name so that a name can never own two rows.
    Topics,
    /// Topic-level configuration overrides. Keyed by topic id so that a re-created topic inherits nothing.
    Configs,
    /// Facts of the whole cluster: identity, format version, last applied metadata index.
    Cluster,
    /// Reservation of producer id blocks.
    ProducerIds,
    /// Groups and their members. Keyed by coordinator shard first, so that one shard loads by one scan.
    Groups,
    /// Committed offsets. Keyed by topic id, so that a re-created topic starts anew.
    Offsets,
    /// Group-level configuration overrides; a group need not exist to have some.
    GroupConfigs,
    /// Offsets of open transactions: visible to nobody until the transaction is committed.
    PendingOffsets,
    /// Transactional ids. Keyed by coordinator shard first, so that one shard loads by one scan.
    Transactions,
    /// Decided transactions whose markers may not be in all logs yet.
    TransactionEndings,
}

impl KeySpace {
    /// Every key space, in the order of their on-disk ids.
    pub const ALL: [Self; 10] = [
        Self::Topics,
        Self::Configs,
        Self::Cluster,
        Self::ProducerIds,
        Self::Groups,
        Self::Offsets,
        Self::GroupConfigs,
        Self::PendingOffsets,
        Self::Transactions,
        Self::TransactionEndings,
    ];

    /// The name under which this key space is stored. Part of the disk format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topics => "topics",
            Self::Configs => "configs",
            Self::Cluster => "cluster",
            Self::ProducerIds => "producer_ids",
            Self::Groups => "groups",
            Self::Offsets => "offsets",
            Self::GroupConfigs => "group_configs",
            Self::PendingOffsets => "pending_offsets",
            Self::Transactions => "transactions",
            Self::TransactionEndings => "transaction_endings",
        }
    }

    /// Position in [`KeySpace::ALL`]; used to index per-space tables.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::KeySpace;
    use std::collections::BTreeSet;

    #[test]
    fn positions_match_the_list_and_names_are_distinct() {
        for (position, space) in KeySpace::ALL.into_iter().enumerate() {
            assert_eq!(space.index(), position);
        }
        let names: BTreeSet<_> = KeySpace::ALL.iter().map(|space| space.name()).collect();
        assert_eq!(names.len(), KeySpace::ALL.len());
    }

    /// The names are on disk: a change of any of them must be noticed here first.
    #[test]
    fn names_on_disk_do_not_change() {
        let names = KeySpace::ALL.map(KeySpace::name);
        assert_eq!(
            names,
            [
                "topics",
                "configs",
                "cluster",
                "producer_ids",
                "groups",
                "offsets",
                "group_configs",
                "pending_offsets",
                "transactions",
                "transaction_endings",
            ]
        );
    }
}
