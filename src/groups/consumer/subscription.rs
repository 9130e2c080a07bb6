//! Which topics the members of a group subscribe to, by name and by expression, and what those topics are at present.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::super::topics_view::{TopicInfo, TopicsView};
use super::member::Member;

/// A subscription by expression, shared by all members that use the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharedRegex {
    /// How many members use it.
    pub(super) members: usize,
    /// The topics it matched when it was last resolved.
    pub(super) topics: BTreeSet<Arc<str>>,
}

/// What all members of a group subscribe to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subscriptions {
    /// By how many members, and by how many expressions, a topic is subscribed to.
    names: HashMap<Arc<str>, usize>,
    regexes: BTreeMap<Arc<str>, SharedRegex>,
}

impl Subscriptions {
    /// Whether any member subscribes to this topic.
    pub(super) fn contains(&self, topic: &str) -> bool {
        self.names.contains_key(topic)
    }

    /// The expressions, in order.
    pub(super) fn regexes(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &SharedRegex)> {
        self.regexes.iter()
    }

    /// The topics of an expression; none when nobody uses it.
    pub(super) fn resolved(&self, regex: &str) -> Option<&BTreeSet<Arc<str>>> {
        self.regexes.get(regex).map(|shared| &shared.topics)
    }

    /// The name in the form that the group shares among its members.
    pub(super) fn share(&self, name: &str) -> Arc<str> {
        self.names.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name))
    }

    /// Counts a member's subscription by name.
    pub(super) fn add_names<'a>(&mut self, names: impl IntoIterator<Item = &'a Arc<str>>) {
        for name in names {
            match self.names.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(self.names.insert(Arc::clone(name), 1)),
            }
        }
    }

    /// Takes back what [`add_names`](Self::add_names) counted.
    pub(super) fn remove_names<'a>(&mut self, names: impl IntoIterator<Item = &'a Arc<str>>) {
        for name in names {
            if let Some(count) = self.names.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.names.remove(name);
                }
            }
        }
    }

    /// Counts a member that uses an expression. Says whether it is the first; then the expression is to be
    /// [resolved](Self::set_resolved).
    pub(super) fn add_regex(&mut self, regex: &Arc<str>) -> bool {
        if let Some(shared) = self.regexes.get_mut(regex) {
            shared.members += 1;
            return false;
        }
        self.regexes.insert(Arc::clone(regex), SharedRegex { members: 1, topics: BTreeSet::new() });
        true
    }

    /// Takes back what [`add_regex`](Self::add_regex) counted; nothing is kept of an expression that nobody uses.
    pub(super) fn remove_regex(&mut self, regex: &str) {
        let Some(shared) = self.regexes.get_mut(regex) else { return };
        shared.members -= 1;
        if shared.members == 0
            && let Some(shared) = self.regexes.remove(regex)
        {
            self.remove_names(&shared.topics);
        }
    }

    /// Sets what an expression matches. Says whether that is something new.
    pub(super) fn set_resolved(&mut self, regex: &str, topics: BTreeSet<Arc<str>>) -> bool {
        match self.regexes.get_mut(regex) {
            Some(shared) if shared.topics != topics => {
                let before = std::mem::replace(&mut shared.topics, topics.clone());
                self.add_names(&topics);
                self.remove_names(&before);
                true
            }
            _ => false,
        }
    }

    /// Counts all of a member's subscription. For members that were restored or converted: the expression's topics are
    /// set before or afterwards.
    pub(super) fn add(&mut self, member: &Member) {
        self.add_names(&member.stored.topics);
        if let Some(regex) = &member.stored.topic_regex {
            self.add_regex(regex);
        }
    }

    /// Takes back what [`add`](Self::add) counted.
    pub(super) fn remove(&mut self, member: &Member) {
        self.remove_names(&member.stored.topics);
        if let Some(regex) = &member.stored.topic_regex {
            self.remove_regex(regex);
        }
    }

    /// The subscribed topics that there are.
    pub(super) fn topics(&self, topics: &dyn TopicsView) -> impl Iterator<Item = TopicInfo> {
        self.names.keys().filter_map(|name| topics.by_name(name))
    }

    /// A number that changes when a subscribed topic appears, goes, is made anew or gets more partitions. The same after a
    /// restart, so that what happened in between is noticed; and whatever the order of the topics.
    pub(super) fn metadata_hash(&self, topics: &dyn TopicsView) -> u64 {
        self.topics(topics).fold(0, |sum: u64, topic| {
            let partitions = topic.partitions.to_be_bytes();
            let bytes = topic.id.as_bytes().iter().chain(&partitions);
            sum.wrapping_add(mix(
                bytes.fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
            ))
        })
    }

    /// The topics that a member subscribes to, by name and by expression.
    pub(super) fn of<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a Arc<str>> {
        let by_regex = member.stored.topic_regex.as_ref().and_then(|regex| self.resolved(regex));
        member.stored.topics.iter().chain(by_regex.into_iter().flatten())
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Spreads a hash over all bits before it is added to others (the finalizer of SplitMix64).
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
