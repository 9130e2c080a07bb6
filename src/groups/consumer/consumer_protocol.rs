//! The consumers' own encoding of subscriptions and assignments inside the classic protocol: Kafka's
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`, versions 0 to 3.
//!
//! ```text
//!   subscription  version i16 | topics [string] | user data | 1: owned [topic, [partition]] | 2: generation i32 | 3: rack string?
//!   assignment    version i16 | assigned [topic, [partition]] | user data
//! ```
//!
//! A version beyond these is read as the last of them, as Kafka does; later fields come at the end. Read in place, because the
//! lengths are a client's and nothing may be allocated for them before they are checked.

use bytes::Bytes;

/// The last version there is.
const VERSION_MAX: i16 = 3;

/// What does not follow the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Partitions of a topic, by name.
pub(super) type TopicPartitions<'a> = (&'a str, Vec<i32>);

/// A member's subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription<'a> {
    /// Topics by name.
    pub(super) topics: Vec<&'a str>,
    /// The partitions that the member owns; empty before version 1.
    pub(super) owned: Vec<TopicPartitions<'a>>,
    /// `client.rack`.
    pub(super) rack_id: Option<&'a str>,
}

/// A member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment<'a> {
    /// The partitions.
    pub(super) partitions: Vec<TopicPartitions<'a>>,
    /// Whether the assignor added something of its own.
    pub(super) has_user_data: bool,
}

/// The version of a subscription, which is also that of the assignment in return.
pub(super) fn version(bytes: &[u8]) -> Result<i16, Malformed> {
    Cursor(bytes).version()
}

pub(super) fn read_subscription(bytes: &[u8]) -> Result<Subscription<'_>, Malformed> {
    let mut cursor = Cursor(bytes);
    let version = cursor.version()?;
    let mut topics = Vec::new();
    for _ in 0..cursor.count()? {
        topics.push(cursor.string()?);
    }
    cursor.user_data()?;
    let owned = if version >= 1 { cursor.topic_partitions()? } else { Vec::new() };
    if version >= 2 {
        cursor.array::<4>()?;
    }
    let rack_id = if version >= 3 { cursor.optional_string()? } else { None };
    Ok(Subscription { topics, owned, rack_id })
}

pub(super) fn read_assignment(bytes: &[u8]) -> Result<Assignment<'_>, Malformed> {
    let mut cursor = Cursor(bytes);
    cursor.version()?;
    let partitions = cursor.topic_partitions()?;
    Ok(Assignment { partitions, has_user_data: !cursor.user_data()?.is_empty() })
}

pub(super) fn write_assignment<'a>(
    version: i16,
    topics: impl ExactSizeIterator<Item = (&'a str, &'a [i32])>,
) -> Bytes {
    let mut out = Vec::new();
    out.extend_from_slice(&version.min(VERSION_MAX).to_be_bytes());
    put_count(&mut out, topics.len());
    for (name, partitions) in topics {
        let length = i16::try_from(name.len()).expect("a topic's name is short");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        put_count(&mut out, partitions.len());
        partitions.iter().for_each(|partition| out.extend_from_slice(&partition.to_be_bytes()));
    }
    // No user data.
    out.extend_from_slice(&(-1i32).to_be_bytes());
    out.into()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("a member has far fewer partitions");
    out.extend_from_slice(&count.to_be_bytes());
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn version(&mut self) -> Result<i16, Malformed> {
        let version = i16::from_be_bytes(self.array()?);
        if version < 0 { Err(Malformed) } else { Ok(version.min(VERSION_MAX)) }
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        usize::try_from(i32::from_be_bytes(self.array()?)).map_err(|_| Malformed)
    }

    fn string(&mut self) -> Result<&'a str, Malformed> {
        self.optional_string()?.ok_or(Malformed)
    }

    fn optional_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        let length = i16::from_be_bytes(self.array()?);
        if length == -1 {
            return Ok(None);
        }
        let bytes = self.bytes(usize::try_from(length).map_err(|_| Malformed)?)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| Malformed)
    }

    /// Bytes that may be none.
    fn user_data(&mut self) -> Result<&'a [u8], Malformed> {
        match i32::from_be_bytes(self.array()?) {
            -1 => Ok(&[]),
            length => self.bytes(usize::try_from(length).map_err(|_| Malformed)?),
        }
    }

    fn topic_partitions(&mut self) -> Result<Vec<TopicPartitions<'a>>, Malformed> {
        let mut all = Vec::new();
        for _ in 0..self.count()? {
            let name = self.string()?;
            let length = self.count()?.checked_mul(4).ok_or(Malformed)?;
            let numbers = self.bytes(length)?.chunks_exact(4);
            all.push((name, numbers.map(|n| i32::from_be_bytes([n[0], n[1], n[2], n[3]])).collect()));
        }
        Ok(all)
    }
}

#[cfg(test)]
#[path = "consumer_protocol_tests.rs"]
mod tests;
