//! Commits of offsets, as fast as they are answered: OffsetCommit v7 without membership, as `assign()` uses it.

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

/// What one connection did.
struct Done {
    took_us: Vec<u32>,
    seconds: f64,
}

fn drive(load: &Load<'_>, place: usize) -> Outcome<Done> {
    let group = format!("{}-{place}", load.group);
    let mut connection = Connection::open(load.port)?;
    coordinated(&mut connection, &group)?;
    let mut commit = Commit::new(&group, load.topic, load.partitions);
    first(&mut connection, &mut commit, load.partitions)?;
    let begin = Instant::now();
    let mut took_us = Vec::new();
    let mut sent = std::collections::VecDeque::new();
    let mut offset = 0;
    let mut ahead = Vec::new();
    let mut room = load.depth;
    loop {
        if begin.elapsed().as_secs_f64() < load.seconds {
            ahead.clear();
            for _ in 0..std::mem::take(&mut room) {
                offset += 1;
                ahead.extend_from_slice(commit.with(offset));
                sent.push_back(Instant::now());
            }
            connection.send(&ahead)?;
        }
        if sent.is_empty() {
            break;
        }
        let mut error = refused(connection.receive()?, load.partitions)?;
        loop {
            if error != 0 {
                return Err(format!("OffsetCommit: error code {error}").into());
            }
            let at: Instant = sent.pop_front().ok_or("an answer to nothing")?;
            took_us.push(at.elapsed().as_micros() as u32);
            room += 1;
            match connection.received() {
                Some(answer) => error = refused(answer, load.partitions)?,
                None => break,
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let kept = stored(&mut connection, &group, load.topic, load.partitions)?;
    if kept != offset {
        return Err(format!("{group} has offset {kept}, not {offset}").into());
    }
    Ok(Done { took_us, seconds })
}

/// Commits from all connections for the time given, then looks whether the last ones are there.
pub fn run(load: &Load<'_>) -> Outcome<Figures> {
    let done = at_once((0..load.connections).collect(), |_, place| drive(load, place))?;
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

/// One commit to each of `groups` groups, with the group's number as the offset.
pub fn fill(port: u16, group: &str, topic: &str, partitions: i32, groups: usize) -> Outcome<Figures> {
    const CONNECTIONS: usize = 16;
    coordinated(&mut Connection::open(port)?, group)?;
    at_once((0..CONNECTIONS).collect(), |_, lane| {
        let mut connection = Connection::open(port)?;
        for number in (lane..groups).step_by(CONNECTIONS) {
            let mut commit = Commit::new(&format!("{group}-{number}"), topic, partitions);
            first(&mut connection, &mut commit, partitions)?;
            let Cursor(answer) = connection.ask(commit.with(number as i64))?;
            let error = refused(answer, partitions)?;
            if error != 0 {
                return Err(format!("OffsetCommit: error code {error}").into());
            }
        }
        Ok(())
    })?;
    Ok(vec![("groups", groups as f64)])
}
