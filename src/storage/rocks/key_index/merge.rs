//! A run is merged with the keys that are known, both in the order of their hashes.

use rocksdb::{DB, DBRawIterator, ReadOptions};

use super::{damaged, rows, translate};
use crate::storage::key_index::{IndexedPartition, KeyHash, KeyIndexError, Run, merge};

/// Most rows that are stepped over before one is sought. A seek costs about as much as so many steps.
const STEPS_MAX: u32 = 32;

/// Finds keys in ascending order.
pub(super) struct Keys<'a> {
    partition: IndexedPartition,
    rows: DBRawIterator<'a>,
    /// Steps that are tried before a seek: few where the keys looked for are far apart.
    steps: u32,
    begun: bool,
}

impl<'a> Keys<'a> {
    /// `passing`: what is read is not worth a place in the cache.
    pub(super) fn new(db: &'a DB, partition: IndexedPartition, passing: bool) -> Self {
        let mut read = ReadOptions::default();
        read.set_iterate_range(rows::keys(partition));
        read.fill_cache(!passing);
        Self { partition, rows: db.raw_iterator_opt(read), steps: STEPS_MAX, begun: false }
    }

    /// The offset of the key with this hash, which is above those asked for before.
    pub(super) fn find(&mut self, hash: KeyHash) -> Result<Option<i64>, KeyIndexError> {
        let wanted = rows::key(self.partition, hash);
        if !self.begun {
            self.begun = true;
            self.rows.seek(wanted);
        }
        let mut steps = 0;
        loop {
            let Some(row) = self.rows.key() else {
                // An iterator that met damage looks exhausted; only its status tells.
                self.rows.status().map_err(translate)?;
                return Ok(None);
            };
            match row.cmp(&wanted[..]) {
                std::cmp::Ordering::Equal => break,
                std::cmp::Ordering::Greater => {
                    self.steps = self.steps.max(2 * steps).min(STEPS_MAX);
                    return Ok(None);
                }
                std::cmp::Ordering::Less if steps < self.steps => {
                    steps += 1;
                    self.rows.next();
                }
                std::cmp::Ordering::Less => {
                    self.steps = (self.steps / 2).max(1);
                    // Not counted any more: a seek leads to the row or behind it.
                    steps = 0;
                    self.rows.seek(wanted);
                }
            }
        }
        self.steps = self.steps.max(2 * steps).min(STEPS_MAX);
        let value = self.rows.value().unwrap_or_default();
        rows::decode_offset(value).map(Some).ok_or_else(|| damaged("a key's offset cannot be read"))
    }
}

/// Writes one row.
type Put<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), rocksdb::Error> + 'a;

/// Gives `put` all rows that a run changes, in ascending order: the keys, what they supersede, the position.
pub(super) fn merge_run(
    db: &DB,
    partition: IndexedPartition,
    run: Run,
    passing: bool,
    put: &mut Put<'_>,
) -> Result<(), KeyIndexError> {
    let Run { to, entries, mut dead, .. } = run;
    let mut known = Keys::new(db, partition, passing);
    for (hash, offset) in entries.iter() {
        let merged = merge(known.find(hash)?, offset);
        let (value, from) = rows::encode_offset(merged.latest);
        put(&rows::key(partition, hash), &value[from..]).map_err(translate)?;
        merged.dead.into_iter().for_each(|offset| dead.insert(offset));
    }
    for (chunk, offsets) in dead.encoded() {
        put(&rows::superseded(partition, to.upto, chunk), &offsets).map_err(translate)?;
    }
    put(&rows::position(partition), &rows::encode_position(to)).map_err(translate)
}
