//! Which neighbours become one segment (`Cleaner.groupSegmentsBySize`).

use std::ops::Range;

/// What grouping needs to know of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub base: i64,
    /// First offset behind the segment.
    pub next_offset: i64,
    /// Bytes of the `.log`, `.index` and `.timeindex` files.
    pub log: u64,
    pub index: u64,
    pub time: u64,
}

/// Places of the segments of each group. A group's files together stay within `log_limit` and `index_limit` bytes, unless
/// one segment alone is larger, and its offsets within what an index can hold.
pub fn group(segments: &[Sizes], log_limit: u64, index_limit: u64) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut at = 0;
    while let Some(first) = segments.get(at) {
        let (mut log, mut index, mut time) = (first.log, first.index, first.time);
        let begin = at;
        at += 1;
        while let Some(next) = segments.get(at) {
            let fits = log + next.log <= log_limit
                && index + next.index <= index_limit
                && time + next.time <= index_limit
                // An empty segment adds no entry: without this, one would stay for every 2^31 offsets.
                && (next.log == 0 || next.next_offset - 1 - first.base <= i64::from(i32::MAX));
            if !fits {
                break;
            }
            log += next.log;
            index += next.index;
            time += next.time;
            at += 1;
        }
        groups.push(begin..at);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segments(sizes: &[(u64, u64, i64)]) -> Vec<Sizes> {
        let mut base = 0;
        let mut made = Vec::new();
        for &(log, index, span) in sizes {
            made.push(Sizes { base, next_offset: base + span, log, index, time: index / 2 });
            base += span;
        }
        made
    }

    #[test]
    fn each_limit_ends_a_group() {
        let three = segments(&[(40, 8, 10), (60, 8, 10), (1, 8, 10)]);
        assert_eq!(group(&three, 100, 100), [0..2, 2..3]);
        assert_eq!(group(&three, 101, 24), std::slice::from_ref(&(0..3)));
        assert_eq!(group(&three, 101, 23), [0..2, 2..3]);
        // A segment above the limit is a group of its own.
        assert_eq!(group(&three, 10, 100), [0..1, 1..2, 2..3]);
        let far = i64::from(i32::MAX);
        assert_eq!(group(&segments(&[(1, 0, far), (1, 0, 1)]), 9, 9), std::slice::from_ref(&(0..2)));
        assert_eq!(group(&segments(&[(1, 0, far), (1, 0, 2)]), 9, 9), [0..1, 1..2]);
        assert_eq!(group(&segments(&[(1, 0, far), (0, 0, 9)]), 9, 9), std::slice::from_ref(&(0..2)));
        assert!(group(&[], 9, 9).is_empty());
    }

    proptest! {
        #[test]
        fn groups_cover_everything_and_are_as_large_as_they_can(
            sizes in proptest::collection::vec((0..50u64, 0..10u64, 1..100i64), 0..20), limit in 1..120u64, index in 1..30u64,
        ) {
            let all = segments(&sizes);
            let groups = group(&all, limit, index);
            let places: Vec<usize> = groups.iter().cloned().flatten().collect();
            prop_assert_eq!(places, (0..all.len()).collect::<Vec<_>>());
            let sums = |range: Range<usize>| {
                let part = &all[range];
                (part.iter().map(|s| s.log).sum::<u64>(), part.iter().map(|s| s.index).sum::<u64>())
            };
            for (place, range) in groups.iter().enumerate() {
                let (log, entries) = sums(range.clone());
                prop_assert!(range.len() == 1 || (log <= limit && entries <= index));
                if place + 1 < groups.len() {
                    let (log, entries) = sums(range.start..range.end + 1);
                    prop_assert!(log > limit || entries > index);
                }
            }
        }
    }
}
