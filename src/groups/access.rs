//! Who may commit and read a group's offsets, and what a group of either kind shows of itself.

use std::sync::Arc;

use super::classic::ClassicGroup;
use super::effects::{Effects, Now, RowKey};
use super::error::GroupError;
use super::group::{Context, Group};
use super::offsets::OffsetKey;
use super::request::{ClassicDescription, Committer, ConsumerDescription};

/// The answer about a group that does not exist.
pub fn not_found(id: &str) -> GroupError {
    GroupError::GroupIdNotFound(format!("Group {id} not found."))
}

impl Group {
    /// A group that is known by its offsets alone: a consumer that assigns partitions itself commits under this id.
    pub fn simple(id: &Arc<str>, now: Now) -> Group {
        Group::Classic(ClassicGroup::new(id.clone(), now))
    }

    /// Whether an OffsetCommit of this version is accepted. One partition that may not be committed refuses all.
    ///
    /// # Errors
    /// Those of [`ClassicGroup::check_commit`] and
    /// [`ConsumerGroup::check_commit`](super::consumer::ConsumerGroup::check_commit).
    pub fn check_commit(
        &mut self,
        committer: &Committer,
        version: i16,
        of: impl Iterator<Item = OffsetKey>,
        now: Now,
    ) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.check_commit(committer, now),
            Group::Consumer(group) => {
                let right = group.check_commit(committer, version)?;
                of.into_iter().try_for_each(|of| right.check(of.topic, of.partition))
            }
        }
    }

    /// Whether a TxnOffsetCommit is accepted. One partition that may not be committed refuses all.
    ///
    /// # Errors
    /// Those of [`ClassicGroup::check_transactional_commit`] and
    /// [`ConsumerGroup::check_transactional_commit`](super::consumer::ConsumerGroup::check_transactional_commit).
    pub fn check_transactional_commit(
        &self,
        committer: &Committer,
        of: impl Iterator<Item = OffsetKey>,
    ) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.check_transactional_commit(committer),
            Group::Consumer(group) => {
                let right = group.check_transactional_commit(committer)?;
                of.into_iter()
                    .try_for_each(|of| right.check(of.topic, of.partition))
                    .map_err(|_| GroupError::IllegalGeneration)
            }
        }
    }

    /// Whether an OffsetFetch is answered.
    ///
    /// # Errors
    /// Those of [`ClassicGroup::check_fetch`] and
    /// [`ConsumerGroup::check_fetch`](super::consumer::ConsumerGroup::check_fetch).
    pub fn check_fetch(&self, committer: &Committer) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.check_fetch(committer),
            Group::Consumer(group) => group.check_fetch(committer),
        }
    }
}

/// DescribeGroups: of classic groups only.
///
/// # Errors
/// [`GroupError::GroupIdNotFound`].
pub fn describe_classic(slot: &Option<Group>, id: &Arc<str>) -> Result<ClassicDescription, GroupError> {
    match slot {
        Some(Group::Classic(group)) => Ok(group.describe()),
        Some(Group::Consumer(_)) => {
            Err(GroupError::GroupIdNotFound(format!("Group {id} is not a classic group.")))
        }
        None => Err(not_found(id)),
    }
}

/// ConsumerGroupDescribe: of consumer groups only.
///
/// # Errors
/// [`GroupError::GroupIdNotFound`].
pub fn describe_consumer(
    slot: &Option<Group>,
    id: &Arc<str>,
    cx: &Context<'_>,
) -> Result<ConsumerDescription, GroupError> {
    match slot {
        Some(Group::Consumer(group)) => Ok(group.describe(cx.limits)),
        Some(Group::Classic(_)) => {
            Err(GroupError::GroupIdNotFound(format!("Group {id} is not a consumer group.")))
        }
        None => Err(not_found(id)),
    }
}

/// Removes an empty group with its rows: its deletion was accepted, or nothing is left of it.
pub fn drop_group(slot: &mut Option<Group>, effects: &mut Effects) {
    if slot.take().is_some() {
        effects.changed(RowKey::Head);
    }
}
