//! Who may commit and read offsets (`ConsumerGroup.validateOffsetCommit` and its like in Kafka 4.3).

use uuid::Uuid;

use super::super::classic::OffsetsExpire;
use super::super::error::GroupError;
use super::super::request::Committer;
use super::group::ConsumerGroup;
use super::member::Member;

/// The first version of OffsetCommit in which a member of a consumer group can commit (KIP-848).
const COMMIT_WITH_MEMBER_EPOCH: i16 = 9;

/// What somebody may commit.
#[derive(Debug, Clone, Copy)]
pub enum CommitRight<'a> {
    /// Any partition.
    All,
    /// The partitions that this member has owned without interruption since an epoch that is not after this one.
    Older {
        /// The member.
        member: &'a Member,
        /// The epoch it commits with, which is behind its own.
        epoch: i32,
    },
}

impl CommitRight<'_> {
    /// Whether an offset of this partition may be committed. Kafka lets one partition that may not refuse the whole request.
    ///
    /// # Errors
    /// [`GroupError::StaleMemberEpoch`]; [`GroupError::IllegalGeneration`] to a member that speaks the classic protocol, and
    /// in Kafka to every TxnOffsetCommit.
    pub fn check(&self, topic: Uuid, partition: i32) -> Result<(), GroupError> {
        let CommitRight::Older { member, epoch } = self else { return Ok(()) };
        let standing = &member.stored.standing;
        let owned_since = standing.assigned.epoch(topic, partition);
        let owned_since = owned_since.or_else(|| standing.pending_revocation.epoch(topic, partition));
        match owned_since {
            Some(since) if *epoch >= since => Ok(()),
            _ => Err(wrong_epoch(member)),
        }
    }
}

impl ConsumerGroup {
    /// Whether an OffsetCommit of this version is accepted, and for which partitions.
    ///
    /// # Errors
    /// In Kafka's order: [`GroupError::UnknownMemberId`]; [`GroupError::UnsupportedVersion`] before version 9, except of a
    /// member that speaks the classic protocol; then [`GroupError::StaleMemberEpoch`] or, to such a member,
    /// [`GroupError::IllegalGeneration`], when the epoch is ahead of the member's.
    pub fn check_commit(&self, committer: &Committer, version: i16) -> Result<CommitRight<'_>, GroupError> {
        // An administrator, or a consumer that manages its partitions itself.
        if committer.generation_or_epoch < 0 && self.is_empty() {
            return Ok(CommitRight::All);
        }
        let member = self.committing_member(committer)?;
        if !member.is_classic() && version < COMMIT_WITH_MEMBER_EPOCH {
            let message =
                "OffsetCommit version 9 or above must be used by members using the consumer group protocol";
            return Err(GroupError::UnsupportedVersion(message.to_owned()));
        }
        commit_right(member, committer.generation_or_epoch)
    }

    /// Whether a TxnOffsetCommit is accepted, and for which partitions. Its older versions cannot name a member (KIP-447).
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`]; [`GroupError::IllegalGeneration`], also where an OffsetCommit would be told
    /// [`GroupError::StaleMemberEpoch`], which the request does not know.
    pub fn check_transactional_commit(&self, committer: &Committer) -> Result<CommitRight<'_>, GroupError> {
        let epoch = committer.generation_or_epoch;
        let is_nobody = committer.member_id.is_empty() && committer.instance_id.is_none();
        if (epoch < 0 && self.is_empty()) || (epoch == -1 && is_nobody) {
            return Ok(CommitRight::All);
        }
        commit_right(self.committing_member(committer)?, epoch).map_err(|_| GroupError::IllegalGeneration)
    }

    /// Whether an OffsetFetch is answered.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`]; [`GroupError::StaleMemberEpoch`], or [`GroupError::IllegalGeneration`] to a member
    /// that speaks the classic protocol, when the epoch is not the member's.
    pub fn check_fetch(&self, committer: &Committer) -> Result<(), GroupError> {
        if committer.member_id.is_empty() && committer.generation_or_epoch < 0 {
            return Ok(());
        }
        let member = self.committing_member(committer)?;
        if member.epoch() == committer.generation_or_epoch { Ok(()) } else { Err(wrong_epoch(member)) }
    }

    /// Whether the group can be deleted (DeleteGroups).
    ///
    /// # Errors
    /// [`GroupError::NonEmptyGroup`].
    pub fn check_delete(&self) -> Result<(), GroupError> {
        if self.is_empty() { Ok(()) } else { Err(GroupError::NonEmptyGroup) }
    }

    /// Whether offsets can be deleted (OffsetDelete): always. Those of a topic that the group
    /// [is subscribed to](Self::is_subscribed_to) can not, which is an error of the topic.
    pub fn check_delete_offsets(&self) -> Result<(), GroupError> {
        Ok(())
    }

    /// From when the group's committed offsets count as unused. The caller leaves out those of topics that the group
    /// [is subscribed to](Self::is_subscribed_to).
    pub fn offsets_expire(&self) -> OffsetsExpire {
        OffsetsExpire::FromCommit
    }

    fn committing_member(&self, committer: &Committer) -> Result<&Member, GroupError> {
        self.members.get(committer.member_id.as_str()).ok_or(GroupError::UnknownMemberId)
    }
}

fn commit_right(member: &Member, epoch: i32) -> Result<CommitRight<'_>, GroupError> {
    if epoch > member.epoch() {
        Err(wrong_epoch(member))
    } else if epoch == member.epoch() {
        Ok(CommitRight::All)
    } else {
        Ok(CommitRight::Older { member, epoch })
    }
}

fn wrong_epoch(member: &Member) -> GroupError {
    if member.is_classic() { GroupError::IllegalGeneration } else { GroupError::StaleMemberEpoch }
}
