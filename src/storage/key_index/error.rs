//! What can go wrong with a key index.

/// Why the key index could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyIndexError {
    /// The index was closed.
    #[error("the key index is closed")]
    Closed,
    /// What was on disk contradicted itself. The index was begun anew, empty: the next catch-up fills it again.
    #[error("the key index was damaged and is built anew: {message}")]
    Damaged {
        /// What was found, in the engine's words.
        message: String,
    },
    /// The disk or the engine refused. For a write the outcome is unknown, but never partial.
    #[error("the key index failed: {message}")]
    Unavailable {
        /// What happened, in the engine's words.
        message: String,
        /// Whether the same call may succeed later without anyone's help.
        retryable: bool,
    },
}

impl KeyIndexError {
    /// Whether the same work, begun again at the position that the index then has, may succeed without anyone's help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Closed => false,
            Self::Damaged { .. } => true,
            Self::Unavailable { retryable, .. } => *retryable,
        }
    }
}
