//! Brings the index of a partition up to where its log is durable and decided.

use std::ops::ControlFlow;
use std::path::PathBuf;

use tracing::warn;

use super::aborted::AbortedRanges;
use super::access::{IndexRead, read_into};
use super::run::{BatchDamage, Fed, RunBuilder};
use crate::partition::handle::Partition;
use crate::record::{BatchHeader, Batches};
use crate::storage::key_index::{IndexedPartition, KeyIndex, KeyIndexError, Position};
use crate::storage::segment::ReadError;

/// How often another catch-up of the same partition may come first, before this one leaves the work to it.
const OVERTAKEN_MAX: usize = 4;

/// What a catch-up may take.
#[derive(Debug, Clone, Copy)]
pub struct CatchUp {
    /// Memory of a run, its merging included, bytes. It decides how often the index is gone through: more keys in a run, fewer
    /// merges.
    pub run_bytes: usize,
    /// How full the table of a run gets (`log.cleaner.io.buffer.load.factor`).
    pub load_factor: f64,
    /// Bytes of the log that are read at once (`log.cleaner.io.buffer.size`). A larger batch is read all the same.
    pub read_bytes: usize,
    /// Most bytes that a batch is unfolded to.
    pub decompressed_max: usize,
    /// Segments below may share a run: all of them are compacted at once. A run that ended behind them could not be used
    /// until the last of its segments may be compacted.
    pub together_below: i64,
}

impl Default for CatchUp {
    fn default() -> Self {
        Self {
            run_bytes: 32 << 20,
            load_factor: 0.9,
            read_bytes: 1 << 20,
            decompressed_max: 128 << 20,
            together_below: i64::MIN,
        }
    }
}

/// What a catch-up did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// The index now knows everything below; -1 if it knows nothing.
    pub upto: i64,
    /// Whether that is all there was when the catch-up began. If not, it was told to stop.
    pub complete: bool,
    /// Whether what the index knew was dropped, because the log has lost a tail since.
    pub rebuilt: bool,
    /// Runs that were added.
    pub runs: u64,
    /// Bytes of the log that were read.
    pub bytes: u64,
    /// Records with a key that were read.
    pub records: u64,
}

/// Why a catch-up ended early. What was added before stays.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] KeyIndexError),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] ReadError),
    /// A batch is damaged; nothing above it can be indexed.
    #[error("the batch at offset {offset}, byte {position} of {}, is damaged", path.display())]
    Damaged {
        /// Everything below is indexed, or would be: the first offset that is not known.
        offset: i64,
        path: PathBuf,
        /// First byte of the batch.
        position: u64,
        source: BatchDamage,
    },
}

/// Indexes what was appended since the last time, as far as it is durable and decided. `go_on` is told of the bytes read, step
/// by step; it may take its time, and may end the work.
///
/// Blocks: call it where that is allowed. Several at once on one partition do no harm; one does the work.
///
/// # Errors
/// [`CatchUpError`].
pub fn catch_up(
    partition: &Partition,
    index: &dyn KeyIndex,
    settings: &CatchUp,
    go_on: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<CaughtUp, CatchUpError> {
    let end = partition.indexable().end;
    let mut done = CaughtUp::default();
    for _ in 0..OVERTAKEN_MAX {
        let mut work = Work::begin(partition, index, settings, &mut done)?;
        let outcome = work.read_upto(end, go_on);
        done.runs += work.runs;
        done.bytes += work.bytes;
        done.records += work.builder.records();
        done.upto = work.after.map_or(-1, |position| position.upto);
        match outcome? {
            Step::Done => {
                done.complete = true;
                return Ok(done);
            }
            Step::Stopped => return Ok(done),
            Step::Overtaken => {}
        }
    }
    Ok(done)
}

/// The position of a partition, if it still fits the log. If the log has lost a tail since, what the index knows of the
/// partition is dropped, and there is no position.
///
/// Also for when a log is opened: what is found wrong then cannot look right again after more appends.
///
/// # Errors
/// The index failed.
pub fn check_position(
    partition: &Partition,
    index: &dyn KeyIndex,
) -> Result<(Option<Position>, bool), KeyIndexError> {
    let id = IndexedPartition::from(partition.id());
    let Some(position) = index.position(id)? else {
        return Ok((None, false));
    };
    if partition.still_holds(position.upto, position.leader_epoch) {
        return Ok((Some(position), false));
    }
    warn!(
        partition = %partition.id(),
        indexed_upto = position.upto,
        log_end = partition.log_end_offset(),
        "the log has lost records that the key index knows: the index of the partition is built anew"
    );
    index.drop_partition(id)?;
    Ok((None, true))
}

enum Step {
    Done,
    Stopped,
    /// The index has moved under us.
    Overtaken,
}

/// One pass from where the index stands.
struct Work<'a> {
    partition: &'a Partition,
    index: &'a dyn KeyIndex,
    settings: &'a CatchUp,
    builder: RunBuilder,
    /// Where the index stands.
    after: Option<Position>,
    /// Everything below is in the index or in the builder.
    at: i64,
    runs: u64,
    bytes: u64,
}

impl<'a> Work<'a> {
    fn begin(
        partition: &'a Partition,
        index: &'a dyn KeyIndex,
        settings: &'a CatchUp,
        done: &mut CaughtUp,
    ) -> Result<Self, KeyIndexError> {
        let (after, rebuilt) = check_position(partition, index)?;
        done.rebuilt |= rebuilt;
        let start = partition.log_start_offset();
        let CatchUp { run_bytes, load_factor, decompressed_max, .. } = *settings;
        Ok(Self {
            partition,
            index,
            settings,
            builder: RunBuilder::new(index.hasher(), run_bytes, load_factor, decompressed_max),
            after,
            at: after.map_or(start, |position| position.upto.max(start)),
            runs: 0,
            bytes: 0,
        })
    }

    fn read_upto(
        &mut self,
        end: i64,
        go_on: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Step, CatchUpError> {
        let mut buffer = Vec::new();
        let mut segment = None;
        while self.at < end {
            let Some(read) = self.partition.read_for_index(self.at, self.settings.read_bytes, end)? else {
                break;
            };
            let slice = &read.slice;
            // Dead offsets of a run count as soon as the segment is cleanable that the run ends in.
            let is_next = segment.replace(slice.segment_base).is_some_and(|base| base != slice.segment_base);
            if is_next && slice.segment_base >= self.settings.together_below && !self.add_run()? {
                return Ok(Step::Overtaken);
            }
            let read = match read_into(slice, &mut buffer) {
                Ok(()) => read,
                // The cleaner or retention may just have replaced the file, in which case it is found anew, once.
                Err(_) => match self.partition.read_for_index(self.at, self.settings.read_bytes, end)? {
                    Some(again) if again.slice.segment_base == slice.segment_base => {
                        read_into(&again.slice, &mut buffer).map_err(ReadError::from)?;
                        again
                    }
                    // In another segment by now: the next turn sees to it.
                    _ => continue,
                },
            };
            self.bytes += buffer.len() as u64;
            if !self.feed(&read, &buffer)? {
                return Ok(Step::Overtaken);
            }
            self.at = self.at.max(read.slice.next_offset.min(end));
            if go_on(buffer.len()).is_break() {
                return Ok(Step::Stopped);
            }
        }
        // No batch is left below the end, whatever offsets may be missing in front of it.
        self.at = self.at.max(end);
        Ok(if self.add_run()? { Step::Done } else { Step::Overtaken })
    }

    /// Feeds the batches that were read. `false` if the index no longer stands where it stood.
    fn feed(&mut self, read: &IndexRead, bytes: &[u8]) -> Result<bool, CatchUpError> {
        let mut batches = Batches::new(bytes);
        loop {
            let position = read.slice.position + batches.position() as u64;
            let Some(batch) = batches.next() else { return Ok(true) };
            let fed = match batch {
                Ok((header, batch)) => self.feed_batch(&header, batch, &read.aborted)?,
                Err(error) => Err(error.into()),
            };
            match fed {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(source) => {
                    // What was found in front of it need not be read again. Of the batch itself nothing may be in the run, and
                    // is not, unless the damage is in one of its records.
                    if !matches!(source, BatchDamage::Record(_)) {
                        self.add_run()?;
                    }
                    let (offset, path) = (self.at, read.slice.file.path());
                    return Err(CatchUpError::Damaged { offset, path, position, source });
                }
            }
        }
    }

    fn feed_batch(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        aborted: &AbortedRanges,
    ) -> Result<Result<bool, BatchDamage>, KeyIndexError> {
        loop {
            match self.builder.feed(header, batch, self.at, aborted) {
                Ok(Fed::Whole) => {
                    self.at = self.at.max(header.last_offset() + 1);
                    return Ok(Ok(true));
                }
                Ok(Fed::Below(offset)) => {
                    self.at = offset;
                    if !self.add_run()? {
                        return Ok(Ok(false));
                    }
                }
                Err(damage) => return Ok(Err(damage)),
            }
        }
    }

    /// Adds what was collected to the index. `false` if the index no longer stands where it stood.
    fn add_run(&mut self) -> Result<bool, KeyIndexError> {
        let known = self.after.map_or(i64::MIN, |position| position.upto);
        if self.at <= known || (self.after.is_none() && self.at == 0) {
            return Ok(true);
        }
        let to = Position { upto: self.at, leader_epoch: self.partition.epoch_before(self.at) };
        let run = self.builder.finish(self.after, to);
        if !self.index.add_run(self.partition.id().into(), run)? {
            return Ok(false);
        }
        self.after = Some(to);
        self.runs += 1;
        Ok(true)
    }
}
