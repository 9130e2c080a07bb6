//! Which segments retention lets go: a pure decision.

/// What retention needs to know of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    pub base_offset: i64,
    /// First offset after the segment: the base of the next, or the log end for the active one.
    pub next_offset: i64,
    /// Bytes of the `.log` file.
    pub size: u64,
    /// Largest record timestamp in ms; below 0 if the segment has none.
    pub max_timestamp: i64,
    /// When the `.log` file was last written, in ms: stands in for a missing timestamp.
    pub modified_ms: i64,
}

/// How many of the oldest segments may be deleted (`UnifiedLog.deleteOldSegments`).
///
/// `segments` are oldest first, without segments that must stay. A negative limit means
/// unlimited. `readable_end` is the offset up to which data may be deleted (the high
/// watermark): a segment that reaches beyond it stays. The three rules are applied one after
/// the other, as Kafka does: by the log start offset, then by size, then by time. So a young segment that goes for its
/// size makes way for old ones behind it.
pub fn choose(
    segments: &[SegmentInfo],
    now_ms: i64,
    retention_ms: i64,
    retention_bytes: i64,
    log_start: i64,
    readable_end: i64,
) -> usize {
    let removable = segments.iter().take_while(|s| s.next_offset <= readable_end).count();
    let expired = |s: &SegmentInfo| {
        let newest = if s.max_timestamp >= 0 { s.max_timestamp } else { s.modified_ms };
        retention_ms >= 0 && now_ms.saturating_sub(newest) > retention_ms
    };
    let mut count = segments[..removable].iter().take_while(|s| s.next_offset <= log_start).count();
    if let Ok(limit) = u64::try_from(retention_bytes) {
        let total: u64 = segments[count..].iter().map(|s| s.size).sum();
        let mut excess = total.saturating_sub(limit);
        while count < removable && excess > 0 && segments[count].size <= excess {
            excess -= segments[count].size;
            count += 1;
        }
    }
    count + segments[count..removable].iter().take_while(|s| expired(s)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segments(sizes: &[(u64, i64)]) -> Vec<SegmentInfo> {
        (0..)
            .zip(sizes)
            .map(|(index, &(size, max_timestamp))| SegmentInfo {
                base_offset: index * 10,
                next_offset: index * 10 + 10,
                size,
                max_timestamp,
                modified_ms: 1000,
            })
            .collect()
    }

    #[test]
    fn each_rule() {
        let three = segments(&[(100, 10), (100, 500), (100, 20)]);
        assert_eq!(choose(&three, 1000, -1, -1, 0, 30), 0);
        // By time it stops at the first segment that is young enough.
        assert_eq!(choose(&three, 1000, 900, -1, 0, 30), 1);
        assert_eq!(choose(&three, 1000, 0, -1, 0, 20), 2);
        // By size a segment goes only if what remains still fills the limit.
        assert_eq!(choose(&three, 1000, -1, 200, 0, 30), 1);
        assert_eq!(choose(&three, 1000, -1, 201, 0, 30), 0);
        assert_eq!(choose(&three, 1000, -1, 0, 0, 30), 3);
        assert_eq!(choose(&three, 1000, -1, -1, 20, 30), 2);
        assert_eq!(choose(&three, 1000, -1, -1, 19, 30), 1);
        // One after the other: what the log start and the size let go is not in the way of what has grown old.
        let young_first = segments(&[(100, 500), (100, 500), (100, 10), (100, 500)]);
        assert_eq!(choose(&young_first, 1000, 900, -1, 0, 40), 0);
        assert_eq!(choose(&young_first, 1000, 900, 200, 0, 40), 3);
        assert_eq!(choose(&young_first, 1000, 900, 300, 0, 40), 1);
        assert_eq!(choose(&young_first, 1000, 900, -1, 20, 40), 3);
        // A record from the future keeps its segment and all behind it.
        assert_eq!(choose(&segments(&[(1, 10), (1, 5_000), (1, 10)]), 1000, 900, -1, 0, 30), 1);
        // Without a timestamp the file's own time decides.
        assert_eq!(choose(&segments(&[(1, -1)]), 1500, 499, -1, 0, 10), 1);
        assert_eq!(choose(&segments(&[(1, -1)]), 1500, 500, -1, 0, 10), 0);
    }

    proptest! {
        #[test]
        fn never_beyond_the_readable_end(
            sizes in proptest::collection::vec((0..1000u64, -1..2000i64), 0..10),
            ms in -1..1500i64, bytes in -1..4000i64, start in 0..100i64, end in 0..100i64,
        ) {
            let all = segments(&sizes);
            let count = choose(&all, 2000, ms, bytes, start, end);
            prop_assert!(all[..count].iter().all(|s| s.next_offset <= end));
            let kept: u64 = all[count..].iter().map(|s| s.size).sum();
            let total: u64 = all.iter().map(|s| s.size).sum();
            if ms < 0 && start == 0 && bytes >= 0 && count > 0 {
                prop_assert!(kept >= bytes as u64 && kept <= total);
            }
        }
    }
}
