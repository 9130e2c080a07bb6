//! The file of aborted transactions: its bytes, look-ups, and what a damaged one is taken for.

use std::fs;

use proptest::prelude::*;

use super::super::files::FileCache;
use super::*;

fn dir(path: &Path) -> (Arc<LogDir>, Arc<FileHandle>) {
    let dir = LogDir::new(path, FileCache::new(8));
    let entries = FileHandle::new(&dir, 0, FileKind::Directory);
    (dir, entries)
}

fn open(dir: &Arc<LogDir>, base: i64, bound: i64) -> Result<Checked, StorageError> {
    TxnIndex::open(dir, base, bound, i64::MAX, &[])
}

fn entry(
    producer_id: i64,
    first_offset: i64,
    last_offset: i64,
    last_stable_offset: i64,
) -> AbortedTransaction {
    AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset }
}

#[test]
fn bytes_are_kafkas() {
    let mut bytes = Vec::new();
    let sample = entry(0x0102, 3, 0x0405_0000_0000, 6);
    sample.encode(&mut bytes);
    #[rustfmt::skip]
    assert_eq!(bytes, [
        0, 0,
        0, 0, 0, 0, 0, 0, 1, 2,
        0, 0, 0, 0, 0, 0, 0, 3,
        0, 0, 4, 5, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 6,
    ]);
    assert_eq!(AbortedTransaction::decode(&bytes), Some(sample));
    for length in 0..bytes.len() {
        assert_eq!(AbortedTransaction::decode(&bytes[..length]), None);
    }
    bytes[1] = 1;
    assert_eq!(AbortedTransaction::decode(&bytes), None, "another version");
}

#[test]
fn there_is_a_file_from_the_first_entry_on() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, entries) = dir(temp.path());
    let mut index = TxnIndex::empty(&dir, 5);
    let mut found = Vec::new();
    assert!(!index.collect(0, 100, &mut found).unwrap());
    index.write_pending(&entries).unwrap();
    assert!(!TxnIndex::exists(temp.path(), 5) && !entries.is_dirty());
    index.append(entry(1, 3, 7, 8), &entries);
    assert!(TxnIndex::exists(temp.path(), 5) && entries.is_dirty(), "its name needs a sync");
    assert!(index.file().is_dirty());
    let checked = open(&dir, 5, i64::MAX).unwrap();
    assert_eq!((checked.lost_from, checked.index.last_offset()), (None, 7));
}

#[test]
fn entries_that_cannot_be_written_are_found_in_memory_and_written_later() {
    let temp = tempfile::tempdir().unwrap();
    let gone = temp.path().join("gone");
    let (dir, entries) = dir(&gone);
    let mut index = TxnIndex::empty(&dir, 0);
    let all = [entry(1, 0, 4, 2), entry(2, 2, 6, 7), entry(1, 8, 9, 10)];
    for entry in all {
        index.append(entry, &entries);
    }
    let look = |index: &TxnIndex, from, upto| {
        let mut found = Vec::new();
        let complete = index.collect(from, upto, &mut found).unwrap();
        (found, complete)
    };
    assert_eq!(look(&index, 0, 5), (all[..2].to_vec(), true));
    assert!(index.write_pending(&entries).is_err());
    fs::create_dir(&gone).unwrap();
    index.write_pending(&entries).unwrap();
    assert_eq!(look(&index, 0, 5), (all[..2].to_vec(), true));
    assert_eq!(fs::metadata(index.file().path()).unwrap().len(), 3 * 34);
}

/// A look-up among a hundred thousand entries goes to the first that matters, and reads one piece from there.
#[test]
fn a_look_up_stops_where_nothing_later_reaches_in() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, _) = dir(temp.path());
    let path = segment_path(temp.path(), 0, ".txnindex");
    let sound = |number: i64| entry(number % 7, number * 10, number * 10 + 5, number * 10 + 6);
    let mut bytes = Vec::new();
    (0..100_000).for_each(|number| sound(number).encode(&mut bytes));
    fs::write(&path, &bytes).unwrap();
    let index = open(&dir, 0, i64::MAX).unwrap().index;
    assert_eq!(index.written, 100_000);
    // Entries that would be told of if they were looked at: those in front would not stop the look-up either.
    bytes.clear();
    (0..50_000).for_each(|number| entry(99, 0, sound(number).last_offset, 0).encode(&mut bytes));
    (50_000..50_010).for_each(|number| sound(number).encode(&mut bytes));
    (50_010..100_000).for_each(|number| entry(99, 0, sound(number).last_offset, 0).encode(&mut bytes));
    fs::write(&path, &bytes).unwrap();
    let mut found = Vec::new();
    assert!(index.collect(500_000, 500_011, &mut found).unwrap());
    assert_eq!(found, [sound(50_000), sound(50_001)]);
}

fn entries() -> impl Strategy<Value = Vec<AbortedTransaction>> {
    // Transactions of several producers that overlap in any way, ended in the order of their markers.
    prop::collection::vec((0..4i64, 1..30i64, 1..4i64), 0..60).prop_map(|raw| {
        let mut last = 0;
        let mut ended: Vec<(i64, i64, i64)> = Vec::new();
        for (producer_id, length, gap) in raw {
            last += gap;
            ended.push((producer_id, (last - length).max(0), last));
        }
        // The last stable offset is that of the oldest transaction that ends later.
        let stable = |at: usize| {
            let later = ended[at + 1..].iter().map(|later| later.1);
            later.chain([ended[at].2 + 1]).min().unwrap_or(0)
        };
        ended
            .iter()
            .enumerate()
            .map(|(at, (id, first, last))| entry(*id, *first, *last, stable(at)))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn finds_what_a_look_at_every_entry_finds(
        entries in entries(), cut in 0..200i64, ranges in prop::collection::vec((0..200i64, 1..60i64), 1..20)
    ) {
        let temp = tempfile::tempdir().unwrap();
        let (dir, directory) = dir(temp.path());
        let mut index = TxnIndex::empty(&dir, 0);
        entries.iter().for_each(|entry| index.append(*entry, &directory));
        let check = |index: &TxnIndex, entries: &[AbortedTransaction]| {
            for (from, length) in &ranges {
                let (from, upto) = (*from, from + length);
                let mut found = Vec::new();
                index.collect(from, upto, &mut found).unwrap();
                let overlaps = |entry: &&AbortedTransaction| entry.last_offset >= from && entry.first_offset < upto;
                assert_eq!(found, entries.iter().filter(overlaps).copied().collect::<Vec<_>>(), "{from}..{upto}");
            }
        };
        check(&index, &entries);
        let kept: Vec<_> = entries.iter().filter(|entry| entry.last_offset < cut).copied().collect();
        index.truncate_to(cut).unwrap();
        check(&index, &kept);
        prop_assert_eq!(index.last_offset(), kept.last().map_or(-1, |last| last.last_offset));
        if !entries.is_empty() {
            let reopened = open(&dir, 0, i64::MAX).unwrap();
            prop_assert_eq!(reopened.lost_from, None);
            check(&reopened.index, &kept);
        }
    }

    /// Whatever stands in a file, what is kept of it is in order, and what is lost begins behind it.
    #[test]
    fn any_bytes_are_cut_to_sound_entries(entries in entries(), at in 0..2000usize, value: u8, bound in 1..200i64) {
        let temp = tempfile::tempdir().unwrap();
        let (dir, _) = dir(temp.path());
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.encode(&mut bytes));
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        } else {
            bytes.push(value);
        }
        fs::write(segment_path(temp.path(), 0, ".txnindex"), &bytes).unwrap();
        let mut checked = open(&dir, 0, bound).unwrap();
        prop_assert!(checked.index.last_offset() < bound);
        prop_assert!(checked.lost_from.is_none_or(|lost| lost == checked.index.last_offset() + 1));
        checked.index.truncate_to(i64::MAX).unwrap();
        let again = open(&dir, 0, bound).unwrap();
        prop_assert_eq!(again.lost_from, None);
        prop_assert_eq!(again.index.last_offset(), checked.index.last_offset());
    }
}
