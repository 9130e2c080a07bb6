//! Every way the cluster can change, as plain data, and the pure function that applies it.
//!
//! A change says what became true, not what was asked: it was validated before it was journalled, so
//! applying cannot fail. A change about a topic that is gone changes nothing.

use std::sync::Arc;

use uuid::Uuid;

use super::image::{MetadataImage, Overrides, Topic};

/// One fact that became true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A topic exists.
    TopicCreated {
        /// Its name, unique among live topics.
        name: Arc<str>,
        /// Its id, never used before.
        id: Uuid,
        /// Number of partitions, at least 1.
        partitions: i32,
        /// Its configuration overrides.
        overrides: Arc<Overrides>,
    },
    /// A topic and all its partitions are gone.
    TopicDeleted {
        /// Which.
        id: Uuid,
    },
    /// A topic has more partitions.
    PartitionsAdded {
        /// Which.
        id: Uuid,
        /// How many it has now, the former ones included.
        total: i32,
    },
    /// A topic's overrides are exactly these.
    ConfigsReplaced {
        /// Which.
        id: Uuid,
        /// All of its overrides.
        overrides: Arc<Overrides>,
    },
    /// A group's overrides are exactly these; the group itself need not exist.
    GroupConfigsReplaced {
        /// Which.
        group: Arc<str>,
        /// All of its overrides.
        overrides: Arc<Overrides>,
    },
}

/// The image after `changes`, which together are one version.
pub fn apply(image: &MetadataImage, changes: &[Change]) -> MetadataImage {
    let mut next = image.clone();
    next.version += 1;
    for change in changes {
        apply_one(&mut next, change);
    }
    next
}

/// Applies one change in place, as part of the version the image already carries.
pub(super) fn apply_one(image: &mut MetadataImage, change: &Change) {
    match change {
        Change::TopicCreated { name, id, partitions, overrides } => {
            let created_version = image.version;
            image.insert(Arc::new(Topic {
                name: Arc::clone(name),
                id: *id,
                partitions: *partitions,
                overrides: Arc::clone(overrides),
                created_version,
            }));
        }
        Change::TopicDeleted { id } => image.remove(*id),
        Change::PartitionsAdded { id, total } => {
            alter(image, *id, |topic| topic.partitions = topic.partitions.max(*total));
        }
        Change::ConfigsReplaced { id, overrides } => {
            alter(image, *id, |topic| topic.overrides = Arc::clone(overrides));
        }
        Change::GroupConfigsReplaced { group, overrides } => image.set_group_overrides(group, overrides),
    }
}

fn alter(image: &mut MetadataImage, id: Uuid, edit: impl FnOnce(&mut Topic)) {
    if let Some(topic) = image.topic_by_id(id) {
        let mut topic = Topic::clone(topic);
        edit(&mut topic);
        image.insert(Arc::new(topic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn created(name: &str, id: u128, partitions: i32) -> Change {
        Change::TopicCreated {
            name: name.into(),
            id: Uuid::from_u128(id),
            partitions,
            overrides: Arc::default(),
        }
    }

    #[test]
    fn one_list_is_one_version_and_the_former_image_stays() {
        let empty = MetadataImage::empty("c", 1);
        let image = apply(&empty, &[created("a", 1, 2), created("b.x", 2, 3)]);
        assert_eq!((image.version, image.topic_count(), image.partition_count()), (1, 2, 5));
        assert_eq!((empty.version, empty.topic_count()), (0, 0));
        assert_eq!(image.topic("a").map(|topic| topic.created_version), Some(1));
        assert_eq!(image.colliding_topic("b_x").map(|name| &**name), Some("b.x"));
        assert_eq!(image.colliding_topic("b.x"), None);

        let overrides = Arc::new(Overrides::from([("k".to_owned(), "v".to_owned())]));
        let changes = [
            Change::PartitionsAdded { id: Uuid::from_u128(1), total: 4 },
            Change::ConfigsReplaced { id: Uuid::from_u128(1), overrides: overrides.clone() },
            Change::TopicDeleted { id: Uuid::from_u128(2) },
        ];
        let next = apply(&image, &changes);
        let topic = next.topic_by_id(Uuid::from_u128(1)).expect("topic a");
        assert_eq!((topic.partitions, &topic.overrides, topic.created_version), (4, &overrides, 1));
        assert_eq!(next.topic("a"), Some(topic));
        assert_eq!((next.version, next.topic_count(), next.partition_count()), (2, 1, 4));
        assert_eq!(next.topic("b.x"), None);
        assert_eq!(next.colliding_topic("b_x"), None);
        assert_eq!(image.topic("a").map(|topic| topic.partitions), Some(2));
    }

    #[test]
    fn a_recreated_topic_inherits_nothing() {
        let image = apply(&MetadataImage::empty("c", 1), &[created("a", 1, 2)]);
        let delete = Change::TopicDeleted { id: Uuid::from_u128(1) };
        let image = apply(&image, &[delete.clone(), created("a", 9, 1)]);
        assert_eq!(image.topic_by_id(Uuid::from_u128(1)), None);
        assert_eq!(image.topic("a").map(|topic| topic.id), Some(Uuid::from_u128(9)));
        // A late change of the former topic must not touch its successor.
        let image = apply(&image, &[delete]);
        assert_eq!((image.topic_count(), image.partition_count()), (1, 1));
    }

    proptest! {
        /// Against a plain list of topics, with names that collide and ids that recur.
        #[test]
        fn lookups_and_counts_agree(
            steps in prop::collection::vec((0u8..4, 0usize..4, 0u128..5, 1i32..9), 0..60),
        ) {
            const NAMES: [&str; 4] = ["a", "a.b", "c_d", "e"];
            let mut image = MetadataImage::empty("c", 1);
            let mut model: BTreeMap<&str, (u128, i32)> = BTreeMap::new();
            for (kind, name, id, count) in steps {
                let name = NAMES[name];
                let uuid = Uuid::from_u128(id);
                let change = match kind {
                    0 | 1 => {
                        model.retain(|_, topic| topic.0 != id);
                        model.insert(name, (id, count));
                        created(name, id, count)
                    }
                    2 => {
                        model.retain(|_, topic| topic.0 != id);
                        Change::TopicDeleted { id: uuid }
                    }
                    _ => {
                        for topic in model.values_mut().filter(|topic| topic.0 == id) {
                            topic.1 = topic.1.max(count);
                        }
                        Change::PartitionsAdded { id: uuid, total: count }
                    }
                };
                image = apply(&image, &[change]);
                let mut sum = 0;
                for name in NAMES {
                    let found = image.topic(name).map(|t| (t.id.as_u128(), t.partitions));
                    prop_assert_eq!(found, model.get(name).copied());
                }
                for (name, (id, count)) in &model {
                    let topic = image.topic_by_id(Uuid::from_u128(*id)).expect("by id");
                    prop_assert_eq!(&*topic.name, *name);
                    sum += u64::try_from(*count).expect("positive");
                }
                prop_assert_eq!(image.topic_count(), model.len());
                prop_assert_eq!(image.partition_count(), sum);
                prop_assert_eq!(image.colliding_topic("a_b").is_some(), model.contains_key("a.b"));
            }
        }
    }
}
