//! The version 2 record batch: framing, CRC, records, codecs, and the checks a broker makes before it appends one.
//!
//! Everything here is a pure function of bytes: no clock, no file, no socket. Reading a header or walking the records
//! of an uncompressed batch borrows from the buffer and allocates nothing. The layout is the one of KIP-98 and
//! Kafka's `DefaultRecordBatch`.

pub mod builder;
pub mod compress;
pub mod control;
pub mod header;
pub mod iterate;
pub mod validate;

pub use builder::{BatchBuilder, BuildError};
pub use compress::{DecompressError, compress, decompress};
pub use control::{EndMarker, MARKER_LEN, TransactionOutcome};
pub use header::{BatchHeader, Batches, Compression, HEADER_LEN, HeaderError, crc_matches, patch_prefix};
pub use iterate::{Header, Headers, Record, RecordError, Records};
pub use validate::{InvalidBatch, InvalidKind, Rules, TargetCompression, Validated, validate};
