//! Producer state beside the segments, in the format of Kafka's `<offset>.snapshot` files
//! (`ProducerStateManager.writeSnapshot`): version, CRC32C, then one entry for each producer.
//!
//! A snapshot at offset N describes the producers as of all batches below N. Only each producer's newest batch is kept,
//! as in Kafka; the rest of the window comes back by replaying the log from N.

use std::collections::VecDeque;

use super::producers::{BatchMeta, Begun, ProducerEntry, Producers, appended_ms};

/// Version of the format.
const VERSION: i16 = 1;
/// Bytes of one entry.
const ENTRY_LEN: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;
/// Version, CRC and count.
const PREFIX_LEN: usize = 2 + 4 + 4;

/// Why a snapshot cannot be used. The log is then replayed instead.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// The length does not fit the count, or the version is another one.
    #[error("not a producer snapshot of version {VERSION}")]
    Format,
    /// The checksum does not match.
    #[error("the checksum does not match")]
    Checksum,
}

/// Encodes the producers.
pub fn encode(producers: &Producers) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_LEN + producers.len() * ENTRY_LEN);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(producers.len() as i32).to_be_bytes());
    for (producer_id, entry) in producers.iter() {
        let last = entry.batches.back();
        out.extend_from_slice(&producer_id.to_be_bytes());
        out.extend_from_slice(&entry.epoch.to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |batch| batch.last_sequence).to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset).to_be_bytes());
        out.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        out.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&entry.transaction.map_or(-1, |begun| begun.first_offset).to_be_bytes());
    }
    let crc = crc32c::crc32c(&out[6..]);
    out[2..6].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Decodes what [`encode`], or Kafka, wrote. `now_ms` counts as when the producers were last heard of.
///
/// # Errors
/// [`SnapshotError`]; nothing is taken from a damaged snapshot.
pub fn decode(bytes: &[u8], now_ms: i64) -> Result<Producers, SnapshotError> {
    if bytes.len() < PREFIX_LEN || i16::from_be_bytes([bytes[0], bytes[1]]) != VERSION {
        return Err(SnapshotError::Format);
    }
    let crc = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
    if crc32c::crc32c(&bytes[6..]) != crc {
        return Err(SnapshotError::Checksum);
    }
    let count = i32::from_be_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]);
    let entries = &bytes[PREFIX_LEN..];
    if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_LEN)) != Some(entries.len()) {
        return Err(SnapshotError::Format);
    }
    let mut producers = Producers::default();
    for entry in entries.chunks_exact(ENTRY_LEN) {
        let i64_at = |at: usize| i64::from_be_bytes(entry[at..at + 8].try_into().unwrap_or_default());
        let i32_at = |at: usize| i32::from_be_bytes(entry[at..at + 4].try_into().unwrap_or_default());
        let producer_id = i64_at(0);
        let mut batches = VecDeque::new();
        if i64_at(14) >= 0 {
            batches.push_back(BatchMeta {
                last_sequence: i32_at(10),
                last_offset: i64_at(14),
                offset_delta: i32_at(22),
                timestamp: i64_at(26),
            });
        }
        let last_timestamp = i64_at(26);
        // When a transaction began is not kept. It has records, and the newest of them is no older.
        let begun = |first_offset| Begun { first_offset, began_ms: appended_ms(last_timestamp, now_ms) };
        let entry = ProducerEntry {
            epoch: i16::from_be_bytes([entry[8], entry[9]]),
            coordinator_epoch: i32_at(34),
            batches,
            last_timestamp,
            transaction: Some(i64_at(38)).filter(|first_offset| *first_offset >= 0).map(begun),
            last_seen_ms: now_ms,
        };
        producers.restore(producer_id, entry);
    }
    Ok(producers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(ids: &[(i64, i16, i32, bool)]) -> Producers {
        let mut producers = Producers::default();
        for (index, (id, epoch, sequence, is_open)) in ids.iter().enumerate() {
            let batch = BatchMeta {
                last_sequence: *sequence,
                last_offset: index as i64 + 7,
                offset_delta: 2,
                timestamp: 55,
            };
            let entry = ProducerEntry {
                coordinator_epoch: index as i32 - 1,
                batches: VecDeque::from([batch]),
                last_timestamp: 55,
                transaction: is_open.then_some(Begun { first_offset: index as i64 + 2, began_ms: 55 }),
                ..ProducerEntry::new(*epoch, 123)
            };
            producers.restore(*id, entry);
        }
        producers
    }

    proptest! {
        #[test]
        fn round_trips(ids in prop::collection::btree_map(0i64.., (0i16.., 0i32.., any::<bool>()), 0..20)) {
            let ids: Vec<_> = ids.into_iter().map(|(id, (epoch, sequence, open))| (id, epoch, sequence, open)).collect();
            let producers = sample(&ids);
            prop_assert_eq!(decode(&encode(&producers), 123).unwrap(), producers);
        }

        #[test]
        fn any_damaged_byte_is_noticed(at in 0usize..(PREFIX_LEN + 2 * ENTRY_LEN), bit in 0u8..8) {
            let mut bytes = encode(&sample(&[(1, 2, 3, true), (4, 5, 6, false)]));
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes, 0).is_err());
        }
    }

    #[test]
    fn has_these_bytes() {
        let bytes = encode(&sample(&[(5, 1, 9, true)]));
        assert_eq!(bytes.len(), PREFIX_LEN + ENTRY_LEN);
        assert_eq!(&bytes[..2], &[0, 1]);
        assert_eq!(&bytes[6..10], &[0, 0, 0, 1]);
        assert_eq!(&bytes[10..20], &[0, 0, 0, 0, 0, 0, 0, 5, 0, 1]);
        // Coordinator epoch and the first offset of the open transaction.
        assert_eq!(&bytes[44..], &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 2]);
    }
}
