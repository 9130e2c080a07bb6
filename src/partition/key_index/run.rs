//! From batches to a run. Pure: bytes come in, no file is touched.

use super::aborted::AbortedRanges;
use crate::record::{
    BatchHeader, Compression, DecompressError, HEADER_LEN, HeaderError, RecordError, Records, crc_matches,
    decompress,
};
use crate::storage::key_index::{DeadOffsets, Inserted, KeyHasher, OffsetMap, Position, Run};

/// Why a batch cannot be indexed.
#[derive(Debug, thiserror::Error)]
pub enum BatchDamage {
    /// The header is not one, or its batch is cut off.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The bytes are not those that were stored.
    #[error("its CRC does not match")]
    Crc,
    /// The records cannot be unfolded, or not within the memory that is granted.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// How much of a batch went into a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// All of it.
    Whole,
    /// The records below this offset. The run is full: finish it, and feed the batch again from here on.
    Below(i64),
}

/// Collects the newest offset of each key, until it is full.
#[derive(Debug)]
pub struct RunBuilder {
    hasher: KeyHasher,
    map_bytes: usize,
    dead_bytes: usize,
    load_factor: f64,
    decompressed_max: usize,
    map: OffsetMap,
    dead: DeadOffsets,
    records: u64,
}

impl RunBuilder {
    /// A builder of runs that take about `max_bytes`, their merging included. No batch is unfolded to more than
    /// `decompressed_max` bytes.
    pub fn new(hasher: KeyHasher, max_bytes: usize, load_factor: f64, decompressed_max: usize) -> Self {
        // Each key has an entry, and at most one offset that it makes superfluous in the index, which takes a third of that.
        let map_bytes = max_bytes / 8 * 5;
        Self {
            hasher,
            map_bytes,
            dead_bytes: max_bytes / 8,
            load_factor,
            decompressed_max,
            map: OffsetMap::new(hasher, map_bytes, load_factor),
            dead: DeadOffsets::new(),
            records: 0,
        }
    }

    /// Whether no key was fed since the last run.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Records with a key that were fed since the builder was made.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Adds the records of a batch from offset `from` on. Control batches, aborted ones and records without a key are passed
    /// over.
    ///
    /// # Errors
    /// [`BatchDamage`]; what came before the damage may be in the run, but not in its end.
    pub fn feed(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        from: i64,
        aborted: &AbortedRanges,
    ) -> Result<Fed, BatchDamage> {
        if !crc_matches(batch) {
            return Err(BatchDamage::Crc);
        }
        if header.is_control() || aborted.covers(header) {
            return Ok(Fed::Whole);
        }
        let payload = &batch[HEADER_LEN..];
        match header.compression()? {
            Compression::None => self.feed_records(header, payload, from),
            // What the cleaner left of a batch without records says a codec and has nothing to unfold.
            _ if header.record_count == 0 && payload.is_empty() => Ok(Fed::Whole),
            codec => {
                let unfolded = decompress(codec, payload, self.decompressed_max)?;
                self.feed_records(header, &unfolded, from)
            }
        }
    }

    fn feed_records(&mut self, header: &BatchHeader, payload: &[u8], from: i64) -> Result<Fed, BatchDamage> {
        for record in Records::new(payload, header.record_count) {
            let record = record?;
            let offset = header.base_offset.saturating_add(i64::from(record.offset_delta));
            let Some(key) = record.key.filter(|_| offset >= from) else { continue };
            if self.dead.bytes() > self.dead_bytes {
                return Ok(Fed::Below(offset));
            }
            match self.map.insert_key(key, offset) {
                Inserted::New => {}
                Inserted::Supersedes(older) => self.dead.insert(older),
                Inserted::Full => return Ok(Fed::Below(offset)),
            }
            self.records += 1;
        }
        Ok(Fed::Whole)
    }

    /// The newest offset of each key that was fed since the last run.
    pub fn into_table(self) -> OffsetMap {
        self.map
    }

    /// Takes the run out; the builder begins another.
    pub fn finish(&mut self, after: Option<Position>, to: Position) -> Run {
        let next = OffsetMap::new(self.hasher, self.map_bytes, self.load_factor);
        let entries = std::mem::replace(&mut self.map, next).into_sorted();
        Run { after, to, entries, dead: std::mem::take(&mut self.dead) }
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
