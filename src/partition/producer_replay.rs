//! Opening a partition: its producers come from a snapshot and the batches behind it.

use std::path::Path;

use super::producers::Producers;
use super::snapshots;
use crate::record::{BatchHeader, EndMarker};
use crate::storage::segment::{AbortedTransaction, Replay};

/// Rebuilds the producers of a log that is opened: from a snapshot, and the batches behind it.
pub(super) struct ProducerReplay<'a> {
    dir: &'a Path,
    snapshots_end: i64,
    from_newest: bool,
    now_ms: i64,
    /// As they were behind the last batch.
    pub(super) producers: Producers,
    /// Where the replay began.
    pub(super) from: i64,
}

impl<'a> ProducerReplay<'a> {
    pub(super) fn new(dir: &'a Path, snapshots_end: i64, from_newest: bool, now_ms: i64) -> Self {
        ProducerReplay { dir, snapshots_end, from_newest, now_ms, producers: Producers::default(), from: 0 }
    }
}

impl Replay for ProducerReplay<'_> {
    fn begin(&mut self, needed: i64) -> i64 {
        (self.producers, self.from) =
            snapshots::choose(self.dir, needed.min(self.snapshots_end), self.from_newest, self.now_ms);
        self.from
    }

    fn batch(&mut self, header: &BatchHeader, marker: Option<&EndMarker>) -> Option<AbortedTransaction> {
        let Some(marker) = marker else {
            self.producers.replay(header, self.now_ms);
            return None;
        };
        let aborted = self.producers.end(marker, header.base_offset, header.max_timestamp, self.now_ms);
        // What is in a log that is opened is committed.
        self.producers.settle(i64::MAX);
        aborted
    }
}
