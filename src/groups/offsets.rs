//! Committed offsets of one group: what is kept, and when it is no longer needed. Pure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use uuid::Uuid;

use super::classic::OffsetsExpire;

/// Which partition an offset is of. By topic id, so that a re-created topic starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    /// Id of the topic.
    pub topic: Uuid,
    /// The partition.
    pub partition: i32,
}

/// One committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read, or -1.
    pub leader_epoch: i32,
    /// The client's own text.
    pub metadata: Box<str>,
    /// Milliseconds since the epoch.
    pub committed_at_ms: i64,
    /// When it expires whatever the group does: versions 2 to 4 of OffsetCommit could ask for that.
    pub expires_at_ms: Option<i64>,
}

#[derive(Debug, Clone)]
struct Kept {
    committed: CommittedOffset,
    /// When it was committed among all commits of the group.
    order: u64,
    /// Read from the disk after an unclean stop, and not compared with its log since.
    unverified: bool,
}

/// The offsets of a group.
#[derive(Debug, Clone, Default)]
pub struct Offsets(BTreeMap<OffsetKey, Kept>);

impl Offsets {
    /// Keeps a commit, the `order`-th of its group; `unverified` when it is from before an unclean stop, in which its log may
    /// have lost records.
    pub fn keep(&mut self, of: OffsetKey, committed: CommittedOffset, order: u64, unverified: bool) {
        self.0.insert(of, Kept { committed, order, unverified });
    }

    /// The commit of a partition.
    pub fn get(&self, of: OffsetKey) -> Option<&CommittedOffset> {
        self.0.get(&of).map(|kept| &kept.committed)
    }

    /// When the commit of a partition was made among all commits of the group.
    pub fn order(&self, of: OffsetKey) -> Option<u64> {
        self.0.get(&of).map(|kept| kept.order)
    }

    /// Whether the commit of a partition is to be compared with the log end before it is shown.
    pub fn is_unverified(&self, of: OffsetKey) -> bool {
        self.0.get(&of).is_some_and(|kept| kept.unverified)
    }

    /// Notes that a partition's log ends at `log_end`. A commit beyond it, of records that a crash took, is moved back to
    /// it: a consumer would find it out of range, and start over from one end of the log. Returns whether it was.
    pub fn verify(&mut self, of: OffsetKey, log_end: i64) -> bool {
        let Some(kept) = self.0.get_mut(&of) else {
            return false;
        };
        let is_beyond = kept.unverified && kept.committed.offset > log_end;
        kept.unverified = false;
        if is_beyond {
            kept.committed.offset = log_end;
            kept.committed.leader_epoch = -1;
        }
        is_beyond
    }

    /// Forgets a partition's commit; whether there was one.
    pub fn remove(&mut self, of: OffsetKey) -> bool {
        match self.0.entry(of) {
            Entry::Occupied(kept) => {
                kept.remove();
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    /// All commits, by topic id and partition.
    pub fn iter(&self) -> impl Iterator<Item = (OffsetKey, &CommittedOffset)> {
        self.0.iter().map(|(of, kept)| (*of, &kept.committed))
    }

    /// Number of partitions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which commits nobody needs any more (KIP-211): older than `retention_ms` by the group's own clock, of topics that
    /// the group does not subscribe to; and those whose own time has come.
    pub fn expired(
        &self,
        expire: OffsetsExpire,
        mut is_subscribed: impl FnMut(Uuid) -> bool,
        now_ms: i64,
        retention_ms: i64,
    ) -> Vec<OffsetKey> {
        if expire == OffsetsExpire::Never {
            return Vec::new();
        }
        let mut last: Option<(Uuid, bool)> = None;
        let mut expired = Vec::new();
        for (of, committed) in self.iter() {
            let subscribed = match last {
                Some((topic, subscribed)) if topic == of.topic => subscribed,
                _ => is_subscribed(of.topic),
            };
            last = Some((of.topic, subscribed));
            let since = match expire {
                OffsetsExpire::Never | OffsetsExpire::FromCommit => committed.committed_at_ms,
                // A commit into an empty group, by an administrator, counts by itself.
                OffsetsExpire::From(at) => at.max(committed.committed_at_ms),
            };
            let is_over = match committed.expires_at_ms {
                Some(at) => now_ms >= at,
                None => now_ms.saturating_sub(since) >= retention_ms,
            };
            if is_over && !subscribed {
                expired.push(of);
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(committed_at_ms: i64) -> CommittedOffset {
        CommittedOffset {
            offset: 10,
            leader_epoch: 2,
            metadata: "".into(),
            committed_at_ms,
            expires_at_ms: None,
        }
    }

    fn of(topic: u128, partition: i32) -> OffsetKey {
        OffsetKey { topic: Uuid::from_u128(topic), partition }
    }

    #[test]
    fn a_commit_beyond_the_log_is_moved_back_once_and_only_after_a_crash() {
        let mut offsets = Offsets::default();
        offsets.keep(of(1, 0), at(0), 1, true);
        assert!(offsets.is_unverified(of(1, 0)));
        assert!(offsets.verify(of(1, 0), 7));
        assert_eq!(offsets.get(of(1, 0)).map(|c| (c.offset, c.leader_epoch)), Some((7, -1)));
        // From now on the client may commit what it likes.
        assert!(!offsets.verify(of(1, 0), 3));
        offsets.keep(of(1, 0), at(5), 2, false);
        assert!(!offsets.verify(of(1, 0), 3) && !offsets.is_unverified(of(1, 0)));
        assert_eq!(offsets.get(of(1, 0)).map(|c| c.offset), Some(10));
        offsets.keep(of(1, 1), at(0), 3, true);
        assert!(!offsets.verify(of(1, 1), 10), "the log end itself is a good place to go on");
        assert!(!offsets.verify(of(9, 9), 0));
    }

    #[test]
    fn retention_counts_from_the_commit_or_from_when_the_group_emptied() {
        let mut offsets = Offsets::default();
        offsets.keep(of(1, 0), at(100), 1, false);
        offsets.keep(of(1, 1), at(900), 1, false);
        offsets.keep(of(2, 0), at(100), 1, false);
        let own = CommittedOffset { expires_at_ms: Some(5000), ..at(0) };
        offsets.keep(of(3, 0), own, 1, false);
        let nothing = |_| false;
        assert_eq!(offsets.expired(OffsetsExpire::Never, nothing, i64::MAX, 0), []);
        assert_eq!(offsets.expired(OffsetsExpire::FromCommit, nothing, 1100, 1000), [of(1, 0), of(2, 0)]);
        let one = |topic: Uuid| topic == Uuid::from_u128(1);
        assert_eq!(offsets.expired(OffsetsExpire::FromCommit, one, 1100, 1000), [of(2, 0)]);
        assert_eq!(offsets.expired(OffsetsExpire::From(500), nothing, 1499, 1000), []);
        assert_eq!(offsets.expired(OffsetsExpire::From(500), nothing, 1500, 1000), [of(1, 0), of(2, 0)]);
        assert_eq!(
            offsets.expired(OffsetsExpire::From(500), nothing, 5000, 1000),
            [of(1, 0), of(1, 1), of(2, 0), of(3, 0)]
        );
    }
}
