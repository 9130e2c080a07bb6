//! The set of dead offsets against a plain ordered set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Offsets that fall into few chunks, densely in some of them, and at the edges.
fn offsets() -> impl Strategy<Value = Vec<i64>> {
    let scattered = prop::collection::vec(0..5 * CHUNK_OFFSETS, 0..200);
    let edges = prop::collection::vec(
        prop::sample::select(vec![0, 1, 63, 64, 65_535, 65_536, 131_071, 131_072, i64::MAX - 1]),
        0..4,
    );
    let dense = (0..3 * CHUNK_OFFSETS, 0..6_000i64, 1..3i64)
        .prop_map(|(first, count, step)| (0..count).map(|i| first + i * step).collect::<Vec<_>>());
    (scattered, edges, dense, any::<bool>()).prop_map(|(mut all, edges, dense, backwards)| {
        all.extend(edges);
        all.extend(dense);
        if backwards {
            all.reverse();
        }
        all
    })
}

fn set(offsets: &[i64]) -> DeadOffsets {
    let mut dead = DeadOffsets::new();
    offsets.iter().for_each(|offset| dead.insert(*offset));
    dead
}

/// The memory that the chunks really take.
fn counted_bytes(dead: &DeadOffsets) -> usize {
    dead.chunks.values().map(|chunk| chunk.bytes() + CHUNK_OVERHEAD_BYTES).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_a_set(
        offsets in offsets(),
        more in offsets(),
        asked in prop::collection::vec((0..5 * CHUNK_OFFSETS, 0..2 * CHUNK_OFFSETS), 0..40),
    ) {
        let mut dead = set(&offsets);
        let mut model: BTreeSet<i64> = offsets.iter().copied().collect();
        prop_assert!(dead.iter().eq(model.iter().copied()));
        prop_assert_eq!(dead.count(), model.len() as u64);
        prop_assert_eq!(dead.is_empty(), model.is_empty());
        dead.union(&set(&more));
        model.extend(&more);
        prop_assert!(dead.iter().eq(model.iter().copied()));
        prop_assert_eq!(dead.bytes(), counted_bytes(&dead));
        prop_assert!(dead.bytes() <= model.len() * 8 + dead.chunks.len() * CHUNK_OVERHEAD_BYTES);
        for (first, len) in asked {
            let last = first + len - 1;
            prop_assert_eq!(dead.contains(first), model.contains(&first));
            prop_assert_eq!(dead.is_superseded(first, b"any key"), model.contains(&first));
            let any = first <= last && model.range(first..=last).next().is_some();
            prop_assert_eq!(dead.any_within(first, last), any);
            prop_assert_eq!(dead.none_within(first, last), !any);
        }
    }

    #[test]
    fn stored_chunks_add_up_to_the_set(offsets in offsets(), from in 0..5 * CHUNK_OFFSETS, len in 0..5 * CHUNK_OFFSETS) {
        let dead = set(&offsets);
        for range in [0..i64::MAX, from..from + len] {
            let mut read = DeadOffsets::new();
            for (number, bytes) in dead.encoded() {
                prop_assert!(bytes.len() <= BITMAP_BYTES);
                prop_assert!(read.add_encoded(number, &bytes, &range).is_some());
            }
            prop_assert!(read.iter().eq(dead.iter().filter(|offset| range.contains(offset))));
            prop_assert_eq!(read.bytes(), counted_bytes(&read));
        }
    }

    #[test]
    fn a_bound_cuts_off_the_end_and_says_where(offsets in offsets(), max_bytes in 0..30_000usize) {
        let whole = set(&offsets);
        let mut cut = set(&offsets);
        let below = cut.shrink_to(max_bytes).unwrap_or(i64::MAX);
        prop_assert!(cut.iter().eq(whole.iter().filter(|offset| *offset < below)));
        prop_assert!(cut.bytes() <= max_bytes || cut.chunks.len() == 1);
        prop_assert_eq!(cut.bytes(), counted_bytes(&cut));
        prop_assert_eq!(cut.is_empty(), whole.is_empty());
    }

    #[test]
    fn random_bytes_are_refused_or_harmless(number: i64, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut dead = DeadOffsets::new();
        if dead.add_encoded(number, &bytes, &(0..i64::MAX)).is_none() {
            prop_assert!(dead.is_empty());
        }
    }
}

#[test]
fn lists_and_bitmaps_are_stored_at_their_lengths() {
    let few = set(&[3, 5]);
    assert_eq!(few.encoded().collect::<Vec<_>>(), [(0, vec![0, 3, 0, 5])]);
    let at_most: Vec<i64> = (0..STORED_LIST_MAX as i64).collect();
    assert_eq!(set(&at_most).encoded().next().unwrap().1.len(), BITMAP_BYTES - 2);
    let more: Vec<i64> = (0..=STORED_LIST_MAX as i64).collect();
    let stored = set(&more).encoded().next().unwrap().1;
    assert_eq!(stored.len(), BITMAP_BYTES);
    assert_eq!(stored[..8], [0xff; 8]);
    for damaged in [&[][..], &[1], &[0, 5, 0, 3], &[0, 5, 0, 5], &vec![0xff; BITMAP_BYTES + 2]] {
        assert_eq!(DeadOffsets::new().add_encoded(0, damaged, &(0..i64::MAX)), None);
    }
}
