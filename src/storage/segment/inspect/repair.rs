//! Carries out what an inspection proposes. Every step leaves a log that can be inspected and repaired again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::bytes::FileBytes;
use super::finding::{Action, Edit, Finding};
use super::indexes::Built;
use crate::record::BatchHeader;
use crate::storage::segment::dir::{
    remove_if_present, segment_path, sync_dir, sync_metadata, write_atomically, write_metadata,
};
use crate::storage::segment::error::StorageError;
use crate::storage::segment::txn_sums;

/// Does what the findings of one log ask for, durably; returns the side files that were made. The mark of an orderly stop must
/// be gone before. Inspect again afterwards: a repaired segment may show what damage hid.
///
/// # Errors
/// When a file cannot be written. What was damaged is then still there, in place or aside.
pub fn repair(dir: &Path, findings: &[Finding], index_interval: u32) -> Result<Vec<PathBuf>, StorageError> {
    let mut made = Vec::new();
    let mut edits: BTreeMap<i64, Vec<&Edit>> = BTreeMap::new();
    let mut indexes = BTreeSet::new();
    let mut aborted = false;
    for finding in findings {
        match &finding.action {
            Action::Nothing => {}
            Action::Log { base, edit } => edits.entry(*base).or_default().push(edit),
            Action::Indexes { base } => {
                indexes.insert(*base);
            }
            Action::Aborted { base, entries } => {
                let path = segment_path(dir, *base, ".txnindex");
                let mut bytes = Vec::new();
                entries.iter().for_each(|entry| entry.encode(&mut bytes));
                write_atomically(&path, &bytes)?;
                aborted = true;
            }
            Action::AbortedSums => aborted = true,
            Action::SetAside => {
                if finding.path.exists() {
                    let to = unused(&finding.path, "damaged");
                    fs::rename(&finding.path, &to)
                        .map_err(|source| StorageError::io("rename", &finding.path, source))?;
                    made.push(to);
                    sync_dir(finding.path.parent().unwrap_or(dir))?;
                }
            }
            Action::TopicId(id) => {
                write_metadata(dir, *id)?;
                sync_metadata(dir)?;
            }
        }
    }
    for (base, mut edits) in edits {
        edits.sort_by_key(|edit| edit.position());
        rewrite(dir, base, &edits, &mut made)?;
        indexes.insert(base);
    }
    for base in indexes {
        build_indexes(dir, base, index_interval)?;
    }
    if aborted {
        // All of them were compared with the log: they are to be believed when it is opened.
        txn_sums::rebuild(dir)?;
    }
    Ok(made)
}

/// Replaces a `.log` file by one with the edits.
fn rewrite(dir: &Path, base: i64, edits: &[&Edit], made: &mut Vec<PathBuf>) -> Result<(), StorageError> {
    let path = segment_path(dir, base, ".log");
    let replacement = segment_path(dir, base, ".log.repair");
    let mut file = FileBytes::open(&path)?;
    let fail = |source| StorageError::io("write", &replacement, source);
    let mut out = BufWriter::new(File::create(&replacement).map_err(fail)?);
    let (mut position, len) = (0, file.len);
    let mut tail: &[u8] = &[];
    for edit in edits {
        match edit {
            Edit::Cut { from, to } => {
                file.copy(position, *from, &mut out)?;
                made.push(keep(&mut file, *from, *to)?);
                position = *to;
            }
            Edit::Head { position: at, bytes } => {
                // Of two corrections of one header the second waits for the next look.
                if *at < position {
                    continue;
                }
                file.copy(position, *at, &mut out)?;
                out.write_all(bytes).map_err(fail)?;
                position = at + bytes.len() as u64;
            }
            Edit::Append(bytes) => tail = bytes,
        }
    }
    file.copy(position, len, &mut out)?;
    out.write_all(tail).map_err(fail)?;
    let written = out.into_inner().map_err(|error| fail(error.into_error()))?;
    written.sync_all().map_err(fail)?;
    // Positions are about to change.
    for extension in [".index", ".timeindex"] {
        remove_if_present(&segment_path(dir, base, extension))?;
    }
    sync_dir(dir)?;
    fs::rename(&replacement, &path).map_err(|source| StorageError::io("rename", &replacement, source))?;
    sync_dir(dir)
}

/// Writes a part of a file to a side file, durably.
fn keep(file: &mut FileBytes, from: u64, to: u64) -> Result<PathBuf, StorageError> {
    let path = unused(&file.path, &format!("damaged-{from}"));
    let fail = |source| StorageError::io("write", &path, source);
    let mut out = BufWriter::new(File::create(&path).map_err(fail)?);
    file.copy(from, to, &mut out)?;
    out.into_inner().map_err(|error| fail(error.into_error()))?.sync_all().map_err(fail)?;
    Ok(path)
}

/// `<path>.<suffix>`, or with a number behind it when there is such a file.
fn unused(path: &Path, suffix: &str) -> PathBuf {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{suffix}"));
        if number > 0 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    (0..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0))
}

/// Writes both indexes of a segment anew. Batches are followed by their headers: whatever is wrong with them shows at the next
/// look, not here.
fn build_indexes(dir: &Path, base: i64, interval: u32) -> Result<(), StorageError> {
    let mut file = FileBytes::open(&segment_path(dir, base, ".log"))?;
    let mut built = Built::new(base, interval.into());
    let mut position = 0;
    while position < file.len
        && let Ok(header) = BatchHeader::parse(file.head(position)?)
    {
        built.batch(position, &header);
        position += header.size_in_bytes() as u64;
    }
    let (offsets, times) = built.finish();
    write_atomically(&segment_path(dir, base, ".index"), &offsets)?;
    write_atomically(&segment_path(dir, base, ".timeindex"), &times)
}
