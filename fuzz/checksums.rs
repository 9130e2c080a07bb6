//! Gives batches the checksum of their bytes. A mutation nearly always breaks it, and what lies behind the check would
//! never be reached.

use tidelog::record::HEADER_LEN;

/// Bytes in front of what the length field counts.
const LENGTH_END: usize = 12;
const CRC_AT: usize = 17;
const CRC_END: usize = 21;

/// Walks the batches by their length fields, and repairs the n-th where bit n of `chosen` is set.
pub fn repair(mut bytes: &mut [u8], chosen: u8) {
    for place in (0..8).cycle() {
        let Some(length) = bytes.get(8..LENGTH_END) else {
            return;
        };
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let end = LENGTH_END.saturating_add(usize::try_from(length).unwrap_or(0));
        if end < HEADER_LEN || end > bytes.len() {
            return;
        }
        let (batch, rest) = bytes.split_at_mut(end);
        if chosen & 1 << place != 0 {
            let crc = crc32c::crc32c(&batch[CRC_END..]);
            batch[CRC_AT..CRC_END].copy_from_slice(&crc.to_be_bytes());
        }
        bytes = rest;
    }
}
