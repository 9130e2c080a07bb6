//! A cursor over a stored value: every read checks what is left, and the end must be met exactly.
//!
//! Shared by everyone who owns rows in the state store. Integers are big-endian; a row begins with a version byte.

use uuid::Uuid;

/// A stored row that cannot be what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stored {kind} is unreadable: {reason}")]
pub struct BadRow {
    /// Which kind of row.
    pub kind: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Reads one stored value from its beginning to its end.
pub(crate) struct Reader<'a> {
    kind: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(kind: &'static str, value: &'a [u8]) -> Self {
        Self { kind, rest: value }
    }

    pub(crate) fn bad(&self, reason: &'static str) -> BadRow {
        BadRow { kind: self.kind, reason }
    }

    /// Reads the version byte; anything but `expected` was written by a newer version, or is damage.
    pub(crate) fn version(&mut self, expected: u8) -> Result<(), BadRow> {
        let [version] = self.array()?;
        if version == expected { Ok(()) } else { Err(self.bad("its format version is unknown")) }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRow> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(self.bad("it is cut short"))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, BadRow> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, BadRow> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, BadRow> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, BadRow> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, BadRow> {
        self.array().map(Uuid::from_bytes)
    }

    /// A string as [`put_string`] wrote it.
    pub(crate) fn string(&mut self) -> Result<&'a str, BadRow> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.bad("a string is not UTF-8"))
    }

    /// Bytes as [`put_bytes`] wrote them.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], BadRow> {
        let length = usize::try_from(self.u32()?).map_err(|_| self.bad("a length is too large"))?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(self.bad("it is cut short"))?;
        self.rest = rest;
        Ok(head)
    }

    /// A string or nothing, as [`put_optional_string`] wrote it.
    pub(crate) fn optional_string(&mut self) -> Result<Option<&'a str>, BadRow> {
        match self.array()? {
            [0] => Ok(None),
            [1] => self.string().map(Some),
            _ => Err(self.bad("a presence mark is neither 0 nor 1")),
        }
    }

    /// A number of things that take at least `least` bytes each. More than fit into the rest are damage, so a caller may
    /// allocate for this many.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize, BadRow> {
        let count = usize::try_from(self.u32()?).map_err(|_| self.bad("a number is too large"))?;
        if count > self.rest.len() / least { Err(self.bad("it is cut short")) } else { Ok(count) }
    }

    pub(crate) fn end(self) -> Result<(), BadRow> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad("bytes are left over")) }
    }
}

/// Writes a length of 4 bytes and the string's bytes.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("stored strings are bounded far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Writes a length of 4 bytes and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("what is stored came in a frame, far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Writes 0, or 1 and the string.
pub(crate) fn put_optional_string(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_string(out, text);
    }
}
