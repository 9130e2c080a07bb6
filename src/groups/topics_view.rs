//! What a group needs to know of the topics.

use std::sync::Arc;

use uuid::Uuid;

use crate::metadata::MetadataImage;

/// A topic as a group sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: Uuid,
    /// Number of partitions.
    pub partitions: i32,
}

/// The topics at one moment.
pub trait TopicsView {
    /// Changes whenever any topic does.
    fn version(&self) -> u64;
    /// The topic of this name.
    fn by_name(&self, name: &str) -> Option<TopicInfo>;
    /// The topic of this id.
    fn by_id(&self, id: Uuid) -> Option<TopicInfo>;
    /// Shows every topic's name, in no particular order.
    fn each_name(&self, visit: &mut dyn FnMut(&Arc<str>));
}

impl TopicsView for MetadataImage {
    fn version(&self) -> u64 {
        self.version
    }

    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        self.topic(name).map(|topic| info(topic))
    }

    fn by_id(&self, id: Uuid) -> Option<TopicInfo> {
        self.topic_by_id(id).map(|topic| info(topic))
    }

    fn each_name(&self, visit: &mut dyn FnMut(&Arc<str>)) {
        self.topics().for_each(|topic| visit(&topic.name));
    }
}

fn info(topic: &crate::metadata::Topic) -> TopicInfo {
    TopicInfo { name: topic.name.clone(), id: topic.id, partitions: topic.partitions }
}
