//! A bounded table: hash of a key → its newest offset. It collects a run for the key index, and is all that the cleaner has
//! where a topic does without the index (Kafka's `SkimpyOffsetMap`).
//!
//! ```text
//!   hash  0 ───────────────────────────────────────────────▶ 2^128
//!         │ shard 0 │ shard 1 │ shard 2 │  …                      each a table of its own, open addressing
//! ```
//!
//! A hash's place grows with the hash, over the shards as within each. So sorting the entries, which a run needs, finds them
//! nearly sorted; and a shard that grows has a second table beside it that is small against the whole.

use super::hash::{KeyHash, KeyHasher};
use crate::storage::superseded::Superseded;

/// Most tables.
const SHARDS_MAX: usize = 64;
/// Bytes for which another table is worth it.
const SHARD_BYTES: usize = 64 * 1024;
/// Entries that a table begins with.
const FIRST_SLOTS: usize = 16;

/// One entry; 24 bytes.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: KeyHash,
    /// -1 in a free slot.
    offset: i64,
}

const FREE: Slot = Slot { hash: KeyHash { high: 0, low: 0 }, offset: -1 };

/// What became of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The key was not there, or was there with this very offset.
    New,
    /// The key was there already. The newer offset stands; this is the other one.
    Supersedes(i64),
    /// The key was not there and there is no room for it. Nothing was changed.
    Full,
}

/// The newest offset of each key, in bounded memory. Nothing is ever removed.
#[derive(Debug)]
pub struct OffsetMap {
    hasher: KeyHasher,
    shards: Vec<Vec<Slot>>,
    /// Entries of each shard.
    lens: Vec<usize>,
    /// Most slots of a shard.
    shard_slots_max: usize,
    load_factor: f64,
    len: usize,
    newest: i64,
}

impl OffsetMap {
    /// Bytes that an entry takes.
    pub const ENTRY_BYTES: usize = size_of::<Slot>();

    /// An empty table of at most `max_bytes`, which is full when `load_factor` of it is used
    /// (`log.cleaner.io.buffer.load.factor`). It begins small and grows. Room for one key is always there.
    pub fn new(hasher: KeyHasher, max_bytes: usize, load_factor: f64) -> Self {
        let shards = (max_bytes / SHARD_BYTES).clamp(1, SHARDS_MAX);
        let shard_slots_max = (max_bytes / Self::ENTRY_BYTES / shards).max(2);
        Self {
            hasher,
            shards: vec![Vec::new(); shards],
            lens: vec![0; shards],
            shard_slots_max,
            load_factor: if load_factor.is_finite() { load_factor.clamp(0.01, 1.0) } else { 1.0 },
            len: 0,
            newest: -1,
        }
    }

    /// The hash that keys are looked up by.
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Keys in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no key is in the table.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The largest offset in the table; -1 if it is empty.
    pub fn newest_offset(&self) -> i64 {
        self.newest
    }

    /// Bytes that the tables take now.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.capacity() * Self::ENTRY_BYTES).sum()
    }

    /// Notes that the record at `offset` (not negative) has this key.
    pub fn insert_key(&mut self, key: &[u8], offset: i64) -> Inserted {
        self.insert(self.hasher.hash(key), offset)
    }

    /// Notes that the record at `offset` (not negative) has a key of this hash.
    pub fn insert(&mut self, hash: KeyHash, offset: i64) -> Inserted {
        debug_assert!(offset >= 0, "offset {offset} marks a free slot");
        let (shard, place) = self.shard_of(hash);
        let mut at = match find(&self.shards[shard], place, hash) {
            Found::At(at) => {
                let slot = &mut self.shards[shard][at];
                let older = slot.offset.min(offset);
                let same = slot.offset == offset;
                slot.offset = slot.offset.max(offset);
                self.newest = self.newest.max(offset);
                return if same { Inserted::New } else { Inserted::Supersedes(older) };
            }
            Found::Free(at) => Some(at),
            Found::Nowhere => None,
        };
        if self.lens[shard] >= self.room(self.shards[shard].len()) {
            if !self.grow(shard) {
                return Inserted::Full;
            }
            at = None;
        }
        let table = &mut self.shards[shard];
        let at = at.unwrap_or_else(|| free_slot(table, place));
        table[at] = Slot { hash, offset };
        self.lens[shard] += 1;
        self.len += 1;
        self.newest = self.newest.max(offset);
        Inserted::New
    }

    /// The newest offset of the key with this hash.
    pub fn get(&self, hash: KeyHash) -> Option<i64> {
        let (shard, place) = self.shard_of(hash);
        let table = &self.shards[shard];
        match find(table, place, hash) {
            Found::At(at) => Some(table[at].offset),
            Found::Free(_) | Found::Nowhere => None,
        }
    }

    /// Takes the entries out, in the order of their hashes.
    pub fn into_sorted(self) -> SortedOffsets {
        let mut shards = self.shards;
        for shard in &mut shards {
            shard.retain(|slot| slot.offset >= 0);
            shard.sort_unstable_by_key(|slot| slot.hash);
        }
        SortedOffsets { shards, len: self.len }
    }

    /// The shard of a hash, and how far into it the hash belongs, as a fraction of 2^64.
    fn shard_of(&self, hash: KeyHash) -> (usize, u64) {
        let place = u128::from(hash.high) * self.shards.len() as u128;
        ((place >> 64) as usize, place as u64)
    }

    /// Entries that so many slots take. One slot stays free, or a search for an absent key would not end.
    fn room(&self, slots: usize) -> usize {
        let used = (slots as f64 * self.load_factor) as usize;
        used.max(usize::from(slots > 1)).min(slots.saturating_sub(1))
    }

    /// Doubles a shard. `false` if it has the most slots already.
    fn grow(&mut self, shard: usize) -> bool {
        let old = &self.shards[shard];
        let mut slots = old.len();
        // A small load factor can need more than one step to gain room.
        while self.room(slots) <= self.lens[shard] {
            if slots >= self.shard_slots_max {
                return false;
            }
            slots = (slots * 2).max(FIRST_SLOTS).min(self.shard_slots_max);
        }
        let mut grown = vec![FREE; slots];
        for slot in old.iter().filter(|slot| slot.offset >= 0) {
            let (_, place) = self.shard_of(slot.hash);
            let at = free_slot(&grown, place);
            grown[at] = *slot;
        }
        self.shards[shard] = grown;
        true
    }
}

enum Found {
    At(usize),
    Free(usize),
    Nowhere,
}

fn home(table: &[Slot], place: u64) -> usize {
    ((u128::from(place) * table.len() as u128) >> 64) as usize
}

#[inline]
fn find(table: &[Slot], place: u64, hash: KeyHash) -> Found {
    let home = home(table, place);
    for at in (home..table.len()).chain(0..home) {
        let slot = &table[at];
        if slot.offset < 0 {
            return Found::Free(at);
        }
        if slot.hash == hash {
            return Found::At(at);
        }
    }
    Found::Nowhere
}

fn free_slot(table: &[Slot], place: u64) -> usize {
    let home = home(table, place);
    let mut slots = (home..table.len()).chain(0..home);
    slots.find(|at| table[*at].offset < 0).expect("a table that is full has no room")
}

impl Superseded for OffsetMap {
    fn none_within(&self, first: i64, _last: i64) -> bool {
        // Only a later record supersedes.
        first >= self.newest
    }

    fn is_superseded(&self, offset: i64, key: &[u8]) -> bool {
        offset < self.newest && self.get(self.hasher.hash(key)).is_some_and(|newest| newest > offset)
    }
}

/// The entries of an [`OffsetMap`], in the order of their hashes.
#[derive(Debug, Default)]
pub struct SortedOffsets {
    shards: Vec<Vec<Slot>>,
    len: usize,
}

impl SortedOffsets {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every hash, ascending, with its offset.
    pub fn iter(&self) -> impl Iterator<Item = (KeyHash, i64)> {
        self.shards.iter().flatten().map(|slot| (slot.hash, slot.offset))
    }
}

impl FromIterator<(KeyHash, i64)> for SortedOffsets {
    /// Sorts; of several offsets of a hash the largest stays.
    fn from_iter<I: IntoIterator<Item = (KeyHash, i64)>>(entries: I) -> Self {
        let mut slots: Vec<_> = entries.into_iter().map(|(hash, offset)| Slot { hash, offset }).collect();
        slots.sort_unstable_by_key(|slot| (slot.hash, std::cmp::Reverse(slot.offset)));
        slots.dedup_by_key(|slot| slot.hash);
        Self { len: slots.len(), shards: vec![slots] }
    }
}

#[cfg(test)]
#[path = "offset_map_tests.rs"]
mod tests;
