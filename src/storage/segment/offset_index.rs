//! The `.index` file: offset to position in the `.log` file (`OffsetIndex`).

use super::index::{Entry, Index};

/// The batch that starts at byte `position` of the `.log` file ends with `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    pub offset: i64,
    pub position: u64,
}

impl Entry for OffsetEntry {
    const SIZE: usize = 8;

    fn encode(&self, base_offset: i64, out: &mut Vec<u8>) {
        // Both fit: a segment rolls before its size or its relative offsets leave 31 bits.
        out.extend_from_slice(&((self.offset - base_offset) as i32).to_be_bytes());
        out.extend_from_slice(&(self.position as i32).to_be_bytes());
    }

    fn decode(base_offset: i64, bytes: &[u8]) -> Self {
        let relative = i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let position = i32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        Self {
            offset: base_offset.saturating_add(i64::from(relative)),
            // A negative position is damage; as a huge one it fails every check against the size.
            position: u64::try_from(position).unwrap_or(u64::MAX),
        }
    }

    fn follows(&self, earlier: &Self) -> bool {
        self.offset > earlier.offset && self.position > earlier.position
    }
}

/// The offset index of one segment.
pub(super) type OffsetIndex = Index<OffsetEntry>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kafkas() {
        let mut bytes = Vec::new();
        let entry = OffsetEntry { offset: 1_000_258, position: 0x0102_0304 };
        entry.encode(1_000_000, &mut bytes);
        assert_eq!(bytes, [0, 0, 1, 2, 1, 2, 3, 4]);
        assert_eq!(OffsetEntry::decode(1_000_000, &bytes), entry);
        assert_eq!(OffsetEntry::decode(0, &[0xff; 8]).position, u64::MAX);
    }
}
