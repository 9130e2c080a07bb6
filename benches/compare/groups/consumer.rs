//! A member of the consumer protocol (KIP-848): ConsumerGroupHeartbeat v1.

use std::time::Duration;

use crate::Outcome;
use crate::wire::{Connection, Cursor, Frame, code};

/// Partitions of one topic; the cases have no other.
type Partitions = Vec<i32>;

/// One member and what it was last told.
pub struct Member {
    pub group: String,
    pub topic: String,
    pub id: String,
    pub epoch: i32,
    pub owned: Partitions,
    topic_id: [u8; 16],
    /// Whether the coordinator has yet to hear what is owned, as a client reports it without waiting for its interval.
    pub unreported: bool,
}

impl Member {
    /// `id` is a name of the member's own choice, as version 1 asks for.
    pub fn new(group: &str, topic: &str, id: String) -> Self {
        let (group, topic) = (group.into(), topic.into());
        Self { group, topic, id, epoch: 0, owned: Vec::new(), topic_id: [0; 16], unreported: false }
    }

    /// One heartbeat: joins when that is still to do, and reports what is owned when that changed. What is taken away
    /// is given up at once.
    pub fn beat(&mut self, connection: &mut Connection) -> Outcome<()> {
        let frame = self.frame(self.epoch == 0, self.unreported);
        let answer = connection.ask(&frame)?;
        let (error, epoch, assignment) = read(answer)?;
        match error {
            0 => {}
            other if code::wait(other) => {
                std::thread::sleep(Duration::from_millis(20));
                return Ok(());
            }
            other => return Err(format!("ConsumerGroupHeartbeat: error code {other}").into()),
        }
        self.epoch = epoch;
        self.unreported = false;
        if let Some((topic_id, owned)) = assignment
            && owned != self.owned
        {
            (self.topic_id, self.owned, self.unreported) = (topic_id, owned, true);
        }
        Ok(())
    }

    /// A heartbeat without news.
    pub fn beat_frame(&self) -> Vec<u8> {
        self.frame(false, false)
    }

    pub fn leave(&mut self, connection: &mut Connection) -> Outcome<()> {
        self.epoch = -1;
        let frame = self.frame(false, false);
        connection.ask(&frame)?;
        Ok(())
    }

    fn frame(&self, joining: bool, report: bool) -> Vec<u8> {
        let mut frame = Frame::flexible(68, 1);
        // No instance and no rack.
        frame.compact_text(&self.group).compact_text(&self.id).i32(self.epoch).tags().tags();
        if joining {
            frame.i32(60_000).compact(1).compact_text(&self.topic);
        } else {
            frame.i32(-1).tags();
        }
        // No regular expression, and the broker's first assignor.
        frame.tags().tags();
        if joining || (report && self.owned.is_empty()) {
            frame.compact(0);
        } else if report {
            frame.compact(1).raw(&self.topic_id).compact(self.owned.len());
            for index in &self.owned {
                frame.i32(*index);
            }
            frame.tags();
        } else {
            frame.tags();
        }
        frame.tags();
        frame.finish()
    }
}

type Assignment = ([u8; 16], Partitions);

/// Error code, epoch and, when there is news, the assignment.
fn read(mut answer: Cursor<'_>) -> Outcome<(i16, i32, Option<Assignment>)> {
    answer.tags()?;
    let (_throttle, error) = (answer.i32()?, answer.i16()?);
    for _ in ["message", "member id"] {
        let length = answer.compact()?;
        answer.take(length)?;
    }
    let (epoch, _interval) = (answer.i32()?, answer.i32()?);
    if error != 0 || answer.i8()? < 0 {
        return Ok((error, epoch, None));
    }
    let mut assignment = ([0; 16], Partitions::new());
    for _ in 0..answer.compact()? {
        assignment.0 = answer.take(16)?.try_into()?;
        for _ in 0..answer.compact()? {
            assignment.1.push(answer.i32()?);
        }
        answer.tags()?;
    }
    assignment.1.sort_unstable();
    Ok((error, epoch, Some(assignment)))
}
