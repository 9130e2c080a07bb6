//! A group's overrides, all in one row of [`KeySpace::GroupConfigs`](crate::storage::KeySpace::GroupConfigs).
//!
//! ```text
//!   key    group id, UTF-8
//!   value  as a topic's overrides: see topic_override.rs
//! ```

use std::sync::Arc;

use crate::metadata::error::BadRow;

pub use super::topic_override::{read_value, value};

/// The key of a group's overrides.
pub fn key(group: &str) -> &[u8] {
    group.as_bytes()
}

/// The group in a key.
pub fn read_key(key: &[u8]) -> Result<Arc<str>, BadRow> {
    match std::str::from_utf8(key) {
        Ok(group) if !group.is_empty() => Ok(Arc::from(group)),
        _ => Err(BadRow { kind: "group's overrides", reason: "its key is no group id" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_on_disk() {
        assert_eq!(key("g"), b"g");
        assert_eq!(read_key(b"g"), Ok("g".into()));
        assert!(read_key(b"").is_err() && read_key(b"\xff").is_err());
    }
}
