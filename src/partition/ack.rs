//! When is an offset committed, that is, acknowledged to acks=all and visible to consumers?
//!
//! On one node the answer is local: once durable, or at once where the operator chose Kafka's relaxed flushing. A
//! cluster will answer with its in-sync replicas here.

use crate::config::TopicConfig;

/// What an append does to the high watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The high watermark follows the durable offset; the flusher is woken for every append.
    WhenDurable,
    /// The high watermark follows the log end; `flush_now` says whether enough records are unflushed for
    /// `flush.messages`.
    AtOnce { flush_now: bool },
}

/// Decides from the topic's settings and the number of records appended since the last flush.
pub fn commit(config: &TopicConfig, unflushed_messages: i64) -> Commit {
    if config.flush_messages <= 1 {
        Commit::WhenDurable
    } else {
        Commit::AtOnce { flush_now: unflushed_messages >= config.flush_messages }
    }
}
