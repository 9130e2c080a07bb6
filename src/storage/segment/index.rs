//! What the offset index and the time index share: fixed-size entries in an append-only file.

use std::sync::Arc;

use super::error::StorageError;
use super::files::FileHandle;

/// Entries collected before they are written with one call.
const WRITE_AT: usize = 64;
/// Entries kept while the file cannot be written (a full disk). Further ones are left out: an
/// index is sparse anyway, and a missing entry only makes a look-up scan further.
const KEEP_AT_MOST: usize = 1024;

/// One entry of an index file.
pub trait Entry: Copy {
    /// Bytes on disk.
    const SIZE: usize;
    /// Appends the bytes of the entry; offsets are stored relative to the segment's base.
    fn encode(&self, base_offset: i64, out: &mut Vec<u8>);
    /// Reads an entry of exactly [`Self::SIZE`] bytes.
    fn decode(base_offset: i64, bytes: &[u8]) -> Self;
    /// Whether this entry may stand behind `earlier`.
    fn follows(&self, earlier: &Self) -> bool;
}

/// An index file and the entries that are not written to it yet.
///
/// Written entries are looked up in the file, not in memory: a log at rest holds none of them.
#[derive(Debug)]
pub(super) struct Index<E> {
    base_offset: i64,
    file: Arc<FileHandle>,
    written: usize,
    pending: Vec<E>,
    last: Option<E>,
}

impl<E: Entry> Index<E> {
    /// An index over a file that was just created.
    pub fn empty(base_offset: i64, file: Arc<FileHandle>) -> Self {
        Self { base_offset, file, written: 0, pending: Vec::new(), last: None }
    }

    /// Opens an existing index. A torn last entry counts as absent.
    pub fn open(base_offset: i64, file: Arc<FileHandle>) -> Result<Self, StorageError> {
        let written = usize::try_from(file.len()?).unwrap_or(usize::MAX) / E::SIZE;
        let mut index = Self { base_offset, file, written, pending: Vec::new(), last: None };
        if written > 0 {
            index.last = Some(index.get(written - 1)?);
        }
        Ok(index)
    }

    pub fn file(&self) -> &Arc<FileHandle> {
        &self.file
    }

    pub fn len(&self) -> usize {
        self.written + self.pending.len()
    }

    pub fn last(&self) -> Option<E> {
        self.last
    }

    /// Adds an entry. An entry that cannot be written now is kept, or left out in the end.
    pub fn append(&mut self, entry: E) {
        if self.pending.len() >= KEEP_AT_MOST {
            return;
        }
        self.pending.push(entry);
        self.last = Some(entry);
        if self.pending.len().is_multiple_of(WRITE_AT)
            && let Err(error) = self.write_pending()
        {
            tracing::warn!(%error, "index entries stay in memory");
        }
    }

    /// Writes what is still in memory.
    pub fn write_pending(&mut self) -> Result<(), StorageError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * E::SIZE);
        for entry in &self.pending {
            entry.encode(self.base_offset, &mut bytes);
        }
        self.file.write_at(&bytes, &[], (self.written * E::SIZE) as u64)?;
        self.written += self.pending.len();
        self.pending = Vec::new();
        Ok(())
    }

    fn get(&self, index: usize) -> Result<E, StorageError> {
        if let Some(pending) = index.checked_sub(self.written) {
            return Ok(self.pending[pending]);
        }
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..E::SIZE];
        let position = (index * E::SIZE) as u64;
        if self.file.read_at(bytes, position)? < E::SIZE {
            return Err(StorageError::corrupt(&self.file.path(), position, "index ends early"));
        }
        Ok(E::decode(self.base_offset, bytes))
    }

    /// The last entry for which `holds` is true; `holds` must not become true again after it
    /// was false.
    pub fn floor(&self, holds: impl Fn(&E) -> bool) -> Result<Option<E>, StorageError> {
        // Most look-ups are for the end of the log.
        if let Some(last) = self.last.filter(|last| holds(last)) {
            return Ok(Some(last));
        }
        let count = self.count_while(&holds)?;
        count.checked_sub(1).map(|index| self.get(index)).transpose()
    }

    fn count_while(&self, holds: impl Fn(&E) -> bool) -> Result<usize, StorageError> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(&self.get(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Whether every entry follows the one before. Pages that a power cut left empty or stale show here.
    pub fn is_ascending(&self) -> Result<bool, StorageError> {
        /// Entries read at once.
        const STEP: usize = 4096;
        let mut bytes = vec![0; E::SIZE * STEP.min(self.written)];
        let mut earlier: Option<E> = None;
        for start in (0..self.written).step_by(STEP) {
            let chunk = &mut bytes[..E::SIZE * STEP.min(self.written - start)];
            if self.file.read_at(chunk, (start * E::SIZE) as u64)? < chunk.len() {
                return Ok(false);
            }
            for entry in chunk.chunks_exact(E::SIZE) {
                let entry = E::decode(self.base_offset, entry);
                if earlier.is_some_and(|earlier| !entry.follows(&earlier)) {
                    return Ok(false);
                }
                earlier = Some(entry);
            }
        }
        Ok(true)
    }

    /// Empties the index, whatever is in it.
    pub fn reset(&mut self) -> Result<(), StorageError> {
        self.pending = Vec::new();
        self.written = 0;
        self.last = None;
        self.file.truncate(0)
    }

    /// Keeps the entries for which `holds` is true, a prefix of the index.
    pub fn truncate_while(&mut self, holds: impl Fn(&E) -> bool) -> Result<(), StorageError> {
        let keep = self.count_while(holds)?;
        self.write_pending()?;
        self.file.truncate((keep * E::SIZE) as u64)?;
        self.written = keep;
        self.last = keep.checked_sub(1).map(|index| self.get(index)).transpose()?;
        Ok(())
    }
}
