//! The set of superfluous offsets: by chunks of 2^16, each a short list or a bitmap.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::storage::superseded::Superseded;

/// Offsets of one chunk.
pub const CHUNK_OFFSETS: i64 = 1 << CHUNK_BITS;

const CHUNK_BITS: u32 = 16;
const WORDS: usize = (CHUNK_OFFSETS / 64) as usize;
const BITMAP_BYTES: usize = WORDS * 8;
/// Most offsets in a list. It takes 2 KiB then, and an offset never more than 8 bytes: a bitmap of few has more than this.
const LIST_MAX: usize = 1024;
/// Most offsets that are stored as a list: the next one would make it as long as a bitmap.
const STORED_LIST_MAX: usize = BITMAP_BYTES / 2 - 1;
/// About what a chunk takes beside its offsets.
const CHUNK_OVERHEAD_BYTES: usize = 64;

/// The offsets of one chunk.
#[derive(Debug)]
enum Chunk {
    /// Ascending.
    List(Vec<u16>),
    Bitmap(Box<[u64; WORDS]>),
}

/// Offsets of superfluous records.
#[derive(Debug, Default)]
pub struct DeadOffsets {
    /// By offset / 2^16. None is empty.
    chunks: BTreeMap<i64, Chunk>,
    bytes: usize,
}

impl DeadOffsets {
    /// No offset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no offset is in the set.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many offsets are in the set. Counts them.
    pub fn count(&self) -> u64 {
        self.chunks.values().map(Chunk::count).sum()
    }

    /// Memory taken, bytes, about: at most 8 per offset and 64 per chunk.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an offset, which is not negative.
    pub fn insert(&mut self, offset: i64) {
        let (number, low) = split(offset);
        let chunk = self.chunks.entry(number).or_insert_with(|| {
            self.bytes += CHUNK_OVERHEAD_BYTES;
            Chunk::List(Vec::new())
        });
        let before = chunk.bytes();
        chunk.insert(low);
        self.bytes = self.bytes + chunk.bytes() - before;
    }

    /// Whether an offset is in the set.
    pub fn contains(&self, offset: i64) -> bool {
        let (number, low) = split(offset);
        self.chunks.get(&number).is_some_and(|chunk| chunk.contains(low))
    }

    /// Whether an offset of `first..=last` is in the set.
    pub fn any_within(&self, first: i64, last: i64) -> bool {
        if first > last {
            return false;
        }
        let ((from, low), (to, high)) = (split(first), split(last));
        self.chunks.range(from..=to).any(|(number, chunk)| {
            let low = if *number == from { low } else { 0 };
            let high = if *number == to { high } else { u16::MAX };
            chunk.any_within(low, high)
        })
    }

    /// All offsets, ascending.
    pub fn iter(&self) -> impl Iterator<Item = i64> {
        self.chunks.iter().flat_map(|(number, chunk)| {
            let base = number << CHUNK_BITS;
            chunk.iter().map(move |low| base + i64::from(low))
        })
    }

    /// Adds all offsets of another set.
    pub fn union(&mut self, other: &DeadOffsets) {
        for (number, chunk) in &other.chunks {
            self.union_chunk(*number, chunk);
        }
    }

    /// Each chunk, ascending, as its number (offset / 2^16) and bytes: a bitmap of 8 KiB, or a shorter list of the offsets'
    /// low 16 bits, big-endian, ascending.
    pub fn encoded(&self) -> impl Iterator<Item = (i64, Vec<u8>)> {
        self.chunks.iter().map(|(number, chunk)| (*number, chunk.encode()))
    }

    /// Adds what [`Self::encoded`] made of a chunk, as far as it lies in `range`. `None` if the bytes are no chunk.
    #[must_use]
    pub fn add_encoded(&mut self, number: i64, bytes: &[u8], range: &Range<i64>) -> Option<()> {
        let base = number.checked_mul(CHUNK_OFFSETS).filter(|base| *base >= 0)?;
        let chunk = Chunk::decode(bytes)?;
        if range.start <= base && base.saturating_add(CHUNK_OFFSETS) <= range.end {
            self.union_chunk(number, &chunk);
            return Some(());
        }
        for offset in chunk.iter().map(|low| base + i64::from(low)).filter(|offset| range.contains(offset)) {
            self.insert(offset);
        }
        Some(())
    }

    /// Drops the highest chunks until at most `max_bytes` are taken, but never the first. Returns the offset from which on
    /// everything was dropped, if anything was.
    pub fn shrink_to(&mut self, max_bytes: usize) -> Option<i64> {
        let mut cut = None;
        while self.bytes > max_bytes
            && self.chunks.len() > 1
            && let Some((number, chunk)) = self.chunks.pop_last()
        {
            self.bytes -= chunk.bytes() + CHUNK_OVERHEAD_BYTES;
            cut = Some(number << CHUNK_BITS);
        }
        cut
    }

    fn union_chunk(&mut self, number: i64, other: &Chunk) {
        let chunk = self.chunks.entry(number).or_insert_with(|| {
            self.bytes += CHUNK_OVERHEAD_BYTES;
            Chunk::List(Vec::new())
        });
        let before = chunk.bytes();
        chunk.union(other);
        self.bytes = self.bytes + chunk.bytes() - before;
    }
}

impl Superseded for DeadOffsets {
    fn none_within(&self, first: i64, last: i64) -> bool {
        !self.any_within(first, last)
    }

    fn is_superseded(&self, offset: i64, _key: &[u8]) -> bool {
        self.contains(offset)
    }
}

fn split(offset: i64) -> (i64, u16) {
    (offset >> CHUNK_BITS, offset as u16)
}

fn word_and_bit(low: u16) -> (usize, u64) {
    (usize::from(low >> 6), 1 << (low & 63))
}

impl Chunk {
    fn bytes(&self) -> usize {
        match self {
            Chunk::List(list) => list.capacity() * 2,
            Chunk::Bitmap(_) => BITMAP_BYTES,
        }
    }

    fn count(&self) -> u64 {
        match self {
            Chunk::List(list) => list.len() as u64,
            Chunk::Bitmap(words) => words.iter().map(|word| u64::from(word.count_ones())).sum(),
        }
    }

    fn insert(&mut self, low: u16) {
        match self {
            Chunk::List(list) => {
                let at = match list.last() {
                    Some(last) if *last >= low => match list.binary_search(&low) {
                        Ok(_) => return,
                        Err(at) => at,
                    },
                    _ => list.len(),
                };
                if list.len() < LIST_MAX {
                    list.insert(at, low);
                } else {
                    self.make_bitmap()[word_and_bit(low).0] |= word_and_bit(low).1;
                }
            }
            Chunk::Bitmap(words) => {
                let (word, bit) = word_and_bit(low);
                words[word] |= bit;
            }
        }
    }

    fn contains(&self, low: u16) -> bool {
        match self {
            Chunk::List(list) => list.binary_search(&low).is_ok(),
            Chunk::Bitmap(words) => {
                let (word, bit) = word_and_bit(low);
                words[word] & bit != 0
            }
        }
    }

    fn any_within(&self, first: u16, last: u16) -> bool {
        match self {
            Chunk::List(list) => {
                list.get(list.partition_point(|low| *low < first)).is_some_and(|low| *low <= last)
            }
            Chunk::Bitmap(words) => {
                let (from, to) = (usize::from(first >> 6), usize::from(last >> 6));
                let above = u64::MAX << (first & 63);
                let below = u64::MAX >> (63 - (last & 63));
                if from == to {
                    return words[from] & above & below != 0;
                }
                words[from] & above != 0
                    || words[from + 1..to].iter().any(|word| *word != 0)
                    || words[to] & below != 0
            }
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = u16> + '_> {
        match self {
            Chunk::List(list) => Box::new(list.iter().copied()),
            Chunk::Bitmap(words) => Box::new(words.iter().enumerate().flat_map(|(at, word)| {
                let mut rest = *word;
                std::iter::from_fn(move || {
                    (rest != 0).then(|| {
                        let bit = rest.trailing_zeros();
                        rest &= rest - 1;
                        (at as u16) << 6 | bit as u16
                    })
                })
            })),
        }
    }

    fn union(&mut self, other: &Chunk) {
        match other {
            Chunk::List(list) => list.iter().for_each(|low| self.insert(*low)),
            Chunk::Bitmap(theirs) => {
                let ours = self.make_bitmap();
                ours.iter_mut().zip(theirs.iter()).for_each(|(ours, theirs)| *ours |= theirs);
            }
        }
    }

    fn make_bitmap(&mut self) -> &mut [u64; WORDS] {
        if let Chunk::List(list) = self {
            let mut words = Box::new([0; WORDS]);
            for low in list {
                let (word, bit) = word_and_bit(*low);
                words[word] |= bit;
            }
            *self = Chunk::Bitmap(words);
        }
        match self {
            Chunk::Bitmap(words) => words,
            Chunk::List(_) => unreachable!("it was just made a bitmap"),
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Chunk::Bitmap(words) if self.count() > STORED_LIST_MAX as u64 => {
                words.iter().flat_map(|word| word.to_be_bytes()).collect()
            }
            _ => self.iter().flat_map(u16::to_be_bytes).collect(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Chunk> {
        if bytes.len() == BITMAP_BYTES {
            let mut words = Box::new([0; WORDS]);
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_be_bytes(*bytes);
            }
            return Some(Chunk::Bitmap(words));
        }
        let (lows, []) = bytes.as_chunks::<2>() else { return None };
        if lows.is_empty() || lows.len() > STORED_LIST_MAX {
            return None;
        }
        let list: Vec<_> = lows.iter().map(|low| u16::from_be_bytes(*low)).collect();
        if !list.is_sorted_by(|one, next| one < next) {
            return None;
        }
        let mut chunk = Chunk::List(list);
        if lows.len() > LIST_MAX {
            chunk.make_bitmap();
        }
        Some(chunk)
    }
}

#[cfg(test)]
#[path = "dead_offsets_tests.rs"]
mod tests;
