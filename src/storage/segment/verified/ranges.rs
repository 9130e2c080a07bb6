//! A short list of byte ranges.

/// Disjoint ranges in ascending order, at most so many.
#[derive(Debug)]
pub(super) struct Ranges {
    max: usize,
    ranges: Vec<(u64, u64)>,
}

impl Ranges {
    pub fn new(max: usize) -> Self {
        Self { max, ranges: Vec::new() }
    }

    /// Whether one range holds everything from `from` to below `to`.
    pub fn contain(&self, from: u64, to: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < to);
        self.ranges.get(at).is_some_and(|range| range.0 <= from)
    }

    /// Adds a range, joined with those it touches. Of too many the shortest other one is forgotten.
    pub fn insert(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        let first = self.ranges.partition_point(|range| range.1 < from);
        let touching = self.ranges[first..].iter().take_while(|range| range.0 <= to).count();
        for range in self.ranges.drain(first..first + touching) {
            (from, to) = (from.min(range.0), to.max(range.1));
        }
        self.ranges.insert(first, (from, to));
        if self.ranges.len() > self.max {
            let others = self.ranges.iter().enumerate().filter(|(at, _)| *at != first);
            if let Some((shortest, _)) = others.min_by_key(|(_, range)| range.1 - range.0) {
                self.ranges.remove(shortest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_join_and_the_shortest_goes() {
        let mut ranges = Ranges::new(2);
        ranges.insert(0, 10);
        ranges.insert(10, 20);
        assert!(ranges.contain(0, 20) && !ranges.contain(0, 21));
        ranges.insert(30, 40);
        ranges.insert(50, 51);
        assert!(ranges.contain(50, 51), "the newest stays");
        assert!(ranges.contain(0, 20) && !ranges.contain(30, 40));
        ranges.insert(15, 60);
        assert_eq!(ranges.ranges, [(0, 60)]);
        ranges.insert(70, 70);
        assert_eq!(ranges.ranges, [(0, 60)]);
    }

    proptest! {
        #[test]
        fn only_what_was_added(
            added in proptest::collection::vec((0..60u64, 0..20u64), 0..30), max in 1..5usize,
            from in 0..70u64, len in 1..20u64,
        ) {
            let mut ranges = Ranges::new(max);
            let mut bytes = [false; 100];
            for (from, len) in added {
                ranges.insert(from, from + len);
                bytes[from as usize..(from + len) as usize].fill(true);
                prop_assert!(ranges.ranges.len() <= max);
                prop_assert!(len == 0 || ranges.contain(from, from + len));
            }
            if ranges.contain(from, from + len) {
                prop_assert!(bytes[from as usize..(from + len) as usize].iter().all(|known| *known));
            }
        }
    }
}
