//! Replies on their way to the socket.
//!
//! Bytes of consecutive replies leave in one vectored write. A large range of a log file goes from the page cache to the
//! socket by `sendfile`; a small one is copied in between, so that an ordinary reply is one system call. A range that is
//! not in memory is read on a blocking thread first: a cold disk must not hold the other connections of this worker.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::protocol::reply::{Chunk, Reply};
use crate::storage::segment::FileHandle;

/// Ranges of files from this size on are not copied through user space. Below it one copy costs less than a system call
/// of its own.
const SENDFILE_FROM_BYTES: usize = 64 * 1024;
/// Copied for one write, at most: a client that takes nothing must not pin a copy of all it asked for.
const COPIED_BYTES_MAX: usize = 1 << 20;
/// Looked at, and if need be read from disk, at a time.
const WARM_BYTES: usize = 1 << 20;
/// Pieces in one vectored write.
const PIECES_PER_WRITE: usize = 32;

enum Piece {
    Bytes(Bytes),
    /// A range of the scratch buffer.
    Copied(Range<usize>),
    File(FileRange),
}

struct FileRange {
    handle: Arc<FileHandle>,
    position: u64,
    left: usize,
    /// The open file, and up to where it is known to be in memory.
    warm: Option<(Arc<File>, u64)>,
}

/// What one connection has yet to send, in order.
#[derive(Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Copies of small file ranges. Kept between replies: an initialised buffer is cheaper than a fresh one.
    scratch: Vec<u8>,
    copied: usize,
    closing: bool,
}

impl Outbox {
    /// Adds a reply. What comes after [`Reply::Close`] is dropped.
    pub fn push(&mut self, reply: Reply) {
        if self.closing {
            return;
        }
        match reply {
            Reply::None => {}
            Reply::Close => self.closing = true,
            Reply::Single(bytes) => self.pieces.push_back(Piece::Bytes(bytes)),
            Reply::Chunks(chunks) => {
                self.pieces.extend(chunks.into_iter().filter(|chunk| !chunk.is_empty()).map(|chunk| {
                    match chunk {
                        Chunk::Bytes(bytes) => Piece::Bytes(bytes),
                        Chunk::File { file, position, len } => {
                            Piece::File(FileRange { handle: file, position, left: len, warm: None })
                        }
                    }
                }))
            }
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether the connection ends once everything is sent.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Gives back the memory that is kept between replies.
    pub fn release(&mut self) {
        self.scratch = Vec::new();
    }

    /// Sends everything.
    ///
    /// # Errors
    /// When the socket fails, a file cannot be read, or the client takes nothing for `patience`
    /// ([`io::ErrorKind::TimedOut`]). The connection is of no use then: a reply may be cut in half.
    pub async fn send(&mut self, stream: &TcpStream, patience: Duration) -> io::Result<()> {
        loop {
            self.copy_small_ranges().await?;
            let Some(first) = self.pieces.front_mut() else { return Ok(()) };
            if let Piece::File(range) = first {
                range.warm_up().await?;
            }
            match self.write_some(stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match tokio::time::timeout(patience, stream.writable()).await {
                        Ok(writable) => writable?,
                        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                    }
                }
                result => result?,
            }
        }
    }

    /// Copies small ranges, in order, as many as make one write. Does nothing while earlier copies are unsent.
    async fn copy_small_ranges(&mut self) -> io::Result<()> {
        if self.pieces.iter().any(|piece| matches!(piece, Piece::Copied(_))) {
            return Ok(());
        }
        self.copied = 0;
        for piece in &mut self.pieces {
            let Piece::File(range) = piece else { continue };
            if range.left >= SENDFILE_FROM_BYTES {
                continue;
            }
            if self.copied + range.left > COPIED_BYTES_MAX {
                break;
            }
            let copy = self.copied..self.copied + range.left;
            if self.scratch.len() < copy.end {
                self.scratch.resize(copy.end, 0);
            }
            let buffer = &mut self.scratch[copy.clone()];
            if !range.handle.read_cached(buffer, range.position).map_err(io::Error::other)? {
                range.warm_up().await?;
                let filled = range.handle.read_at(buffer, range.position).map_err(io::Error::other)?;
                if filled < buffer.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            self.copied = copy.end;
            *piece = Piece::Copied(copy);
        }
        Ok(())
    }

    /// One system call; [`io::ErrorKind::WouldBlock`] when the socket takes nothing now.
    fn write_some(&mut self, stream: &TcpStream) -> io::Result<()> {
        if let Some(Piece::File(range)) = self.pieces.front_mut() {
            let sent = range.send(stream)?;
            range.position += sent as u64;
            range.left -= sent;
            if range.left == 0 {
                self.pieces.pop_front();
            }
            return Ok(());
        }
        let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
        let mut count = 0;
        let mut more_follows = false;
        for piece in &self.pieces {
            let bytes: &[u8] = match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Copied(range) => &self.scratch[range.clone()],
                Piece::File(_) => {
                    more_follows = true;
                    break;
                }
            };
            if count == PIECES_PER_WRITE {
                more_follows = true;
                break;
            }
            slices[count] = IoSlice::new(bytes);
            count += 1;
        }
        // With Nagle's algorithm off, a header alone would be a packet alone.
        let flags = if more_follows { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let sent = stream.try_io(Interest::WRITABLE, || {
            rustix::net::sendmsg(stream, &slices[..count], &mut SendAncillaryBuffer::default(), flags)
                .map_err(io::Error::from)
        })?;
        self.advance(sent);
        Ok(())
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let len = match piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::Copied(range) => range.len(),
                Piece::File(_) => return,
            };
            if sent < len {
                match piece {
                    Piece::Bytes(bytes) => bytes.advance(sent),
                    Piece::Copied(range) => range.start += sent,
                    Piece::File(_) => {}
                }
                return;
            }
            sent -= len;
            self.pieces.pop_front();
        }
    }
}

impl FileRange {
    /// Makes sure that the next bytes are in memory.
    async fn warm_up(&mut self) -> io::Result<()> {
        if self.warm.as_ref().is_some_and(|(_, until)| *until > self.position) {
            return Ok(());
        }
        let step = self.left.min(WARM_BYTES);
        let until = self.position + step as u64;
        let file = self.handle.file().map_err(io::Error::other)?;
        if !self.handle.is_cached(self.position, step).map_err(io::Error::other)? {
            let (handle, position) = (self.handle.clone(), self.position);
            let read = tokio::task::spawn_blocking(move || {
                let mut sink = vec![0; step];
                handle.read_at(&mut sink, position)
            });
            read.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        }
        self.warm = Some((file, until));
        Ok(())
    }

    fn send(&self, stream: &TcpStream) -> io::Result<usize> {
        let Some((file, until)) = &self.warm else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut position = self.position;
        let count = self.left.min((until - position) as usize);
        let sent = stream.try_io(Interest::WRITABLE, || {
            rustix::fs::sendfile(stream, &**file, Some(&mut position), count).map_err(io::Error::from)
        })?;
        // The range was in the log when it was found, so a file that ends earlier was cut by somebody else.
        if sent == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(sent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, theirs) = tokio::join!(connecting, listener.accept());
        (ours.unwrap(), theirs.unwrap().0)
    }

    /// Small and large ranges, many pieces, and a reader that is slower than the socket's buffer.
    #[tokio::test]
    async fn everything_arrives_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..5_000_000u32).map(|at| (at % 251) as u8).collect();
        let path = dir.path().join("00000000000000000000.log");
        File::create(&path).unwrap().write_all(&content).unwrap();
        let handle = FileHandle::for_test(dir.path(), 0);
        let range = |position: usize, len: usize| Chunk::File {
            file: handle.clone(),
            position: position as u64,
            len,
        };

        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for number in 0..100u8 {
            outbox.push(Reply::Single(Bytes::from(vec![number; 3])));
            expected.extend([number; 3]);
        }
        outbox.push(Reply::Chunks(vec![
            Chunk::Bytes(Bytes::from_static(b"head")),
            range(7, 1_000),
            Chunk::Bytes(Bytes::from_static(b"middle")),
            range(100, 4_500_000),
            range(0, 0),
            Chunk::Bytes(Bytes::from_static(b"tail")),
        ]));
        expected.extend(b"head");
        expected.extend(&content[7..1_007]);
        expected.extend(b"middle");
        expected.extend(&content[100..4_500_100]);
        expected.extend(b"tail");
        outbox.push(Reply::None);
        outbox.push(Reply::Close);
        outbox.push(Reply::Single(Bytes::from_static(b"never sent")));

        let (ours, mut theirs) = pair().await;
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).await.unwrap();
            got
        });
        outbox.send(&ours, Duration::from_secs(60)).await.unwrap();
        assert!(outbox.is_empty() && outbox.is_closing());
        drop(ours);
        assert!(reading.await.unwrap() == expected);
    }

    /// However many small ranges a reply has, and whoever does not take them, only so much is copied.
    #[tokio::test]
    async fn copies_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..60_000u32).map(|at| (at % 241) as u8).collect();
        File::create(dir.path().join("00000000000000000000.log")).unwrap().write_all(&content).unwrap();
        let handle = FileHandle::for_test(dir.path(), 0);
        let ranges = (0..200).map(|_| Chunk::File { file: handle.clone(), position: 0, len: content.len() });
        let mut outbox = Outbox::default();
        outbox.push(Reply::Chunks(ranges.collect()));
        let (ours, mut theirs) = pair().await;
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).await.unwrap();
            got
        });
        outbox.send(&ours, Duration::from_secs(60)).await.unwrap();
        assert!(!outbox.scratch.is_empty() && outbox.scratch.len() <= COPIED_BYTES_MAX);
        drop(ours);
        assert!(reading.await.unwrap() == content.repeat(200));
    }

    #[tokio::test]
    async fn a_file_that_was_cut_ends_the_reply() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("00000000000000000000.log")).unwrap().write_all(&[1; 100_000]).unwrap();
        for len in [1_000, 200_000] {
            let mut outbox = Outbox::default();
            let file = FileHandle::for_test(dir.path(), 0);
            outbox.push(Reply::Chunks(vec![Chunk::File { file, position: 99_500, len }]));
            let (ours, _theirs) = pair().await;
            let error = outbox.send(&ours, Duration::from_secs(60)).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{len} bytes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = pair().await;
        let mut outbox = Outbox::default();
        outbox.push(Reply::Single(Bytes::from(vec![0; 64 << 20])));
        let error = outbox.send(&ours, Duration::from_secs(600)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
