//! Many groups of one member each, heartbeating over few connections.

use std::time::{Duration, Instant};

use crate::wire::{Connection, Cursor, at_once, coordinated, quantile};
use crate::{Figures, Outcome, Protocol, classic, consumer};

/// Longer than a whole run, so that members outlive the other broker's blocks.
const SESSION_MS: i32 = 1_200_000;

/// One connection and the heartbeats of its members, encoded once: a stable group's do not change.
pub struct Lane {
    connection: Connection,
    /// Bytes from a response's first behind the correlation id to its error code.
    error_at: usize,
    beats: Vec<Vec<u8>>,
}

/// Joins a member to each of `groups` groups, spread over `connections`.
pub fn join(
    port: u16,
    protocol: Protocol,
    groups: usize,
    connections: usize,
    topic: &str,
) -> Outcome<Vec<Lane>> {
    coordinated(&mut Connection::open(port)?, "warm")?;
    at_once((0..connections).collect(), |_, lane| {
        let mut connection = Connection::open(port)?;
        let mut beats = Vec::new();
        for number in (lane..groups).step_by(connections) {
            beats.push(match protocol {
                Protocol::Classic => {
                    let mut member = classic::Member::new(&format!("classic-{number}"), topic, 1, SESSION_MS);
                    member.join(&mut connection)?;
                    member.beat_frame()
                }
                Protocol::Consumer => {
                    let id = format!("member-{number}");
                    let mut member = consumer::Member::new(&format!("consumer-{number}"), topic, id);
                    let until = Instant::now() + Duration::from_secs(60);
                    while member.epoch == 0 || member.owned.is_empty() || member.unreported {
                        member.beat(&mut connection)?;
                        if Instant::now() > until {
                            return Err(format!("consumer-{number} got no partition").into());
                        }
                    }
                    member.beat_frame()
                }
            });
        }
        // A flexible response has a section of tagged fields in its header.
        let error_at = if protocol == Protocol::Consumer { 5 } else { 4 };
        Ok(Lane { connection, error_at, beats })
    })
}

/// Each member's heartbeat every `interval_ms`, evenly spread over that time; one in flight per connection. With 0, the
/// next as soon as the last was answered.
pub fn run(lanes: &mut [Lane], seconds: f64, interval_ms: f64) -> Outcome<Figures> {
    let begin = Instant::now();
    let count = lanes.len() as f64;
    let found = at_once(lanes.iter_mut().collect(), |place, lane| {
        let step = interval_ms / 1000.0 / lane.beats.len() as f64;
        let phase = step * place as f64 / count;
        let mut took = Vec::new();
        for (turn, beat) in lane.beats.iter().cycle().enumerate() {
            let mut due = begin + Duration::from_secs_f64(phase + step * turn as f64);
            if step == 0.0 {
                due = Instant::now();
            } else if let Some(left) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(left);
            }
            if due.duration_since(begin).as_secs_f64() >= seconds {
                break;
            }
            let Cursor(answer) = lane.connection.ask(beat)?;
            let error = Cursor(answer.get(lane.error_at..).unwrap_or_default()).i16()?;
            if error != 0 {
                return Err(format!("a heartbeat: error code {error}").into());
            }
            took.push(due.elapsed().as_micros() as u32);
        }
        Ok(took)
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let mut took = found.concat();
    took.sort_unstable();
    Ok(vec![
        ("beats", took.len() as f64),
        ("seconds", seconds),
        ("p50_us", quantile(&took, 0.5)),
        ("p99_us", quantile(&took, 0.99)),
    ])
}
