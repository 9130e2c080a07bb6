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
