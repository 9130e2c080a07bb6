//! What of a batch goes into a run.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::record::BatchBuilder;
use crate::storage::segment::AbortedTransaction;

const END: Position = Position { upto: 1_000_000, leader_epoch: 0 };

fn hasher() -> KeyHasher {
    KeyHasher::with_secret([9; 16])
}

fn builder() -> RunBuilder {
    RunBuilder::new(hasher(), 1 << 20, 0.9, 1 << 20)
}

fn feed(
    builder: &mut RunBuilder,
    batch: &[u8],
    from: i64,
    aborted: &AbortedRanges,
) -> Result<Fed, BatchDamage> {
    builder.feed(&BatchHeader::parse(batch).unwrap(), batch, from, aborted)
}

/// The keys of a run, of those asked for, and its dead offsets.
fn contents(run: &Run, keys: &[&[u8]]) -> (Vec<Option<i64>>, Vec<i64>) {
    let entries: BTreeMap<_, _> = run.entries.iter().collect();
    let latest = keys.iter().map(|key| entries.get(&hasher().hash(key)).copied()).collect();
    (latest, run.dead.iter().collect())
}

#[test]
fn keeps_the_newest_offset_of_each_key_in_every_codec() {
    for codec in Compression::ALL {
        let batch = BatchBuilder::new()
            .base_offset(100)
            .compression(codec, None)
            .record(0, Some(b"a"), Some(b"1"))
            .record(0, None, Some(b"no key"))
            .record(0, Some(b""), Some(b"an empty key is a key"))
            .record(0, Some(b"a"), None)
            .build()
            .unwrap();
        let mut builder = builder();
        assert!(builder.is_empty());
        assert_eq!(feed(&mut builder, &batch, 0, &AbortedRanges::default()).unwrap(), Fed::Whole);
        assert_eq!((builder.records(), builder.is_empty()), (3, false));
        let run = builder.finish(None, END);
        assert_eq!(contents(&run, &[b"a", b"", b"b"]), (vec![Some(103), Some(102), None], vec![100]));
        assert!(builder.is_empty() && builder.finish(None, END).entries.is_empty());
    }
}

#[test]
fn control_batches_aborted_and_empty_ones_are_passed_over() {
    let of_seven = || BatchBuilder::new().producer(7, 0, 0).base_offset(10);
    let aborted = AbortedRanges::new(vec![AbortedTransaction {
        producer_id: 7,
        first_offset: 5,
        last_offset: 20,
        last_stable_offset: 21,
    }]);
    let mut builder = builder();
    for (batch, taken) in [
        (of_seven().transactional(true).record(0, Some(b"k"), None), false),
        (of_seven().transactional(true).control(true).record(0, Some(b"k"), None), false),
        (BatchBuilder::new().control(true).record(0, Some(b"k"), None), false),
        (BatchBuilder::new().base_offset(10).last_offset_delta(5), false),
        (
            BatchBuilder::new().base_offset(10).last_offset_delta(5).compression(Compression::Zstd, None),
            false,
        ),
        (of_seven().record(0, Some(b"k"), None), true),
        (BatchBuilder::new().producer(8, 0, 0).transactional(true).record(0, Some(b"k"), None), true),
    ] {
        let batch = batch.build().unwrap();
        let before = builder.records();
        assert_eq!(feed(&mut builder, &batch, 0, &aborted).unwrap(), Fed::Whole);
        assert_eq!(builder.records() > before, taken);
    }
}

#[test]
fn damage_is_named() {
    let batch = BatchBuilder::new().record(0, Some(b"key"), Some(b"value")).build().unwrap();
    let none = AbortedRanges::default();
    let mut flipped = batch.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(feed(&mut builder(), &flipped, 0, &none), Err(BatchDamage::Crc)));
    // Sealed so, by a producer that does not keep to the format.
    let sealed = |change: &dyn Fn(&mut BatchHeader), payload: &[u8]| {
        let mut header = BatchHeader::parse(&batch).unwrap();
        change(&mut header);
        header.seal(payload).unwrap()
    };
    let payload = &batch[HEADER_LEN..];
    let many = sealed(&|header| header.record_count = 2, payload);
    assert!(matches!(feed(&mut builder(), &many, 0, &none), Err(BatchDamage::Record(_))));
    let packed = sealed(&|header| header.set_compression(Compression::Zstd), payload);
    assert!(matches!(feed(&mut builder(), &packed, 0, &none), Err(BatchDamage::Decompress(_))));
    let unknown = sealed(&|header| header.attributes |= 7, payload);
    assert!(matches!(feed(&mut builder(), &unknown, 0, &none), Err(BatchDamage::Header(_))));
    let bomb = BatchBuilder::new()
        .compression(Compression::Gzip, None)
        .record(0, Some(b"key"), Some(&vec![0; 2 << 20]))
        .build()
        .unwrap();
    let refused = feed(&mut builder(), &bomb, 0, &none);
    assert!(matches!(refused, Err(BatchDamage::Decompress(DecompressError::TooLarge { .. }))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However little a run may take, the runs together say the same: each key's last offset, and the offsets it had before,
    /// in the run or from one run to the next.
    #[test]
    fn full_runs_go_on_where_they_ended(
        keys in prop::collection::vec(0..40u8, 1..200),
        batch_records in 1..50usize,
        max_bytes in 0..4_000usize,
    ) {
        let mut builder = RunBuilder::new(hasher(), max_bytes, 0.9, 1 << 20);
        let mut latest = BTreeMap::new();
        let mut dead = std::collections::BTreeSet::new();
        let mut merge = |run: Run| {
            dead.extend(run.dead.iter());
            for (hash, offset) in run.entries.iter() {
                assert!(offset < run.to.upto && run.after.is_none_or(|after| after.upto <= offset));
                dead.extend(latest.insert(hash, offset));
            }
        };
        let (mut after, mut base) = (None, 0);
        for records in keys.chunks(batch_records) {
            let batch = records
                .iter()
                .fold(BatchBuilder::new().base_offset(base), |batch, key| batch.record(0, Some(&[*key]), None))
                .build()
                .unwrap();
            let mut from = base;
            while let Fed::Below(offset) = feed(&mut builder, &batch, from, &AbortedRanges::default()).unwrap() {
                prop_assert!(offset > after.map_or(-1, |position: Position| position.upto), "no progress");
                let to = Position { upto: offset, leader_epoch: 0 };
                merge(builder.finish(after, to));
                (after, from) = (Some(to), offset);
            }
            base += records.len() as i64;
        }
        merge(builder.finish(after, END));
        prop_assert_eq!(builder.records(), keys.len() as u64);
        let mut expected = BTreeMap::new();
        let mut superseded = std::collections::BTreeSet::new();
        for (key, offset) in keys.iter().zip(0..) {
            superseded.extend(expected.insert(hasher().hash(&[*key]), offset));
        }
        prop_assert_eq!(latest, expected);
        prop_assert_eq!(dead, superseded);
    }
}
