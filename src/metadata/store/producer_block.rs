//! The reservation of producer ids: one row in [`KeySpace::ProducerIds`](crate::storage::KeySpace::ProducerIds).
//!
//! ```text
//!   key    "next"
//!   value  version u8 = 1 | i64, the first producer id no block has covered yet
//! ```

use crate::metadata::error::BadRow;
use crate::storage::codec::Reader;

const KIND: &str = "producer id block";
const VERSION: u8 = 1;

/// The only key.
pub const KEY: &[u8] = b"next";

/// The value that says that ids from `next` on are free.
pub fn value(next: i64) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&next.to_be_bytes());
    out
}

/// Reads a value; the id is never negative.
pub fn read_value(value: &[u8]) -> Result<i64, BadRow> {
    let mut reader = Reader::new(KIND, value);
    reader.version(VERSION)?;
    let next = reader.i64()?;
    if next < 0 {
        return Err(reader.bad("the id is negative"));
    }
    reader.end()?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(next in 0i64..) {
            let bytes = value(next);
            prop_assert_eq!(read_value(&bytes), Ok(next));
            prop_assert!(read_value(&bytes[..8]).is_err());
        }

        #[test]
        fn negative_ids_are_damage(next in i64::MIN..0) {
            prop_assert!(read_value(&value(next)).is_err());
        }
    }
}
