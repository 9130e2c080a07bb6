//! The order of steps of a rewrite (`Cleaner.cleanSegments`, `Cleaner.cleanInto`).

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::super::dir::segment_path;
use super::super::error::StorageError;
use super::super::time_index::TimeEntry;
use super::batch::{BatchError, Rewriter, Tally, Written};
use super::error::CompactError;
use super::output::{CleanedFiles, Indexes, Output};
use super::reader::Reader;
use super::retention;
use super::source::{Group, Source, SourceSegment};
use super::transactions::Transactions;
use super::{Context, Figures, Progress};
use crate::record::DecompressError;
use crate::storage::superseded::Superseded;

/// Bytes after which [`Progress::advance`] is called.
const REPORT_EVERY: u64 = 256 << 10;

/// One cleaning of a log, from its start on.
#[derive(Debug)]
pub struct Round {
    source: Source,
    transactions: Transactions,
    rewriter: Rewriter,
    read_buffer: Vec<u8>,
    write_buffer: Vec<u8>,
}

/// What became of a group.
#[derive(Debug)]
pub struct Rewrite {
    pub figures: Figures,
    /// What to swap in; `None` if nothing changes.
    pub segment: Option<Rewritten>,
}

/// A segment that is written and durable and waits for [`Log::replace`](super::super::Log::replace). Dropped, its files are
/// removed.
#[derive(Debug)]
pub struct Rewritten {
    pub(super) files: CleanedFiles,
    pub(super) group: Group,
    pub(super) truncations: u64,
    pub(super) size: u64,
    pub(super) newest: TimeEntry,
}

impl Rewritten {
    /// Bytes of the new `.log` file.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }
}

impl Round {
    /// Begins a round.
    pub fn new(mut source: Source) -> Round {
        let transactions = Transactions::new(std::mem::take(&mut source.aborted));
        Round {
            source,
            transactions,
            rewriter: Rewriter::default(),
            read_buffer: Vec::new(),
            write_buffer: Vec::new(),
        }
    }

    /// What the round goes over.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The groups to rewrite, in order: see [`Source::groups`].
    pub fn groups(&self, known_end: i64) -> Result<Vec<Group>, CompactError> {
        self.source.groups(known_end)
    }

    /// Rewrites one group to `.cleaned` files and makes them durable, if anything changes. Groups must come in order and
    /// none may be left out.
    ///
    /// # Errors
    /// The round is over after one; the log is as it was, and no files are left.
    pub fn rewrite<S: Superseded + ?Sized>(
        &mut self,
        group: &Group,
        context: &Context<'_>,
        superseded: &S,
        progress: &mut dyn Progress,
    ) -> Result<Rewrite, CompactError> {
        let base = group.base_offset();
        let mut step = Step {
            source: &self.source,
            transactions: &mut self.transactions,
            rewriter: &mut self.rewriter,
            write_buffer: &mut self.write_buffer,
            context,
            superseded,
            range: (base, group.next_offset()),
            figures: Figures::default(),
            indexes: Indexes::new(base, &self.source.config),
            output: None,
            unreported: (0, 0),
            progress,
        };
        // A group of several becomes one in any case.
        if group.segments.len() > 1 {
            step.begin_output()?;
        }
        let mut modified = std::time::SystemTime::UNIX_EPOCH;
        for segment in &group.segments {
            let done = step.segment(*segment, &mut self.read_buffer);
            modified = done.map_err(|error| self.source.or_changed(error))?;
        }
        step.report(0)?;
        let Step { figures, indexes, output, .. } = step;
        let Some(output) = output else {
            return Ok(Rewrite { figures, segment: None });
        };
        let newest = indexes.newest;
        let (files, size, buffer) = output.finish(indexes, group.first().has_txn_index, modified)?;
        self.write_buffer = buffer;
        let truncations = self.source.truncations;
        let segment = Rewritten { files, group: group.clone(), truncations, size, newest };
        Ok(Rewrite { figures, segment: Some(segment) })
    }
}

/// A group on its way.
struct Step<'a, S: ?Sized> {
    source: &'a Source,
    transactions: &'a mut Transactions,
    rewriter: &'a mut Rewriter,
    write_buffer: &'a mut Vec<u8>,
    context: &'a Context<'a>,
    superseded: &'a S,
    /// Base offset of the group, and the first offset behind it.
    range: (i64, i64),
    figures: Figures,
    indexes: Indexes,
    /// `None` as long as the new segment would be the same as the old.
    output: Option<Output>,
    unreported: (u64, u64),
    progress: &'a mut dyn Progress,
}

impl<S: Superseded + ?Sized> Step<'_, S> {
    fn begin_output(&mut self) -> Result<(), CompactError> {
        let buffer = std::mem::take(self.write_buffer);
        self.output = Some(Output::create(&self.source.dir, &self.source.entries, self.range, buffer)?);
        Ok(())
    }

    fn report(&mut self, at_least: u64) -> Result<(), CompactError> {
        let (read, written) = self.unreported;
        if read + written < at_least {
            return Ok(());
        }
        self.unreported = (0, 0);
        match self.progress.advance(read, written) {
            std::ops::ControlFlow::Continue(()) => Ok(()),
            std::ops::ControlFlow::Break(()) => Err(CompactError::Cancelled),
        }
    }

    /// Passes the batches of one segment; returns when the segment was last written to.
    fn segment(
        &mut self,
        segment: SourceSegment,
        buffer: &mut Vec<u8>,
    ) -> Result<std::time::SystemTime, CompactError> {
        let (file, path) = self.open(segment.base)?;
        let mut reader = Reader::new(&file, &path, segment, buffer);
        while let Some(batch) = reader.next()? {
            let (header, size) = (&batch.header, batch.bytes.len() as u64);
            self.figures.bytes_read += size;
            self.unreported.0 += size;
            let standing = self.transactions.pass(header, batch.bytes);
            if let Some(aborted) = standing.aborts {
                self.indexes.aborted.push(aborted);
            }
            let last =
                if header.has_producer() { (self.context.last_record)(header.producer_id) } else { None };
            let verdict = retention::of_batch(
                header,
                standing.discardable,
                last,
                self.source.end(),
                self.context.now_ms,
            );
            let mut tally = Tally { figures: &mut self.figures, progress: &mut *self.progress };
            let written = self
                .rewriter
                .rewrite(header, batch.bytes, verdict, self.context, self.superseded, &mut tally)
                .map_err(|error| refused(error, &path, batch.position))?;
            if written != Written::Same && self.output.is_none() {
                let buffer = std::mem::take(self.write_buffer);
                let output = Output::create(&self.source.dir, &self.source.entries, self.range, buffer)?;
                let output = self.output.insert(output);
                // Only a group of one segment gets here: up to this batch, the new file is the old.
                while batch.position > 0 && output.copy_from(&file, batch.position)? {
                    if self.progress.advance(0, 1 << 20).is_break() {
                        return Err(CompactError::Cancelled);
                    }
                }
            }
            let (kept, bytes) = match written {
                Written::Nothing => continue,
                Written::Same => (*header, batch.bytes),
                Written::Other(changed, bytes) => (changed, bytes),
            };
            let position = match &mut self.output {
                Some(output) => {
                    self.unreported.1 += bytes.len() as u64;
                    output.append(bytes)?
                }
                None => batch.position,
            };
            self.indexes.account(position, &kept);
            self.figures.bytes_kept += bytes.len() as u64;
            self.report(REPORT_EVERY)?;
        }
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        Ok(modified.map_err(|source| StorageError::io("inspect", &path, source))?)
    }

    fn open(&self, base: i64) -> Result<(File, PathBuf), CompactError> {
        let path = segment_path(&self.source.dir.path, base, ".log");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(
            &self.source.entries,
            path.file_name().unwrap_or_default(),
            flags,
            Mode::empty(),
        ) {
            Ok(file) => Ok((File::from(file), path)),
            Err(rustix::io::Errno::NOENT) => {
                Err(CompactError::Changed { path: self.source.dir.path.clone() })
            }
            Err(error) => Err(StorageError::io("open", &path, error.into()).into()),
        }
    }
}

fn refused(error: BatchError, path: &std::path::Path, position: u64) -> CompactError {
    match error {
        BatchError::Decompress(DecompressError::TooLarge { max }) => {
            CompactError::TooLarge { path: path.to_path_buf(), position, max }
        }
        other => CompactError::corrupt(path, position, other.to_string()),
    }
}
