//! How many bytes a batch needs that ends each transaction, over all its groups. A transaction that had more pending than one
//! batch can move could neither be committed nor aborted.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::groups::store;

/// For each producer id with pending offsets, the bytes for each group.
#[derive(Default)]
pub(super) struct Sizes(Mutex<HashMap<i64, HashMap<Arc<str>, usize>>>);

impl Sizes {
    /// Notes the bytes of one group.
    pub(super) fn set(&self, producer_id: i64, group: &Arc<str>, bytes: usize) {
        let mut producers = self.0.lock();
        if bytes > 0 {
            producers.entry(producer_id).or_default().insert(group.clone(), bytes);
        } else if let Some(groups) = producers.get_mut(&producer_id) {
            groups.remove(group);
            if groups.is_empty() {
                producers.remove(&producer_id);
            }
        }
    }

    /// The bytes of all groups but this one.
    pub(super) fn of_others(&self, producer_id: i64, group: &str) -> usize {
        let producers = self.0.lock();
        let groups = producers.get(&producer_id).into_iter().flatten();
        groups.filter(|(other, _)| &***other != group).map(|(_, bytes)| *bytes).sum()
    }

    /// Forgets the groups of a shard, which is loaded anew.
    pub(super) fn forget_shard(&self, number: u8) {
        self.0.lock().retain(|_, groups| {
            groups.retain(|group, _| store::shard_of(group) != number);
            !groups.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_groups_and_forgets() {
        let sizes = Sizes::default();
        let (g, h): (Arc<str>, Arc<str>) = ("g".into(), "h".into());
        sizes.set(7, &g, 10);
        sizes.set(7, &g, 30);
        sizes.set(7, &h, 5);
        sizes.set(8, &h, 1);
        assert_eq!((sizes.of_others(7, "g"), sizes.of_others(7, "h"), sizes.of_others(7, "x")), (5, 30, 35));
        assert_ne!(store::shard_of("g"), store::shard_of("h"));
        sizes.forget_shard(store::shard_of("h"));
        assert_eq!((sizes.of_others(7, "x"), sizes.of_others(8, "x")), (30, 0));
        sizes.set(7, &g, 0);
        assert!(sizes.0.lock().is_empty());
    }
}
