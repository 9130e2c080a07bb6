//! A frame of any bytes: what the guard passes, the decoder reads to the same byte, without a panic and without one
//! large allocation.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidelog::protocol::guard::{GuardError, check_body, check_header};

#[path = "../allocation_limit.rs"]
mod allocation_limit;
#[allow(dead_code, reason = "shared with the guard's own tests")]
#[path = "../../src/protocol/layout/oracle.rs"]
mod oracle;

fuzz_target!(|frame: &[u8]| {
    let Ok(header) = check_header(frame) else { return };
    let body = &frame[header.body_start..];
    let left = match check_body(header.key, header.version, body) {
        Ok(()) => 0,
        Err(GuardError::TrailingBytes(left)) => left,
        Err(_) => return,
    };
    // Versions the crate does not have, and tags of its schemas in versions that lack them, are its own to refuse.
    if let Some(Ok(unread)) = oracle::decode(header.key, header.version, Bytes::copy_from_slice(body)) {
        assert_eq!(unread, left, "key {} v{}", header.key, header.version);
    }
});
