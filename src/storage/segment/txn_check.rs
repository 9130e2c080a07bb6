//! Which of the `.txnindex` files of a log can be believed when it is opened. The others are made anew from its batches.

use std::fs;
use std::sync::Arc;

use super::dir::segment_path;
use super::error::{StorageError, StorageErrorKind};
use super::files::{FileHandle, LogDir};
use super::recover::has_indexes;
use super::replay::marker;
use super::sealed::Sealed;
use super::txn_index::{AbortedTransaction, Checked, TxnIndex};
use super::txn_sums::{Stored, Sum, distrust, of_segment};
use super::verified::Trust;
use super::walk::Located;
use crate::record::TransactionOutcome;

/// The aborted transactions of each segment, where there are any.
pub(super) type AbortedBySegment = Vec<Option<Box<TxnIndex>>>;

/// The aborted transactions of each segment, cut to what is sound and ended below `durable`, and the offset from which they
/// must be completed.
///
/// Above `durable` anything may be missing. Below it a file must hold exactly what was written down of it; where nothing
/// was, as in a log that Kafka wrote, the log must hold the markers its entries tell of. That one is missing cannot be seen
/// then.
pub(super) fn load_aborted(
    dir: &Arc<LogDir>,
    bases: &[i64],
    durable: i64,
    stored: &Stored,
) -> Result<(AbortedBySegment, i64), StorageError> {
    let mut needed = durable;
    let mut aborted = Vec::with_capacity(bases.len());
    let mut batches = Batches { dir, bases, open: None };
    let mut is_distrusted = *stored != Stored::Absent;
    let mut doubt = |base, from, what: &str| {
        let path = segment_path(&dir.path, base, ".txnindex");
        tracing::warn!(path = %path.display(), from, "{what}: aborted transactions are found again from the batches");
        needed = needed.min(from);
        // A stop before they are must not leave a short file that nothing speaks against.
        match std::mem::replace(&mut is_distrusted, true) {
            true => Ok(()),
            false => distrust(&dir.path),
        }
    };
    for (index, &base) in bases.iter().enumerate() {
        let known = match stored {
            Stored::Sums(sums) => of_segment(sums, base),
            Stored::Absent | Stored::Unreadable => Vec::new(),
        };
        // Nothing of a segment above is believed anyway.
        let is_asked = base < durable;
        if !TxnIndex::exists(&dir.path, base) {
            if is_asked && *stored != Stored::Absent && !known.contains(&Sum::default()) {
                doubt(base, base, "the file is missing, or may be")?;
            }
            aborted.push(None);
            continue;
        }
        let bound = bases.get(index + 1).copied().unwrap_or(i64::MAX);
        let mut checked = TxnIndex::open(dir, base, bound, durable, &known)?;
        let mut keep_below = durable;
        let is_believed = match stored {
            Stored::Sums(_) => checked.agreed >= Some(checked.durable),
            Stored::Unreadable => false,
            Stored::Absent => !is_asked || batches.confirm(&checked, durable)?,
        };
        if is_asked && !is_believed {
            doubt(base, base, "the file is not what was written")?;
            keep_below = i64::MIN;
        } else if let Some(lost_from) = checked.lost_from.filter(|from| *from < durable) {
            doubt(base, lost_from, "the end of the file is damaged")?;
        }
        if checked.lost_from.is_some() || checked.index.last_offset() >= keep_below {
            checked.index.truncate_to(keep_below)?;
        }
        aborted.push(Some(Box::new(checked.index)));
    }
    Ok((aborted, needed))
}

/// Looks up single batches of a log that is not opened yet.
struct Batches<'a> {
    dir: &'a Arc<LogDir>,
    bases: &'a [i64],
    /// The segment that was looked into last, and its place.
    open: Option<(usize, Sealed)>,
}

impl Batches<'_> {
    /// Whether the log speaks for the entries that ended below `durable`. What cannot be read of it does not contradict them.
    fn confirm(&mut self, checked: &Checked, durable: i64) -> Result<bool, StorageError> {
        let mut entries = checked.index.entries();
        while let Some(entries) = entries.next()? {
            for entry in entries {
                let Some(entry) = entry else { return Ok(false) };
                if entry.last_offset >= durable {
                    return Ok(true);
                }
                match self.confirm_entry(&entry) {
                    Ok(true) => {}
                    Ok(false) => return Ok(false),
                    Err(error) if error.kind() == StorageErrorKind::Corrupt => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(true)
    }

    /// Whether the log holds the marker of an aborted transaction, and what its other offsets say is there.
    fn confirm_entry(&mut self, entry: &AbortedTransaction) -> Result<bool, StorageError> {
        let Some((log, batch)) = self.at(entry.last_offset)? else { return Ok(false) };
        let ended = marker(&log, &batch)?;
        let is_marker = ended.is_some_and(|marker| {
            marker.outcome == TransactionOutcome::Abort && marker.producer_id == entry.producer_id
        });
        Ok(is_marker
            && self.begins(entry.first_offset, Some(entry.producer_id))?
            && (entry.last_stable_offset == entry.last_offset + 1
                || self.begins(entry.last_stable_offset, None)?))
    }

    /// Whether a transaction may have begun at `offset`: it is below the log, or a batch of one is there.
    fn begins(&mut self, offset: i64, producer_id: Option<i64>) -> Result<bool, StorageError> {
        if self.bases.first().is_none_or(|first| offset < *first) {
            return Ok(true);
        }
        let batch = self.at(offset)?.map(|(_, batch)| batch.header);
        Ok(batch.is_some_and(|header| {
            header.is_transactional()
                && !header.is_control()
                && producer_id.is_none_or(|producer_id| producer_id == header.producer_id)
        }))
    }

    /// The batch that begins at `offset`.
    fn at(&mut self, offset: i64) -> Result<Option<(Arc<FileHandle>, Located)>, StorageError> {
        let Some(place) = self.bases.partition_point(|base| *base <= offset).checked_sub(1) else {
            return Ok(None);
        };
        let segment = match self.open.take() {
            Some((open, segment)) if open == place => segment,
            _ => {
                let path = segment_path(&self.dir.path, self.bases[place], ".log");
                let size =
                    fs::metadata(&path).map_err(|source| StorageError::io("inspect", &path, source))?.len();
                Sealed::new(self.bases[place], size, None, Trust::none())
            }
        };
        let (_, segment) = self.open.insert((place, segment));
        if !has_indexes(&self.dir.path, segment.base)? {
            return Ok(None);
        }
        let bound = self.bases.get(place + 1).copied().unwrap_or(i64::MAX);
        let view = segment.view(self.dir, bound)?;
        let found = view.locate(offset)?.filter(|batch| batch.header.base_offset == offset);
        Ok(found.map(|batch| (view.files.log.clone(), batch)))
    }
}
