//! A hash map that is cheap to copy and change: only the shard that changes is copied.
//!
//! An image is copied for each list of changes. With one flat map, creating ten thousand topics one by one
//! would copy fifty million entries; with shards it copies a few hundred thousand.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

/// A power of two. At 10,000 entries a shard holds 80, at 100,000 it holds 800.
const SHARDS: usize = 128;

#[derive(Debug)]
pub(super) struct ShardedMap<K, V> {
    /// An absent shard is empty, so that a small cluster does not pay for 128 maps.
    shards: Vec<Option<Arc<HashMap<K, V>>>>,
    /// Chosen per process: names come from clients, and must not be able to aim at one shard.
    hasher: RandomState,
    len: usize,
}

impl<K, V> Clone for ShardedMap<K, V> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone(), hasher: self.hasher.clone(), len: self.len }
    }
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        Self { shards: vec![None; SHARDS], hasher: RandomState::new(), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> ShardedMap<K, V> {
    fn shard_of<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        (self.hasher.hash_one(key) as usize) & (SHARDS - 1)
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shards[self.shard_of(key)].as_ref()?.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        let index = self.shard_of(&key);
        let shard = Arc::make_mut(self.shards[index].get_or_insert_default());
        if shard.insert(key, value).is_none() {
            self.len += 1;
        }
    }

    pub(super) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let index = self.shard_of(key);
        let Some(shard) = &mut self.shards[index] else {
            return;
        };
        // Looked up first so that removing nothing copies nothing.
        if shard.contains_key(key) {
            Arc::make_mut(shard).remove(key);
            self.len -= 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// In no particular order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.shards.iter().flatten().flat_map(|shard| shard.keys())
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flatten().flat_map(|shard| shard.values())
    }
}

#[cfg(test)]
mod tests {
    use super::ShardedMap;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_as_a_map_and_copies_are_apart(
            ops in prop::collection::vec((0u16..400, prop::option::of(any::<u8>())), 0..600),
            copy_at in 0usize..600,
        ) {
            let mut map = ShardedMap::default();
            let mut model = HashMap::new();
            let mut kept = (map.clone(), model.clone());
            for (step, (key, value)) in ops.into_iter().enumerate() {
                if step == copy_at {
                    kept = (map.clone(), model.clone());
                }
                match value {
                    Some(value) => {
                        map.insert(key, value);
                        model.insert(key, value);
                    }
                    None => {
                        map.remove(&key);
                        model.remove(&key);
                    }
                }
            }
            for (map, model) in [(&map, &model), (&kept.0, &kept.1)] {
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.values().count(), model.len());
                for key in 0u16..400 {
                    prop_assert_eq!(map.get(&key), model.get(&key));
                }
            }
        }
    }
}
