//! Which batches belong to aborted transactions.

use crate::record::BatchHeader;
use crate::storage::segment::AbortedTransaction;

/// Aborted transactions, by producer.
#[derive(Debug, Clone, Default)]
pub struct AbortedRanges {
    /// By producer and first offset. The transactions of one producer follow one another.
    ranges: Vec<AbortedTransaction>,
}

impl AbortedRanges {
    /// Those transactions, in any order, one of them perhaps twice.
    pub fn new(mut ranges: Vec<AbortedTransaction>) -> Self {
        ranges.sort_unstable_by_key(|range| (range.producer_id, range.first_offset));
        Self { ranges }
    }

    /// Whether the records of a batch were aborted: a consumer at read_committed passes over them.
    pub fn covers(&self, header: &BatchHeader) -> bool {
        if !header.is_transactional() || self.ranges.is_empty() {
            return false;
        }
        let place = (header.producer_id, header.base_offset);
        let behind = self.ranges.partition_point(|range| (range.producer_id, range.first_offset) <= place);
        let last_begun = behind.checked_sub(1).map(|index| &self.ranges[index]);
        last_begun.is_some_and(|range| {
            range.producer_id == header.producer_id && header.base_offset <= range.last_offset
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn aborted(producer_id: i64, first_offset: i64, last_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset: 0 }
    }

    fn batch(producer_id: i64, base_offset: i64, transactional: bool) -> BatchHeader {
        let builder = BatchBuilder::new().producer(producer_id, 0, 0).transactional(transactional);
        let bytes = builder.base_offset(base_offset).record(0, Some(b"k"), None).build().unwrap();
        BatchHeader::parse(&bytes).unwrap()
    }

    #[test]
    fn a_producer_may_abort_commit_and_abort_again() {
        let ranges = AbortedRanges::new(vec![
            aborted(2, 0, 100),
            aborted(1, 30, 35),
            aborted(1, 10, 20),
            aborted(1, 10, 20),
        ]);
        for (producer_id, offset, transactional, covered) in [
            (1, 9, true, false),
            (1, 10, true, true),
            (1, 15, true, true),
            (1, 15, false, false),
            (1, 21, true, false),
            (1, 29, true, false),
            (1, 30, true, true),
            (1, 36, true, false),
            (2, 15, true, true),
            (2, 101, true, false),
            (3, 15, true, false),
        ] {
            let header = batch(producer_id, offset, transactional);
            assert_eq!(ranges.covers(&header), covered, "producer {producer_id} at {offset}");
        }
        assert!(!AbortedRanges::default().covers(&batch(1, 10, true)));
    }
}
