//! Joining, staying and leaving.

use tokio::sync::oneshot;

use super::Coordinator;
use super::held::Held;
use super::shard::Waiter;
use crate::groups::error::GroupError;
use crate::groups::group;
use crate::groups::group_offsets::ChangedOffsets;
use crate::groups::request::{
    ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatRequest, JoinAnswer, JoinRequest, Leaving, Left,
    SyncAnswer, SyncRequest,
};

impl Coordinator {
    /// JoinGroup.
    pub fn join(&self, group: &str, request: JoinRequest) -> Held<JoinAnswer> {
        let ticket = self.new_ticket();
        let (waiter, waiting) = oneshot::channel();
        let decided = self.decide(group, |shard, id, cx, effects| {
            shard.waiting.insert(ticket, Waiter::Join(waiter));
            let entry = shard.groups.entry(id.clone()).or_default();
            group::join(&mut entry.group, id, request, ticket, cx, effects);
            ((), ChangedOffsets::default())
        });
        waiting_for(waiting, decided.map(drop))
    }

    /// SyncGroup.
    pub fn sync(&self, group: &str, request: SyncRequest) -> Held<SyncAnswer> {
        let ticket = self.new_ticket();
        let (waiter, waiting) = oneshot::channel();
        let decided = self.decide(group, |shard, id, cx, effects| {
            shard.waiting.insert(ticket, Waiter::Sync(waiter));
            let entry = shard.groups.entry(id.clone()).or_default();
            group::sync(&mut entry.group, request, ticket, cx, effects);
            ((), ChangedOffsets::default())
        });
        waiting_for(waiting, decided.map(drop))
    }

    /// Heartbeat.
    pub fn heartbeat(&self, group: &str, request: &HeartbeatRequest) -> Held<()> {
        let decided = self.decide_group(group, |slot, _, cx, _| group::heartbeat(slot, request, cx));
        Held::decided(decided)
    }

    /// LeaveGroup: one result per member.
    pub fn leave(&self, group: &str, leaving: Vec<Leaving>) -> Held<Vec<Left>> {
        Held::decided(
            self.decide_group(group, |slot, _, cx, effects| group::leave(slot, leaving, cx, effects)),
        )
    }

    /// ConsumerGroupHeartbeat.
    pub fn consumer_heartbeat(
        &self,
        group: &str,
        request: ConsumerHeartbeat,
    ) -> Held<ConsumerHeartbeatAnswer> {
        Held::decided(self.decide_group(group, |slot, id, cx, effects| {
            group::consumer_heartbeat(slot, id, request, cx, effects)
        }))
    }
}

/// What was answered already is given at once.
fn waiting_for<T: Send + 'static>(
    mut waiting: oneshot::Receiver<super::held::Delivered<T>>,
    decided: Result<(), GroupError>,
) -> Held<T> {
    if let Err(error) = decided {
        return Held::Now(Err(error));
    }
    match waiting.try_recv() {
        Ok((answer, receipt)) => Held::decided(Ok((Ok(answer), receipt))),
        Err(oneshot::error::TryRecvError::Empty) => Held::Waiting(waiting),
        Err(oneshot::error::TryRecvError::Closed) => Held::Now(Err(GroupError::NotCoordinator)),
    }
}
