//! What is known of one producer in one partition.

use std::collections::VecDeque;

use crate::record::BatchHeader;

/// Batches remembered for each producer: the most that an idempotent producer may have in flight
/// (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const BATCHES_RETAINED: usize = 5;

/// One appended batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMeta {
    /// Sequence of the last record.
    pub last_sequence: i32,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Last offset minus base offset.
    pub offset_delta: i32,
    /// Largest timestamp of the batch, milliseconds since the epoch.
    pub timestamp: i64,
}

impl BatchMeta {
    /// What is remembered of a batch whose header holds its final offsets.
    pub fn of(header: &BatchHeader) -> BatchMeta {
        BatchMeta {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        }
    }

    /// Sequence of the first record; sequences wrap from `i32::MAX` to 0.
    pub fn first_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }

    /// Offset of the first record.
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// The transaction of a producer that is open in the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Offset of its first record here.
    pub first_offset: i64,
    /// When that was appended, milliseconds since the epoch; after a restart as near as the records' timestamps tell.
    pub began_ms: i64,
}

/// What is known of one producer (`ProducerStateEntry`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Current epoch.
    pub epoch: i16,
    /// Epoch of the coordinator that wrote the last marker, or -1.
    pub coordinator_epoch: i32,
    /// The newest batches, oldest first, at most [`BATCHES_RETAINED`].
    pub batches: VecDeque<BatchMeta>,
    /// Timestamp of the newest batch or marker, milliseconds since the epoch, or -1.
    pub last_timestamp: i64,
    /// The open transaction.
    pub transaction: Option<Begun>,
    /// When the producer was last heard of, milliseconds since the epoch: drives expiry.
    pub last_seen_ms: i64,
}

impl ProducerEntry {
    /// A producer that nothing is known of but its epoch.
    pub fn new(epoch: i16, now_ms: i64) -> ProducerEntry {
        ProducerEntry {
            epoch,
            coordinator_epoch: -1,
            batches: VecDeque::new(),
            last_timestamp: -1,
            transaction: None,
            last_seen_ms: now_ms,
        }
    }

    /// Sequence of the last record, or -1.
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    /// The newest remembered batch that `header` repeats.
    pub(super) fn repeated(&self, header: &BatchHeader) -> Option<BatchMeta> {
        let same = |batch: &&BatchMeta| {
            batch.first_sequence() == header.base_sequence && batch.last_sequence == header.last_sequence()
        };
        self.batches.iter().rev().find(same).copied().filter(|_| self.epoch == header.producer_epoch)
    }

    /// Takes another epoch, in which sequences begin anew.
    pub(super) fn enter(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    pub(super) fn remember(&mut self, batch: BatchMeta) {
        if self.batches.len() == BATCHES_RETAINED {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
        self.last_timestamp = batch.timestamp;
    }
}

/// `sequence + by`, wrapping from `i32::MAX` to 0 (`DefaultRecordBatch.incrementSequence`).
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & 0x7fff_ffff) as i32
}

fn decrement_sequence(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) - i64::from(by)) & 0x7fff_ffff) as i32
}
