//! A cursor over a stored value: every read checks what is left, and the end must be met exactly.

use uuid::Uuid;

use crate::metadata::error::BadRow;

pub(super) struct Reader<'a> {
    kind: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(kind: &'static str, value: &'a [u8]) -> Self {
        Self { kind, rest: value }
    }

    pub(super) fn bad(&self, reason: &'static str) -> BadRow {
        BadRow { kind: self.kind, reason }
    }

    /// Reads the version byte; anything but `expected` was written by a newer version, or is damage.
    pub(super) fn version(&mut self, expected: u8) -> Result<(), BadRow> {
        let [version] = self.array()?;
        if version == expected { Ok(()) } else { Err(self.bad("its format version is unknown")) }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRow> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(self.bad("it is cut short"))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u32(&mut self) -> Result<u32, BadRow> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, BadRow> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, BadRow> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, BadRow> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, BadRow> {
        self.array().map(Uuid::from_bytes)
    }

    /// A string as [`put_string`] wrote it.
    pub(super) fn string(&mut self) -> Result<&'a str, BadRow> {
        let length = usize::try_from(self.u32()?).map_err(|_| self.bad("a length is too large"))?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(self.bad("it is cut short"))?;
        self.rest = rest;
        std::str::from_utf8(head).map_err(|_| self.bad("a string is not UTF-8"))
    }

    pub(super) fn end(self) -> Result<(), BadRow> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad("bytes are left over")) }
    }
}

/// Writes a length of 4 bytes and the string's bytes.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("stored strings are bounded far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
