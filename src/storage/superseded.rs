//! What the rewriting of segments asks of whoever knows the latest record of each key.

/// Which records of a compacted log a later record with the same key makes superfluous.
///
/// Two know it: the dead offsets that the key index has collected, and a table of the newest offset of each key in the part
/// of the log that was not compacted yet.
pub trait Superseded {
    /// True if surely no record at `first..=last` is superseded: a batch of that range need not be decompressed to find out.
    fn none_within(&self, first: i64, last: i64) -> bool;

    /// Whether a later record with `key` makes the one at `offset` superfluous.
    fn is_superseded(&self, offset: i64, key: &[u8]) -> bool;
}
