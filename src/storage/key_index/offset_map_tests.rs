//! The table against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn hasher() -> KeyHasher {
    KeyHasher::with_secret([3; 16])
}

/// Most entries of a table with this budget, when its shards fill evenly.
fn room(max_bytes: usize, load_factor: f64) -> usize {
    (max_bytes as f64 / OffsetMap::ENTRY_BYTES as f64 * load_factor) as usize
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_map_until_it_is_full(
        max_bytes in 0..300_000usize,
        load_factor in 0.05..=1.0f64,
        entries in prop::collection::vec((0..3_000u32, 0..10_000i64), 0..4_000),
    ) {
        let mut map = OffsetMap::new(hasher(), max_bytes, load_factor);
        let mut model = BTreeMap::<u32, i64>::new();
        for (key, offset) in entries {
            let inserted = map.insert_key(&key.to_be_bytes(), offset);
            let expected = match model.get(&key) {
                Some(known) if *known == offset => Inserted::New,
                Some(known) => Inserted::Supersedes(offset.min(*known)),
                None => Inserted::New,
            };
            if inserted == Inserted::Full {
                prop_assert!(!model.contains_key(&key));
                prop_assert!(!model.is_empty());
                continue;
            }
            prop_assert_eq!(inserted, expected);
            let newest = model.entry(key).or_insert(offset);
            *newest = offset.max(*newest);
        }
        prop_assert_eq!(map.len(), model.len());
        prop_assert!(map.bytes() <= max_bytes.max(2 * OffsetMap::ENTRY_BYTES));
        prop_assert!(map.len() <= room(max_bytes, load_factor).max(1), "fuller than asked for");
        let newest = model.values().copied().max().unwrap_or(-1);
        prop_assert_eq!(map.newest_offset(), newest);
        for key in 0..3_000u32 {
            let known = model.get(&key).copied();
            let bytes = key.to_be_bytes();
            prop_assert_eq!(map.get(hasher().hash(&bytes)), known);
            for offset in [0, 5_000, known.unwrap_or(7), known.unwrap_or(7) + 1] {
                let superseded = known.is_some_and(|known| offset < known);
                prop_assert_eq!(map.is_superseded(offset, &bytes), superseded);
                prop_assert!(!superseded || !map.none_within(offset, offset));
            }
        }
        prop_assert!(map.none_within(newest, i64::MAX));
        let mut expected: Vec<_> =
            model.iter().map(|(key, offset)| (hasher().hash(&key.to_be_bytes()), *offset)).collect();
        expected.sort_unstable();
        let sorted = map.into_sorted();
        prop_assert_eq!(sorted.len(), expected.len());
        prop_assert!(sorted.iter().eq(expected));
    }
}

#[test]
fn fills_to_its_load_factor_and_grows_from_small() {
    let max_bytes = 4 << 20;
    let mut map = OffsetMap::new(hasher(), max_bytes, 0.9);
    assert_eq!(map.bytes(), 0);
    let mut keys = 0u64..;
    let count =
        keys.position(|key| map.insert_key(&key.to_be_bytes(), key as i64) == Inserted::Full).unwrap();
    let expected = room(max_bytes, 0.9);
    assert!(count <= expected && count > expected * 9 / 10, "{count} of {expected}");
    assert!(map.bytes() <= max_bytes);
    // Known keys still move.
    assert_eq!(map.insert_key(&0u64.to_be_bytes(), 1_000_000), Inserted::Supersedes(0));
}

#[test]
fn an_entry_takes_24_bytes() {
    assert_eq!(OffsetMap::ENTRY_BYTES, 24);
}

#[test]
fn of_several_offsets_of_a_hash_the_largest_is_sorted_in() {
    let [one, two] = [hasher().hash(b"1"), hasher().hash(b"2")];
    let sorted: SortedOffsets = [(one, 3), (two, 1), (one, 7), (one, 5)].into_iter().collect();
    let mut expected = vec![(one, 7), (two, 1)];
    expected.sort_unstable();
    assert_eq!(sorted.iter().collect::<Vec<_>>(), expected);
    assert_eq!(sorted.len(), 2);
}
