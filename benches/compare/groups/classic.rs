//! A member of the classic protocol: JoinGroup v5, SyncGroup v3, Heartbeat v3, LeaveGroup v1.

use std::time::Duration;

use crate::Outcome;
use crate::wire::{Connection, Cursor, Frame, code};

/// One member and what it was last told.
pub struct Member {
    pub group: String,
    pub topic: String,
    pub partitions: i32,
    pub session_ms: i32,
    pub id: String,
    pub generation: i32,
    pub owned: Vec<i32>,
}

impl Member {
    pub fn new(group: &str, topic: &str, partitions: i32, session_ms: i32) -> Self {
        let (group, topic) = (group.into(), topic.into());
        Self { group, topic, partitions, session_ms, id: String::new(), generation: -1, owned: Vec::new() }
    }

    /// Joins, however many rebalances that takes, and leaves with an assignment.
    pub fn join(&mut self, connection: &mut Connection) -> Outcome<()> {
        loop {
            let join = self.join_frame();
            let mut answer = connection.ask(&join)?;
            let (_throttle, error) = (answer.i32()?, answer.i16()?);
            let generation = answer.i32()?;
            let (_protocol, leader, id) = (answer.text()?, answer.text()?, answer.text()?);
            match error {
                0 => {}
                code::MEMBER_ID_REQUIRED => {
                    self.id = id;
                    continue;
                }
                code::UNKNOWN_MEMBER_ID => {
                    self.id.clear();
                    continue;
                }
                code::REBALANCE_IN_PROGRESS => continue,
                other if code::wait(other) => {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                other => return Err(format!("JoinGroup: error code {other}").into()),
            }
            let members = if leader == id { read_members(&mut answer)? } else { Vec::new() };
            (self.id, self.generation) = (id, generation);
            let sync = self.sync_frame(&members);
            let mut answer = connection.ask(&sync)?;
            let (_throttle, error) = (answer.i32()?, answer.i16()?);
            match error {
                0 => {
                    self.owned = read_assignment(answer.bytes()?)?;
                    return Ok(());
                }
                code::UNKNOWN_MEMBER_ID => self.id.clear(),
                code::REBALANCE_IN_PROGRESS | code::ILLEGAL_GENERATION => {}
                other if code::wait(other) => std::thread::sleep(Duration::from_millis(20)),
                other => return Err(format!("SyncGroup: error code {other}").into()),
            }
        }
    }

    /// One heartbeat; whether the member has to join again.
    pub fn beat(&mut self, connection: &mut Connection) -> Outcome<bool> {
        let mut answer = connection.ask(&self.beat_frame())?;
        let (_throttle, error) = (answer.i32()?, answer.i16()?);
        match error {
            0 => Ok(false),
            code::REBALANCE_IN_PROGRESS | code::ILLEGAL_GENERATION => Ok(true),
            code::UNKNOWN_MEMBER_ID => {
                self.id.clear();
                Ok(true)
            }
            other => Err(format!("Heartbeat: error code {other}").into()),
        }
    }

    pub fn beat_frame(&self) -> Vec<u8> {
        let mut frame = Frame::new(12, 3);
        frame.text(&self.group).i32(self.generation).text(&self.id).i16(-1);
        frame.finish()
    }

    pub fn leave(&mut self, connection: &mut Connection) -> Outcome<()> {
        let mut frame = Frame::new(13, 1);
        frame.text(&self.group).text(&self.id);
        connection.ask(&frame.finish())?;
        Ok(())
    }

    fn join_frame(&self) -> Vec<u8> {
        let mut subscription = Frame::new(0, 0);
        let begin = subscription.at();
        subscription.i16(0).i32(1).text(&self.topic).i32(-1);
        let subscription = subscription.finish();
        let mut frame = Frame::new(11, 5);
        frame.text(&self.group).i32(self.session_ms).i32(60_000).text(&self.id).i16(-1).text("consumer");
        frame.i32(1).text("roundrobin").bytes(&subscription[begin..]);
        frame.finish()
    }

    /// `members` is empty unless this member leads; then each gets every so-manieth partition.
    fn sync_frame(&self, members: &[String]) -> Vec<u8> {
        let mut frame = Frame::new(14, 3);
        frame.text(&self.group).i32(self.generation).text(&self.id).i16(-1).i32(members.len() as i32);
        for (place, id) in members.iter().enumerate() {
            let owned: Vec<i32> = (place as i32..self.partitions).step_by(members.len()).collect();
            let length = 2 + 4 + 2 + self.topic.len() + 4 + 4 * owned.len() + 4;
            frame.text(id).i32(length as i32).i16(0).i32(1).text(&self.topic).i32(owned.len() as i32);
            for index in owned {
                frame.i32(index);
            }
            frame.i32(-1);
        }
        frame.finish()
    }
}

fn read_members(answer: &mut Cursor<'_>) -> Outcome<Vec<String>> {
    let mut members = Vec::new();
    for _ in 0..answer.i32()? {
        members.push(answer.text()?);
        answer.text()?;
        answer.bytes()?;
    }
    members.sort();
    Ok(members)
}

fn read_assignment(bytes: &[u8]) -> Outcome<Vec<i32>> {
    let mut cursor = Cursor(bytes);
    let mut owned = Vec::new();
    if bytes.is_empty() {
        return Ok(owned);
    }
    cursor.i16()?;
    for _ in 0..cursor.i32()? {
        cursor.text()?;
        for _ in 0..cursor.i32()? {
            owned.push(cursor.i32()?);
        }
    }
    Ok(owned)
}
