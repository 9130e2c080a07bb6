//! Following the batches of a log that is opened: for what the log does not know, and for which transactions were aborted.

use std::sync::Arc;

use super::epochs::LeaderEpochs;
use super::error::StorageError;
use super::files::FileHandle;
use super::txn_index::AbortedTransaction;
use super::walk::Located;
use crate::record::{BatchHeader, EndMarker, crc_matches};

/// A larger control batch is not read: no marker is one.
const MARKER_MAX: usize = 4096;

/// Rebuilds, from the batches of a log that is opened, what the log itself does not know.
pub trait Replay {
    /// Begins. Returns the offset from which batches are wanted. Aborted transactions that ended at or above `needed` may be
    /// missing in their index: to have them completed, begin at or below it. After an orderly stop it is usually
    /// `i64::MAX`.
    fn begin(&mut self, needed: i64) -> i64;

    /// Takes the next batch, with the marker it holds if it ends a transaction. Returns the transaction if it was aborted
    /// and had records.
    fn batch(&mut self, header: &BatchHeader, marker: Option<&EndMarker>) -> Option<AbortedTransaction>;
}

/// Takes what it needs from each batch that passes.
pub(super) struct Observer<'a> {
    pub epochs: &'a mut LeaderEpochs,
    /// Whether the batches may tell of epochs that are not known. They are stored before the first batch of each, and no
    /// checksum covers the epoch in a batch: where nothing was lost, a batch that says otherwise is damaged.
    pub learns_epochs: bool,
    pub replay_from: i64,
    pub replay: &'a mut dyn Replay,
}

impl Observer<'_> {
    pub fn observe(
        &mut self,
        log: &Arc<FileHandle>,
        batch: &Located,
    ) -> Result<Option<AbortedTransaction>, StorageError> {
        let header = &batch.header;
        if self.learns_epochs {
            let epoch = header.partition_leader_epoch;
            if self.epochs.latest().is_some_and(|latest| epoch < latest) {
                // Epochs never go back: one of the batches is wrong, and nothing tells which. So nothing is known up to here,
                // and no sound batch is held against what a damaged one said.
                *self.epochs = LeaderEpochs::default();
            }
            self.epochs.assign(epoch, header.base_offset);
        }
        if header.base_offset < self.replay_from {
            return Ok(None);
        }
        let marker = marker(log, batch)?;
        Ok(self.replay.batch(header, marker.as_ref()))
    }
}

/// The marker in a batch. Only control batches are read whole.
pub(super) fn marker(log: &Arc<FileHandle>, batch: &Located) -> Result<Option<EndMarker>, StorageError> {
    let size = batch.header.size_in_bytes();
    if !batch.header.is_control() || size > MARKER_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    let filled = log.read_at(&mut bytes, batch.position)?;
    if !crc_matches(&bytes[..filled]) {
        // Whether a transaction was committed is not guessed.
        return Err(StorageError::corrupt(&log.path(), batch.position, "checksum mismatch in a marker"));
    }
    Ok(EndMarker::parse(&batch.header, &bytes[..filled]))
}
