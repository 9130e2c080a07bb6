//! Frames: written into a buffer, read by a cursor, one request at a time over a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Outcome;

/// Kafka's error codes that a member acts on.
pub mod code {
    pub const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub const NOT_COORDINATOR: i16 = 16;
    pub const ILLEGAL_GENERATION: i16 = 22;
    pub const UNKNOWN_MEMBER_ID: i16 = 25;
    pub const REBALANCE_IN_PROGRESS: i16 = 27;
    pub const MEMBER_ID_REQUIRED: i16 = 79;

    /// Whether the coordinator asks to try again, without a change of the member's.
    pub fn wait(code: i16) -> bool {
        matches!(code, COORDINATOR_LOAD_IN_PROGRESS | COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR)
    }
}

/// A frame under construction. The first four bytes are its length.
pub struct Frame(Vec<u8>);

impl Frame {
    /// A request with header version 1.
    pub fn new(api: i16, version: i16) -> Self {
        let mut frame = Self(vec![0; 4]);
        frame.i16(api).i16(version).i32(1).text("bench");
        frame
    }

    /// A request with header version 2: flexible.
    pub fn flexible(api: i16, version: i16) -> Self {
        let mut frame = Self::new(api, version);
        frame.tags();
        frame
    }

    pub fn i16(&mut self, value: i16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.i16(text.len() as i16).raw(text.as_bytes())
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.i32(bytes.len() as i32).raw(bytes)
    }

    /// A length of the compact kind: one more than it is, as an unsigned varint.
    pub fn compact(&mut self, length: usize) -> &mut Self {
        let mut left = length + 1;
        while left >= 0x80 {
            self.0.push(left as u8 | 0x80);
            left >>= 7;
        }
        self.0.push(left as u8);
        self
    }

    pub fn compact_text(&mut self, text: &str) -> &mut Self {
        self.compact(text.len()).raw(text.as_bytes())
    }

    /// A compact field that is null, or an empty section of tagged fields: both are a zero.
    pub fn tags(&mut self) -> &mut Self {
        self.raw(&[0])
    }

    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Where the next byte goes.
    pub fn at(&self) -> usize {
        self.0.len()
    }

    /// The whole frame with its length in front.
    pub fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as i32 - 4;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// Reads a response from its first byte behind the correlation id.
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, length: usize) -> Outcome<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length).ok_or("a response is too short")?;
        self.0 = rest;
        Ok(head)
    }

    pub fn i8(&mut self) -> Outcome<i8> {
        Ok(self.take(1)?[0] as i8)
    }

    pub fn i16(&mut self) -> Outcome<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    pub fn i32(&mut self) -> Outcome<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    pub fn i64(&mut self) -> Outcome<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    /// A string; null reads as an empty one.
    pub fn text(&mut self) -> Outcome<String> {
        let length = self.i16()?.max(0) as usize;
        Ok(String::from_utf8(self.take(length)?.to_vec())?)
    }

    pub fn bytes(&mut self) -> Outcome<&'a [u8]> {
        let length = self.i32()?.max(0) as usize;
        self.take(length)
    }

    pub fn varint(&mut self) -> Outcome<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a varint is too long".into())
    }

    /// A compact length; null reads as zero.
    pub fn compact(&mut self) -> Outcome<usize> {
        Ok(self.varint()?.saturating_sub(1))
    }

    pub fn tags(&mut self) -> Outcome<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length)?;
        }
        Ok(())
    }
}

/// One connection. Frames may be sent ahead; answers come in order.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    /// How much of `read` was handed out already.
    used: usize,
}

impl Connection {
    pub fn open(port: u16) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(90)))?;
        Ok(Self { stream, read: Vec::with_capacity(4096), used: 0 })
    }

    pub fn send(&mut self, frames: &[u8]) -> Outcome<()> {
        Ok(self.stream.write_all(frames)?)
    }

    /// The next answer behind its correlation id, waiting for it.
    pub fn receive(&mut self) -> Outcome<&[u8]> {
        loop {
            if let Some(range) = self.whole() {
                return Ok(&self.read[range]);
            }
            self.fill()?;
        }
    }

    /// The next answer if all of it was read already.
    pub fn received(&mut self) -> Option<&[u8]> {
        self.whole().map(|range| &self.read[range])
    }

    pub fn ask(&mut self, frame: &[u8]) -> Outcome<Cursor<'_>> {
        self.send(frame)?;
        self.receive().map(Cursor)
    }

    fn whole(&mut self) -> Option<std::ops::Range<usize>> {
        let waiting = &self.read[self.used..];
        let length = i32::from_be_bytes(waiting.first_chunk().copied()?) as usize + 4;
        if waiting.len() < length {
            return None;
        }
        let begin = self.used;
        self.used += length;
        Some(begin + 8..begin + length)
    }

    fn fill(&mut self) -> Outcome<()> {
        self.read.drain(..self.used);
        self.used = 0;
        let filled = self.read.len();
        self.read.resize(filled + 65536, 0);
        let got = loop {
            match self.stream.read(&mut self.read[filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.read.truncate(filled + *got.as_ref().unwrap_or(&0));
        if got? == 0 {
            return Err("the broker closed the connection".into());
        }
        Ok(())
    }
}

/// Waits until the broker coordinates `group`. Apache Kafka makes its offsets topic when this is first asked for.
pub fn coordinated(connection: &mut Connection, group: &str) -> Outcome<()> {
    let until = Instant::now() + Duration::from_secs(60);
    let mut frame = Frame::new(10, 0);
    frame.text(group);
    let frame = frame.finish();
    while connection.ask(&frame)?.i16()? != 0 {
        if Instant::now() > until {
            return Err(format!("{group} has no coordinator").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Runs `each` for all of `items` at once and gives what they found, or the first error.
pub fn at_once<I: Send, T: Send>(
    items: Vec<I>,
    each: impl Fn(usize, I) -> Outcome<T> + Sync,
) -> Outcome<Vec<T>> {
    std::thread::scope(|scope| {
        let each = &each;
        let spawned: Vec<_> = items
            .into_iter()
            .enumerate()
            .map(|(place, item)| scope.spawn(move || each(place, item)))
            .collect();
        spawned.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect()
    })
}

/// The value that `share` of `sorted` do not exceed; 0 of none.
pub fn quantile(sorted: &[u32], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().map_or(0.0, f64::from)
}
