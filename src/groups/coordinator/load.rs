//! Reads a shard from the state store: when it is first asked for, and after a failed write.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::MutexGuard;
use tracing::error;

use super::Coordinator;
use super::shard::Shard;
use crate::groups::effects::{Effects, RowKey};
use crate::groups::error::GroupError;
use crate::groups::group::{Context, Group};
use crate::groups::group_offsets::{ChangedOffsets, GroupOffsets};
use crate::groups::offsets::CommittedOffset;
use crate::groups::store::{self, committed_offset, pending_offset};
use crate::storage::codec::BadRow;
use crate::storage::{KeySpace, StateError};

/// Why a shard could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    State(#[from] StateError),
    /// To go on without the row would start a group over from nothing.
    #[error(transparent)]
    Row(#[from] BadRow),
}

/// The rows of one group.
#[derive(Default)]
struct Rows {
    group: BTreeMap<RowKey, Vec<u8>>,
    offsets: GroupOffsets,
}

impl Coordinator {
    /// Reads every shard that was not asked for yet, or was given up and not asked for since: its members' sessions are
    /// counted from then on. What cannot be read is logged. Blocks; for a thread that may.
    pub fn load_all(&self) {
        for number in 0..store::SHARDS {
            self.loaded(number).ok();
        }
    }

    /// A shard as the state store has it.
    pub(super) fn loaded(&self, number: u8) -> Result<MutexGuard<'_, Shard>, GroupError> {
        let mut shard = self.0.shards[usize::from(number)].lock();
        let term = self.0.journal.term();
        if shard.term == term {
            return Ok(shard);
        }
        shard.give_up();
        // Reading waits for the disk: the runtime is told, so that other tasks of this worker move on.
        match crate::storage::blocking(|| self.load(&mut shard, number, term)) {
            Ok(()) => Ok(shard),
            Err(error) => {
                error!(%error, shard = number, "groups could not be read from the state store");
                shard.give_up();
                Err(GroupError::CoordinatorNotAvailable)
            }
        }
    }

    fn load(&self, shard: &mut Shard, number: u8, term: u64) -> Result<(), LoadError> {
        // A shard that was given up may have rows on their way to the disk: to read before they are there would be to
        // read the past. Should they fail, the term is over and the next look reads again.
        shard.await_queued();
        let rows = self.read(number, shard.was_loaded)?;
        let image = (self.0.image)();
        self.0.sizes.forget_shard(number);
        shard.term = term;
        shard.was_loaded = true;
        for (id, rows) in rows {
            let limits = self.limits(&image, &id);
            let cx = Context { topics: &*image, limits: &limits, now: self.now() };
            let mut effects = Effects::default();
            let group = restored(&id, &rows, &cx, &mut effects)?;
            self.measure(&id, &rows.offsets, rows.offsets.pending().producers());
            shard.insert(&id, group, rows.offsets);
            // A group that is restored may begin a rebalance; a failure to write that shows at the next decision.
            if self.settle(shard, &id, &mut effects, &ChangedOffsets::default()).is_err() {
                return Err(LoadError::State(StateError::Closed));
            }
        }
        Ok(())
    }

    fn read(&self, number: u8, again: bool) -> Result<HashMap<Arc<str>, Rows>, LoadError> {
        let mut rows: HashMap<Arc<str>, Rows> = HashMap::new();
        each_row(self, KeySpace::Groups, number, |key, value| {
            let (group, row) = store::read_key(key)?;
            of_group(&mut rows, group).group.insert(row, value.to_vec());
            Ok(())
        })?;
        each_row(self, KeySpace::Offsets, number, |key, value| {
            let (group, of) = committed_offset::read_key(key)?;
            let (committed, order) = committed_offset::read_value(value)?;
            let unverified = self.is_unverified(&committed, again);
            of_group(&mut rows, group).offsets.restore(of, committed, order, unverified);
            Ok(())
        })?;
        each_row(self, KeySpace::PendingOffsets, number, |key, value| {
            let (group, producer_id, of) = pending_offset::read_key(key)?;
            let mut pending = pending_offset::read_value(value)?;
            pending.unverified = self.is_unverified(&pending.committed, again);
            of_group(&mut rows, group).offsets.restore_pending(producer_id, of, pending);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Whether a stored commit may lie beyond the end of its log. One that is read `again` may be from after the start, when
    /// the logs were as they are now.
    fn is_unverified(&self, committed: &CommittedOffset, again: bool) -> bool {
        let is_old = !again || committed.committed_at_ms <= self.0.began_ms;
        is_old && !self.0.settings.was_clean
    }
}

/// The group of its rows. Offsets without a group are a group that is known by them alone.
fn restored(
    id: &Arc<str>,
    rows: &Rows,
    cx: &Context<'_>,
    effects: &mut Effects,
) -> Result<Option<Group>, BadRow> {
    let Some(head) = rows.group.get(&RowKey::Head) else {
        return Ok((!rows.offsets.is_empty()).then(|| Group::simple(id, cx.now)));
    };
    let members = rows.group.iter().filter_map(|(row, value)| match row {
        RowKey::Member(id) => Some((id.clone(), value.as_slice())),
        RowKey::Head => None,
    });
    Group::restored(id.clone(), head, members, cx.limits, cx.now, effects).map(Some)
}

fn of_group<'a>(rows: &'a mut HashMap<Arc<str>, Rows>, group: &str) -> &'a mut Rows {
    if !rows.contains_key(group) {
        rows.insert(Arc::from(group), Rows::default());
    }
    rows.get_mut(group).expect("it was just made")
}

fn each_row(
    coordinator: &Coordinator,
    space: KeySpace,
    shard: u8,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), BadRow>,
) -> Result<(), LoadError> {
    let mut outcome = Ok(());
    coordinator.0.store.scan_prefix(space, &[shard], &mut |key, value| {
        outcome = visit(key, value);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(outcome?)
}
