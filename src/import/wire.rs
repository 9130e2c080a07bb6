//! Reads Kafka's message encoding off a slice, as far as stored records need it: every read is bounded by what is left.

use uuid::Uuid;

/// A message that does not follow its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message is unreadable: {0}")]
pub struct BadMessage(pub &'static str);

/// Takes fields off the front of a message.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// All of `message`.
    pub fn new(message: &'a [u8]) -> Fields<'a> {
        Fields(message)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], BadMessage> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BadMessage("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadMessage> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BadMessage("it ends early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn i8(&mut self) -> Result<i8, BadMessage> {
        self.array().map(i8::from_be_bytes)
    }

    pub fn i16(&mut self) -> Result<i16, BadMessage> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, BadMessage> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, BadMessage> {
        self.array().map(i64::from_be_bytes)
    }

    pub fn uuid(&mut self) -> Result<Uuid, BadMessage> {
        self.array().map(Uuid::from_bytes)
    }

    /// An unsigned number of 7 bits a byte (`ByteUtils.readUnsignedVarint`).
    pub fn unsigned(&mut self) -> Result<u32, BadMessage> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BadMessage("a variable-length number is too long"))
    }

    /// A string, or nothing: with a length of 2 bytes, or in a flexible version a variable one.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<&'a str>, BadMessage> {
        let length = if flexible {
            self.unsigned()?.checked_sub(1).map(|length| length as usize)
        } else {
            usize::try_from(self.i16()?).ok()
        };
        let Some(length) = length else {
            return Ok(None);
        };
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| BadMessage("a string is not UTF-8"))
    }

    /// A string.
    pub fn string(&mut self, flexible: bool) -> Result<&'a str, BadMessage> {
        self.nullable_string(flexible)?.ok_or(BadMessage("a string is null"))
    }

    /// The number of elements of an array of which each takes `least` bytes at least; a null array has none.
    pub fn count(&mut self, flexible: bool, least: usize) -> Result<usize, BadMessage> {
        let count = if flexible {
            self.unsigned()?.saturating_sub(1) as usize
        } else {
            usize::try_from(self.i32()?).unwrap_or(0)
        };
        if count > self.0.len() / least {
            return Err(BadMessage("an array ends early"));
        }
        Ok(count)
    }

    /// An array of node ids, in a flexible version.
    pub fn nodes(&mut self) -> Result<Vec<i32>, BadMessage> {
        (0..self.count(true, 4)?).map(|_| self.i32()).collect()
    }

    /// The tagged fields that end a structure of a flexible version: hands each to `visit`.
    pub fn tagged(
        &mut self,
        mut visit: impl FnMut(u32, Fields<'a>) -> Result<(), BadMessage>,
    ) -> Result<(), BadMessage> {
        for _ in 0..self.unsigned()? {
            let (tag, length) = (self.unsigned()?, self.unsigned()?);
            visit(tag, Fields(self.take(length as usize)?))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_as_kafka_writes_them() {
        let mut fields = Fields::new(&[0xac, 2, 3, b'a', b'b', 0, 0, 1, b'c', 0xff, 0xff, 1, 5, 1, 9]);
        assert_eq!(fields.unsigned(), Ok(300));
        assert_eq!(fields.nullable_string(true), Ok(Some("ab")));
        assert_eq!(fields.nullable_string(true), Ok(None));
        assert_eq!(fields.nullable_string(false), Ok(Some("c")));
        assert_eq!(fields.nullable_string(false), Ok(None));
        let mut seen = Vec::new();
        fields
            .tagged(|tag, mut field| {
                seen.push((tag, field.i8()?));
                Ok(())
            })
            .expect("whole");
        assert_eq!(seen, [(5, 9)]);
        assert!(fields.i8().is_err());
        assert!(Fields::new(&[0xff; 5]).unsigned().is_err());
    }

    #[test]
    fn a_false_count_is_an_error_at_once() {
        assert!(Fields::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).count(true, 1).is_err());
        assert!(Fields::new(&[0x7f, 0xff, 0xff, 0xff]).count(false, 1).is_err());
        assert_eq!(Fields::new(&[0xff, 0xff, 0xff, 0xff]).count(false, 1), Ok(0));
    }
}
