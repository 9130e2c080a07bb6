//! The `.timeindex` file: timestamp to offset (`TimeIndex`).

use super::index::{Entry, Index};

/// `timestamp` is the largest in the segment up to here, and `offset` ends its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// Milliseconds since the epoch; -1 for none.
    pub timestamp: i64,
    pub offset: i64,
}

impl Entry for TimeEntry {
    const SIZE: usize = 12;

    fn encode(&self, base_offset: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&((self.offset - base_offset) as i32).to_be_bytes());
    }

    fn decode(base_offset: i64, bytes: &[u8]) -> Self {
        let mut timestamp = [0; 8];
        timestamp.copy_from_slice(&bytes[..8]);
        let relative = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        Self {
            timestamp: i64::from_be_bytes(timestamp),
            offset: base_offset.saturating_add(i64::from(relative)),
        }
    }

    fn follows(&self, earlier: &Self) -> bool {
        self.timestamp > earlier.timestamp && self.offset > earlier.offset
    }
}

/// The time index of one segment.
pub(super) type TimeIndex = Index<TimeEntry>;

impl TimeIndex {
    /// `TimeIndex.maybeAppend`: adds the entry only if its timestamp is the largest so far.
    pub fn maybe_append(&mut self, entry: TimeEntry) {
        let newest = self.last().map_or(-1, |last| last.timestamp);
        if entry.timestamp > newest {
            self.append(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kafkas() {
        let mut bytes = Vec::new();
        let entry = TimeEntry { timestamp: 0x0102_0304_0506_0708, offset: 515 };
        entry.encode(0, &mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 2, 3]);
        assert_eq!(TimeEntry::decode(0, &bytes), entry);
    }
}
