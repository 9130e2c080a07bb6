//! One task per connection: read frames, begin requests, write replies in order.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::budget::{Budget, Share};
use super::pipeline::Pipeline;
use super::{Limits, Outcome, Peer, Service};
use crate::protocol::reply::{Chunk, Reply};

/// Bytes of the length prefix.
const PREFIX_LEN: usize = 4;
/// First buffer of a connection and smallest read, bytes.
const READ_BYTES: usize = 16 * 1024;
/// Frames up to this size get their whole buffer at once. Memory is touched only as bytes arrive, and doubling from
/// here on bounds what a larger promise can reserve.
const RESERVE_AT_ONCE_BYTES: usize = 4 << 20;
/// File ranges are sent through a buffer of at most this size: measured cheaper than `sendfile` on the same host.
const FILE_BUFFER_BYTES: usize = 1 << 20;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The client closed it.
    #[error("closed by the client")]
    ByClient,
    /// Nothing arrived for `connections.max.idle.ms`.
    #[error("idle")]
    Idle,
    /// The length prefix is negative or above `socket.request.max.bytes`.
    #[error("a frame announced {0} bytes")]
    FrameLength(i32),
    /// A request cannot be answered.
    #[error("a request was refused")]
    Refused,
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves one connection until it ends.
pub async fn serve<S: Service>(
    stream: TcpStream,
    peer: Peer,
    service: Arc<S>,
    limits: Arc<Limits>,
    budget: Arc<Budget>,
    mut stopping: watch::Receiver<bool>,
) -> Ended {
    let (reader, writer) = stream.into_split();
    let mut connection = Connection {
        reader,
        writer,
        peer,
        service,
        limits: &limits,
        share: budget.share(),
        buffer: BytesMut::new(),
        pipeline: Pipeline::default(),
        file_buffer: Vec::new(),
    };
    match connection.run(&mut stopping).await {
        Ok(never) => match never {},
        Err(ended) => {
            debug!(peer = %connection.peer.remote, reason = %ended, "connection ended");
            ended
        }
    }
}

enum Never {}

struct Connection<'a, S> {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    peer: Peer,
    service: Arc<S>,
    limits: &'a Limits,
    share: Share<'a>,
    buffer: BytesMut,
    pipeline: Pipeline,
    file_buffer: Vec<u8>,
}

impl<S: Service> Connection<'_, S> {
    async fn run(&mut self, stopping: &mut watch::Receiver<bool>) -> Result<Never, Ended> {
        let mut idle_at = Instant::now() + self.limits.idle;
        loop {
            self.begin_buffered().await?;
            let in_flight = !self.pipeline.is_empty();
            if !in_flight && *stopping.borrow() {
                return Err(Ended::Stopping);
            }
            self.share.set(self.buffer.len() + self.pipeline.bytes());
            let has_room = self.pipeline.len() < self.limits.pipeline_max
                && self.pipeline.bytes() < self.limits.connection_max_bytes
                && !*stopping.borrow();
            let may_read = has_room && self.share.may_read();
            if may_read {
                self.make_room();
            }
            tokio::select! {
                biased;
                reply = self.pipeline.next(), if in_flight => {
                    self.send(reply).await?;
                    idle_at = Instant::now() + self.limits.idle;
                }
                read = self.reader.read_buf(&mut self.buffer), if may_read => {
                    if read? == 0 {
                        return Err(self.client_left().await);
                    }
                    idle_at = Instant::now() + self.limits.idle;
                }
                _ = stopping.changed() => {}
                // A connection held back by the shared budget looks again after a moment.
                () = tokio::time::sleep(std::time::Duration::from_millis(20)), if has_room && !may_read => {}
                () = tokio::time::sleep_until(idle_at), if !in_flight => return Err(Ended::Idle),
            }
        }
    }

    /// Begins every request that is wholly in the buffer.
    async fn begin_buffered(&mut self) -> Result<(), Ended> {
        while self.pipeline.len() < self.limits.pipeline_max
            && self.pipeline.bytes() < self.limits.connection_max_bytes
            && let Some(frame) = self.next_frame()?
        {
            let frame_bytes = frame.len();
            match self.service.call(&self.peer, frame) {
                Outcome::Now(reply) => self.pipeline.push_ready(reply, frame_bytes),
                Outcome::Later(reply) => self.pipeline.push_waiting(reply, frame_bytes),
                Outcome::Alone(reply) => {
                    self.pipeline.push_waiting(reply, frame_bytes);
                    while !self.pipeline.is_empty() {
                        let reply = self.pipeline.next().await;
                        self.send(reply).await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn announced(&self) -> Result<Option<usize>, Ended> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let announced = i32::from_be_bytes(*prefix);
        match usize::try_from(announced) {
            Ok(len) if len <= self.limits.frame_max_bytes => Ok(Some(len)),
            _ => Err(Ended::FrameLength(announced)),
        }
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, Ended> {
        let Some(len) = self.announced()? else { return Ok(None) };
        if self.buffer.len() < PREFIX_LEN + len {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_LEN);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    fn make_room(&mut self) {
        let missing = match self.announced() {
            Ok(Some(len)) => (PREFIX_LEN + len).saturating_sub(self.buffer.len()),
            _ => READ_BYTES,
        };
        let at_once = RESERVE_AT_ONCE_BYTES.max(self.buffer.len());
        self.buffer.reserve(missing.clamp(1, at_once).max(if missing < READ_BYTES { READ_BYTES } else { 0 }));
    }

    /// The client sends no more: what it asked for is still answered.
    async fn client_left(&mut self) -> Ended {
        let until = Instant::now() + self.limits.idle;
        while !self.pipeline.is_empty() {
            let Ok(reply) = timeout_at(until, self.pipeline.next()).await else { return Ended::Idle };
            if let Err(ended) = self.send(reply).await {
                return ended;
            }
        }
        Ended::ByClient
    }

    async fn send(&mut self, reply: Reply) -> Result<(), Ended> {
        let until = Instant::now() + self.limits.idle;
        let sent = match reply {
            Reply::None => return Ok(()),
            Reply::Close => return Err(Ended::Refused),
            Reply::Single(bytes) => timeout_at(until, self.writer.write_all(&bytes)).await,
            Reply::Chunks(chunks) => {
                timeout_at(until, write_chunks(&mut self.writer, &mut self.file_buffer, &chunks)).await
            }
        };
        match sent {
            Ok(result) => Ok(result?),
            Err(_) => Err(Ended::Idle),
        }
    }
}

/// Writes a reply in pieces. Small file ranges go into one buffer with the bytes around them, so that an ordinary reply
/// is one write; large ones follow in steps of [`FILE_BUFFER_BYTES`].
async fn write_chunks(writer: &mut OwnedWriteHalf, buffer: &mut Vec<u8>, chunks: &[Chunk]) -> io::Result<()> {
    buffer.clear();
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(bytes) => {
                if buffer.len() + bytes.len() > FILE_BUFFER_BYTES && !buffer.is_empty() {
                    write_both(writer, buffer, bytes).await?;
                    buffer.clear();
                } else {
                    buffer.extend_from_slice(bytes);
                }
            }
            Chunk::File { file, position, len } => {
                let (mut position, mut left) = (*position, *len);
                while left > 0 {
                    if buffer.len() >= FILE_BUFFER_BYTES {
                        writer.write_all(buffer).await?;
                        buffer.clear();
                    }
                    let step = left.min(FILE_BUFFER_BYTES - buffer.len());
                    let at = buffer.len();
                    buffer.resize(at + step, 0);
                    let filled = file.read_at(&mut buffer[at..], position).map_err(io::Error::other)?;
                    if filled < step {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    position += step as u64;
                    left -= step;
                }
            }
        }
    }
    writer.write_all(buffer).await?;
    // An idle connection keeps no buffer.
    *buffer = Vec::new();
    Ok(())
}

async fn write_both(writer: &mut OwnedWriteHalf, first: &[u8], second: &[u8]) -> io::Result<()> {
    let written = writer.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await?;
    if written < first.len() {
        writer.write_all(&first[written..]).await?;
        writer.write_all(second).await
    } else {
        writer.write_all(&second[written - first.len()..]).await
    }
}
