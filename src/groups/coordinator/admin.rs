//! What administrators ask: which groups there are, what they look like, and to be rid of them.

use std::sync::Arc;

use super::Coordinator;
use super::held::Held;
use crate::groups::access;
use crate::groups::effects::Effects;
use crate::groups::error::GroupError;
use crate::groups::group::{Context, Group};
use crate::groups::group_offsets::ChangedOffsets;
use crate::groups::request::{ClassicDescription, ConsumerDescription};
use crate::groups::store;
use crate::storage::journal::Receipt;

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: Arc<str>,
    /// `consumer`, `connect`, …; empty for a group that only has offsets.
    pub protocol_type: String,
    /// The state's name in Kafka.
    pub state: &'static str,
    /// `classic` or `consumer` (KIP-848).
    pub kind: &'static str,
}

impl Coordinator {
    /// ListGroups: every group, in no particular order; [`GroupError::CoordinatorNotAvailable`] when some cannot be read.
    pub fn list(&self) -> Held<Vec<Listed>> {
        let mut groups = Vec::new();
        // Rounds end in their order, so what has to be durable is the round that was seen last.
        let mut last = None;
        for number in 0..store::SHARDS {
            let mut shard = match self.loaded(number) {
                Ok(shard) => shard,
                Err(error) => return Held::Now(Err(error)),
            };
            last = Receipt::later(last, shard.receipt());
            for (id, entry) in &shard.groups {
                if let Some(group) = &entry.group {
                    groups.push(Listed {
                        id: id.clone(),
                        protocol_type: group.protocol_type().to_owned(),
                        state: group.state_name(),
                        kind: group.kind(),
                    });
                }
            }
        }
        Held::decided(Ok((Ok(groups), last)))
    }

    /// DescribeGroups, of one group.
    pub fn describe_classic(&self, group: &str) -> Held<ClassicDescription> {
        self.describe(group, |slot, id, _| access::describe_classic(slot, id))
    }

    /// ConsumerGroupDescribe, of one group.
    pub fn describe_consumer(&self, group: &str) -> Held<ConsumerDescription> {
        self.describe(group, access::describe_consumer)
    }

    fn describe<T: Send + 'static>(
        &self,
        group: &str,
        describe: impl FnOnce(&Option<Group>, &Arc<str>, &Context<'_>) -> Result<T, GroupError>,
    ) -> Held<T> {
        let decided = self.decide(group, |shard, id, cx, _| {
            let none = None;
            let slot = shard.groups.get(id).map_or(&none, |entry| &entry.group);
            (describe(slot, id, cx), ChangedOffsets::default())
        });
        Held::decided(decided)
    }

    /// DeleteGroups, of one group: with its offsets, those of open transactions included. Such a transaction commits none
    /// in the group when it ends.
    pub fn delete(&self, group: &str) -> Held<()> {
        let decided = self.decide(group, |shard, id, _, effects: &mut Effects| {
            let mut changed = ChangedOffsets::default();
            let Some(entry) = shard.groups.get_mut(id) else {
                return (Err(access::not_found(id)), changed);
            };
            let Some(group) = &entry.group else {
                return (Err(access::not_found(id)), changed);
            };
            if let Err(error) = group.check_delete() {
                return (Err(error), changed);
            }
            access::drop_group(&mut entry.group, effects);
            for of in entry.offsets.partitions().collect::<Vec<_>>() {
                entry.offsets.remove(of, &mut changed);
            }
            (Ok(()), changed)
        });
        Held::decided(decided)
    }
}
