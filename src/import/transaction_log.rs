//! What Apache Kafka's `__transaction_state` says: one row for each transactional id (`TransactionLogValue` 0 and 1).

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{BadMessage, Fields};
use crate::record::TransactionOutcome;

/// A transactional id as Kafka stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionMeta {
    pub producer_id: i64,
    pub previous_producer_id: i64,
    /// -1 when no other id comes next.
    pub next_producer_id: i64,
    pub producer_epoch: i16,
    pub timeout_ms: i32,
    pub status: Status,
    /// Topic by name, and partition.
    pub partitions: Vec<(String, i32)>,
    /// Milliseconds since the epoch.
    pub updated_at_ms: i64,
    /// Milliseconds since the epoch; -1 for none.
    pub started_at_ms: i64,
    /// The version of the protocol by which it was last ended; 2 is the second.
    pub client_version: i16,
}

/// Kafka's `TransactionState`, as far as an import tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Empty,
    /// Ongoing, or about to be fenced.
    Open,
    /// Decided; the markers may not be in all logs.
    Decided(TransactionOutcome),
    Complete(TransactionOutcome),
    /// Being removed.
    Dead,
}

/// All transactional ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionLog {
    pub ids: BTreeMap<String, TransactionMeta>,
}

impl TransactionLog {
    /// Takes in a record.
    ///
    /// # Errors
    /// [`BadMessage`] for a row that cannot be read. Records of unknown kinds are passed over.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), BadMessage> {
        let mut fields = Fields::new(key);
        if fields.i16()? != 0 {
            return Ok(());
        }
        let id = fields.string(false)?.to_owned();
        match value.map(read).transpose()? {
            Some(meta) => self.ids.insert(id, meta),
            None => self.ids.remove(&id),
        };
        Ok(())
    }

    /// Producers whose transaction is decided to be committed.
    pub fn decided_commits(&self) -> BTreeSet<i64> {
        let decided =
            self.ids.values().filter(|meta| meta.status == Status::Decided(TransactionOutcome::Commit));
        decided.map(|meta| meta.producer_id).collect()
    }

    /// The highest producer id in any row, or -1.
    pub fn highest_producer_id(&self) -> i64 {
        let ids = self.ids.values();
        ids.flat_map(|meta| [meta.producer_id, meta.next_producer_id, meta.previous_producer_id])
            .max()
            .unwrap_or(-1)
    }
}

fn read(value: &[u8]) -> Result<TransactionMeta, BadMessage> {
    let mut fields = Fields::new(value);
    let version = fields.i16()?;
    if !(0..=1).contains(&version) {
        return Err(BadMessage("a transactional id of an unknown version"));
    }
    let flexible = version >= 1;
    let (producer_id, producer_epoch, timeout_ms) = (fields.i64()?, fields.i16()?, fields.i32()?);
    let status = status(fields.i8()?)?;
    let mut partitions = Vec::new();
    for _ in 0..fields.count(flexible, 2)? {
        let topic = fields.string(flexible)?;
        for _ in 0..fields.count(flexible, 4)? {
            partitions.push((topic.to_owned(), fields.i32()?));
        }
        if flexible {
            fields.tagged(|_, _| Ok(()))?;
        }
    }
    let mut meta = TransactionMeta {
        producer_id,
        previous_producer_id: -1,
        next_producer_id: -1,
        producer_epoch,
        timeout_ms,
        status,
        partitions,
        updated_at_ms: fields.i64()?,
        started_at_ms: fields.i64()?,
        client_version: 0,
    };
    if flexible {
        fields.tagged(|tag, mut field| {
            match tag {
                0 => meta.previous_producer_id = field.i64()?,
                1 => meta.next_producer_id = field.i64()?,
                2 => meta.client_version = field.i16()?,
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(meta)
}

fn status(number: i8) -> Result<Status, BadMessage> {
    use TransactionOutcome::{Abort, Commit};
    Ok(match number {
        0 => Status::Empty,
        1 | 7 => Status::Open,
        2 => Status::Decided(Commit),
        3 => Status::Decided(Abort),
        4 => Status::Complete(Commit),
        5 => Status::Complete(Abort),
        6 => Status::Dead,
        _ => return Err(BadMessage("a transaction in an unknown state")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Vec<u8> {
        [&[0, 0], &(id.len() as i16).to_be_bytes()[..], id.as_bytes()].concat()
    }

    #[test]
    fn both_versions() {
        let head = [0, 0, 0, 0, 0, 0, 0, 12, 0, 3, 0, 0, 0x10, 0];
        let times = [0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 5];
        let mut old = [&[0, 0], &head[..], &[1]].concat();
        old.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
        old.extend(times);
        let mut new = [&[0, 1], &head[..], &[2]].concat();
        new.extend([2, 2, b't', 3, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        new.extend(times);
        new.extend([2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 11, 2, 2, 0, 2]);
        let mut log = TransactionLog::default();
        for (value, status, version) in
            [(&old, Status::Open, 0), (&new, Status::Decided(TransactionOutcome::Commit), 2)]
        {
            log.apply(&key("x"), Some(value)).expect("readable");
            let meta = &log.ids["x"];
            assert_eq!((meta.producer_id, meta.producer_epoch, meta.timeout_ms), (12, 3, 4096));
            assert_eq!((meta.status, meta.client_version), (status, version));
            assert_eq!(meta.partitions, [("t".to_owned(), 0), ("t".to_owned(), 1)]);
            assert_eq!((meta.updated_at_ms, meta.started_at_ms), (6, 5));
            assert!(log.apply(&key("x"), Some(&value[..value.len() - 1])).is_err());
        }
        assert_eq!((log.highest_producer_id(), log.decided_commits().len()), (12, 1));
        log.apply(&key("x"), None).expect("readable");
        assert!(log.ids.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(version in 0u8..3, rest: Vec<u8>) {
            let mut bytes = vec![0, version];
            bytes.extend(rest);
            let _ = TransactionLog::default().apply(&key("x"), Some(&bytes));
        }
    }
}
