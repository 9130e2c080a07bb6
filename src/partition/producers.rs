//! Idempotence: what each producer last appended here, and whether the next batch follows it.
//!
//! The rules are Kafka's (`ProducerAppendInfo.checkSequence`, `ProducerStateEntry`, KIP-98, KIP-360): the last five
//! batches of a producer are remembered, a repeat of one of them is answered with its offset and not appended again.

use std::collections::{HashMap, VecDeque};

use super::error::AppendError;
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
    /// Sequence of the first record; sequences wrap from `i32::MAX` to 0.
    pub fn first_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }

    /// Offset of the first record.
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// What is known of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Current epoch.
    pub epoch: i16,
    /// The newest batches, oldest first, at most [`BATCHES_RETAINED`].
    pub batches: VecDeque<BatchMeta>,
    /// When the producer was last heard of, milliseconds since the epoch: drives expiry.
    pub last_seen_ms: i64,
}

/// What is to be done with a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It follows: append it.
    Append,
    /// It is already in the log: answer with what was appended then.
    Duplicate(BatchMeta),
}

/// All producers of one partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Producers {
    entries: HashMap<i64, ProducerEntry>,
}

impl Producers {
    /// Decides about a batch of `header`'s producer. Batches without a producer id always append.
    ///
    /// # Errors
    /// [`AppendError::InvalidProducerEpoch`] for an epoch below the known one, [`AppendError::OutOfOrderSequence`] for
    /// a sequence that does not follow.
    pub fn check(&self, header: &BatchHeader) -> Result<Verdict, AppendError> {
        if header.producer_id < 0 {
            return Ok(Verdict::Append);
        }
        let Some(entry) = self.entries.get(&header.producer_id) else {
            // A producer that is new here, or was forgotten, may start anywhere: its earlier batches may have been
            // removed by retention (KIP-360).
            return Ok(Verdict::Append);
        };
        if header.producer_epoch < entry.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: header.producer_id,
                found: header.producer_epoch,
                current: entry.epoch,
            });
        }
        let out_of_order = |expected| AppendError::OutOfOrderSequence {
            producer_id: header.producer_id,
            found: header.base_sequence,
            expected,
        };
        if header.producer_epoch > entry.epoch {
            return if header.base_sequence == 0 { Ok(Verdict::Append) } else { Err(out_of_order(0)) };
        }
        let repeated = entry.batches.iter().find(|batch| {
            batch.first_sequence() == header.base_sequence && batch.last_sequence == header.last_sequence()
        });
        if let Some(batch) = repeated {
            return Ok(Verdict::Duplicate(*batch));
        }
        match entry.batches.back() {
            None => Ok(Verdict::Append),
            Some(last) => {
                let expected = increment_sequence(last.last_sequence, 1);
                if header.base_sequence == expected {
                    Ok(Verdict::Append)
                } else {
                    Err(out_of_order(expected))
                }
            }
        }
    }

    /// Notes an appended batch, whose header holds its final offsets. Also used to replay the log at open.
    pub fn record(&mut self, header: &BatchHeader, now_ms: i64) {
        if header.producer_id < 0 {
            return;
        }
        let entry = self.entries.entry(header.producer_id).or_insert_with(|| ProducerEntry {
            epoch: header.producer_epoch,
            batches: VecDeque::with_capacity(BATCHES_RETAINED),
            last_seen_ms: now_ms,
        });
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        entry.last_seen_ms = now_ms;
        if header.is_control() {
            return;
        }
        if entry.batches.len() == BATCHES_RETAINED {
            entry.batches.pop_front();
        }
        entry.batches.push_back(BatchMeta {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
    }

    /// Forgets producers not heard of for `expiration_ms` (`producer.id.expiration.ms`).
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.entries.retain(|_, entry| now_ms - entry.last_seen_ms < expiration_ms);
        if self.entries.capacity() > 64 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to_fit();
        }
    }

    /// Forgets everything, before a rebuild from the log.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The known producers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Puts back an entry from a snapshot.
    pub fn restore(&mut self, producer_id: i64, entry: ProducerEntry) {
        self.entries.insert(producer_id, entry);
    }

    /// Number of known producers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// `sequence + by`, wrapping from `i32::MAX` to 0 (`DefaultRecordBatch.incrementSequence`).
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & 0x7fff_ffff) as i32
}

fn decrement_sequence(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) - i64::from(by)) & 0x7fff_ffff) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(epoch: i16, base_sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset,
            batch_length: 49,
            partition_leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 1_000,
            producer_id: 9,
            producer_epoch: epoch,
            base_sequence,
            record_count: count,
        }
    }

    #[test]
    fn a_repeat_of_any_of_the_last_five_is_answered_with_its_offset() {
        let mut producers = Producers::default();
        for index in 0..8 {
            let header = batch(0, index * 3, 3, i64::from(index) * 3);
            assert_eq!(producers.check(&header).unwrap(), Verdict::Append);
            producers.record(&header, 0);
        }
        for index in 3..8 {
            let Verdict::Duplicate(meta) = producers.check(&batch(0, index * 3, 3, -1)).unwrap() else {
                panic!("batch {index} is remembered");
            };
            assert_eq!(meta.first_offset(), i64::from(index) * 3);
        }
        assert!(matches!(
            producers.check(&batch(0, 6, 3, -1)),
            Err(AppendError::OutOfOrderSequence { expected: 24, found: 6, .. })
        ));
    }

    #[test]
    fn a_gap_is_refused_and_the_sequence_wraps_to_zero() {
        let mut producers = Producers::default();
        producers.record(&batch(0, i32::MAX - 1, 2, 10), 0);
        assert_eq!(producers.check(&batch(0, 0, 1, -1)).unwrap(), Verdict::Append);
        assert!(producers.check(&batch(0, 1, 1, -1)).is_err());
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_an_old_one_is_fenced() {
        let mut producers = Producers::default();
        producers.record(&batch(4, 0, 5, 0), 0);
        assert!(matches!(
            producers.check(&batch(5, 3, 1, -1)),
            Err(AppendError::OutOfOrderSequence { expected: 0, .. })
        ));
        assert_eq!(producers.check(&batch(5, 0, 1, -1)).unwrap(), Verdict::Append);
        producers.record(&batch(5, 0, 1, 5), 0);
        assert!(matches!(
            producers.check(&batch(4, 5, 1, -1)),
            Err(AppendError::InvalidProducerEpoch { current: 5, found: 4, .. })
        ));
    }

    #[test]
    fn an_idle_producer_is_forgotten_only_after_the_expiration() {
        let mut producers = Producers::default();
        producers.record(&batch(0, 0, 1, 0), 1_000);
        producers.expire(1_000 + 99, 100);
        assert_eq!(producers.len(), 1);
        producers.expire(1_000 + 100, 100);
        assert!(producers.is_empty());
    }

    proptest! {
        /// A producer with up to five batches in flight that repeats any of them at random gets each appended once.
        #[test]
        fn retries_never_append_twice(retries in prop::collection::vec(0usize..5, 1..200)) {
            let mut producers = Producers::default();
            let mut appended: Vec<BatchHeader> = Vec::new();
            let mut next_offset = 0;
            for back in retries {
                let fresh = batch(0, (appended.len() as i32) * 2, 2, next_offset);
                prop_assert_eq!(producers.check(&fresh).unwrap(), Verdict::Append);
                producers.record(&fresh, 0);
                appended.push(fresh);
                next_offset += 2;
                if back < appended.len() {
                    let old = appended[appended.len() - 1 - back];
                    match producers.check(&old).unwrap() {
                        Verdict::Duplicate(meta) => prop_assert_eq!(meta.first_offset(), old.base_offset),
                        Verdict::Append => prop_assert!(false, "a repeat was taken as new"),
                    }
                }
            }
        }
    }
}
