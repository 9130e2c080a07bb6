//! What of a log can be compacted now, and which log is next: pure decisions (Kafka's `LogCleanerManager`).

use crate::storage::segment::SegmentInfo;

/// What the decision needs to know of one compacted log.
#[derive(Debug, Clone)]
pub struct LogState {
    /// All segments, oldest first, the active one last.
    pub segments: Vec<SegmentInfo>,
    /// First offset readers may ask for.
    pub log_start_offset: i64,
    /// Offset of the next append.
    pub log_end_offset: i64,
    /// Nothing at or above is decided: the last stable offset, which is not above the high watermark.
    pub last_stable_offset: i64,
    /// Everything below was compacted before, as the checkpoint has it; `None` if it has nothing.
    pub checkpoint: Option<i64>,
}

/// What the topic's settings say of it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `min.compaction.lag.ms`.
    pub min_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`.
    pub min_dirty_ratio: f64,
}

/// What can be compacted of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Everything below was compacted before.
    pub first_dirty: i64,
    /// Base of the first segment that must stay as it is.
    pub end: i64,
    /// The checkpoint does not fit the log: it was ahead of its end, or behind its start.
    pub checkpoint_is_invalid: bool,
    /// Bytes of segments that begin below `first_dirty`.
    pub clean_bytes: u64,
    /// Bytes of those from there to `end`.
    pub cleanable_bytes: u64,
}

/// A log that may be compacted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub range: Range,
    /// Part of the bytes up to `end` that was not compacted yet.
    pub dirty_ratio: f64,
    /// How long the oldest record that was not compacted is overdue by `max.compaction.lag.ms`; 0 if it is not.
    pub overdue_ms: i64,
    /// It is dirty enough, or overdue.
    pub due: bool,
}

impl LogState {
    /// What can be compacted at `now_ms`: whole segments below the active one whose transactions are all decided, up to the
    /// first that was not compacted yet and is younger than `min.compaction.lag.ms` (`cleanableOffsets`).
    ///
    /// Kafka compacts a part of a segment with an undecided transaction; here such a segment waits until it is decided.
    pub fn range(&self, limits: &Limits, now_ms: i64) -> Range {
        let checkpoint = self.checkpoint.unwrap_or(self.log_start_offset);
        let valid = (self.log_start_offset..=self.log_end_offset).contains(&checkpoint);
        let first_dirty = if valid { checkpoint } else { self.log_start_offset };
        let sealed = self.segments.split_last().map_or(&[][..], |(_, sealed)| sealed);
        let too_young = |segment: &&SegmentInfo| {
            let dirty = segment.next_offset > first_dirty;
            limits.min_lag_ms > 0 && dirty && newest_ms(segment) > now_ms.saturating_sub(limits.min_lag_ms)
        };
        let cleanable =
            |segment: &&SegmentInfo| segment.next_offset <= self.last_stable_offset && !too_young(segment);
        let usable = sealed.iter().take_while(cleanable);
        let first_base = self.segments.first().map_or(first_dirty, |segment| segment.base_offset);
        let (mut clean_bytes, mut cleanable_bytes, mut end) = (0, 0, first_base);
        for segment in usable {
            // A table of keys that was too small for a segment leaves it compacted in part.
            let bytes =
                if segment.next_offset <= first_dirty { &mut clean_bytes } else { &mut cleanable_bytes };
            *bytes += segment.size;
            end = end.max(segment.next_offset);
        }
        Range { first_dirty, end, checkpoint_is_invalid: !valid, clean_bytes, cleanable_bytes }
    }

    /// Whether the log is to be compacted. `first_timestamps` are those of the first batches of the segments that were not
    /// compacted yet, in milliseconds.
    pub fn candidate(
        &self,
        limits: &Limits,
        first_timestamps: impl IntoIterator<Item = i64>,
        now_ms: i64,
    ) -> Candidate {
        let range = self.range(limits, now_ms);
        let total = range.clean_bytes + range.cleanable_bytes;
        let dirty_ratio = if total == 0 { 0.0 } else { range.cleanable_bytes as f64 / total as f64 };
        let oldest = first_timestamps.into_iter().filter(|timestamp| *timestamp > 0).min();
        let latest = now_ms.saturating_sub(limits.max_lag_ms.max(0));
        let overdue_ms = oldest.map_or(0, |oldest| latest.saturating_sub(oldest).max(0));
        let due = range.cleanable_bytes > 0 && (overdue_ms > 0 || dirty_ratio > limits.min_dirty_ratio);
        Candidate { range, dirty_ratio, overdue_ms, due }
    }
}

fn newest_ms(segment: &SegmentInfo) -> i64 {
    if segment.max_timestamp >= 0 { segment.max_timestamp } else { segment.modified_ms }
}

/// The place of the log to compact next: the dirtiest of those that are due, the first of them if several.
pub fn next(candidates: impl IntoIterator<Item = Candidate>) -> Option<usize> {
    let due = candidates.into_iter().enumerate().filter(|(_, candidate)| candidate.due);
    let mut best: Option<(usize, f64)> = None;
    for (place, candidate) in due {
        if best.is_none_or(|(_, ratio)| candidate.dirty_ratio > ratio) {
            best = Some((place, candidate.dirty_ratio));
        }
    }
    best.map(|(place, _)| place)
}

/// Whether the active segment of a compacted log must be closed although nobody appends to it: the active segment is never
/// compacted, so in a quiet topic its records would stay for ever. It is closed when its first record has waited for
/// `segment.ms` or `max.compaction.lag.ms`, whichever is less.
///
/// Kafka closes a segment only when something is appended (KAFKA-20664).
pub fn must_close_active(waiting_since_ms: i64, segment_ms: i64, max_lag_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(waiting_since_ms) > segment_ms.min(max_lag_ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: Limits = Limits { min_lag_ms: 0, max_lag_ms: i64::MAX, min_dirty_ratio: 0.5 };

    /// Segments of ten offsets and a hundred bytes each; the last is the active one.
    fn log(newest: &[i64], checkpoint: Option<i64>) -> LogState {
        let segments: Vec<_> = (0..)
            .zip(newest)
            .map(|(index, &max_timestamp)| SegmentInfo {
                base_offset: index * 10,
                next_offset: index * 10 + 10,
                size: 100,
                max_timestamp,
                modified_ms: 0,
            })
            .collect();
        let end = segments.len() as i64 * 10;
        LogState { segments, log_start_offset: 0, log_end_offset: end, last_stable_offset: end, checkpoint }
    }

    #[test]
    fn the_active_segment_stays() {
        let range = log(&[1, 2, 3], None).range(&ANY, 100);
        assert_eq!((range.first_dirty, range.end), (0, 20));
        assert_eq!((range.clean_bytes, range.cleanable_bytes), (0, 200));
        let alone = log(&[1], None).range(&ANY, 100);
        assert_eq!((alone.end, alone.cleanable_bytes), (0, 0));
    }

    #[test]
    fn what_is_undecided_or_young_stays_with_all_behind_it() {
        let mut open = log(&[1, 2, 3, 4], None);
        open.last_stable_offset = 19;
        assert_eq!(open.range(&ANY, 100).end, 10);
        let lag = Limits { min_lag_ms: 50, ..ANY };
        assert_eq!(log(&[1, 60, 3, 4], None).range(&lag, 100).end, 10);
        assert_eq!(log(&[1, 50, 3, 4], None).range(&lag, 100).end, 30);
        // What was compacted before is not held back by its age.
        assert_eq!(log(&[99, 1, 1], Some(10)).range(&lag, 100).end, 20);
    }

    #[test]
    fn a_checkpoint_that_does_not_fit_counts_for_nothing() {
        let ahead = log(&[1, 2, 3], Some(31)).range(&ANY, 100);
        assert!(ahead.checkpoint_is_invalid && ahead.first_dirty == 0);
        let mut behind = log(&[1, 2, 3], Some(5));
        behind.log_start_offset = 10;
        assert!(behind.range(&ANY, 100).checkpoint_is_invalid);
        assert_eq!(behind.range(&ANY, 100).first_dirty, 10);
        let fitting = log(&[1, 2, 3], Some(10)).range(&ANY, 100);
        assert_eq!(
            (fitting.checkpoint_is_invalid, fitting.clean_bytes, fitting.cleanable_bytes),
            (false, 100, 100)
        );
    }

    #[test]
    fn dirty_enough_or_overdue() {
        let clean = log(&[1, 2, 3], Some(20)).candidate(&ANY, [], 100);
        assert!(!clean.due && clean.dirty_ratio == 0.0);
        let half = log(&[1, 2, 3], Some(10)).candidate(&ANY, [], 100);
        assert!(half.dirty_ratio == 0.5 && !half.due, "as in Kafka the ratio must be exceeded");
        assert!(log(&[1, 2, 3], Some(0)).candidate(&ANY, [], 100).due);
        let hasty = Limits { max_lag_ms: 30, ..ANY };
        let overdue = log(&[1, 2, 3], Some(10)).candidate(&hasty, [-1, 60], 100);
        assert!(overdue.due && overdue.overdue_ms == 10);
        assert!(!log(&[1, 2, 3], Some(10)).candidate(&hasty, [70], 100).due);
        assert!(!log(&[1, 2, 3], Some(20)).candidate(&hasty, [1], 100).due, "nothing to compact");
    }

    #[test]
    fn the_dirtiest_is_next() {
        let of = |checkpoint| log(&[1, 2, 3, 4, 5], Some(checkpoint)).candidate(&ANY, [], 100);
        assert_eq!(next([of(40), of(10), of(0), of(0)]), Some(2));
        assert_eq!(next([of(40), of(30)]), None);
        assert_eq!(next([]), None);
    }

    #[test]
    fn a_quiet_active_segment_is_closed() {
        assert!(!must_close_active(0, 100, i64::MAX, 100));
        assert!(must_close_active(0, 100, i64::MAX, 101));
        assert!(must_close_active(0, 1000, 50, 51));
        assert!(!must_close_active(500, 1000, 50, 51), "a clock that went back closes nothing");
    }

    proptest! {
        #[test]
        fn a_range_is_of_whole_segments_that_may_be_compacted(
            newest in proptest::collection::vec(-1..200i64, 1..8), checkpoint in proptest::option::of(-5..100i64),
            stable in 0..90i64, start in 0..90i64, lag in 0..100i64, now in 0..300i64,
        ) {
            let mut state = log(&newest, checkpoint);
            state.last_stable_offset = stable.min(state.log_end_offset);
            state.log_start_offset = start.min(state.log_end_offset);
            let range = state.range(&Limits { min_lag_ms: lag, ..ANY }, now);
            prop_assert!(range.end <= state.segments.last().map_or(0, |active| active.base_offset));
            prop_assert!((state.log_start_offset..=state.log_end_offset).contains(&range.first_dirty));
            for segment in &state.segments {
                let inside = segment.next_offset <= range.end;
                prop_assert!(inside || segment.base_offset >= range.end, "the end lies inside {segment:?}");
                if inside && segment.next_offset > range.first_dirty {
                    prop_assert!(segment.next_offset <= state.last_stable_offset);
                    prop_assert!(lag == 0 || newest_ms(segment) <= now - lag);
                }
            }
        }
    }
}
