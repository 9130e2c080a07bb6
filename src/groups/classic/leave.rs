//! LeaveGroup: members leave, or an administrator takes static members out.

use std::sync::Arc;

use super::super::effects::{Effects, Notice, Now};
use super::super::error::GroupError;
use super::super::limits::ClassicLimits;
use super::super::request::{Leaving, Left};
use super::group::{ClassicGroup, State};

impl ClassicGroup {
    /// Takes members out, each for itself; then the group rebalances once. A member is named by its id, or by its
    /// instance id alone.
    ///
    /// # Errors
    /// [`GroupError::CoordinatorNotAvailable`] when the group was given up. Each member has a result of its own:
    /// [`GroupError::UnknownMemberId`] or [`GroupError::FencedInstanceId`].
    pub fn leave(
        &mut self,
        leaving: Vec<Leaving>,
        limits: &ClassicLimits,
        now: Now,
        effects: &mut Effects,
    ) -> Result<Vec<Left>, GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let mut left = Vec::with_capacity(leaving.len());
        let mut gone = Vec::new();
        for member in leaving {
            let found = self.find_leaving(&member);
            let result = match found {
                Ok(id) => {
                    self.remove(&id, effects);
                    gone.push(format!("{id} ({})", member.reason.as_deref().unwrap_or("not provided")));
                    effects.notice(Notice::MemberLeft(id));
                    Ok(())
                }
                Err(error) => Err(error),
            };
            left.push(Left { member_id: member.member_id, instance_id: member.instance_id, result });
        }
        // As in Kafka, also when only ids left that nobody had joined with.
        if !gone.is_empty() && self.state != State::Empty {
            self.rebalance(format!("members left: {}", gone.join(", ")), limits, now, effects);
        }
        Ok(left)
    }

    fn find_leaving(&self, leaving: &Leaving) -> Result<Arc<str>, GroupError> {
        if leaving.member_id.is_empty() {
            let found = leaving.instance_id.as_deref().and_then(|id| self.instances.get(id));
            return found.cloned().ok_or(GroupError::UnknownMemberId);
        }
        if self.pending.contains_key(leaving.member_id.as_str()) {
            return Ok(leaving.member_id.as_str().into());
        }
        self.check_member(&leaving.member_id, leaving.instance_id.as_deref())?;
        Ok(leaving.member_id.as_str().into())
    }
}
