//! What is added to the index at once.

use super::Position;
use super::dead_offsets::DeadOffsets;
use super::offset_map::SortedOffsets;

/// The newest offset of each key in a stretch of the log that lies in one segment.
#[derive(Debug)]
pub struct Run {
    /// Where the index stands when the run is added.
    pub after: Option<Position>,
    /// Where it stands afterwards; `to.upto` is the run's end.
    pub to: Position,
    /// The keys, each with its newest offset.
    pub entries: SortedOffsets,
    /// Offsets of the stretch that a later record of the stretch makes superfluous.
    pub dead: DeadOffsets,
}

impl Run {
    /// Whether the run moves the position on; one that does not is no run.
    pub(crate) fn goes_further(&self) -> bool {
        self.after.is_none_or(|after| after.upto < self.to.upto)
    }
}

/// What becomes of a key that a run holds and the index may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Merged {
    /// The offset that the index has from now on.
    pub(crate) latest: i64,
    /// The offset that became superfluous.
    pub(crate) dead: Option<i64>,
}

/// Puts a run's offset of a key beside the one known so far. The larger one stands, whatever the order.
pub(crate) fn merge(known: Option<i64>, offset: i64) -> Merged {
    match known {
        Some(known) if known != offset => Merged { latest: known.max(offset), dead: Some(known.min(offset)) },
        _ => Merged { latest: offset, dead: None },
    }
}
