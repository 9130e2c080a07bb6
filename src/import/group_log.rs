//! What Apache Kafka's `__consumer_offsets` says: groups and committed offsets, record by record.
//!
//! A record's key begins with the number of its kind (`CoordinatorRecordType`): 0 and 1 a committed offset, 2 a classic group, 3
//! and 6 the epochs of a consumer group, 11 a share group, 17 a streams group. Members are not carried over: none is connected.
//!
//! Offsets of a transaction wait for its marker in the same partition, and count only when it is a commit (KIP-98). Of two
//! commits of a partition the one with the higher offset in the log wins, also when the earlier one became visible later.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::wire::{BadMessage, Fields};
use crate::record::TransactionOutcome;

/// Which offset: group, topic by name, partition.
pub type OffsetOf = (String, String, i32);

/// A committed offset as Kafka stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub offset: i64,
    /// -1 when not known.
    pub leader_epoch: i32,
    pub metadata: String,
    /// Milliseconds since the epoch.
    pub committed_at_ms: i64,
    /// When it expires whatever the group does; -1 for never.
    pub expires_at_ms: i64,
    /// The topic's id, when the record has it (Kafka 4.1).
    pub topic_id: Option<Uuid>,
    /// Offset of its record in `__consumer_offsets`.
    pub recorded_at: i64,
}

/// A classic group without its members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassicMeta {
    pub protocol_type: String,
    pub generation: i32,
    /// Milliseconds since the epoch; -1 when not known.
    pub state_since_ms: i64,
    /// Members that were in it at the end.
    pub members: usize,
}

/// The epochs of a consumer group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerMeta {
    pub epoch: i32,
    pub assignment_epoch: i32,
}

/// Groups and offsets of one partition of `__consumer_offsets`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupLog {
    pub offsets: BTreeMap<OffsetOf, Commit>,
    pub classic: BTreeMap<String, ClassicMeta>,
    pub consumer: BTreeMap<String, ConsumerMeta>,
    /// Groups of kinds that are not served, with the name of the kind.
    pub others: BTreeMap<String, &'static str>,
    pending: HashMap<i64, BTreeMap<OffsetOf, Commit>>,
}

impl GroupLog {
    /// Takes in a record; `producer_id` is that of the transaction it belongs to, if it does.
    ///
    /// # Errors
    /// [`BadMessage`] for a committed offset or a group that cannot be read. Records of unknown kinds are passed over.
    pub fn apply(
        &mut self,
        recorded_at: i64,
        producer_id: Option<i64>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), BadMessage> {
        let mut fields = Fields::new(key);
        let kind = fields.i16()?;
        match kind {
            0 | 1 => {
                let of = (fields.string(false)?.to_owned(), fields.string(false)?.to_owned(), fields.i32()?);
                let commit = value.map(|value| commit(value, recorded_at)).transpose()?;
                match (commit, producer_id) {
                    (Some(commit), Some(producer_id)) => {
                        self.pending.entry(producer_id).or_default().insert(of, commit);
                    }
                    (Some(commit), None) => {
                        self.offsets.insert(of, commit);
                    }
                    (None, _) => {
                        self.offsets.remove(&of);
                    }
                }
            }
            2 => {
                let group = fields.string(false)?.to_owned();
                match value.map(classic).transpose()? {
                    Some(meta) => self.classic.insert(group, meta).map(drop),
                    None => self.classic.remove(&group).map(drop),
                };
            }
            3 | 6 => {
                let group = fields.string(false)?;
                let Some(mut value) = value.map(Fields::new) else {
                    if kind == 3 {
                        self.consumer.remove(group);
                    }
                    return Ok(());
                };
                let (_version, epoch) = (value.i16()?, value.i32()?);
                let meta = self.consumer.entry(group.to_owned()).or_default();
                if kind == 3 { meta.epoch = epoch } else { meta.assignment_epoch = epoch }
            }
            11 | 17 => {
                let group = fields.string(false)?;
                let name = if kind == 11 { "share" } else { "streams" };
                match value {
                    Some(_) => self.others.insert(group.to_owned(), name).map(drop),
                    None => self.others.remove(group).map(drop),
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// A transaction's marker: its offsets become visible, or were never there.
    pub fn end(&mut self, producer_id: i64, outcome: TransactionOutcome) {
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        if outcome == TransactionOutcome::Abort {
            return;
        }
        for (of, commit) in pending {
            if self.offsets.get(&of).is_none_or(|earlier| earlier.recorded_at < commit.recorded_at) {
                self.offsets.insert(of, commit);
            }
        }
    }

    /// Ends what has no marker yet as the coordinator had decided; all else that is pending was never committed. Returns how
    /// many offsets are given up.
    pub fn finish(&mut self, committed: &BTreeSet<i64>) -> usize {
        committed.iter().for_each(|producer_id| self.end(*producer_id, TransactionOutcome::Commit));
        std::mem::take(&mut self.pending).values().map(BTreeMap::len).sum()
    }
}

fn commit(value: &[u8], recorded_at: i64) -> Result<Commit, BadMessage> {
    let mut fields = Fields::new(value);
    let version = fields.i16()?;
    if !(0..=4).contains(&version) {
        return Err(BadMessage("a committed offset of an unknown version"));
    }
    let flexible = version >= 4;
    let mut commit = Commit {
        offset: fields.i64()?,
        leader_epoch: if version >= 3 { fields.i32()? } else { -1 },
        metadata: fields.string(flexible)?.to_owned(),
        committed_at_ms: fields.i64()?,
        expires_at_ms: if version == 1 { fields.i64()? } else { -1 },
        topic_id: None,
        recorded_at,
    };
    if flexible {
        fields.tagged(|tag, mut field| {
            if tag == 0 {
                commit.topic_id = Some(field.uuid()?).filter(|id| !id.is_nil());
            }
            Ok(())
        })?;
    }
    if commit.offset < 0 {
        return Err(BadMessage("a committed offset is negative"));
    }
    Ok(commit)
}

fn classic(value: &[u8]) -> Result<ClassicMeta, BadMessage> {
    let mut fields = Fields::new(value);
    let version = fields.i16()?;
    if !(0..=4).contains(&version) {
        return Err(BadMessage("a group of an unknown version"));
    }
    let flexible = version >= 4;
    let protocol_type = fields.string(flexible)?.to_owned();
    let generation = fields.i32()?;
    let (_protocol, _leader) = (fields.nullable_string(flexible)?, fields.nullable_string(flexible)?);
    let state_since_ms = if version >= 2 { fields.i64()? } else { -1 };
    let members = fields.count(flexible, 1)?;
    Ok(ClassicMeta { protocol_type, generation, state_since_ms, members })
}

#[cfg(test)]
mod tests {
    use super::*;
    use TransactionOutcome::{Abort, Commit as Committed};

    fn string(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as i16).to_be_bytes());
        out.extend(text.as_bytes());
    }

    fn offset_key(group: &str) -> Vec<u8> {
        let mut out = vec![0, 1];
        string(&mut out, group);
        string(&mut out, "t");
        out.extend([0, 0, 0, 2]);
        out
    }

    fn value(version: u8, offset: u8) -> Vec<u8> {
        let mut out = vec![0, version, 0, 0, 0, 0, 0, 0, 0, offset];
        if version >= 3 {
            out.extend([0, 0, 0, 4]);
        }
        if version >= 4 {
            out.extend([2, b'm'])
        } else {
            out.extend([0, 1, b'm'])
        }
        out.extend([0, 0, 0, 0, 0, 0, 0, 9]);
        if version == 1 {
            out.extend([0, 0, 0, 0, 0, 0, 0, 10]);
        }
        if version >= 4 {
            out.extend([1, 0, 16]);
            out.extend([5; 16]);
        }
        out
    }

    fn visible(log: &GroupLog) -> Option<i64> {
        log.offsets.get(&("g".to_owned(), "t".to_owned(), 2)).map(|commit| commit.offset)
    }

    #[test]
    fn every_version_of_a_committed_offset() {
        for version in 0..=4 {
            let mut log = GroupLog::default();
            log.apply(3, None, &offset_key("g"), Some(&value(version, 7))).expect("readable");
            let commit = log.offsets.values().next().expect("one");
            assert_eq!((commit.offset, commit.metadata.as_str(), commit.committed_at_ms), (7, "m", 9));
            assert_eq!(commit.leader_epoch, if version >= 3 { 4 } else { -1 });
            assert_eq!(commit.expires_at_ms, if version == 1 { 10 } else { -1 });
            assert_eq!(commit.topic_id, (version == 4).then(|| Uuid::from_bytes([5; 16])));
            assert!(log.apply(4, None, &offset_key("g"), Some(&value(version, 7)[..12])).is_err());
            log.apply(5, None, &offset_key("g"), None).expect("readable");
            assert_eq!(visible(&log), None);
        }
        assert!(GroupLog::default().apply(0, None, &offset_key("g"), Some(&value(5, 1))).is_err());
    }

    #[test]
    fn offsets_of_transactions_count_when_they_are_committed() {
        let mut log = GroupLog::default();
        let at = |log: &mut GroupLog, recorded, producer, offset| {
            log.apply(recorded, producer, &offset_key("g"), Some(&value(3, offset))).expect("readable");
        };
        at(&mut log, 0, None, 1);
        at(&mut log, 1, Some(8), 2);
        assert_eq!(visible(&log), Some(1));
        log.end(8, Abort);
        assert_eq!(visible(&log), Some(1));
        at(&mut log, 3, Some(8), 3);
        at(&mut log, 4, Some(9), 4);
        log.end(8, Committed);
        assert_eq!(visible(&log), Some(3));
        at(&mut log, 6, None, 5);
        log.end(9, Committed);
        assert_eq!(visible(&log), Some(5), "a later commit was there before");
        at(&mut log, 8, Some(10), 6);
        at(&mut log, 9, Some(11), 7);
        assert_eq!(log.finish(&BTreeSet::from([10])), 1);
        assert_eq!(visible(&log), Some(6));
    }

    #[test]
    fn groups_come_and_go() {
        let mut log = GroupLog::default();
        let key = |kind: u8| {
            let mut out = vec![0, kind];
            string(&mut out, "g");
            out
        };
        let mut group = vec![0, 3];
        string(&mut group, "consumer");
        group.extend([0, 0, 0, 6, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0]);
        log.apply(0, None, &key(2), Some(&group)).expect("readable");
        let expected =
            ClassicMeta { protocol_type: "consumer".into(), generation: 6, state_since_ms: 5, members: 0 };
        assert_eq!(log.classic["g"], expected);
        log.apply(1, None, &key(2), None).expect("readable");
        log.apply(2, None, &key(3), Some(&[0, 0, 0, 0, 0, 4, 0])).expect("readable");
        log.apply(3, None, &key(6), Some(&[0, 0, 0, 0, 0, 3, 0])).expect("readable");
        assert_eq!(log.consumer["g"], ConsumerMeta { epoch: 4, assignment_epoch: 3 });
        log.apply(4, None, &key(6), None).expect("readable");
        log.apply(5, None, &key(3), None).expect("readable");
        log.apply(6, None, &key(11), Some(&[0, 0])).expect("readable");
        log.apply(7, None, &key(16), Some(&[0, 0])).expect("passed over");
        assert!(log.classic.is_empty() && log.consumer.is_empty());
        assert_eq!(log.others["g"], "share");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(kind in 0u8..20, key: Vec<u8>, value: Option<Vec<u8>>) {
            let mut bytes = vec![0, kind];
            bytes.extend(key);
            let _ = GroupLog::default().apply(0, None, &bytes, value.as_deref());
        }
    }
}
