//! Which transactions were aborted, by the markers in the log; and what the `.txnindex` files say of it.

use std::collections::BTreeMap;

use crate::record::{BatchHeader, EndMarker, TransactionOutcome};
use crate::storage::segment::AbortedTransaction;

/// Bytes of an entry of a `.txnindex` file.
pub(super) const ENTRY_LEN: usize = 34;

/// Follows the transactions of a log. One entry for each producer with an open transaction.
#[derive(Debug, Default)]
pub(super) struct OpenTransactions(BTreeMap<i64, i64>);

impl OpenTransactions {
    /// Takes the next batch in; returns the transaction that it aborts.
    pub fn batch(&mut self, header: &BatchHeader, marker: Option<&EndMarker>) -> Option<AbortedTransaction> {
        let Some(marker) = marker else {
            if header.is_transactional() && !header.is_control() {
                self.0.entry(header.producer_id).or_insert(header.base_offset);
            }
            return None;
        };
        let first_offset = self.0.remove(&marker.producer_id)?;
        (marker.outcome == TransactionOutcome::Abort).then(|| AbortedTransaction {
            producer_id: marker.producer_id,
            first_offset,
            last_offset: header.base_offset,
            last_stable_offset: self.0.values().copied().min().unwrap_or(header.base_offset + 1),
        })
    }

    /// Takes in that a transaction was aborted whose marker is gone.
    pub fn lost_marker(&mut self, producer_id: i64) {
        self.0.remove(&producer_id);
    }
}

/// What a segment's index is to hold, and what is wrong with what it holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub entries: Vec<AbortedTransaction>,
    pub faults: Vec<(String, i64)>,
}

/// Compares the index of one segment, `stored` as far as it is readable, with what was derived from its batches. Below
/// `cleaned` records and markers may have been removed by compaction, so that an index may tell of more than there is.
/// `is_gap` says whether no batch is at an offset: an abort whose marker is lost is still one.
pub(super) fn compare(
    stored: &[AbortedTransaction],
    derived: &[AbortedTransaction],
    first_of_log: i64,
    cleaned: i64,
    is_gap: impl Fn(i64) -> bool,
) -> Compared {
    let mut compared = Compared::default();
    let by_end: BTreeMap<i64, &AbortedTransaction> =
        derived.iter().map(|entry| (entry.last_offset, entry)).collect();
    let mut kept: BTreeMap<i64, AbortedTransaction> =
        by_end.iter().map(|(at, entry)| (*at, **entry)).collect();
    let mut seen = -1;
    let mut met = std::collections::BTreeSet::new();
    for entry in stored {
        let mut fault = |what: &str| compared.faults.push((what.to_owned(), entry.last_offset));
        if !entry.is_plausible() || entry.last_offset <= seen {
            fault("an entry that cannot be");
            continue;
        }
        seen = entry.last_offset;
        let is_old = entry.last_offset < cleaned;
        match by_end.get(&entry.last_offset) {
            Some(log) if log.producer_id == entry.producer_id => {
                met.insert(entry.last_offset);
                let agrees = if is_old {
                    entry.first_offset <= log.first_offset
                        && entry.last_stable_offset <= log.last_stable_offset
                } else {
                    *entry == **log
                };
                if agrees {
                    kept.insert(entry.last_offset, *entry);
                } else {
                    fault("an entry contradicts the log");
                }
            }
            Some(_) => fault("an entry names another producer than the marker"),
            // Its records, or its marker, are gone.
            None if is_old || entry.first_offset < first_of_log || is_gap(entry.last_offset) => {
                kept.insert(entry.last_offset, *entry);
            }
            None => fault("an entry of a transaction that was not aborted here"),
        }
    }
    for entry in derived.iter().filter(|entry| !met.contains(&entry.last_offset)) {
        compared.faults.push(("an aborted transaction is missing".to_owned(), entry.last_offset));
    }
    compared.entries = kept.into_values().collect();
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(producer_id: i64, first: i64, last: i64, stable: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id, first_offset: first, last_offset: last, last_stable_offset: stable }
    }

    #[test]
    fn what_the_log_says_counts() {
        let derived = [entry(1, 0, 4, 5), entry(2, 1, 9, 10)];
        let sound = compare(&derived, &derived, 0, 0, |_| false);
        assert_eq!((sound.entries.as_slice(), sound.faults.len()), (&derived[..], 0));
        for (stored, faults) in [
            (vec![derived[0]], 1),
            (vec![], 2),
            (vec![entry(1, 0, 4, 6), derived[1]], 2),
            (vec![entry(1, 0, 4, 4), derived[1]], 1),
            (vec![entry(1, 1, 4, 5), derived[1]], 1),
            (vec![entry(3, 0, 4, 5), derived[1]], 2),
            (vec![derived[0], entry(5, 3, 7, 8), derived[1]], 1),
            (vec![derived[0], entry(2, 12, 9, 10)], 2),
        ] {
            let found = compare(&stored, &derived, 0, 0, |_| false);
            assert_eq!((found.entries.as_slice(), found.faults.len()), (&derived[..], faults), "{stored:?}");
        }
    }

    #[test]
    fn what_is_gone_from_the_log_is_believed() {
        let derived = [entry(1, 2, 4, 5)];
        let wider = [entry(1, 0, 4, 4), entry(2, 1, 6, 7)];
        assert_eq!(
            compare(&wider, &derived, 0, 8, |_| false),
            Compared { entries: wider.to_vec(), faults: vec![] }
        );
        let lost_marker = [derived[0], entry(2, 3, 6, 7)];
        assert!(compare(&lost_marker, &derived, 0, 0, |offset| offset == 6).faults.is_empty());
        assert_eq!(compare(&lost_marker, &derived, 0, 0, |_| false).faults.len(), 1);
        let begun_before = [entry(7, 90, 104, 105)];
        assert!(compare(&begun_before, &[], 100, 0, |_| false).faults.is_empty());
    }
}
