//! The only writer of the cluster's metadata.
//!
//! A proposal runs whole on a blocking thread while it holds the writer's lock: decide, prepare the
//! directories, journal, publish, discard what went. A caller that goes away cannot stop it half-way, and no
//! two proposals meet. All of one call's topics share one journal entry, and so one sync of the disk.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{OwnedMutexGuard, watch};
use uuid::Uuid;

use super::change::{Change, apply_one};
use super::error::{
    CreatePartitionsError, CreateTopicError, DeleteTopicError, JournalError, LoadError, SetOverridesError,
};
use super::image::{MetadataImage, Overrides, Topic};
use super::journal::{Entry, Journal, StateJournal};
use super::store::{self, cluster_id::ClusterIdentity};
use super::topics::{self, NewTopic, PartitionLimit};
use crate::storage::StateStore;
use crate::storage::rocks::blocking;

/// What the controller needs from the log directories. Called on blocking threads, one call at a time.
pub trait Logs: Send + Sync + 'static {
    /// Makes the directories of these partitions, empty and durable: when this returns, a power cut keeps
    /// them. Called before the topic's record exists. What an earlier, failed attempt left is replaced.
    fn prepare(&self, topic: &Topic, partitions: Range<i32>) -> Result<(), String>;

    /// Closes these partitions and removes their files, at once or later, as long as the name is free for a
    /// new [`Logs::prepare`] on return. Called after the topic's record is gone, or when the record that
    /// `prepare` was for could not be written, even if `prepare` failed in the midst. What cannot be removed
    /// is an orphan for the next start.
    fn discard(&self, topic: &Topic, partitions: Range<i32>);
}

/// What a controller is made with.
#[derive(Clone)]
pub struct ControllerOptions {
    /// How many partitions may exist.
    pub limit: PartitionLimit,
    /// Where ids of new topics come from; [`store::cluster_id::random_uuid`] outside tests.
    pub new_topic_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

/// A topic as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(Uuid),
}

/// More partitions for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPartitions {
    /// The topic's name.
    pub topic: String,
    /// How many partitions it is to have, the present ones included.
    pub total: i32,
}

/// A cheap handle; clones share one writer.
#[derive(Clone)]
pub struct Controller {
    shared: Arc<Shared>,
    /// The right to write. It moves onto the blocking thread with the proposal.
    writer: Arc<tokio::sync::Mutex<()>>,
}

struct Shared {
    image: ArcSwap<MetadataImage>,
    version: watch::Sender<u64>,
    journal: Box<dyn Journal>,
    logs: Box<dyn Logs>,
    options: ControllerOptions,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("version", &self.image().version).finish_non_exhaustive()
    }
}

impl Controller {
    /// Loads the stored image and takes charge of it. There must be no other controller on `store`.
    pub async fn open(
        store: Arc<dyn StateStore>,
        identity: ClusterIdentity,
        logs: Box<dyn Logs>,
        options: ControllerOptions,
    ) -> Result<Self, LoadError> {
        let loading = Arc::clone(&store);
        let empty = MetadataImage::empty(identity.cluster_id, identity.node_id);
        let image = blocking::run(move || store::load(&*loading, empty)).await??;
        Ok(Self::new(image, Box::new(StateJournal::new(store)), logs, options))
    }

    /// A controller over an image that `journal` has already.
    pub fn new(
        image: MetadataImage,
        journal: Box<dyn Journal>,
        logs: Box<dyn Logs>,
        options: ControllerOptions,
    ) -> Self {
        let version = watch::Sender::new(image.version);
        let image = ArcSwap::from_pointee(image);
        Self { shared: Arc::new(Shared { image, version, journal, logs, options }), writer: Arc::default() }
    }

    /// The present image. Never waits.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.shared.image.load_full()
    }

    /// The version of the present image, and each later one; may skip some. An image read after a version
    /// was seen is at least that version.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// What [`Controller::create_topics`] would answer now, without creating anything.
    pub fn check_topics(&self, topics: Vec<NewTopic>) -> Vec<Result<(), CreateTopicError>> {
        let mut next = Next::after(&self.image());
        topics.into_iter().map(|new| self.shared.plan_create(&mut next, new).map(drop)).collect()
    }

    /// Creates topics: one answer per topic, in order. A topic that is answered with success is durable and
    /// in the image; the failure of one does not stop the others, save that of the journal.
    pub async fn create_topics(&self, topics: Vec<NewTopic>) -> Vec<Result<Arc<Topic>, CreateTopicError>> {
        let count = topics.len();
        self.propose(move |shared| shared.create_topics(topics))
            .await
            .unwrap_or_else(|error| vec![Err(error.into()); count])
    }

    /// Deletes topics: one answer per topic, in order, holding the topic as it last was.
    pub async fn delete_topics(&self, topics: Vec<TopicRef>) -> Vec<Result<Arc<Topic>, DeleteTopicError>> {
        let count = topics.len();
        self.propose(move |shared| shared.delete_topics(topics))
            .await
            .unwrap_or_else(|error| vec![Err(error.into()); count])
    }

    /// Adds partitions: one answer per topic, in order, holding the topic as it now is.
    pub async fn create_partitions(
        &self,
        wanted: Vec<NewPartitions>,
    ) -> Vec<Result<Arc<Topic>, CreatePartitionsError>> {
        let count = wanted.len();
        self.propose(move |shared| shared.create_partitions(wanted))
            .await
            .unwrap_or_else(|error| vec![Err(error.into()); count])
    }

    /// Replaces a topic's overrides. Keys and values were checked by the caller.
    pub async fn set_overrides(
        &self,
        topic: TopicRef,
        overrides: Overrides,
    ) -> Result<Arc<Topic>, SetOverridesError> {
        self.edit_overrides(topic, move |_| Ok(overrides)).await
    }

    /// Replaces a topic's overrides by what `edit` makes of the present ones; nothing comes between its
    /// look and the change. `edit` runs on a blocking thread, and its error ends the change.
    pub async fn edit_overrides<E, F>(&self, topic: TopicRef, edit: F) -> Result<Arc<Topic>, E>
    where
        E: From<SetOverridesError> + Send + 'static,
        F: FnOnce(&Topic) -> Result<Overrides, E> + Send + 'static,
    {
        self.propose(move |shared| shared.edit_overrides(&topic, edit))
            .await
            .unwrap_or_else(|error| Err(SetOverridesError::from(error).into()))
    }

    /// Replaces a group's overrides by what `edit` makes of the present ones, as
    /// [`Controller::edit_overrides`] does for a topic. The group need not exist.
    pub async fn edit_group_overrides<E, F>(&self, group: Arc<str>, edit: F) -> Result<(), E>
    where
        E: From<SetOverridesError> + Send + 'static,
        F: FnOnce(&Overrides) -> Result<Overrides, E> + Send + 'static,
    {
        self.propose(move |shared| shared.edit_group_overrides(group, edit))
            .await
            .unwrap_or_else(|error| Err(SetOverridesError::from(error).into()))
    }

    /// Keeps the metadata as it is until the guard is dropped: what was begun is done, and nothing is created, deleted or
    /// changed. Blocks; not for a thread of the runtime.
    pub fn hold(&self) -> Held {
        Held { _writer: Arc::clone(&self.writer).blocking_lock_owned() }
    }

    async fn propose<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, JournalError> {
        let guard: OwnedMutexGuard<()> = Arc::clone(&self.writer).lock_owned().await;
        let shared = Arc::clone(&self.shared);
        let answer = blocking::run(move || {
            let answer = work(&shared);
            drop(guard);
            answer
        });
        Ok(answer.await?)
    }
}

/// The metadata does not change while this lives; see [`Controller::hold`].
#[derive(Debug)]
pub struct Held {
    _writer: OwnedMutexGuard<()>,
}

/// The next version while it is being decided: each accepted change shows to the decisions after it.
struct Next {
    image: MetadataImage,
    changes: Vec<Change>,
}

impl Next {
    fn after(image: &MetadataImage) -> Self {
        let mut image = image.clone();
        image.version += 1;
        Self { image, changes: Vec::new() }
    }

    fn accept(&mut self, change: Change) {
        apply_one(&mut self.image, &change);
        self.changes.push(change);
    }

    /// The topic an accepted change left behind.
    fn topic(&self, id: Uuid) -> Arc<Topic> {
        let topic = self.image.topic_by_id(id);
        Arc::clone(topic.expect("a change that was just accepted has its topic in the image"))
    }

    /// Takes back the last accepted change of a topic that `before` had in another state, or not at all.
    fn retract(&mut self, id: Uuid, before: Option<&Arc<Topic>>) {
        self.changes.pop();
        match before {
            Some(topic) => self.image.insert(Arc::clone(topic)),
            None => self.image.remove(id),
        }
    }
}

impl Shared {
    fn plan_create(&self, next: &mut Next, new: NewTopic) -> Result<Arc<Topic>, CreateTopicError> {
        let id = self.unused_id(&next.image);
        let change = topics::plan_create(&next.image, new, id, self.options.limit)?;
        next.accept(change);
        Ok(next.topic(id))
    }

    fn create_topics(&self, wanted: Vec<NewTopic>) -> Vec<Result<Arc<Topic>, CreateTopicError>> {
        let before = self.image.load_full();
        let mut next = Next::after(&before);
        let mut answers: Vec<_> = wanted
            .into_iter()
            .map(|new| {
                let topic = self.plan_create(&mut next, new)?;
                if let Err(reason) = self.logs.prepare(&topic, 0..topic.partitions) {
                    self.logs.discard(&topic, 0..topic.partitions);
                    next.retract(topic.id, None);
                    return Err(CreateTopicError::Logs { reason });
                }
                Ok(topic)
            })
            .collect();
        if let Err(error) = self.commit(&before, next) {
            for answer in &mut answers {
                if let Ok(topic) = answer {
                    self.logs.discard(topic, 0..topic.partitions);
                    *answer = Err(error.clone().into());
                }
            }
        }
        answers
    }

    fn delete_topics(&self, wanted: Vec<TopicRef>) -> Vec<Result<Arc<Topic>, DeleteTopicError>> {
        let before = self.image.load_full();
        let mut next = Next::after(&before);
        let mut answers: Vec<_> = wanted
            .into_iter()
            .map(|wanted| {
                let topic = find(&next.image, &wanted).cloned().ok_or(match wanted {
                    TopicRef::Name(name) => DeleteTopicError::UnknownName(name),
                    TopicRef::Id(id) => DeleteTopicError::UnknownId(id),
                })?;
                next.accept(Change::TopicDeleted { id: topic.id });
                Ok(topic)
            })
            .collect();
        let committed = self.commit(&before, next);
        for answer in &mut answers {
            match (&committed, &answer) {
                (Ok(()), Ok(topic)) => self.logs.discard(topic, 0..topic.partitions),
                (Err(error), Ok(_)) => *answer = Err(error.clone().into()),
                (_, Err(_)) => {}
            }
        }
        answers
    }

    fn create_partitions(
        &self,
        wanted: Vec<NewPartitions>,
    ) -> Vec<Result<Arc<Topic>, CreatePartitionsError>> {
        let before = self.image.load_full();
        let mut next = Next::after(&before);
        let mut answers: Vec<_> = wanted
            .into_iter()
            .map(|NewPartitions { topic, total }| {
                let Some(former) = next.image.topic(&topic).cloned() else {
                    return Err(CreatePartitionsError::UnknownName(topic));
                };
                let limit = self.options.limit;
                next.accept(topics::plan_partitions(&next.image, &former, total, limit)?);
                let topic = next.topic(former.id);
                let added = former.partitions..topic.partitions;
                if let Err(reason) = self.logs.prepare(&topic, added.clone()) {
                    self.logs.discard(&topic, added);
                    next.retract(topic.id, Some(&former));
                    return Err(CreatePartitionsError::Logs { reason });
                }
                Ok(topic)
            })
            .collect();
        if let Err(error) = self.commit(&before, next) {
            for answer in &mut answers {
                if let Ok(topic) = answer {
                    // Only what was added: the topic itself lives on.
                    let kept = before.topic_by_id(topic.id).map_or(0, |topic| topic.partitions);
                    self.logs.discard(topic, kept..topic.partitions);
                    *answer = Err(error.clone().into());
                }
            }
        }
        answers
    }

    fn edit_overrides<E: From<SetOverridesError>>(
        &self,
        wanted: &TopicRef,
        edit: impl FnOnce(&Topic) -> Result<Overrides, E>,
    ) -> Result<Arc<Topic>, E> {
        let before = self.image.load_full();
        let topic = find(&before, wanted).ok_or_else(|| match wanted {
            TopicRef::Name(name) => SetOverridesError::UnknownName(name.clone()),
            TopicRef::Id(id) => SetOverridesError::UnknownId(*id),
        })?;
        let overrides = edit(topic)?;
        if overrides == *topic.overrides {
            return Ok(Arc::clone(topic));
        }
        let mut next = Next::after(&before);
        next.accept(topics::plan_overrides(topic, overrides)?);
        let altered = next.topic(topic.id);
        self.commit(&before, next).map_err(SetOverridesError::from)?;
        Ok(altered)
    }

    fn edit_group_overrides<E: From<SetOverridesError>>(
        &self,
        group: Arc<str>,
        edit: impl FnOnce(&Overrides) -> Result<Overrides, E>,
    ) -> Result<(), E> {
        let before = self.image.load_full();
        let former = before.group_overrides(&group).cloned().unwrap_or_default();
        let overrides = edit(&former)?;
        if overrides == *former {
            return Ok(());
        }
        let known = before.configured_groups().count();
        let mut next = Next::after(&before);
        next.accept(topics::plan_group_overrides(group, overrides, known)?);
        self.commit(&before, next).map_err(SetOverridesError::from)?;
        Ok(())
    }

    /// Makes the accepted changes durable, then visible; nothing to do when none was accepted.
    fn commit(&self, before: &MetadataImage, next: Next) -> Result<(), JournalError> {
        let Next { image: after, changes } = next;
        if changes.is_empty() {
            return Ok(());
        }
        self.journal.append(Entry { changes: &changes, before, after: &after })?;
        let version = after.version;
        self.image.store(Arc::new(after));
        self.version.send_replace(version);
        Ok(())
    }

    fn unused_id(&self, image: &MetadataImage) -> Uuid {
        loop {
            let id = (self.options.new_topic_id)();
            if image.topic_by_id(id).is_none() {
                return id;
            }
        }
    }
}

fn find<'a>(image: &'a MetadataImage, wanted: &TopicRef) -> Option<&'a Arc<Topic>> {
    match wanted {
        TopicRef::Name(name) => image.topic(name),
        TopicRef::Id(id) => image.topic_by_id(*id),
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
