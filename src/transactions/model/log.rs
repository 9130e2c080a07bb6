//! The logs and the offsets of groups, with what of them is durable.

use std::collections::BTreeSet;

use super::super::store::ending::EndingRow;
use super::super::transaction::Producer;
use super::message::Token;
use crate::record::TransactionOutcome;

#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    Record { producer: Producer, sequence: u32, token: Token },
    Marker { producer: Producer, outcome: TransactionOutcome },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    pub(super) durable: usize,
}

impl Log {
    /// The open transaction of a producer id: its epoch and first offset.
    pub(super) fn open(&self, id: i64) -> Option<(i16, usize)> {
        let mut open = None;
        for (offset, entry) in self.entries.iter().enumerate() {
            match entry {
                Entry::Record { producer, .. } if producer.id == id => {
                    open = open.or(Some((producer.epoch, offset)));
                }
                Entry::Marker { producer, .. } if producer.id == id => open = None,
                _ => {}
            }
        }
        open
    }

    pub(super) fn all_open(&self) -> Vec<(Producer, usize)> {
        let ids: BTreeSet<i64> = self.entries.iter().map(|entry| entry.producer().id).collect();
        let open = ids.into_iter().filter_map(|id| self.open(id).map(|open| (id, open)));
        open.map(|(id, (epoch, first))| (Producer { id, epoch }, first)).collect()
    }

    pub(super) fn last_of(&self, id: i64) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.producer().id == id)
    }

    /// How the records of each token ended here; `None` while they are open.
    pub(super) fn fates(&self, mut each: impl FnMut(Token, Option<TransactionOutcome>)) {
        for (offset, entry) in self.entries.iter().enumerate() {
            if let Entry::Record { producer: of, token, .. } = entry {
                let end = self.entries[offset..].iter().find_map(|entry| match entry {
                    Entry::Marker { producer, outcome } if producer.id == of.id => Some(*outcome),
                    _ => None,
                });
                each(*token, end);
            }
        }
    }
}

impl Entry {
    pub(super) fn producer(&self) -> Producer {
        match self {
            Entry::Record { producer, .. } | Entry::Marker { producer, .. } => *producer,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Offsets {
    pub(super) pending: Vec<(i64, usize, Token)>,
    pub(super) committed: Vec<(usize, Token)>,
}

/// What one write to the store holds.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) row: Vec<u8>,
    pub(super) ending: Option<(u64, EndingRow)>,
    pub(super) offsets: Offsets,
}
