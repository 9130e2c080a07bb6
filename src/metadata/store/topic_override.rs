//! A topic's overrides, all in one row of [`KeySpace::Configs`](crate::storage::KeySpace::Configs).
//!
//! ```text
//!   key    topic id, 16 bytes
//!   value  version u8 = 1 | count u32 | count x ( key | value ), in ascending order of keys
//!          where key and value are each  length u32 | UTF-8 bytes
//! ```

use uuid::Uuid;

use crate::metadata::error::BadRow;
use crate::metadata::image::Overrides;
use crate::storage::codec::{Reader, put_string};

const KIND: &str = "topic's overrides";
const VERSION: u8 = 1;

/// The key of a topic's overrides.
pub fn key(topic: Uuid) -> [u8; 16] {
    topic.into_bytes()
}

/// The topic in a key.
pub fn read_key(key: &[u8]) -> Result<Uuid, BadRow> {
    Uuid::from_slice(key).map_err(|_| BadRow { kind: KIND, reason: "its key is no topic id" })
}

/// The value of a set of overrides.
pub fn value(overrides: &Overrides) -> Vec<u8> {
    let count = u32::try_from(overrides.len()).expect("the number of overrides is bounded");
    let mut out = vec![VERSION];
    out.extend_from_slice(&count.to_be_bytes());
    for (key, value) in overrides {
        put_string(&mut out, key);
        put_string(&mut out, value);
    }
    out
}

/// Reads a value.
pub fn read_value(value: &[u8]) -> Result<Overrides, BadRow> {
    let mut reader = Reader::new(KIND, value);
    reader.version(VERSION)?;
    let count = reader.u32()?;
    let mut overrides = Overrides::new();
    // A false count ends at the first read past the value; nothing is allocated for it beforehand.
    for _ in 0..count {
        let key = reader.string()?;
        let value = reader.string()?;
        if overrides.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(reader.bad("a key occurs twice"));
        }
    }
    reader.end()?;
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(id: u128, overrides in prop::collection::btree_map(".{0,20}", ".{0,40}", 0..20)) {
            let id = Uuid::from_u128(id);
            prop_assert_eq!(read_key(&key(id)), Ok(id));
            let bytes = value(&overrides);
            prop_assert_eq!(read_value(&bytes), Ok(overrides));
            prop_assert!(read_value(&bytes[..bytes.len() - 1]).is_err());
            prop_assert!(read_value(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes: Vec<u8>) {
            bytes.insert(0, VERSION);
            if let Ok(overrides) = read_value(&bytes) {
                prop_assert!(overrides.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_false_count_is_an_error_at_once() {
        assert!(read_value(&[VERSION, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
