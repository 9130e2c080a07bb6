//! One cleaning of one partition: find out what is superseded, rewrite the segments, swap them in.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::Cleaner;
use super::choose::Range;
use crate::config::TopicConfig;
use crate::partition::Partition;
use crate::partition::key_index::{CatchUpError, fill_table};
use crate::storage::key_index::{KeyHash, KeyHasher, KeyIndex, KeyIndexError};
use crate::storage::segment::compact::{CompactError, Context, Figures, LastRecord, Progress, Round};
use crate::storage::superseded::Superseded;

/// Tombstones of one segment that the key index is told of when they are gone. What is beyond costs its rows until the index is
/// built anew; a look-up finds nothing either way.
const TOMBSTONES_TOLD: usize = 1 << 20;
/// Part of the table's memory that the offsets to leave out may take; the rest is for the runs of the index.
const DEAD_PART: usize = 4;

/// Why a cleaning ended early. The log is as it was, or a part of it is compacted.
#[derive(Debug, thiserror::Error)]
pub(super) enum CleanError {
    #[error(transparent)]
    Compact(#[from] CompactError),
    #[error(transparent)]
    CatchUp(#[from] CatchUpError),
    #[error(transparent)]
    Index(#[from] KeyIndexError),
    /// The disk is too full for the new segment.
    #[error("there is no room on the disk for a segment of up to {bytes} bytes")]
    NoRoom { bytes: u64 },
    /// The cleaner is to stop.
    #[error("cancelled")]
    Stopped,
}

impl CleanError {
    /// Whether the data is damaged: trying again cannot help.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Compact(error) => error.is_damage(),
            Self::CatchUp(error) => matches!(error, CatchUpError::Damaged { .. }),
            Self::Index(_) | Self::NoRoom { .. } | Self::Stopped => false,
        }
    }

    /// Whether the key index is to blame, without which the log can be compacted all the same.
    pub fn is_of_index(&self) -> bool {
        matches!(self, Self::Index(_) | Self::CatchUp(CatchUpError::Index(_)))
    }

    /// Whether it ends by itself: the cleaner stops, or the log changed under it.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Compact(error) => {
                matches!(
                    error,
                    CompactError::Cancelled | CompactError::Changed { .. } | CompactError::Busy { .. }
                )
            }
            Self::CatchUp(_) | Self::Index(_) | Self::NoRoom { .. } => false,
        }
    }
}

/// A partition that is being compacted.
pub(super) struct Cleaning<'a> {
    pub cleaner: &'a Cleaner,
    pub partition: &'a Arc<Partition>,
    pub config: Arc<TopicConfig>,
    pub range: Range,
    pub now_ms: i64,
}

impl Cleaning<'_> {
    /// Compacts what the range names.
    pub fn run(&self, index: Option<&dyn KeyIndex>) -> Result<Figures, CleanError> {
        let begun = Instant::now();
        let outcome = match index {
            Some(index) => self.by_index(index),
            None => self.by_tables(),
        };
        self.cleaner.metrics.seconds.inc_by(begun.elapsed().as_secs_f64());
        outcome
    }

    /// What is superseded is known to the index: it is brought up to date, and says it in one go.
    fn by_index(&self, index: &dyn KeyIndex) -> Result<Figures, CleanError> {
        if !self.cleaner.index_partition(self.partition, index, self.range.end)? {
            return Err(CleanError::Stopped);
        }
        let (id, end) = (self.partition.id().into(), self.range.end);
        let mut total = Figures::default();
        let mut first_dirty = self.range.first_dirty;
        let mut from = self.partition.log_start_offset();
        while from < end {
            let max_bytes = self.cleaner.table_bytes() / DEAD_PART;
            let dead = index.dead_upto(id, end, from..end, max_bytes)?;
            let known_end = dead.complete_below;
            total += self.rewrite(&dead.offsets, known_end, first_dirty, Some(index))?;
            (from, first_dirty) = (known_end, first_dirty.max(known_end));
        }
        index.forget_dead(id, end)?;
        Ok(total)
    }

    /// As Kafka does it: a table of the newest offset of each key in the part that was not compacted yet, as large as memory
    /// allows; if it is full before the end, another round.
    fn by_tables(&self) -> Result<Figures, CleanError> {
        let mut total = Figures::default();
        let mut first_dirty = self.range.first_dirty;
        while first_dirty < self.range.end {
            let mut go_on = |bytes: usize| self.cleaner.indexed(bytes);
            let settings = self.cleaner.catch_up_settings();
            let filled = fill_table(self.partition, first_dirty..self.range.end, &settings, &mut go_on)?;
            let Some((table, known_end)) = filled else { return Err(CleanError::Stopped) };
            self.cleaner.metrics.table_bytes.set(table.bytes() as i64);
            let rewritten = self.rewrite(&table, known_end, first_dirty, None);
            self.cleaner.metrics.table_bytes.set(0);
            total += rewritten?;
            first_dirty = known_end;
        }
        Ok(total)
    }

    /// Rewrites all segments up to `known_end`, group by group.
    fn rewrite(
        &self,
        superseded: &dyn Superseded,
        known_end: i64,
        first_dirty: i64,
        index: Option<&dyn KeyIndex>,
    ) -> Result<Figures, CleanError> {
        let (source, last_records) = self.partition.begin_cleaning(self.range.end)?;
        let last_record = |producer_id: i64| last_records.get(&producer_id).copied();
        let context = Context {
            now_ms: self.now_ms,
            delete_retention_ms: self.config.delete_retention_ms,
            first_dirty,
            known_end,
            last_record: &last_record,
            max_decompressed: self.cleaner.max_decompressed,
        };
        let mut round = Round::new(source);
        let mut total = Figures::default();
        for group in round.groups(known_end)? {
            self.cleaner.check_room(self.partition, group.size_bytes())?;
            let hasher = index.map(|index| index.hasher());
            let mut follow = Follow { cleaner: self.cleaner, hasher, tombstones: Vec::new() };
            let rewrite = round.rewrite(&group, &context, superseded, &mut follow)?;
            let tombstones = follow.tombstones;
            total += rewrite.figures;
            self.cleaner.count(&rewrite.figures);
            if let Some(segment) = rewrite.segment {
                let replaced = self.partition.swap_in(segment)?;
                let delay = Duration::from_millis(self.config.file_delete_delay_ms);
                self.cleaner.logs.remove_later(replaced.deleted, delay);
                if let Some(index) = index
                    && !tombstones.is_empty()
                    && let Err(error) =
                        index.remove_keys(self.partition.id().into(), &mut tombstones.into_iter())
                {
                    warn!(partition = %self.partition.id(), %error, "the key index keeps rows of deleted keys");
                }
            }
        }
        let id = self.partition.id();
        self.cleaner.progress.advance(&id.topic, id.index, known_end);
        Ok(total)
    }
}

/// Keeps to the rate, and notes which deletions are over.
struct Follow<'a> {
    cleaner: &'a Cleaner,
    hasher: Option<KeyHasher>,
    tombstones: Vec<(KeyHash, i64)>,
}

impl Progress for Follow<'_> {
    fn advance(&mut self, read: u64, written: u64) -> ControlFlow<()> {
        self.cleaner.metrics.read_bytes.inc_by(read);
        self.cleaner.metrics.written_bytes.inc_by(written);
        if self.cleaner.throttle.admit(read + written) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn tombstone_dropped(&mut self, offset: i64, key: &[u8]) {
        if let Some(hasher) = &self.hasher
            && self.tombstones.len() < TOMBSTONES_TOLD
        {
            self.tombstones.push((hasher.hash(key), offset));
        }
    }
}

/// The last record of each active producer, by producer id.
pub(super) type LastRecords = HashMap<i64, LastRecord>;
