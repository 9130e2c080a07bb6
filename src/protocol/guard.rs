//! Walks a frame by its layout and bounds every length before anything is decoded.
//!
//! The decoder of `kafka-protocol` reserves memory for whatever count the wire names, so that four bytes could ask for
//! hundreds of gigabytes and abort the process, before authentication. The guard reads the lengths of a frame, checks
//! each against the bytes that remain, and allocates nothing; only what it has passed may be decoded.
//!
//! Protocol source: the schemas behind [`layout`], KIP-482 (compact lengths, tagged fields),
//! `org.apache.kafka.common.requests.RequestHeader` and `RequestContext`. Record batches are walked by `crate::record`.

use thiserror::Error;

use super::layout::{self, Field, FieldType, REQUEST_HEADER};

/// The most array elements one frame may hold, over all its arrays and levels.
///
/// An element takes as little as two bytes on the wire and about a hundred once decoded, so bounding counts by the
/// bytes that remain would still let a frame of `socket.request.max.bytes` (100 MiB) grow to gigabytes. With this cap
/// a decoded frame stays in the tens of megabytes, while a request may still name every one of 100,000 partitions.
pub const MAX_ELEMENTS_PER_FRAME: usize = 200_000;

/// The most tagged fields of unknown tag in one frame.
///
/// The decoder keeps each struct's unknown fields in a map of its own, whose first entry costs about half a kilobyte:
/// far more than an element, hence a lower cap. Clients send tagged fields we do not know only when they are newer
/// than the API version they agreed on.
pub const MAX_UNKNOWN_TAGS_PER_FRAME: usize = 20_000;

/// The longest string Kafka reads, in bytes, whatever the width of its length.
pub const MAX_STRING_BYTES: usize = i16::MAX as usize;

/// The key of ApiVersions, the one request whose header is read at any version.
const API_VERSIONS: i16 = 18;

/// Key, version and correlation id: the bytes every request header has in front.
const FIXED_HEADER_BYTES: usize = 8;

/// Why a frame was refused. `field` is the name in Kafka's schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GuardError {
    /// Fewer bytes than key, version and correlation id take.
    #[error("the frame is too short for a request header")]
    TooShort,
    /// A key Kafka does not know or has removed.
    #[error("unknown API key {0}")]
    UnknownApi(i16),
    /// A version without a layout.
    #[error("version {version} of API key {key} is not supported")]
    UnsupportedVersion {
        /// The API key.
        key: i16,
        /// The version asked for.
        version: i16,
        /// From [`check_header`] always there; a body alone does not tell.
        correlation_id: Option<i32>,
    },
    /// A value or a length needs more bytes than there are.
    #[error("{field} needs {needed} bytes, {remaining} remain")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Bytes needed; for an array, by its smallest elements.
        needed: u64,
        /// Bytes that remain, within a tagged field those of the field.
        remaining: usize,
    },
    /// Null where the schema does not allow it.
    #[error("{0} must not be null")]
    UnexpectedNull(&'static str),
    /// A negative length that does not mean null.
    #[error("{field} has length {length}")]
    NegativeLength {
        /// The field.
        field: &'static str,
        /// The length read.
        length: i32,
    },
    /// A string longer than [`MAX_STRING_BYTES`].
    #[error("{field} is a string of {length} bytes")]
    StringTooLong {
        /// The field.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A string that is not UTF-8.
    #[error("{0} is not UTF-8")]
    InvalidUtf8(&'static str),
    /// A varint of more than 32 bits.
    #[error("the varint of {0} exceeds 32 bits")]
    OversizedVarint(&'static str),
    /// The byte before a nullable struct is neither 1 nor -1.
    #[error("the presence byte of {field} is {byte}")]
    InvalidPresence {
        /// The field.
        field: &'static str,
        /// The byte read.
        byte: i8,
    },
    /// A tagged field did not fill the size it declared.
    #[error("tagged field {field} left {unread} bytes of its size unread")]
    TaggedSizeMismatch {
        /// The field.
        field: &'static str,
        /// Bytes between the end of the value and the end of the field.
        unread: usize,
    },
    /// More than [`MAX_ELEMENTS_PER_FRAME`].
    #[error("more than {MAX_ELEMENTS_PER_FRAME} array elements in one request, at {0}")]
    TooManyElements(&'static str),
    /// More than [`MAX_UNKNOWN_TAGS_PER_FRAME`].
    #[error("more than {MAX_UNKNOWN_TAGS_PER_FRAME} unknown tagged fields in one request")]
    TooManyUnknownTags,
    /// The body is whole and safe to decode, but this many bytes follow it.
    #[error("{0} bytes follow the request")]
    TrailingBytes(usize),
}

/// The header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader<'a> {
    /// The API key; it has a layout.
    pub key: i16,
    /// The API version; it has a layout, except that ApiVersions may come in any.
    pub version: i16,
    /// Echoed in the response.
    pub correlation_id: i32,
    /// The client's name for itself, if it sent one.
    pub client_id: Option<&'a str>,
    /// Where the body starts in the frame, in bytes.
    pub body_start: usize,
}

/// Reads the header of a frame (without its four-byte length prefix). The body is not looked at.
///
/// An ApiVersions request of any version is read, as header version 2 for whatever is newer than we know: it is to be
/// answered with a v0 body and error 35 (KIP-511), and [`check_body`] refuses it.
///
/// # Errors
/// Kafka closes the connection for every one of them. [`GuardError::UnsupportedVersion`] carries the correlation id.
pub fn check_header(frame: &[u8]) -> Result<FrameHeader<'_>, GuardError> {
    let Some((fixed, after)) = frame.split_first_chunk::<FIXED_HEADER_BYTES>() else {
        return Err(GuardError::TooShort);
    };
    let [k0, k1, v0, v1, c0, c1, c2, c3] = *fixed;
    let key = i16::from_be_bytes([k0, k1]);
    let version = i16::from_be_bytes([v0, v1]);
    let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);

    let api = layout::api(key).ok_or(GuardError::UnknownApi(key))?;
    if !api.supports(version) && key != API_VERSIONS {
        return Err(GuardError::UnsupportedVersion { key, version, correlation_id: Some(correlation_id) });
    }
    let header_version = api.header_version(version);
    let mut walker = Walker::new(frame, header_version, header_version >= REQUEST_HEADER.flexible_from);
    walker.fields(REQUEST_HEADER.fields)?;
    let body_start = frame.len() - walker.rest.len();
    Ok(FrameHeader { key, version, correlation_id, client_id: client_id(after)?, body_start })
}

/// The client id in the bytes after the fixed header; its extent has been checked.
fn client_id(bytes: &[u8]) -> Result<Option<&str>, GuardError> {
    const FIELD: &str = "ClientId";
    let (length, text) = bytes.split_first_chunk::<2>().ok_or(GuardError::TooShort)?;
    let Ok(length) = usize::try_from(i16::from_be_bytes(*length)) else {
        return Ok(None);
    };
    let text = text.get(..length).ok_or(GuardError::TooShort)?;
    std::str::from_utf8(text).map(Some).map_err(|_| GuardError::InvalidUtf8(FIELD))
}

/// Checks the body of a request: what follows the header in its frame. Allocates nothing.
///
/// # Errors
/// Everything but [`GuardError::TrailingBytes`] means that the body must not be decoded.
pub fn check_body(key: i16, version: i16, body: &[u8]) -> Result<(), GuardError> {
    let api = layout::api(key).ok_or(GuardError::UnknownApi(key))?;
    if !api.supports(version) {
        return Err(GuardError::UnsupportedVersion { key, version, correlation_id: None });
    }
    let mut walker = Walker::new(body, version, api.is_flexible(version));
    walker.fields(api.fields)?;
    match walker.rest.len() {
        0 => Ok(()),
        left => Err(GuardError::TrailingBytes(left)),
    }
}

/// A position in the frame. Recursion follows the layout, which is finite, so its depth needs no bound.
struct Walker<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements_left: usize,
    unknown_tags_left: usize,
}

impl<'a> Walker<'a> {
    fn new(rest: &'a [u8], version: i16, flexible: bool) -> Self {
        Self {
            rest,
            version,
            flexible,
            elements_left: MAX_ELEMENTS_PER_FRAME,
            unknown_tags_left: MAX_UNKNOWN_TAGS_PER_FRAME,
        }
    }

    fn fields(&mut self, fields: &'static [Field]) -> Result<(), GuardError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.in_place(version)) {
            self.field(field)?;
        }
        if self.flexible { self.tagged_section(fields) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field) -> Result<(), GuardError> {
        let nullable = field.is_nullable(self.version);
        if nullable && matches!(field.ty, FieldType::Struct(_)) && !self.is_present(field.name)? {
            return Ok(());
        }
        self.value(field.ty, nullable, self.flexible && field.compact, field.name)
    }

    fn value(
        &mut self,
        ty: FieldType,
        nullable: bool,
        compact: bool,
        name: &'static str,
    ) -> Result<(), GuardError> {
        match ty {
            FieldType::String => self.string(nullable, compact, name),
            FieldType::Bytes | FieldType::Records => match self.length(4, nullable, compact, name)? {
                Some(length) => self.take(length, name).map(drop),
                None => Ok(()),
            },
            FieldType::Array(element) => self.array(*element, nullable, compact, name),
            FieldType::Struct(fields) => self.fields(fields),
            fixed => self.take(fixed.width().unwrap_or(0), name).map(drop),
        }
    }

    fn string(&mut self, nullable: bool, compact: bool, name: &'static str) -> Result<(), GuardError> {
        let Some(length) = self.length(2, nullable, compact, name)? else {
            return Ok(());
        };
        if length > MAX_STRING_BYTES {
            return Err(GuardError::StringTooLong { field: name, length });
        }
        let text = self.take(length, name)?;
        std::str::from_utf8(text).map(drop).map_err(|_| GuardError::InvalidUtf8(name))
    }

    fn array(
        &mut self,
        element: FieldType,
        nullable: bool,
        compact: bool,
        name: &'static str,
    ) -> Result<(), GuardError> {
        let Some(count) = self.length(4, nullable, compact, name)? else {
            return Ok(());
        };
        self.require(count as u64 * element.smallest(self.version, compact) as u64, name)?;
        self.elements_left =
            self.elements_left.checked_sub(count).ok_or(GuardError::TooManyElements(name))?;
        if let Some(width) = element.width() {
            return self.take(count * width, name).map(drop);
        }
        (0..count).try_for_each(|_| self.value(element, false, compact, name))
    }

    fn is_present(&mut self, name: &'static str) -> Result<bool, GuardError> {
        // Kafka reads any non-negative byte as "present", the crate only 1; no encoder writes another.
        match i8::from_be_bytes(self.take_chunk(name)?) {
            1 => Ok(true),
            -1 => Ok(false),
            byte => Err(GuardError::InvalidPresence { field: name, byte }),
        }
    }

    fn tagged_section(&mut self, fields: &'static [Field]) -> Result<(), GuardError> {
        const SECTION: &str = "tagged fields";
        let count = self.varint(SECTION)?;
        // A tag and a size: two bytes at least.
        self.require(u64::from(count) * 2, SECTION)?;
        for _ in 0..count {
            let tag = self.varint(SECTION)?;
            let size = self.varint(SECTION)? as usize;
            let inside = self.take(size, SECTION)?;
            match fields.iter().find(|field| field.tag == Some(tag) && field.is_tagged(self.version)) {
                Some(field) => self.tagged_field(field, inside)?,
                None => {
                    let left = self.unknown_tags_left.checked_sub(1).ok_or(GuardError::TooManyUnknownTags)?;
                    self.unknown_tags_left = left;
                }
            }
        }
        Ok(())
    }

    /// Decoders read a known tagged field by its type and trust that its size agrees, so both must.
    fn tagged_field(&mut self, field: &Field, inside: &'a [u8]) -> Result<(), GuardError> {
        let after = std::mem::replace(&mut self.rest, inside);
        self.field(field)?;
        let unread = std::mem::replace(&mut self.rest, after).len();
        match unread {
            0 => Ok(()),
            unread => Err(GuardError::TaggedSizeMismatch { field: field.name, unread }),
        }
    }

    /// A length of `width` bytes (2 or 4), or a compact one; `None` is null. Not yet bounded.
    fn length(
        &mut self,
        width: usize,
        nullable: bool,
        compact: bool,
        name: &'static str,
    ) -> Result<Option<usize>, GuardError> {
        let length = if compact {
            // A compact length is one more than the length, and 0 for null (KIP-482).
            self.varint(name)?.checked_sub(1).map(|length| length as usize)
        } else {
            let length = match width {
                2 => i32::from(i16::from_be_bytes(self.take_chunk(name)?)),
                _ => i32::from_be_bytes(self.take_chunk(name)?),
            };
            match length {
                -1 => None,
                length => Some(
                    usize::try_from(length)
                        .map_err(|_| GuardError::NegativeLength { field: name, length })?,
                ),
            }
        };
        if length.is_none() && !nullable {
            return Err(GuardError::UnexpectedNull(name));
        }
        Ok(length)
    }

    /// An unsigned varint of at most five bytes and 32 bits.
    fn varint(&mut self, name: &'static str) -> Result<u32, GuardError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take_chunk(name)?;
            if shift == 28 && byte > 0x0f {
                return Err(GuardError::OversizedVarint(name));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(GuardError::OversizedVarint(name))
    }

    fn require(&self, needed: u64, name: &'static str) -> Result<(), GuardError> {
        if needed > self.rest.len() as u64 {
            return Err(GuardError::Truncated { field: name, needed, remaining: self.rest.len() });
        }
        Ok(())
    }

    fn take(&mut self, length: usize, name: &'static str) -> Result<&'a [u8], GuardError> {
        self.require(length as u64, name)?;
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    fn take_chunk<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], GuardError> {
        let Some((chunk, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(GuardError::Truncated { field: name, needed: N as u64, remaining: self.rest.len() });
        };
        self.rest = rest;
        Ok(*chunk)
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
