//! One transactional id: a row of [`KeySpace::Transactions`](crate::storage::KeySpace::Transactions).
//!
//! ```text
//!   value  version u8 = 1 | producer id i64 | previous producer id i64 | producer epoch i16 | last producer epoch i16
//!          | timeout ms i32 | state u8 | ended with u8: 1 first, 2 second protocol | started at i64, or -1 | updated at i64
//!          | serial u64 | partitions | groups u32 { group id }
//! ```
//!
//! The state has Kafka's number. A decided transaction is stored as complete, so there are no rows of prepared ones: see
//! [`Transaction::stored`].

use std::collections::BTreeSet;

use super::{prefix, put_count, put_partitions, read_partitions, split_key};
use crate::storage::codec::{BadRow, Reader, put_string};
use crate::transactions::transaction::{Protocol, State, Transaction};

const KIND: &str = "transaction";
const VERSION: u8 = 1;

/// The key of a row.
pub fn key(transactional_id: &str) -> Vec<u8> {
    prefix(transactional_id)
}

/// The transactional id in a key.
///
/// # Errors
/// [`BadRow`] when no transactional id has such a key.
pub fn read_key(key: &[u8]) -> Result<&str, BadRow> {
    match split_key(KIND, key)? {
        (id, []) => Ok(id),
        _ => Err(BadRow { kind: KIND, reason: "bytes are left over in its key" }),
    }
}

/// The value of a row.
pub fn value(transaction: &Transaction) -> Vec<u8> {
    let stored = transaction.stored();
    let mut out = Vec::with_capacity(64 + 20 * stored.partitions.len());
    out.push(VERSION);
    out.extend_from_slice(&stored.producer_id.to_be_bytes());
    out.extend_from_slice(&stored.previous_producer_id.to_be_bytes());
    out.extend_from_slice(&stored.producer_epoch.to_be_bytes());
    out.extend_from_slice(&stored.last_producer_epoch.to_be_bytes());
    out.extend_from_slice(&stored.timeout_ms.to_be_bytes());
    out.push(state_number(stored.state));
    out.push(match stored.ended_with {
        Protocol::First => 1,
        Protocol::Second => 2,
    });
    out.extend_from_slice(&stored.started_at_ms.to_be_bytes());
    out.extend_from_slice(&stored.updated_at_ms.to_be_bytes());
    out.extend_from_slice(&stored.serial.to_be_bytes());
    put_partitions(&mut out, stored.partitions.iter().map(|of| (*of, ())), |_, ()| ());
    put_count(&mut out, stored.groups.len());
    stored.groups.iter().for_each(|group| put_string(&mut out, group));
    out
}

/// Reads a value.
///
/// # Errors
/// [`BadRow`] when the bytes are not what [`value`] writes.
pub fn read_value(value: &[u8]) -> Result<Transaction, BadRow> {
    let mut reader = Reader::new(KIND, value);
    reader.version(VERSION)?;
    let transaction = Transaction {
        producer_id: reader.i64()?,
        previous_producer_id: reader.i64()?,
        producer_epoch: i16::from_be_bytes(reader.array()?),
        last_producer_epoch: i16::from_be_bytes(reader.array()?),
        next_producer_id: None,
        timeout_ms: reader.i32()?,
        state: read_state(&mut reader)?,
        ended_with: match reader.array()? {
            [1] => Protocol::First,
            [2] => Protocol::Second,
            _ => return Err(reader.bad("its protocol is unknown")),
        },
        started_at_ms: reader.i64()?,
        updated_at_ms: reader.i64()?,
        serial: reader.u64()?,
        partitions: read_partitions(&mut reader, |_| Ok(()))?.into_keys().collect(),
        groups: read_groups(&mut reader)?,
    };
    if transaction.producer_id < 0 || transaction.producer_epoch < 0 {
        return Err(reader.bad("it has no producer"));
    }
    let is_open = !transaction.partitions.is_empty() || !transaction.groups.is_empty();
    if is_open && transaction.state != State::Ongoing {
        return Err(reader.bad("it has partitions and no transaction"));
    }
    reader.end()?;
    Ok(transaction)
}

fn state_number(state: State) -> u8 {
    match state {
        State::Empty => 0,
        State::Ongoing => 1,
        State::PrepareCommit => 2,
        State::PrepareAbort => 3,
        State::CompleteCommit => 4,
        State::CompleteAbort => 5,
    }
}

fn read_state(reader: &mut Reader<'_>) -> Result<State, BadRow> {
    let [number] = reader.array()?;
    let known = State::ALL.into_iter().find(|state| state_number(*state) == number);
    known.filter(|state| !state.is_prepared()).ok_or(reader.bad("its state is unknown"))
}

fn read_groups(reader: &mut Reader<'_>) -> Result<BTreeSet<std::sync::Arc<str>>, BadRow> {
    let mut groups = BTreeSet::new();
    for _ in 0..reader.count(4)? {
        if !groups.insert(reader.string()?.into()) {
            return Err(reader.bad("it names a group twice"));
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transactions::transaction::TopicPartition;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn any_transaction() -> impl Strategy<Value = Transaction> {
        let stored = vec![State::Empty, State::Ongoing, State::CompleteCommit, State::CompleteAbort];
        let partitions = prop::collection::btree_set((0u128..4, any::<i32>()), 0..12);
        (
            (0i64.., any::<i64>(), 0i16.., any::<i16>(), any::<i32>(), prop::sample::select(stored)),
            (partitions, prop::collection::btree_set(".{0,20}", 0..5)),
            (any::<i64>(), any::<i64>(), any::<bool>(), any::<u64>()),
        )
            .prop_map(
                |(of, (partitions, groups), (started_at_ms, updated_at_ms, second, serial))| {
                    let is_open = of.5 == State::Ongoing;
                    let partitions = partitions.into_iter().map(|(topic, partition)| TopicPartition {
                        topic: Uuid::from_u128(topic),
                        partition,
                    });
                    Transaction {
                        producer_id: of.0,
                        previous_producer_id: of.1,
                        producer_epoch: of.2,
                        last_producer_epoch: of.3,
                        next_producer_id: None,
                        timeout_ms: of.4,
                        state: of.5,
                        partitions: partitions.filter(|_| is_open).collect(),
                        groups: groups.into_iter().filter(|_| is_open).map(Into::into).collect(),
                        started_at_ms,
                        updated_at_ms,
                        ended_with: if second { Protocol::Second } else { Protocol::First },
                        serial,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn round_trip(id in ".{0,40}", transaction in any_transaction()) {
            let row_key = key(&id);
            prop_assert_eq!(read_key(&row_key), Ok(id.as_str()));
            prop_assert!(read_key(&row_key[..row_key.len() - 1]).is_err());
            let bytes = value(&transaction);
            prop_assert_eq!(read_value(&bytes), Ok(transaction));
            prop_assert!(read_value(&bytes[..bytes.len() - 1]).is_err());
            prop_assert!(read_value(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes: Vec<u8>) {
            if let Ok(id) = read_key(&bytes) {
                prop_assert_eq!(key(id), bytes.clone());
            }
            bytes.insert(0, VERSION);
            let _ = read_value(&bytes);
        }

        #[test]
        fn damage_is_noticed_or_harmless(transaction in any_transaction(), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = value(&transaction);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(read) = read_value(&bytes) {
                // What is read can be written and read again.
                prop_assert_eq!(read_value(&value(&read)), Ok(read));
            }
        }
    }

    #[test]
    fn bytes_on_disk() {
        let transaction = Transaction {
            producer_id: 258,
            previous_producer_id: 7,
            producer_epoch: 3,
            last_producer_epoch: -1,
            next_producer_id: None,
            timeout_ms: 5,
            state: State::Ongoing,
            partitions: [(1, 0), (1, 6), (2, 0)]
                .map(|(topic, partition)| TopicPartition { topic: Uuid::from_u128(topic), partition })
                .into(),
            groups: ["g".into()].into(),
            started_at_ms: -1,
            updated_at_ms: 4,
            ended_with: Protocol::Second,
            serial: 9,
        };
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 3, 0xff, 0xff];
        expected.extend([0, 0, 0, 5, 1, 2]);
        expected.extend([0xff; 8]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 9]);
        expected.extend([0, 0, 0, 2]);
        expected.extend([0; 15]);
        expected.extend([1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 6]);
        expected.extend([0; 15]);
        expected.extend([2, 0, 0, 0, 1, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 1, 0, 0, 0, 1, b'g']);
        assert_eq!(value(&transaction), expected);
    }

    #[test]
    fn a_decided_transaction_is_stored_as_complete() {
        for (prepared, complete) in
            [(State::PrepareCommit, State::CompleteCommit), (State::PrepareAbort, State::CompleteAbort)]
        {
            let mut decided = crate::transactions::testing::ongoing(3);
            decided.state = prepared;
            decided.next_producer_id = Some(8);
            let read = read_value(&value(&decided)).expect("readable");
            assert_eq!((read.state, read.producer_id, read.producer_epoch), (complete, 8, 0));
            assert!(read.partitions.is_empty());
        }
    }

    #[test]
    fn rows_that_cannot_be_are_not_taken() {
        let row = value(&crate::transactions::testing::ongoing(3));
        let state = 1 + 8 + 8 + 2 + 2 + 4;
        for (at, byte) in
            [(0, 2), (1, 0x80), (17, 0x80), (state, 0), (state, 2), (state, 3), (state, 6), (state + 1, 0)]
        {
            let mut changed = row.clone();
            changed[at] = byte;
            assert!(read_value(&changed).is_err(), "{at} {byte}");
        }
    }
}
