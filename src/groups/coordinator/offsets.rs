//! Committed offsets: commit, read, delete, expire.

use std::sync::Arc;

use tracing::{info, warn};
use uuid::Uuid;

use super::Coordinator;
use super::held::Held;
use super::shard::Entry;
use crate::groups::access;
use crate::groups::error::GroupError;
use crate::groups::group::{Context, Group};
use crate::groups::group_offsets::ChangedOffsets;
use crate::groups::offsets::{CommittedOffset, OffsetKey, Offsets};
use crate::groups::request::Committer;

/// First version of OffsetCommit that knows groups of the consumer protocol, and their errors.
const CONSUMER_GROUPS_FROM: i16 = 9;

/// One offset to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Which partition.
    pub of: OffsetKey,
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read, or -1.
    pub leader_epoch: i32,
    /// The client's own text.
    pub metadata: Box<str>,
}

/// What became of one [`Commit`].
pub type Committed = Result<(), GroupError>;

/// Which offsets to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOf {
    /// All that the group has.
    All,
    /// Those of these partitions.
    These(Vec<OffsetKey>),
}

/// What is said of a partition that has something committed, or may have soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The commit.
    Committed(CommittedOffset),
    /// A transaction is open that may change it: UNSTABLE_OFFSET_COMMIT to a reader that requires stable offsets (KIP-447).
    Unstable,
}

/// Where a partition's log ends, if it is to be had: asked for after an unclean stop only.
pub type LogEnds<'a> = dyn Fn(OffsetKey) -> Option<i64> + 'a;

impl Coordinator {
    /// OffsetCommit: one result per partition. `retention_ms` is what versions 2 to 4 may ask for.
    pub fn commit(
        &self,
        group: &str,
        committer: &Committer,
        version: i16,
        commits: Vec<Commit>,
        retention_ms: Option<i64>,
    ) -> Held<Vec<Committed>> {
        let metadata_max = self.0.settings.metadata_bytes_max;
        let decided = self.decide(group, |shard, id, cx, _| {
            let entry = shard.groups.entry(id.clone()).or_default();
            let mut changed = ChangedOffsets::default();
            if let Err(error) = may_commit(entry, id, committer, version, &commits, cx) {
                return (Err(error), changed);
            }
            let now_ms = cx.now.wall_ms;
            let results = commits.into_iter().map(|commit| {
                if is_longer(&commit.metadata, metadata_max) {
                    return Err(GroupError::OffsetMetadataTooLarge);
                }
                let committed = CommittedOffset {
                    offset: commit.offset,
                    leader_epoch: commit.leader_epoch,
                    metadata: commit.metadata,
                    committed_at_ms: now_ms,
                    expires_at_ms: retention_ms.map(|retention_ms| now_ms.saturating_add(retention_ms)),
                };
                entry.offsets.commit(commit.of, committed, &mut changed);
                Ok(())
            });
            let results: Vec<Committed> = results.collect();
            (Ok(results), changed)
        });
        if let Ok((Ok(results), _)) = &decided {
            self.0.metrics.observe_commits(results);
        }
        Held::decided(decided)
    }

    /// OffsetFetch: the commits there are. A group that nobody knows has none. Who requires `stable` ones is not shown those
    /// that an open transaction may change. As in Kafka, a partition for which something is pending and nothing committed
    /// is spoken of when it is asked for by name only.
    pub fn fetch(
        &self,
        group: &str,
        committer: Option<&Committer>,
        of: FetchOf,
        stable: bool,
        log_ends: &LogEnds<'_>,
    ) -> Held<Vec<(OffsetKey, Fetched)>> {
        let decided = self.decide(group, |shard, id, cx, _| {
            let mut changed = ChangedOffsets::default();
            let Some(entry) = shard.groups.get_mut(id) else {
                return (Ok(Vec::new()), changed);
            };
            if let (Some(group), Some(committer)) = (&entry.group, committer)
                && let Err(error) = group.check_fetch(committer)
            {
                return (Err(error), changed);
            }
            let asked: Vec<OffsetKey> = match of {
                // Offsets of a deleted topic are about to go.
                FetchOf::All => entry
                    .offsets
                    .committed()
                    .iter()
                    .map(|(of, _)| of)
                    .filter(|of| cx.topics.by_id(of.topic).is_some())
                    .collect(),
                FetchOf::These(asked) => asked,
            };
            let mut found = Vec::with_capacity(asked.len());
            for of in asked {
                if stable && entry.offsets.pending().is_unstable(of) {
                    found.push((of, Fetched::Unstable));
                    continue;
                }
                if entry.offsets.committed().is_unverified(of) {
                    verify(entry, id, of, log_ends, &mut changed);
                }
                if let Some(committed) = entry.offsets.committed().get(of) {
                    found.push((of, Fetched::Committed(committed.clone())));
                }
            }
            (Ok(found), changed)
        });
        Held::decided(decided)
    }

    /// OffsetDelete: one result per partition. What is pending for it goes as well, as in Kafka.
    pub fn delete_offsets(&self, group: &str, of: Vec<OffsetKey>) -> Held<Vec<Committed>> {
        let decided = self.decide(group, |shard, id, cx, _| {
            let mut changed = ChangedOffsets::default();
            let Some(Entry { group: Some(group), offsets, .. }) = shard.groups.get_mut(id) else {
                return (Err(access::not_found(id)), changed);
            };
            if let Err(error) = group.check_delete_offsets() {
                return (Err(error), changed);
            }
            let results = of.into_iter().map(|of| {
                let topic = cx.topics.by_id(of.topic);
                if topic.is_some_and(|topic| group.is_subscribed_to(&topic.name)) {
                    return Err(GroupError::GroupSubscribedToTopic);
                }
                offsets.remove(of, &mut changed);
                Ok(())
            });
            let results: Vec<Committed> = results.collect();
            (Ok(results), changed)
        });
        Held::decided(decided)
    }

    /// Forgets commits that nobody needs any more, and groups of which nothing is left (KIP-211). What an open transaction may
    /// change is needed, and so is a group in which something is pending.
    pub fn expire(&self) {
        let retention_ms = self.0.settings.offsets_retention_ms;
        self.sweep("offsets expired", true, |entry, cx| {
            let Some(group) = &entry.group else {
                return Vec::new();
            };
            let is_subscribed =
                |topic: Uuid| cx.topics.by_id(topic).is_some_and(|topic| group.is_subscribed_to(&topic.name));
            let committed = entry.offsets.committed();
            let mut expired =
                committed.expired(group.offsets_expire(), is_subscribed, cx.now.wall_ms, retention_ms);
            expired.retain(|of| !entry.offsets.pending().is_unstable(*of));
            expired
        });
    }

    /// Forgets commits for topics that do not exist any more, also those of open transactions.
    pub fn forget_deleted_topics(&self) {
        self.sweep("offsets of deleted topics forgotten", false, |entry, cx| {
            let mut last: Option<(Uuid, bool)> = None;
            let mut gone = Vec::new();
            for of in entry.offsets.partitions() {
                let is_gone = match last {
                    Some((topic, is_gone)) if topic == of.topic => is_gone,
                    _ => cx.topics.by_id(of.topic).is_none(),
                };
                last = Some((of.topic, is_gone));
                if is_gone {
                    gone.push(of);
                }
            }
            gone
        });
    }

    /// Removes what `find` finds of every group; then the group, if `bare` ones go and it is empty and has no offsets left.
    fn sweep(&self, what: &str, bare: bool, find: impl Fn(&Entry, &Context<'_>) -> Vec<OffsetKey>) {
        for shard in &self.0.shards {
            let ids: Vec<Arc<str>> = {
                let shard = shard.lock();
                // A shard that nobody has asked for is looked at when it is loaded.
                shard.groups.keys().cloned().collect()
            };
            for id in ids {
                let swept = self.decide(&id, |shard, id, cx, effects| {
                    let mut count = 0;
                    let mut changed = ChangedOffsets::default();
                    if let Some(entry) = shard.groups.get_mut(id) {
                        for of in find(entry, cx) {
                            count += usize::from(entry.offsets.remove(of, &mut changed));
                        }
                        if bare
                            && entry.offsets.is_empty()
                            && entry.group.as_ref().is_some_and(Group::is_empty)
                        {
                            access::drop_group(&mut entry.group, effects);
                        }
                    }
                    (count, changed)
                });
                match swept {
                    Ok((0, _)) => {}
                    Ok((count, _)) => info!(group = id.escape_debug().to_string(), count, "{what}"),
                    Err(error) => warn!(%error, "{what}: not done"),
                }
            }
        }
    }

    /// Shows every loaded group: its id, the group, its commits. For metrics. Each shard's lock is held meanwhile.
    pub fn each_group(&self, mut visit: impl FnMut(&Arc<str>, Option<&Group>, &Offsets)) {
        for shard in &self.0.shards {
            let shard = shard.lock();
            for (id, entry) in &shard.groups {
                visit(id, entry.group.as_ref(), entry.offsets.committed());
            }
        }
    }
}

/// Kafka counts UTF-16 units, of which there are never more than bytes.
pub(super) fn is_longer(text: &str, max: usize) -> bool {
    text.len() > max && text.encode_utf16().count() > max
}

/// Whether a commit is accepted; a group is made for one from outside any (Kafka: `OffsetMetadataManager.validateOffsetCommit`).
fn may_commit(
    entry: &mut Entry,
    id: &Arc<str>,
    committer: &Committer,
    version: i16,
    commits: &[Commit],
    cx: &Context<'_>,
) -> Result<(), GroupError> {
    match &mut entry.group {
        Some(group) => group.check_commit(committer, version, commits.iter().map(|commit| commit.of), cx.now),
        None if committer.generation_or_epoch < 0 => {
            entry.group = Some(Group::simple(id, cx.now));
            Ok(())
        }
        None if version >= CONSUMER_GROUPS_FROM => Err(access::not_found(id)),
        None => Err(GroupError::IllegalGeneration),
    }
}

/// Compares a commit from before an unclean stop with the log, and moves it if it must.
fn verify(
    entry: &mut Entry,
    id: &Arc<str>,
    of: OffsetKey,
    log_ends: &LogEnds<'_>,
    changed: &mut ChangedOffsets,
) {
    let Some(log_end) = log_ends(of) else { return };
    let was = entry.offsets.committed().get(of).map(|committed| committed.offset);
    if entry.offsets.verify(of, log_end, changed) {
        warn!(
            group = id.escape_debug().to_string(), topic = %of.topic, partition = of.partition, was, log_end,
            "a committed offset lay beyond the log after a crash and was moved back to its end"
        );
    }
}
