//! The records of an uncompressed payload, read in place (Kafka `DefaultRecord.readFrom`).

/// Fewest bytes a record takes: length, attributes, two deltas, key length, value length and header count, one each.
pub(crate) const MIN_RECORD_LEN: usize = 7;

/// Why a payload is not the records its header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A field reaches past the end of its record, or a record past the end of the payload.
    #[error("a record ends before its fields do")]
    Truncated,
    /// A variable-length number does not end within its 5 (or 10) bytes.
    #[error("a variable-length number is too long")]
    VarintTooLong,
    /// A length or count that may not be negative is.
    #[error("a record has an invalid length or count: {0}")]
    BadLength(i32),
    /// A record has bytes behind its last field.
    #[error("{0} bytes are left at the end of a record")]
    RecordTrailing(usize),
    /// Bytes are left behind the last of the announced records.
    #[error("{0} bytes are left behind the last record")]
    Trailing(usize),
}

/// Takes bytes off the front of a slice; every read is bounded by what is left.
#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, RecordError> {
        let (&first, rest) = self.0.split_first().ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(first)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An unsigned number of at most `max_bytes` bytes. Bits beyond the type are dropped, as `ByteUtils.readVarint` drops
    /// them. Deltas and lengths are mostly of one or two bytes, which decides how fast a batch of small records is walked.
    #[inline]
    fn unsigned(&mut self, max_bytes: u32) -> Result<u64, RecordError> {
        match *self.0 {
            [one @ ..0x80, ref rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(one))
            }
            [low, high @ ..0x80, ref rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_unsigned(max_bytes),
        }
    }

    #[cold]
    fn long_unsigned(&mut self, max_bytes: u32) -> Result<u64, RecordError> {
        let mut value = 0u64;
        for i in 0..max_bytes {
            let b = self.byte()?;
            value |= u64::from(b & 0x7f) << (7 * i);
            if b & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::VarintTooLong)
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, RecordError> {
        let raw = self.unsigned(5)? as u32;
        Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, RecordError> {
        let raw = self.unsigned(10)?;
        Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    fn length(&mut self) -> Result<usize, RecordError> {
        let len = self.varint()?;
        usize::try_from(len).map_err(|_| RecordError::BadLength(len))
    }

    /// A byte string whose length -1 means null. Kafka takes any negative length of a key or value for null.
    #[inline]
    fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        match usize::try_from(self.varint()?) {
            Ok(len) => self.take(len).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn header(&mut self) -> Result<Header<'a>, RecordError> {
        let key_len = self.length()?;
        Ok(Header { key: self.take(key_len)?, value: self.nullable()? })
    }
}

/// One record, borrowed from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds after (or before) the batch's base timestamp.
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The encoded headers, without their count; see [`Record::headers_iter`].
    pub headers: &'a [u8],
    pub header_count: usize,
}

impl<'a> Record<'a> {
    /// The headers in order, duplicates included.
    pub fn headers_iter(&self) -> Headers<'a> {
        Headers { rest: Reader(self.headers), left: self.header_count }
    }
}

/// One header of a record (KIP-82). Keys are not unique and not checked to be UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The headers of one record. For a record that [`Records`] yielded no step fails.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<Header<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let step = self.rest.header();
        if step.is_err() {
            self.left = 0;
        }
        Some(step)
    }
}

impl std::iter::FusedIterator for Headers<'_> {}

/// The records of an uncompressed payload. Yields as many as the header counts, then ends; bytes that are left over,
/// like anything malformed, are one error, after which nothing more comes.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: Reader<'a>,
    left: i32,
    done: bool,
}

impl<'a> Records<'a> {
    /// `payload` is what stands behind the 61 header bytes; `count` is the header's record count.
    pub fn new(payload: &'a [u8], count: i32) -> Self {
        Records { rest: Reader(payload), left: count, done: false }
    }

    /// Bytes of the payload behind the records that were taken.
    #[inline]
    pub fn bytes_left(&self) -> usize {
        self.rest.0.len()
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, RecordError> {
        let len = self.rest.length()?;
        let mut body = Reader(self.rest.take(len)?);
        // Record attributes have no meaning yet; Kafka ignores them too.
        body.byte()?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let key = body.nullable()?;
        let value = body.nullable()?;
        let header_count = body.length()?;
        let headers = body.0;
        // A header takes two bytes at least, so a lying count ends after as many steps as there are bytes.
        for _ in 0..header_count {
            body.header()?;
        }
        if !body.0.is_empty() {
            return Err(RecordError::RecordTrailing(body.0.len()));
        }
        Ok(Record { offset_delta, timestamp_delta, key, value, headers, header_count })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.left <= 0 {
            self.done = true;
            return match (self.left, self.rest.0.len()) {
                (0, 0) => None,
                (0, left_over) => Some(Err(RecordError::Trailing(left_over))),
                (negative, _) => Some(Err(RecordError::BadLength(negative))),
            };
        }
        self.left -= 1;
        let step = self.read();
        self.done = step.is_err();
        Some(step)
    }
}

impl std::iter::FusedIterator for Records<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, HEADER_LEN};
    use proptest::prelude::*;

    type Headerless = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

    #[test]
    fn duplicate_headers_survive_in_order() {
        let headers: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"a", None), (b"a", Some(b"1"))];
        let batch = BatchBuilder::new().record_with_headers(5, None, None, &headers).build().unwrap();
        let record = Records::new(&batch[HEADER_LEN..], 1).next().unwrap().unwrap();
        let read: Vec<_> = record.headers_iter().map(|h| h.unwrap()).map(|h| (h.key, h.value)).collect();
        assert_eq!(read, headers);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let batch = BatchBuilder::new()
            .record_with_headers(5, Some(b"key"), Some(b"value"), &[(b"h", Some(b"x"))])
            .record(6, None, None)
            .build()
            .unwrap();
        let payload = &batch[HEADER_LEN..];
        assert!(Records::new(payload, 2).all(|r| r.is_ok()));
        for cut in 0..payload.len() {
            assert!(Records::new(&payload[..cut], 2).any(|r| r.is_err()), "{cut}");
        }
    }

    #[test]
    fn count_must_be_exact() {
        let batch = BatchBuilder::new().record(5, None, None).record(6, None, None).build().unwrap();
        let payload = &batch[HEADER_LEN..];
        let last = |count| Records::new(payload, count).last();
        assert_eq!(last(1), Some(Err(RecordError::Trailing(payload.len() / 2))));
        assert_eq!(last(3), Some(Err(RecordError::Truncated)));
        assert_eq!(last(-1), Some(Err(RecordError::BadLength(-1))));
    }

    #[test]
    fn a_huge_header_count_ends_with_the_bytes() {
        // length 11; attributes, deltas, null key and value, then i32::MAX headers and nothing behind.
        let payload = [20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(Records::new(&payload, 1).next(), Some(Err(RecordError::Truncated)));
    }

    proptest! {
        #[test]
        fn what_is_built_is_read(rows in prop::collection::vec(any::<Headerless>(), 1..20)) {
            let mut builder = BatchBuilder::new();
            for (ts, key, value) in &rows {
                builder = builder.record(*ts, key.as_deref(), value.as_deref());
            }
            let batch = builder.build().unwrap();
            let read: Vec<_> = Records::new(&batch[HEADER_LEN..], rows.len() as i32)
                .map(|r| r.unwrap())
                .enumerate()
                .map(|(i, r)| {
                    assert_eq!(r.offset_delta, i as i32);
                    (rows[0].0.wrapping_add(r.timestamp_delta), r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec))
                })
                .collect();
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), count: i32) {
            let mut yielded = 0;
            for record in Records::new(&bytes, count).flatten() {
                yielded += 1;
                prop_assert!(record.headers_iter().all(|h| h.is_ok()));
            }
            prop_assert!(yielded * MIN_RECORD_LEN <= bytes.len());
        }
    }
}
