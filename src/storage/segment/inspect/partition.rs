//! One log: its segments in order, and the files beside them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::aborted::{self, OpenTransactions};
use super::bytes::FileBytes;
use super::finding::{Action, Edit, Finding, Severity};
use super::indexes::Indexes;
use super::parts::{filler, head, marker, read_aborted, settled};
use super::walk::{Piece, Place, Walk};
use crate::record::BatchHeader;
use crate::storage::segment::dir::{
    self, CLEANED_SUFFIX, DELETED_SUFFIX, SWAP_SUFFIX, TXN_SUMS_FILE, parse_segment_name, segment_path,
};
use crate::storage::segment::epochs::LeaderEpochs;
use crate::storage::segment::error::{StorageError, StorageErrorKind};
use crate::storage::segment::txn_sums::Stored;

/// Findings of one kind kept for one log; a repair looks again.
const FINDINGS_MAX: usize = 1000;
/// A producer snapshot is far smaller.
const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

/// What is known of a log from elsewhere.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Everything below was durable (`recovery-point-offset-checkpoint`).
    pub recovery_point: i64,
    /// First offset that exists (`log-start-offset-checkpoint`).
    pub log_start: i64,
    /// Below this the log was compacted (`cleaner-offset-checkpoint`).
    pub cleaned: i64,
    /// The mark of an orderly stop is there.
    pub is_clean: bool,
    /// The topic's id, when it is known.
    pub topic_id: Option<[u8; 16]>,
    /// Bytes to which the records of a batch are unfolded.
    pub max_unfolded: usize,
    /// Says what is wrong with a producer snapshot.
    pub check_snapshot: &'a (dyn Fn(&[u8]) -> Result<(), String> + Sync),
}

/// What an inspection saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    pub findings: Vec<Finding>,
    pub segments: u64,
    pub batches: u64,
    /// Bytes of the `.log` files.
    pub bytes: u64,
}

impl Inspected {
    /// Something is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }
}

/// Looks through the log in `path`. Changes nothing.
///
/// # Errors
/// When a file cannot be read. Whatever its content, that is a finding and no error.
pub fn inspect(path: &Path, facts: &Facts<'_>) -> Result<Inspected, StorageError> {
    let mut look = Look {
        path,
        facts,
        out: Inspected::default(),
        end: 0,
        open: OpenTransactions::default(),
        epochs: None,
        last_epoch: -1,
        epochs_rise: true,
        confirmed_epochs: BTreeSet::new(),
        strange_epochs: Vec::new(),
        first_base: 0,
        last: None,
    };
    let bases = look.files()?;
    look.epochs()?;
    look.metadata()?;
    look.first_base = bases.first().copied().unwrap_or(0);
    look.end = look.first_base;
    for (index, &base) in bases.iter().enumerate() {
        look.segment(base, bases.get(index + 1).copied())?;
    }
    if let Some(&base) = bases.last() {
        look.finish(base);
    }
    Ok(look.out)
}

/// The last batch of the log.
#[derive(Clone, Copy)]
struct Last {
    base: i64,
    position: u64,
    header: BatchHeader,
    /// Where it could have begun.
    earliest: i64,
}

struct Look<'a> {
    path: &'a Path,
    facts: &'a Facts<'a>,
    out: Inspected,
    /// The offset behind the last sound batch.
    end: i64,
    open: OpenTransactions,
    epochs: Option<LeaderEpochs>,
    last_epoch: i32,
    epochs_rise: bool,
    /// Epochs of the file that some batch confirms.
    confirmed_epochs: BTreeSet<i32>,
    /// Batches whose leader epoch is another than the file says: segment, position, header, epoch by the file.
    strange_epochs: Vec<(i64, u64, BatchHeader, i32)>,
    first_base: i64,
    last: Option<Last>,
}

impl Look<'_> {
    fn add(&mut self, finding: Finding) {
        if self.out.findings.len() < FINDINGS_MAX {
            self.out.findings.push(finding);
        }
    }

    /// Looks at the names, and at the small files; returns the base offsets of the segments, ascending.
    fn files(&mut self) -> Result<Vec<i64>, StorageError> {
        let fail = |source| StorageError::io("list", self.path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path).map_err(fail)? {
            names.push(entry.map_err(fail)?.path());
        }
        names.sort();
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut bases = Vec::new();
        for path in &names {
            if let Some((base, ".log")) = parse_segment_name(&name(path)) {
                bases.push(base);
            }
        }
        for path in names {
            let file = name(&path);
            match parse_segment_name(&file) {
                Some((_, ".log")) => {}
                Some((base, ".index" | ".timeindex" | ".txnindex")) => {
                    if bases.binary_search(&base).is_err() {
                        self.add(Finding::damage(
                            path,
                            "the .log file of this segment is missing",
                            Action::SetAside,
                        ));
                    }
                }
                Some((_, ".snapshot")) => self.snapshot(path)?,
                Some((_, extension)) if extension.contains(".damaged") => {
                    self.add(Finding::note(path, "kept by an earlier repair"));
                }
                Some((_, extension))
                    if [DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX]
                        .iter()
                        .any(|suffix| extension.ends_with(suffix)) =>
                {
                    self.add(Finding::note(
                        path,
                        "left by a deletion or compaction; the next start settles it",
                    ));
                }
                _ if file == TXN_SUMS_FILE => {
                    if Stored::load(self.path)? == Stored::Unreadable {
                        self.add(Finding::damage(path, "it is damaged", Action::AbortedSums));
                    }
                }
                _ if ["leader-epoch-checkpoint", "partition.metadata"].contains(&&*file) => {}
                _ => self.add(Finding::note(path, "no file of a log")),
            }
        }
        Ok(bases)
    }

    fn snapshot(&mut self, path: PathBuf) -> Result<(), StorageError> {
        let fail = |source| StorageError::io("read", &path, source);
        let length = fs::metadata(&path).map_err(fail)?.len();
        let checked = match length {
            0..=SNAPSHOT_BYTES_MAX => (self.facts.check_snapshot)(&fs::read(&path).map_err(fail)?),
            _ => Err(format!("{length} bytes")),
        };
        if let Err(what) = checked {
            self.add(Finding::damage(path, what, Action::SetAside));
        }
        Ok(())
    }

    fn epochs(&mut self) -> Result<(), StorageError> {
        match LeaderEpochs::load(self.path) {
            Ok(epochs) => self.epochs = epochs,
            Err(error) if error.kind() == StorageErrorKind::Corrupt => {
                let path = self.path.join("leader-epoch-checkpoint");
                self.add(Finding::damage(path, error.to_string(), Action::SetAside));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn metadata(&mut self) -> Result<(), StorageError> {
        let path = self.path.join("partition.metadata");
        let known = self.facts.topic_id;
        let action = known.map_or(Action::SetAside, Action::TopicId);
        match dir::read_metadata(self.path) {
            Ok(None) => self.add(Finding::note(path, "it is missing")),
            Ok(found) if known.is_some() && found != known => {
                self.add(Finding::damage(path, "it names another topic", action));
            }
            Ok(_) => {}
            Err(error) if error.kind() == StorageErrorKind::Corrupt => {
                self.add(Finding::damage(path, error.to_string(), action));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn segment(&mut self, base: i64, next: Option<i64>) -> Result<(), StorageError> {
        let path = segment_path(self.path, base, ".log");
        let index = |extension| segment_path(self.path, base, extension);
        let mut file = FileBytes::open(&path)?;
        let mut indexes = Indexes::open(index(".index"), index(".timeindex"), base)?;
        let (stored, aborted_cut) = read_aborted(&index(".txnindex"))?;
        let mut ends: BTreeSet<i64> = stored.iter().map(|entry| entry.last_offset).collect();
        let mut lost = stored.iter().peekable();
        let mut derived = Vec::new();
        let mut wrong: Vec<Finding> = Vec::new();
        self.end = self.end.max(base);
        let size = file.len;
        let bound = next.unwrap_or(i64::MAX).min(base.saturating_add(1 << 31));
        let place = Place { base, bound, max_unfolded: self.facts.max_unfolded };
        let mut torn_from = None;
        Walk::new(&mut file, place).run(&mut |file, piece| {
            match piece {
                Piece::Damage { from, to, reason } => {
                    torn_from = (to == size).then_some(self.end);
                    let edit = Edit::Cut { from, to };
                    if wrong.len() < FINDINGS_MAX {
                        let finding = Finding::damage(path.clone(), reason, Action::Log { base, edit });
                        // Up to where is known when the next batch comes.
                        wrong.push(finding.at(from).of(self.end, bound - 1));
                    }
                }
                Piece::Batch { position, header, mended } => {
                    if let Some(before) = wrong.last_mut()
                        && let Some((first, last)) = &mut before.offsets
                        && *last >= header.base_offset
                    {
                        *last = (header.base_offset - 1).max(*first);
                    }
                    if let Some(reason) = mended
                        && wrong.len() < FINDINGS_MAX
                    {
                        let edit = head(position, &header);
                        let finding = Finding::damage(path.clone(), reason, Action::Log { base, edit });
                        wrong.push(finding.at(position).of(header.base_offset, header.last_offset()));
                    }
                    while let Some(entry) = lost.next_if(|entry| entry.last_offset < header.base_offset) {
                        if ends.contains(&entry.last_offset) {
                            self.open.lost_marker(entry.producer_id);
                        }
                    }
                    let held = header.base_offset..=header.last_offset();
                    while let Some(offset) = ends.range(held.clone()).next().copied() {
                        ends.remove(&offset);
                    }
                    indexes.batch(position, &header)?;
                    let marker = marker(file, position, &header)?;
                    derived.extend(self.open.batch(&header, marker.as_ref()));
                    self.batch(base, position, header);
                }
            }
            Ok(())
        })?;
        self.out.segments += 1;
        self.out.bytes += size;
        let compared =
            aborted::compare(&stored, &derived, self.first_base, self.facts.cleaned, |at| ends.contains(&at));
        let is_open = next.is_none();
        // What an unclean stop left above the recovery point is completed by the next start.
        let is_unsettled = !self.facts.is_clean && (is_open || next > Some(self.facts.recovery_point));
        let is_sound = wrong.is_empty();
        if is_open
            && is_unsettled
            && let Some(from) = torn_from
            && from >= self.facts.recovery_point
            && let Some(torn) = wrong.last_mut()
        {
            torn.severity = Severity::Note;
            torn.action = Action::Nothing;
            torn.what = format!("a write was cut short here ({}); the next start removes it", torn.what);
            torn.offsets = None;
        }
        wrong.into_iter().for_each(|finding| self.add(finding));
        if is_sound {
            for (which, at, what) in indexes.finish(!is_unsettled)? {
                let file = index([".index", ".timeindex"][which]);
                let mut finding = Finding::damage(file, what, Action::Indexes { base });
                finding.position = at;
                self.add(settled(finding, is_unsettled));
            }
        }
        let mut faults = compared.faults;
        if aborted_cut {
            faults.push(("the last entry is cut".to_owned(), base));
        }
        for (what, at) in faults {
            let action = Action::Aborted { base, entries: compared.entries.clone() };
            let is_new = is_unsettled && at >= self.facts.recovery_point;
            let finding = Finding::damage(index(".txnindex"), what, action).of(at, at);
            self.add(settled(finding, is_new));
        }
        Ok(())
    }

    fn batch(&mut self, base: i64, position: u64, header: BatchHeader) {
        self.out.batches += 1;
        let epoch = header.partition_leader_epoch;
        self.epochs_rise &= epoch >= self.last_epoch;
        self.last_epoch = epoch;
        if let Some(epochs) = &self.epochs {
            let first = epochs.entries().first().map_or(i64::MIN, |entry| entry.start_offset);
            let stored = epochs.epoch_for(header.base_offset);
            if stored == epoch {
                self.confirmed_epochs.insert(epoch);
            } else if header.base_offset >= first && self.strange_epochs.len() < FINDINGS_MAX {
                self.strange_epochs.push((base, position, header, stored));
            }
        }
        self.last = Some(Last { base, position, header, earliest: self.end });
        self.end = header.last_offset().saturating_add(1);
    }

    /// Whether the file is to blame for a batch whose epoch it does not have. The batch is, when epochs go back, or when it
    /// alone has an epoch of which the file knows nothing.
    fn is_by_file(&self, (_, _, header, stored): &(i64, u64, BatchHeader, i32)) -> bool {
        let epoch = header.partition_leader_epoch;
        let entries = self.epochs.iter().flat_map(|epochs| epochs.entries());
        let is_known = entries.into_iter().any(|entry| entry.epoch == epoch);
        self.epochs_rise && (is_known || !self.confirmed_epochs.contains(stored))
    }

    /// What only the whole log shows.
    fn finish(&mut self, last_base: i64) {
        let epochs_path = self.path.join("leader-epoch-checkpoint");
        let strange = std::mem::take(&mut self.strange_epochs);
        if self.epochs.is_none() && self.out.batches > 0 && !epochs_path.exists() {
            self.add(Finding::note(epochs_path, "it is missing; the next start makes it from the batches"));
        } else if let Some((_, _, header, stored)) = strange.iter().find(|strange| self.is_by_file(strange)) {
            let what = format!("epoch {stored} where the batch has {}", header.partition_leader_epoch);
            let finding = Finding::damage(epochs_path, what, Action::SetAside);
            self.add(finding.of(header.base_offset, header.last_offset()));
        } else {
            for (base, position, header, stored) in strange {
                let what = format!("the leader epoch is {}, not {stored}", header.partition_leader_epoch);
                let edit = head(position, &BatchHeader { partition_leader_epoch: stored, ..header });
                let path = segment_path(self.path, base, ".log");
                let finding = Finding::damage(path, what, Action::Log { base, edit });
                self.add(finding.at(position).of(header.base_offset, header.last_offset()));
            }
        }
        let point = self.facts.recovery_point;
        if self.end < point && self.facts.log_start < point {
            let epoch = self.last_epoch.max(self.epochs.as_ref().and_then(LeaderEpochs::latest).unwrap_or(0));
            let filler =
                filler(self.end, point - 1, epoch).filter(|_| point - last_base <= i64::from(i32::MAX));
            let action = filler
                .map_or(Action::Nothing, |bytes| Action::Log { base: last_base, edit: Edit::Append(bytes) });
            let what = format!("the log ends at {}, but was durable up to {point}", self.end);
            let path = segment_path(self.path, last_base, ".log");
            self.add(Finding::damage(path, what, action).of(self.end, point - 1));
        }
        // After an orderly stop the log ends at the recovery point.
        if self.facts.is_clean
            && point > 0
            && self.end > point
            && let Some(last) = self.last
            && last.header.base_offset - last.earliest == self.end - point
        {
            let what =
                format!("the base offset is {}, but the log ended at {point}", last.header.base_offset);
            let edit = head(last.position, &BatchHeader { base_offset: last.earliest, ..last.header });
            let path = segment_path(self.path, last.base, ".log");
            let finding = Finding::damage(path, what, Action::Log { base: last.base, edit });
            self.add(finding.at(last.position).of(last.header.base_offset, last.header.last_offset()));
        }
    }
}
