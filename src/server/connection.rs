//! One task per connection: read frames, begin requests, write replies in order.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tracing::debug;

use super::budget::{Budget, Share};
use super::outbox::Outbox;
use super::pipeline::Pipeline;
use super::{Limits, Outcome, Peer, Service};

/// Bytes of the length prefix.
const PREFIX_LEN: usize = 4;
/// Smallest room for a read, bytes.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Largest room for a read while the length of the frame is not known, bytes.
const READ_BYTES_MAX: usize = 1 << 20;
/// Frames up to this size get their whole buffer at once. Memory is touched only as bytes arrive, and doubling from
/// here on bounds what a larger promise can reserve.
const RESERVE_AT_ONCE_BYTES: usize = 4 << 20;
/// Bytes of replies that are collected into one write.
const SEND_TOGETHER_BYTES: usize = 256 * 1024;
/// A connection without traffic for so long gives its buffers back.
const QUIET: Duration = Duration::from_secs(2);
/// A connection held back by the shared budget looks again after this time.
const HELD_BACK: Duration = Duration::from_millis(20);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The client closed it.
    #[error("closed by the client")]
    ByClient,
    /// Nothing arrived, or nothing was taken, for `connections.max.idle.ms`.
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
    Io(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Ended::Idle,
            _ => Ended::Io(error),
        }
    }
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
    let now = Instant::now();
    let mut connection = Connection {
        stream,
        peer: Arc::new(peer),
        service,
        limits: &limits,
        share: budget.share(),
        buffer: BytesMut::new(),
        frame_hint: READ_BYTES_MIN,
        pipeline: Pipeline::default(),
        outbox: Outbox::default(),
        active_at: now,
        alarm: Box::pin(sleep_until(now + QUIET)),
        stopped: false,
    };
    let stop = async move {
        // The sender is gone only when the broker is.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    match connection.run(pin!(stop)).await {
        Ok(never) => match never {},
        Err(ended) => {
            debug!(peer = %connection.peer.remote, reason = %ended, "connection ended");
            ended
        }
    }
}

enum Never {}

/// What a connection waits for.
enum Event {
    /// Replies are in the outbox.
    Replies,
    /// Bytes arrived.
    Arrived,
    /// The client sends no more.
    EndOfStream,
    /// The broker is stopping.
    Stop,
    /// The alarm went off.
    Alarm,
}

struct Connection<'a, S> {
    stream: TcpStream,
    peer: Arc<Peer>,
    service: Arc<S>,
    limits: &'a Limits,
    share: Share<'a>,
    buffer: BytesMut,
    /// Size of the last frame, prefix included: clients send frames of like size, and one that is read into a buffer of
    /// its own size is neither copied nor read in pieces.
    frame_hint: usize,
    pipeline: Pipeline,
    outbox: Outbox,
    /// When bytes last went in or out.
    active_at: Instant,
    /// Set once and moved only when it goes off: an active connection pays nothing for its timeouts.
    alarm: Pin<Box<Sleep>>,
    stopped: bool,
}

impl<S: Service> Connection<'_, S> {
    async fn run(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<Never, Ended> {
        loop {
            self.begin_buffered().await?;
            if self.stopped && self.pipeline.is_empty() {
                return Err(Ended::Stopping);
            }
            self.share.set(self.buffer.len() + self.pipeline.bytes());
            match poll_fn(|context| self.poll_event(context, stop.as_mut())).await? {
                Event::Replies => self.send().await?,
                Event::Arrived => self.arrived(),
                Event::EndOfStream => return Err(self.client_left().await),
                Event::Stop => self.stopped = true,
                Event::Alarm => self.alarm_went_off()?,
            }
        }
    }

    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Result<Event, Ended>> {
        if self.collect_replies(context) {
            return Poll::Ready(Ok(Event::Replies));
        }
        if !self.stopped && stop.poll(context).is_ready() {
            return Poll::Ready(Ok(Event::Stop));
        }
        if self.has_room() && self.share.may_read() {
            match self.poll_read(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Event::EndOfStream)),
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(Event::Arrived)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {}
            }
        } else if self.has_room() {
            let again_at = Instant::now() + HELD_BACK;
            if self.alarm.deadline() > again_at {
                self.alarm.as_mut().reset(again_at);
            }
        }
        self.alarm.as_mut().poll(context).map(|()| Ok(Event::Alarm))
    }

    fn has_room(&self) -> bool {
        !self.stopped
            && self.pipeline.len() < self.limits.pipeline_max
            && self.pipeline.bytes() < self.limits.connection_max_bytes
    }

    /// Takes the replies that are ready, as many as make one write; whether there is anything to do for the outbox.
    fn collect_replies(&mut self, context: &mut Context<'_>) -> bool {
        let held = self.pipeline.bytes();
        while held - self.pipeline.bytes() < SEND_TOGETHER_BYTES
            && !self.outbox.is_closing()
            && let Poll::Ready(reply) = self.pipeline.poll_next(context)
        {
            self.outbox.push(reply);
        }
        !self.outbox.is_empty() || self.outbox.is_closing()
    }

    /// Reads into the buffer, which gets room only when there is something to read: an idle connection holds none.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self.stream.poll_read_ready(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let room = self.make_room();
        let mut limited = (&mut self.buffer).limit(room);
        pin!(self.stream.read_buf(&mut limited)).poll(context)
    }

    /// Makes room for the rest of a frame, or for a frame of the usual size; returns how much to read.
    fn make_room(&mut self) -> usize {
        let room = match self.announced() {
            Ok(Some(len)) => {
                let missing = (PREFIX_LEN + len).saturating_sub(self.buffer.len());
                missing.clamp(1, RESERVE_AT_ONCE_BYTES.max(self.buffer.len()))
            }
            _ => self.frame_hint.saturating_sub(self.buffer.len()).max(READ_BYTES_MIN),
        };
        self.buffer.reserve(room);
        room
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
                        self.outbox.push(reply);
                        self.send().await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn announced(&self) -> Result<Option<usize>, Ended> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let announced = i32::from_be_bytes(*prefix);
        match usize::try_from(announced) {
            Ok(len) if len <= self.limits.frame_max_bytes => Ok(Some(len)),
            _ => Err(Ended::FrameLength(announced)),
        }
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, Ended> {
        let Some(len) = self.announced()? else {
            return Ok(None);
        };
        if self.buffer.len() < PREFIX_LEN + len {
            return Ok(None);
        }
        self.frame_hint = (PREFIX_LEN + len).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        self.buffer.advance(PREFIX_LEN);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// The client sends no more: what it asked for is still answered.
    async fn client_left(&mut self) -> Ended {
        let until = Instant::now() + self.limits.idle;
        while !self.pipeline.is_empty() {
            let Ok(reply) = timeout_at(until, self.pipeline.next()).await else {
                return Ended::Idle;
            };
            self.outbox.push(reply);
            if let Err(ended) = self.send().await {
                return ended;
            }
        }
        Ended::ByClient
    }

    async fn send(&mut self) -> Result<(), Ended> {
        self.outbox.send(&self.stream, self.limits.idle).await?;
        if self.outbox.is_closing() {
            return Err(Ended::Refused);
        }
        self.active_at = Instant::now();
        Ok(())
    }

    fn arrived(&mut self) {
        self.active_at = Instant::now();
        let quiet_at = self.active_at + QUIET;
        if self.alarm.deadline() > quiet_at {
            self.alarm.as_mut().reset(quiet_at);
        }
    }

    fn alarm_went_off(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        let quiet_at = self.active_at + QUIET;
        let idle_at = self.active_at + self.limits.idle;
        let next = if now < quiet_at {
            quiet_at
        } else {
            self.outbox.release();
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            self.frame_hint = READ_BYTES_MIN;
            if self.pipeline.is_empty() && now >= idle_at {
                return Err(Ended::Idle);
            }
            // A request that waits for longer than the idle time is looked at again then.
            idle_at.max(now + QUIET)
        };
        self.alarm.as_mut().reset(next);
        Ok(())
    }
}
