//! The seam between components that keep small ordered state and whatever keeps it for them.
//!
//! Every method may block on a disk: an async caller goes through `storage/rocks/blocking.rs`.
//! Each implementation runs the suite in `conformance.rs`, which is the contract in executable form.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::keyspace::KeySpace;

/// Largest sum of key and value bytes one batch may carry: 16 MiB.
///
/// A batch is held in memory twice while it is written and replayed whole after a crash, so it must stay
/// small beside the broker's memory. The largest honest batch, ten thousand topics created in one
/// request, is near 1 MiB.
pub const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Returned only after the bytes are on stable storage: survives a power cut.
    Synced,
    /// Returned once the operating system has the bytes: survives the process, not the machine.
    /// A later `Synced` write or [`StateStore::flush`] makes all earlier ones durable too.
    Buffered,
}

/// Why the state store could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The store was closed; nothing can be read or written any more.
    #[error("the state store is closed")]
    Closed,
    /// The batch exceeds [`MAX_BATCH_BYTES`]; nothing was written.
    #[error("a state batch of {bytes} bytes exceeds the limit of {MAX_BATCH_BYTES} bytes")]
    BatchTooLarge {
        /// Key and value bytes of the refused batch.
        bytes: usize,
    },
    /// What is on disk contradicts itself. Retrying cannot help; an operator must look.
    #[error("the state store is damaged: {message}")]
    Corrupt {
        /// What was found, in the engine's words.
        message: String,
    },
    /// A write in the log does not check though later ones do: something changed what was on the disk. To open the store
    /// all the same would lose the later ones.
    #[error(
        "{} is damaged at byte {position}, and acknowledged changes lie behind it ({} at byte {intact_position}): restore a snapshot, or, to give up every change from the damage on, copy the data directory and start once with `tidelog serve --override tidelog.state.accept.loss={file}`",
        path.display(), intact.display()
    )]
    LogDamaged {
        /// The damaged file.
        path: PathBuf,
        /// Where the first write that does not check begins, in bytes.
        position: u64,
        /// The file of the next intact write.
        intact: PathBuf,
        /// Where that begins, in bytes.
        intact_position: u64,
        /// Name of the damaged file, by which its loss is accepted.
        file: String,
    },
    /// The disk or the engine refused. For a write the outcome is unknown: it may or may not reappear
    /// after a restart, but never in part.
    #[error("the state store failed: {message}")]
    Unavailable {
        /// What happened, in the engine's words.
        message: String,
        /// Whether the same call may succeed later without anyone's help.
        retryable: bool,
    },
    /// The database was written by a newer version, which keeps key spaces this one does not know.
    #[error("the state store holds unknown key spaces ({names}); it was written by a newer version")]
    UnknownKeySpaces {
        /// The names that are not known here, separated by commas.
        names: String,
    },
}

impl StateError {
    /// Whether the same call may succeed later without anyone's help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { retryable, .. } => *retryable,
            Self::Closed
            | Self::BatchTooLarge { .. }
            | Self::Corrupt { .. }
            | Self::LogDamaged { .. }
            | Self::UnknownKeySpaces { .. } => false,
        }
    }
}

/// One step of a [`WriteBatch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOp {
    /// Set a key, replacing what was there.
    Put {
        /// Where.
        space: KeySpace,
        /// Key bytes.
        key: Vec<u8>,
        /// Value bytes; may be empty, which is not the same as absent.
        value: Vec<u8>,
    },
    /// Remove a key; removing an absent key is not an error.
    Delete {
        /// Where.
        space: KeySpace,
        /// Key bytes.
        key: Vec<u8>,
    },
}

/// An ordered list of puts and deletes that takes effect wholly or not at all.
///
/// Later steps win over earlier ones on the same key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    ops: Vec<WriteOp>,
    bytes: usize,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends "set `key` to `value`".
    pub fn put(&mut self, space: KeySpace, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.bytes = self.bytes.saturating_add(key.len() + value.len());
        self.ops.push(WriteOp::Put { space, key, value });
    }

    /// Appends "remove `key`".
    pub fn delete(&mut self, space: KeySpace, key: impl Into<Vec<u8>>) {
        let key = key.into();
        self.bytes = self.bytes.saturating_add(key.len());
        self.ops.push(WriteOp::Delete { space, key });
    }

    /// Appends all steps of `later`, in order.
    pub fn append(&mut self, mut later: WriteBatch) {
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.ops.append(&mut later.ops);
    }

    /// The steps, in order.
    pub fn ops(&self) -> &[WriteOp] {
        &self.ops
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Sum of key and value bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Refuses a batch above [`MAX_BATCH_BYTES`]. Implementations call this before they write anything.
    pub fn check_size(&self) -> Result<(), StateError> {
        if self.bytes > MAX_BATCH_BYTES {
            return Err(StateError::BatchTooLarge { bytes: self.bytes });
        }
        Ok(())
    }
}

/// Looks at one row's key and value during a scan, and says whether to go on.
pub type VisitRow<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Ordered byte maps, one per [`KeySpace`], with atomic batches.
pub trait StateStore: Send + Sync + 'static {
    /// The value of `key`, or `None` when the key is absent.
    fn get(&self, space: KeySpace, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Calls `visit` with each key that starts with `prefix`, and its value, in ascending byte order, until
    /// the end or until `visit` breaks. The view is that of the moment the scan began; `visit` may write to
    /// the store but must not close it. An empty prefix visits the whole key space.
    fn scan_prefix(&self, space: KeySpace, prefix: &[u8], visit: &mut VisitRow<'_>)
    -> Result<(), StateError>;

    /// Applies the whole batch or nothing. After an error other than `BatchTooLarge` and `Closed` the
    /// outcome is unknown, but never partial.
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StateError>;

    /// Makes every earlier write durable, buffered ones included.
    fn flush(&self) -> Result<(), StateError>;

    /// Makes a copy of all rows, as of one moment, in the directory `to`, which must not exist; a store that is opened there
    /// has them. Then calls `then`, which must not write to the store: no write is done between the moment of the copy and
    /// the end of `then`. So what `then` sees of anything that follows from a write, such as a marker that is appended when
    /// its decision is durable, follows from a write that is in the copy.
    ///
    /// # Errors
    /// `then` was not called. Something may have been left in `to`.
    fn checkpoint(&self, to: &Path, then: &mut dyn FnMut()) -> Result<(), StateError>;

    /// Flushes, waits for calls in progress, and releases the store. Every later call answers
    /// [`StateError::Closed`]; closing twice is fine.
    fn close(&self) -> Result<(), StateError>;
}
