//! What becomes of a batch and of a record (`checkBatchRetention`, `shouldRetainRecord`).

use super::{Context, LastRecord};
use crate::record::BatchHeader;
use crate::storage::superseded::Superseded;

/// What becomes of a batch, before its records are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRetention {
    /// All records go, whatever they are.
    pub discard_records: bool,
    /// The header stays even without records.
    pub retain_empty: bool,
    /// It holds the marker of a transaction of which no data is left: from the first cleaning that sees this on, it has a
    /// delete horizon.
    pub ends_empty_transaction: bool,
}

/// Judges a batch that is `discardable` by its transaction. `last` is what is known of its producer, `round_end` the first
/// uncleanable offset: the batch in front of it stays, so that the log's end is known.
pub fn of_batch(
    header: &BatchHeader,
    discardable: bool,
    last: Option<LastRecord>,
    round_end: i64,
    now_ms: i64,
) -> BatchRetention {
    let control = header.is_control();
    let horizon_passed = header.delete_horizon_ms().is_some_and(|horizon| horizon <= now_ms);
    let last_of_producer = header.has_producer()
        && last.is_some_and(|last| match last.last_data_offset {
            // It has the last sequence number.
            Some(offset) => header.last_offset() == offset,
            // It has the epoch that fences older ones.
            None => control && header.producer_epoch == last.epoch,
        });
    BatchRetention {
        discard_records: discardable && (!control || horizon_passed),
        retain_empty: last_of_producer || header.last_offset().saturating_add(1) == round_end,
        ends_empty_transaction: discardable && control,
    }
}

/// True if the records need not be looked at: the batch was cleaned before, and since then no later record and no passing
/// of time can have changed what is to be kept.
pub fn is_settled<S: Superseded + ?Sized>(
    header: &BatchHeader,
    context: &Context<'_>,
    superseded: &S,
) -> bool {
    !header.is_control()
        && header.record_count > 0
        && header.last_offset() < context.first_dirty
        && header.delete_horizon_ms().is_none_or(|horizon| context.now_ms < horizon)
        && superseded.none_within(header.base_offset, header.last_offset())
}

/// What becomes of a record of a batch that is no control batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordRetention {
    Keep,
    /// A later record has its key.
    Superseded,
    /// A tombstone whose delete horizon has passed.
    Expired,
    /// It has no key: nothing could ever replace it.
    Keyless,
}

/// Judges a record. `horizon` is its batch's delete horizon.
#[inline]
pub fn of_record<S: Superseded + ?Sized>(
    offset: i64,
    key: Option<&[u8]>,
    is_tombstone: bool,
    horizon: Option<i64>,
    context: &Context<'_>,
    superseded: &S,
) -> RecordRetention {
    if offset >= context.known_end {
        return RecordRetention::Keep;
    }
    let Some(key) = key else {
        return RecordRetention::Keyless;
    };
    if superseded.is_superseded(offset, key) {
        RecordRetention::Superseded
    } else if is_tombstone && horizon.is_some_and(|horizon| horizon <= context.now_ms) {
        RecordRetention::Expired
    } else {
        RecordRetention::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn header(offset: i64, producer: i64, control: bool, horizon: Option<i64>) -> BatchHeader {
        let mut batch = BatchBuilder::new().base_offset(offset).producer(producer, 3, 0).control(control);
        if let Some(horizon) = horizon {
            batch = batch.delete_horizon(horizon);
        }
        BatchHeader::parse(&batch.record(0, Some(b"k"), None).build().unwrap()).unwrap()
    }

    #[test]
    fn batches() {
        let data = header(10, 1, false, None);
        let judge = |header: &BatchHeader, discardable, last| of_batch(header, discardable, last, 50, 1000);
        let verdict = |discard_records, retain_empty, ends_empty_transaction| BatchRetention {
            discard_records,
            retain_empty,
            ends_empty_transaction,
        };
        assert_eq!(judge(&data, false, None), verdict(false, false, false));
        assert_eq!(judge(&data, true, None), verdict(true, false, false));
        let last = |last_data_offset, epoch| Some(LastRecord { last_data_offset, epoch });
        assert_eq!(judge(&data, true, last(Some(10), 0)), verdict(true, true, false));
        assert_eq!(judge(&data, true, last(Some(11), 3)), verdict(true, false, false));
        assert_eq!(judge(&data, true, last(None, 3)), verdict(true, false, false));
        assert_eq!(
            judge(&header(10, -1, false, None), false, last(Some(10), 0)),
            verdict(false, false, false)
        );
        assert_eq!(of_batch(&data, false, None, 11, 0), verdict(false, true, false));
        // A marker without data waits for its horizon, which it gets when this is first seen.
        assert_eq!(judge(&header(10, 1, true, None), true, None), verdict(false, false, true));
        assert_eq!(judge(&header(10, 1, true, Some(1001)), true, None), verdict(false, false, true));
        assert_eq!(judge(&header(10, 1, true, Some(1000)), true, None), verdict(true, false, true));
        assert_eq!(judge(&header(10, 1, true, Some(1000)), false, None), verdict(false, false, false));
        assert_eq!(judge(&header(10, 1, true, Some(1000)), true, last(None, 3)), verdict(true, true, true));
        assert_eq!(judge(&header(10, 1, true, Some(1000)), true, last(None, 4)), verdict(true, false, true));
    }

    struct Dead(i64);

    impl Superseded for Dead {
        fn none_within(&self, first: i64, last: i64) -> bool {
            !(first..=last).contains(&self.0)
        }
        fn is_superseded(&self, offset: i64, _: &[u8]) -> bool {
            offset == self.0
        }
    }

    fn context() -> Context<'static> {
        Context {
            now_ms: 1000,
            delete_retention_ms: 0,
            first_dirty: 20,
            known_end: 30,
            last_record: &|_| None,
            max_decompressed: 0,
        }
    }

    #[test]
    fn records() {
        use RecordRetention::*;
        let judge = |offset, key: Option<&[u8]>, tombstone, horizon| {
            of_record(offset, key, tombstone, horizon, &context(), &Dead(5))
        };
        let key = Some(&b"k"[..]);
        assert_eq!(judge(4, key, false, Some(0)), Keep);
        assert_eq!(judge(5, key, false, None), Superseded);
        assert_eq!(judge(5, key, true, Some(1000)), Superseded);
        assert_eq!(judge(6, key, true, None), Keep);
        assert_eq!(judge(6, key, true, Some(1001)), Keep);
        assert_eq!(judge(6, key, true, Some(1000)), Expired);
        assert_eq!(judge(6, None, false, None), Keyless);
        assert_eq!(judge(30, None, true, Some(1000)), Keep);
        assert_eq!(judge(29, Some(b""), true, Some(1000)), Expired);
    }

    #[test]
    fn settled_batches() {
        let settled = |header: BatchHeader| is_settled(&header, &context(), &Dead(5));
        assert!(settled(header(4, 1, false, None)));
        assert!(settled(header(19, 1, false, Some(1001))));
        assert!(!settled(header(19, 1, false, Some(1000))), "tombstones may go now");
        assert!(!settled(header(5, 1, false, None)));
        assert!(!settled(header(20, 1, false, None)), "keyless records and new tombstones may be in it");
        assert!(!settled(header(4, 1, true, None)));
        assert!(!settled(BatchHeader { record_count: 0, ..header(4, 1, false, None) }));
    }
}
