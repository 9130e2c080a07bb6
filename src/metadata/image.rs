//! The immutable snapshot of the cluster that every reader sees.
//!
//! An image is never changed once published; [`super::change::apply`] makes the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::sharded_map::ShardedMap;
use super::topics;

/// Topic-level configuration: key to value, only what was set on the topic itself.
pub type Overrides = BTreeMap<String, String>;

/// A topic as it is at one image version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Unique among live topics.
    pub name: Arc<str>,
    /// Unique for ever (KIP-516): a re-created topic has another id.
    pub id: Uuid,
    /// Number of partitions, numbered from 0; at least 1.
    pub partitions: i32,
    /// Overrides set on this topic.
    pub overrides: Arc<Overrides>,
    /// The image version that created it: orders topics by age, also across deletions.
    pub created_version: u64,
}

/// The cluster at one version.
#[derive(Debug, Clone)]
pub struct MetadataImage {
    /// Rises by one with each journalled list of changes; 0 before the first.
    pub version: u64,
    /// Kafka's text form of the cluster's UUID: 22 characters of unpadded base64url.
    pub cluster_id: Arc<str>,
    /// This broker.
    pub node_id: i32,
    by_name: ShardedMap<Arc<str>, Arc<Topic>>,
    by_id: ShardedMap<Uuid, Arc<Topic>>,
    /// Names with a '.' or '_', by their form in metric names, to find collisions without a scan.
    by_metric_name: ShardedMap<String, Arc<str>>,
    /// Overrides of groups that have any.
    groups: ShardedMap<Arc<str>, Arc<Overrides>>,
    partitions: u64,
}

impl MetadataImage {
    /// A cluster without topics.
    pub fn empty(cluster_id: impl Into<Arc<str>>, node_id: i32) -> Self {
        Self {
            version: 0,
            cluster_id: cluster_id.into(),
            node_id,
            by_name: ShardedMap::default(),
            by_id: ShardedMap::default(),
            by_metric_name: ShardedMap::default(),
            groups: ShardedMap::default(),
            partitions: 0,
        }
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic of this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics, in no particular order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.by_name.len()
    }

    /// Number of partitions of all topics together.
    pub fn partition_count(&self) -> u64 {
        self.partitions
    }

    /// The overrides of a group, if it has any.
    pub fn group_overrides(&self, group: &str) -> Option<&Arc<Overrides>> {
        self.groups.get(group)
    }

    /// Groups that have overrides, in no particular order.
    pub fn configured_groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.groups.keys()
    }

    pub(super) fn set_group_overrides(&mut self, group: &Arc<str>, overrides: &Arc<Overrides>) {
        if overrides.is_empty() {
            self.groups.remove(&**group);
        } else {
            self.groups.insert(Arc::clone(group), Arc::clone(overrides));
        }
    }

    /// The live topic, other than `name` itself, whose metric name equals that of `name`.
    pub fn colliding_topic(&self, name: &str) -> Option<&Arc<str>> {
        let metric_name = topics::metric_name(name)?;
        self.by_metric_name.get(metric_name.as_str()).filter(|other| ***other != *name)
    }

    pub(super) fn insert(&mut self, topic: Arc<Topic>) {
        // A former state of the same topic, or of its name, must leave nothing behind.
        let former = [self.by_name.get(&*topic.name), self.by_id.get(&topic.id)];
        for id in former.map(|found| found.map(|topic| topic.id)).into_iter().flatten() {
            self.remove(id);
        }
        self.partitions += partitions_of(&topic);
        if let Some(metric_name) = topics::metric_name(&topic.name) {
            self.by_metric_name.insert(metric_name, Arc::clone(&topic.name));
        }
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(Arc::clone(&topic.name), topic);
    }

    pub(super) fn remove(&mut self, id: Uuid) {
        let Some(topic) = self.by_id.get(&id).cloned() else {
            return;
        };
        self.partitions -= partitions_of(&topic);
        self.by_id.remove(&id);
        self.by_name.remove(&*topic.name);
        if let Some(metric_name) = topics::metric_name(&topic.name) {
            let registered = self.by_metric_name.get(metric_name.as_str());
            if registered == Some(&topic.name) {
                self.by_metric_name.remove(metric_name.as_str());
            }
        }
    }
}

fn partitions_of(topic: &Topic) -> u64 {
    u64::try_from(topic.partitions).unwrap_or(0)
}

/// Equal when they say the same, whatever order their shards are in.
impl PartialEq for MetadataImage {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && self.cluster_id == other.cluster_id
            && self.node_id == other.node_id
            && self.topic_count() == other.topic_count()
            && self.topics().all(|topic| other.topic(&topic.name) == Some(topic))
            && self.groups.len() == other.groups.len()
            && self.groups.keys().all(|group| self.group_overrides(group) == other.group_overrides(group))
    }
}
