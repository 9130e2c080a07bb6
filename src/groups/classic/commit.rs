//! Who may commit and read offsets, and when they are no longer needed.

use super::super::effects::Now;
use super::super::error::GroupError;
use super::super::request::Committer;
use super::group::{ClassicGroup, State};

/// From when the retention of a committed offset counts, when nobody is subscribed to its topic (KIP-211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetsExpire {
    /// They stay for as long as the group is as it is.
    Never,
    /// From their commit.
    FromCommit,
    /// From when the group became empty, in milliseconds since the epoch.
    From(i64),
}

impl ClassicGroup {
    /// Whether an OffsetCommit is accepted. Renews the member's session when it is, except in CompletingRebalance.
    ///
    /// # Errors
    /// In Kafka's order: [`GroupError::CoordinatorNotAvailable`] when the group was given up;
    /// [`GroupError::UnknownMemberId`] and [`GroupError::FencedInstanceId`]; [`GroupError::IllegalGeneration`];
    /// [`GroupError::RebalanceInProgress`] between the beginning of a generation and its assignments.
    pub fn check_commit(&mut self, committer: &Committer, now: Now) -> Result<(), GroupError> {
        if self.check_committer(committer)? == Membership::Outside {
            return if self.is_empty() { Ok(()) } else { Err(GroupError::UnknownMemberId) };
        }
        match self.state {
            State::CompletingRebalance => Err(GroupError::RebalanceInProgress),
            State::Stable | State::PreparingRebalance => {
                self.renew_session(&committer.member_id, now);
                Ok(())
            }
            State::Empty | State::Dead => Ok(()),
        }
    }

    /// Whether a TxnOffsetCommit is accepted. It needs no membership, since its older versions cannot name one, and is
    /// accepted in every state (KIP-447).
    ///
    /// # Errors
    /// In Kafka's order: [`GroupError::CoordinatorNotAvailable`] when the group was given up;
    /// [`GroupError::UnknownMemberId`] and [`GroupError::FencedInstanceId`]; [`GroupError::IllegalGeneration`].
    pub fn check_transactional_commit(&self, committer: &Committer) -> Result<(), GroupError> {
        self.check_committer(committer).map(drop)
    }

    fn check_committer(&self, committer: &Committer) -> Result<Membership, GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        // An administrator, or a consumer that manages its partitions itself.
        if committer.generation_or_epoch < 0 && self.is_empty() {
            return Ok(Membership::Outside);
        }
        if committer.generation_or_epoch < 0
            && committer.member_id.is_empty()
            && committer.instance_id.is_none()
        {
            return Ok(Membership::Outside);
        }
        self.check_member(&committer.member_id, committer.instance_id.as_deref())?;
        if committer.generation_or_epoch == self.generation {
            Ok(Membership::Member)
        } else {
            Err(GroupError::IllegalGeneration)
        }
    }

    /// Whether an OffsetFetch is answered. A classic group asks nothing of who reads.
    ///
    /// # Errors
    /// [`GroupError::GroupIdNotFound`] when the group was given up.
    pub fn check_fetch(&self, _committer: &Committer) -> Result<(), GroupError> {
        self.check_alive()
    }

    /// Whether the group can be deleted (DeleteGroups).
    ///
    /// # Errors
    /// [`GroupError::NonEmptyGroup`]; [`GroupError::GroupIdNotFound`] when the group was given up.
    pub fn check_delete(&self) -> Result<(), GroupError> {
        self.check_alive()?;
        if self.is_empty() { Ok(()) } else { Err(GroupError::NonEmptyGroup) }
    }

    /// Whether offsets can be deleted (OffsetDelete). Those of a topic that the group
    /// [is subscribed to](Self::is_subscribed_to) can not, which is an error of the topic.
    ///
    /// # Errors
    /// [`GroupError::NonEmptyGroup`] when the group has members whose subscriptions the broker cannot read;
    /// [`GroupError::GroupIdNotFound`] when the group was given up.
    pub fn check_delete_offsets(&self) -> Result<(), GroupError> {
        self.check_alive()?;
        if self.is_empty() || self.uses_consumer_protocol() { Ok(()) } else { Err(GroupError::NonEmptyGroup) }
    }

    fn check_alive(&self) -> Result<(), GroupError> {
        match self.state {
            State::Dead => Err(GroupError::GroupIdNotFound(format!("Group {} is dead.", self.id))),
            _ => Ok(()),
        }
    }

    /// From when the group's committed offsets count as unused. The caller leaves out those of topics that the group
    /// [is subscribed to](Self::is_subscribed_to).
    pub fn offsets_expire(&self) -> OffsetsExpire {
        match self.state {
            _ if self.protocol_type.is_none() => OffsetsExpire::FromCommit,
            State::Empty => OffsetsExpire::From(self.state_since_ms),
            State::Stable if self.uses_consumer_protocol() && self.subscribed.is_some() => {
                OffsetsExpire::FromCommit
            }
            _ => OffsetsExpire::Never,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Membership {
    Member,
    Outside,
}
