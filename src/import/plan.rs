//! What is taken, and what is left out and why. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use uuid::Uuid;

use super::ImportError;
use super::metadata_image::{self, KafkaImage, TopicMeta};
use super::source::PartitionDirs;
use crate::config::broker_keys;
use crate::config::group::{GroupOverrides, alter_group};
use crate::config::{AlterKind, AlterOp, BrokerConfig, TopicConfig, TopicOverrides, resolve};
use crate::metadata::topics::{is_internal, validate_name};

const POLICY: &str = "cleanup.policy";

/// Something that is not carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub what: String,
    pub why: String,
}

/// A topic to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTopic {
    pub name: String,
    pub id: Uuid,
    pub overrides: BTreeMap<String, String>,
    /// The directory of each partition, by its number.
    pub dirs: Vec<PathBuf>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub topics: Vec<PlannedTopic>,
    pub group_overrides: BTreeMap<String, GroupOverrides>,
    pub left_out: Vec<LeftOut>,
}

/// Decides.
///
/// # Errors
/// When a partition that this node is to have is in none of the directories: all of `log.dirs` must be named.
pub fn plan(
    image: &KafkaImage,
    found: &PartitionDirs,
    node_id: i32,
    config: &BrokerConfig,
) -> Result<Plan, ImportError> {
    let mut plan = Plan::default();
    let mut leave_out = |what: String, why: String| plan.left_out.push(LeftOut { what, why });
    let settings: BTreeMap<&str, _> = image.configs(metadata_image::TOPIC_CONFIG).collect();
    let mut taken = BTreeMap::new();
    for (id, topic) in image.topics() {
        if is_internal(&topic.name) {
            continue;
        }
        if let Some(why) = not_whole(topic, node_id) {
            leave_out(format!("topic {}", topic.name), why);
            continue;
        }
        let mut dirs = Vec::with_capacity(topic.partitions.len());
        for index in topic.partitions.keys() {
            let dir = found.get(&(topic.name.clone(), *index)).ok_or_else(|| {
                ImportError::Missing(format!(
                    "partition {}-{index} is in none of the directories: name every directory of log.dirs with --from",
                    topic.name
                ))
            })?;
            dirs.push(dir.clone());
        }
        let none = BTreeMap::new();
        let own = settings.get(topic.name.as_str()).copied().unwrap_or(&none);
        let overrides = topic_overrides(&topic.name, own, config, &mut leave_out);
        taken.insert(topic.name.clone(), PlannedTopic { name: topic.name.clone(), id, overrides, dirs });
    }
    for (topic, index) in found.keys() {
        let is_known = topic == "__cluster_metadata" || is_internal(topic) || taken.contains_key(topic);
        if !is_known && !image.topics().any(|(_, meta)| meta.name == *topic) {
            leave_out(format!("directory {topic}-{index}"), "it belongs to no topic".to_owned());
        }
    }
    for (group, own) in image.configs(metadata_image::GROUP_CONFIG) {
        let mut overrides = GroupOverrides::default();
        for (key, value) in own {
            let op = AlterOp { name: key.clone(), op: AlterKind::Set, value: Some(value.clone()) };
            match alter_group(config, &overrides, &[op]) {
                Ok(altered) => overrides = altered,
                Err(error) => leave_out(format!("{key}={value} of group {group}"), error.to_string()),
            }
        }
        if !overrides.is_empty() {
            plan.group_overrides.insert(group.to_owned(), overrides);
        }
    }
    for (broker, own) in image.configs(metadata_image::BROKER_CONFIG) {
        let whose = if broker.is_empty() { "all brokers".to_owned() } else { format!("broker {broker}") };
        for (key, value) in own {
            // Kafka itself writes some defaults there.
            if broker_keys::find(key).and_then(|row| row.default) == Some(value.as_str()) {
                continue;
            }
            let why = "it was set at run time; put it into the properties file".to_owned();
            leave_out(format!("{key}={value} of {whose}"), why);
        }
    }
    for kind in image.not_taken() {
        leave_out(kind.to_owned(), "they are not served".to_owned());
    }
    plan.topics = taken.into_values().collect();
    Ok(plan)
}

/// Why a topic cannot be taken over, if it cannot: its name is none, or its records are not all here.
fn not_whole(topic: &TopicMeta, node_id: i32) -> Option<String> {
    if let Err(error) = validate_name(&topic.name) {
        return Some(error.to_string());
    }
    if topic.partitions.is_empty() {
        return Some("it has no partitions".to_owned());
    }
    for (position, (index, partition)) in (0..).zip(&topic.partitions) {
        if position != *index {
            return Some(format!("partition {position} is missing in the metadata"));
        }
        if !partition.replicas.contains(&node_id) {
            return Some(format!("partition {index} is not on node {node_id}"));
        }
        // What one node alone has is all there is.
        let is_alone = partition.replicas == [node_id];
        if !is_alone && !partition.isr.contains(&node_id) && !partition.eligible.contains(&node_id) {
            return Some(format!("the copy of partition {index} on node {node_id} was not in sync"));
        }
    }
    None
}

/// The settings of a topic that are permitted here.
fn topic_overrides(
    topic: &str,
    own: &BTreeMap<String, String>,
    config: &BrokerConfig,
    leave_out: &mut impl FnMut(String, String),
) -> BTreeMap<String, String> {
    let mut kept = TopicOverrides::default();
    for (key, value) in own {
        match TopicConfig::validate(key, value) {
            Ok(()) => {
                kept.0.insert(key.clone(), value.clone());
            }
            Err(error) => {
                leave_out(format!("{key}={value} of topic {topic}"), error.to_string());
                // Without its policy the topic would fall back on deleting what is old, which nobody asked for.
                if key == POLICY && TopicConfig::validate(POLICY, "").is_ok() {
                    kept.0.insert(POLICY.to_owned(), String::new());
                }
            }
        }
    }
    // Keys that are fine each and contradict each other, or what the broker is set to.
    while let Err(error) = resolve(config, &kept) {
        let Some(key) = kept.0.keys().rfind(|key| error.to_string().contains(key.as_str())).cloned() else {
            break;
        };
        let value = kept.0.remove(&key).unwrap_or_default();
        leave_out(format!("{key}={value} of topic {topic}"), error.to_string());
    }
    kept.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn config() -> BrokerConfig {
        BrokerConfig::load(&Sources::default()).expect("valid").config
    }

    fn kept(pairs: &[(&str, &str)]) -> (BTreeMap<String, String>, Vec<String>) {
        let own = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut left = Vec::new();
        let kept = topic_overrides("t", &own, &config(), &mut |what, _| left.push(what));
        (kept, left)
    }

    #[test]
    fn settings_that_are_refused_are_named_and_the_rest_stays() {
        let (overrides, left) = kept(&[
            ("retention.ms", "5"),
            ("segment.bytes", "14"),
            ("remote.storage.enable", "true"),
            ("nonsense", "1"),
        ]);
        assert_eq!(overrides.keys().collect::<Vec<_>>(), ["retention.ms"]);
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn a_topic_whose_policy_is_refused_keeps_everything() {
        let (overrides, left) = kept(&[(POLICY, "nonsense")]);
        assert_eq!((overrides.get(POLICY).map(String::as_str), left.len()), (Some(""), 1));
        let resolved = resolve(&config(), &TopicOverrides(overrides)).expect("valid");
        assert!(!resolved.cleanup_policy.delete && !resolved.cleanup_policy.compact);
    }

    #[test]
    fn a_topic_that_is_not_whole_is_not_taken() {
        let partition = |replicas: &[i32], isr: &[i32]| metadata_image::PartitionMeta {
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            eligible: vec![3],
        };
        let topic = |partitions: Vec<(i32, metadata_image::PartitionMeta)>| TopicMeta {
            name: "t".to_owned(),
            partitions: partitions.into_iter().collect(),
        };
        let whole = partition(&[1, 2], &[1]);
        assert_eq!(not_whole(&topic(vec![(0, partition(&[1], &[])), (1, partition(&[1], &[2]))]), 1), None);
        assert_eq!(not_whole(&topic(vec![(0, partition(&[3, 2], &[2]))]), 3), None);
        assert_eq!(not_whole(&topic(vec![(0, whole.clone()), (1, whole.clone())]), 1), None);
        for bad in [
            vec![],
            vec![(1, whole.clone())],
            vec![(0, partition(&[2], &[2]))],
            vec![(0, whole), (1, partition(&[1, 2], &[2]))],
        ] {
            assert!(not_whole(&topic(bad), 1).is_some());
        }
    }
}
