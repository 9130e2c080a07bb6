//! Pieces of an inspection that need nothing of it.

use std::fs;
use std::path::Path;

use super::aborted::ENTRY_LEN;
use super::bytes::FileBytes;
use super::finding::{Action, Edit, Finding, Severity};
use crate::record::{BatchHeader, EndMarker, MARKER_LEN};
use crate::storage::segment::AbortedTransaction;
use crate::storage::segment::error::StorageError;

/// A control batch larger than this is no marker.
const CONTROL_BYTES_MAX: usize = MARKER_LEN + 4096;

/// A finding that the next start settles is a note.
pub(super) fn settled(mut finding: Finding, is_settled: bool) -> Finding {
    if is_settled {
        finding.severity = Severity::Note;
        finding.action = Action::Nothing;
        finding.what.push_str("; the next start completes it");
    }
    finding
}

/// The correction that gives the batch at `position` the first 17 bytes of this header.
pub(super) fn head(position: u64, header: &BatchHeader) -> Edit {
    let mut bytes = [0; 17];
    bytes.copy_from_slice(&header.encode()[..17]);
    Edit::Head { position, bytes }
}

/// A batch that holds the offsets from `first` to `last` and no record, as compaction leaves one (Kafka
/// `DefaultRecordBatch.writeEmptyHeader`).
pub(super) fn filler(first: i64, last: i64, leader_epoch: i32) -> Option<Vec<u8>> {
    let mut header = BatchHeader {
        base_offset: first,
        batch_length: 0,
        partition_leader_epoch: leader_epoch,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: i32::try_from(last.checked_sub(first)?).ok()?,
        base_timestamp: -1,
        max_timestamp: -1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    };
    header.seal(&[]).map(|bytes| bytes.to_vec())
}

/// The marker in a batch that ends a transaction.
pub(super) fn marker(
    file: &mut FileBytes,
    position: u64,
    header: &BatchHeader,
) -> Result<Option<EndMarker>, StorageError> {
    let size = header.size_in_bytes();
    if !header.is_control() || size > CONTROL_BYTES_MAX {
        return Ok(None);
    }
    let bytes = file.from(position, size)?;
    Ok(bytes.get(..size).and_then(|bytes| EndMarker::parse(header, bytes)))
}

/// The entries of a `.txnindex` file; those that are no entry of the format come back as implausible ones. Also whether the
/// last one is cut.
pub(super) fn read_aborted(path: &Path) -> Result<(Vec<AbortedTransaction>, bool), StorageError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
        Err(source) => return Err(StorageError::io("read", path, source)),
    };
    let none =
        AbortedTransaction { producer_id: -1, first_offset: -1, last_offset: -1, last_stable_offset: -1 };
    let entries =
        bytes.chunks_exact(ENTRY_LEN).map(|entry| AbortedTransaction::decode(entry).unwrap_or(none));
    Ok((entries.collect(), bytes.len() % ENTRY_LEN != 0))
}
