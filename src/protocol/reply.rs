//! A reply on its way to the socket: bytes that we built and ranges of log files, in order.

use std::sync::Arc;

use bytes::Bytes;

use crate::storage::segment::FileHandle;

/// A piece of a reply.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// Bytes that we encoded.
    Bytes(Bytes),
    /// `len` bytes of a log file from `position`; the range is immutable once it is below the log end offset.
    File { file: Arc<FileHandle>, position: u64, len: usize },
}

impl Chunk {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::File { len, .. } => *len,
        }
    }

    /// Whether the chunk holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a request is answered with.
#[derive(Debug)]
pub enum Reply {
    /// One length-prefixed frame.
    Single(Bytes),
    /// One length-prefixed frame in pieces, for replies that carry records.
    Chunks(Vec<Chunk>),
    /// Nothing at all: Produce with acks=0.
    None,
    /// No answer is possible: the connection is closed after the replies before this one.
    Close,
}
