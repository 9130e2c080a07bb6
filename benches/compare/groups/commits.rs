//! Commits of offsets, as fast as they are answered: OffsetCommit v7 without membership, as `assign()` uses it.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::wire::{Connection, Cursor, Frame, at_once, code, coordinated, quantile};
use crate::{Figures, Outcome};

/// One run.
pub struct Load<'a> {
    pub port: u16,
    /// Group of the first connection; the others add their number.
    pub group: &'a str,
    pub topic: &'a str,
    /// Offsets in one commit.
    pub partitions: i32,
    pub connections: usize,
    /// Commits in flight per connection.
    pub depth: usize,
    pub seconds: f64,
}

/// A commit whose offset can be changed in place.
struct Commit {
    frame: Vec<u8>,
    offsets_at: Vec<usize>,
}

impl Commit {
    fn new(group: &str, topic: &str, partitions: i32) -> Self {
        let mut frame = Frame::new(8, 7);
        frame.text(group).i32(-1).text("").i16(-1).i32(1).text(topic).i32(partitions);
        let mut offsets_at = Vec::new();
        for index in 0..partitions {
            frame.i32(index);
            offsets_at.push(frame.at());
            frame.i64(0).i32(-1).text("");
        }
        Self { frame: frame.finish(), offsets_at }
    }

    fn with(&mut self, offset: i64) -> &[u8] {
        for at in &self.offsets_at {
            self.frame[*at..at + 8].copy_from_slice(&offset.to_be_bytes());
        }
        &self.frame
    }
}

/// The first error code of an answer, 0 when all offsets were taken.
fn refused(answer: &[u8], partitions: i32) -> Outcome<i16> {
    let mut answer = Cursor(answer);
    let (_throttle, _topics, _name) = (answer.i32()?, answer.i32()?, answer.text()?);
    if answer.i32()? != partitions {
        return Err("an answer names other partitions".into());
    }
    for _ in 0..partitions {
        let (_index, error) = (answer.i32()?, answer.i16()?);
        if error != 0 {
            return Ok(error);
        }
    }
    Ok(0)
}

/// Commits once, and again while the coordinator is not ready.
fn first(connection: &mut Connection, commit: &mut Commit, partitions: i32) -> Outcome<()> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let Cursor(answer) = connection.ask(commit.with(0))?;
        match refused(answer, partitions)? {
            0 => return Ok(()),
            other if code::wait(other) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20))
            }
            other => return Err(format!("OffsetCommit: error code {other}").into()),
        }
    }
}

/// The offset that `group` has of the last partition.
fn stored(connection: &mut Connection, group: &str, topic: &str, partitions: i32) -> Outcome<i64> {
    let mut frame = Frame::new(9, 5);
    frame.text(group).i32(1).text(topic).i32(1).i32(partitions - 1);
    let mut answer = connection.ask(&frame.finish())?;
    let (_throttle, _topics, _name) = (answer.i32()?, answer.i32()?, answer.text()?);
    let (_partitions, _index) = (answer.i32()?, answer.i32()?);
    answer.i64()
}

/// Connections that one thread serves: it takes answers in turn, and most are there when their turn comes. A thread for
/// each would spend more on waking up than a broker spends on the commit.
const PER_THREAD: usize = 16;

/// One connection with the group that it commits to.
struct Stream {
    group: String,
    connection: Connection,
    commit: Commit,
    offset: i64,
    /// When those in flight were sent.
    sent: VecDeque<Instant>,
}

impl Stream {
    fn open(load: &Load<'_>, place: usize) -> Outcome<Self> {
        let group = format!("{}-{place}", load.group);
        let mut connection = Connection::open(load.port)?;
        coordinated(&mut connection, &group)?;
        let mut commit = Commit::new(&group, load.topic, load.partitions);
        first(&mut connection, &mut commit, load.partitions)?;
        Ok(Self { group, connection, commit, offset: 0, sent: VecDeque::new() })
    }

    /// Sends until `depth` are in flight, all with one write.
    fn send(&mut self, depth: usize) -> Outcome<()> {
        let mut ahead = Vec::new();
        while self.sent.len() < depth {
            self.offset += 1;
            ahead.extend_from_slice(self.commit.with(self.offset));
            self.sent.push_back(Instant::now());
        }
        self.connection.send(&ahead)
    }

    /// Waits for an answer, and takes what else is there.
    fn receive(&mut self, partitions: i32, took_us: &mut Vec<u32>) -> Outcome<()> {
        let mut error = refused(self.connection.receive()?, partitions)?;
        loop {
            if error != 0 {
                return Err(format!("OffsetCommit: error code {error}").into());
            }
            let at = self.sent.pop_front().ok_or("an answer to nothing")?;
            took_us.push(at.elapsed().as_micros() as u32);
            match self.connection.received() {
                Some(answer) => error = refused(answer, partitions)?,
                None => return Ok(()),
            }
        }
    }
}

/// What one thread did.
struct Done {
    took_us: Vec<u32>,
    seconds: f64,
}

fn drive(load: &Load<'_>, places: Range<usize>) -> Outcome<Done> {
    let mut streams = places.map(|place| Stream::open(load, place)).collect::<Outcome<Vec<_>>>()?;
    let mut took_us = Vec::new();
    let begin = Instant::now();
    for stream in &mut streams {
        stream.send(load.depth)?;
    }
    while streams.iter().any(|stream| !stream.sent.is_empty()) {
        for stream in streams.iter_mut().filter(|stream| !stream.sent.is_empty()) {
            stream.receive(load.partitions, &mut took_us)?;
            if begin.elapsed().as_secs_f64() < load.seconds {
                stream.send(load.depth)?;
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    for Stream { group, connection, offset, .. } in &mut streams {
        let kept = stored(connection, group, load.topic, load.partitions)?;
        if kept != *offset {
            return Err(format!("{group} has offset {kept}, not {offset}").into());
        }
    }
    Ok(Done { took_us, seconds })
}

/// Commits from all connections for the time given, then looks whether the last ones are there.
pub fn run(load: &Load<'_>) -> Outcome<Figures> {
    let firsts: Vec<usize> = (0..load.connections).step_by(PER_THREAD).collect();
    let done = at_once(firsts, |_, first| drive(load, first..load.connections.min(first + PER_THREAD)))?;
    let seconds = done.iter().map(|one| one.seconds).fold(0.0, f64::max);
    let mut took: Vec<u32> = done.into_iter().flat_map(|one| one.took_us).collect();
    took.sort_unstable();
    Ok(vec![
        ("commits", took.len() as f64),
        ("seconds", seconds),
        ("p50_us", quantile(&took, 0.5)),
        ("p99_us", quantile(&took, 0.99)),
    ])
}

/// One commit to each of `groups` groups, of an offset between 1 and `end`: the group's number modulo `end`, plus one.
/// A log that ends there has it: an offset beyond the log may not outlive a crash.
pub fn fill(
    port: u16,
    group: &str,
    topic: &str,
    partitions: i32,
    groups: usize,
    end: i64,
) -> Outcome<Figures> {
    const CONNECTIONS: usize = 16;
    coordinated(&mut Connection::open(port)?, group)?;
    at_once((0..CONNECTIONS).collect(), |_, lane| {
        let mut connection = Connection::open(port)?;
        for number in (lane..groups).step_by(CONNECTIONS) {
            let mut commit = Commit::new(&format!("{group}-{number}"), topic, partitions);
            first(&mut connection, &mut commit, partitions)?;
            let Cursor(answer) = connection.ask(commit.with(number as i64 % end + 1))?;
            let error = refused(answer, partitions)?;
            if error != 0 {
                return Err(format!("OffsetCommit: error code {error}").into());
            }
        }
        Ok(())
    })?;
    Ok(vec![("groups", groups as f64)])
}
