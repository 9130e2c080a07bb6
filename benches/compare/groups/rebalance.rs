//! One group of many members: how long until all of them own what is theirs.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::wire::{Connection, coordinated};
use crate::{Figures, Outcome, Protocol, classic, consumer};

/// One run.
pub struct Plan {
    pub port: u16,
    pub protocol: Protocol,
    pub group: String,
    pub topic: String,
    pub partitions: i32,
    /// At first; one more comes later.
    pub members: usize,
    /// Between two heartbeats of a member.
    pub interval_ms: u64,
    /// What classic members ask for. A consumer group's is the broker's: give both the same.
    pub session_ms: i32,
}

const STAY: u8 = 0;
/// The connection closes without a word.
const KILLED: u8 = 1;
const LEAVE: u8 = 2;

/// A member in a thread of its own, with the connection it needs: a coordinator may hold an answer back.
struct Running {
    order: Arc<AtomicU8>,
    /// When the last heartbeat was answered.
    heard: Arc<Mutex<Option<Instant>>>,
    thread: JoinHandle<()>,
}

enum Member {
    Classic(classic::Member),
    Consumer(consumer::Member),
}

impl Member {
    fn new(plan: &Plan, place: usize) -> Self {
        match plan.protocol {
            Protocol::Classic => Self::Classic(classic::Member::new(
                &plan.group,
                &plan.topic,
                plan.partitions,
                plan.session_ms,
            )),
            Protocol::Consumer => {
                let id = format!("{}-{place}", plan.group);
                Self::Consumer(consumer::Member::new(&plan.group, &plan.topic, id))
            }
        }
    }

    /// Joins or sends a heartbeat, and follows where that leads; whether it can wait for its interval now.
    fn turn(&mut self, connection: &mut Connection) -> Outcome<bool> {
        match self {
            Self::Classic(member) => {
                if member.generation < 0 || member.beat(connection)? {
                    member.join(connection)?;
                }
                Ok(true)
            }
            Self::Consumer(member) => {
                member.beat(connection)?;
                Ok(!member.unreported)
            }
        }
    }

    fn told(&self) -> (i32, &[i32]) {
        match self {
            Self::Classic(member) => (member.generation, &member.owned),
            Self::Consumer(member) => (member.epoch, &member.owned),
        }
    }

    fn leave(&mut self, connection: &mut Connection) -> Outcome<()> {
        match self {
            Self::Classic(member) => member.leave(connection),
            Self::Consumer(member) => member.leave(connection),
        }
    }
}

fn start(plan: &Plan, place: usize, mut connection: Connection, board: &Arc<Board>) -> Outcome<Running> {
    let (order, heard) = (Arc::new(AtomicU8::new(STAY)), Arc::new(Mutex::new(None)));
    let (orders, hears, board) = (order.clone(), heard.clone(), board.clone());
    let mut member = Member::new(plan, place);
    let interval = Duration::from_millis(plan.interval_ms);
    let mut life = move |board: &Board| -> Outcome<()> {
        loop {
            match orders.load(Ordering::Acquire) {
                STAY => {}
                KILLED => return Ok(()),
                _ => return member.leave(&mut connection),
            }
            let rest = member.turn(&mut connection)?;
            *hears.lock().expect("not poisoned") = Some(Instant::now());
            let (generation, owned) = member.told();
            board.tell(place, generation, owned);
            if rest {
                std::thread::sleep(interval);
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
        if let Err(error) = life(&board) {
            board.failed(format!("member {place}: {error}"));
        }
    })?;
    Ok(Running { order, heard, thread })
}

/// Members that come and leave again, one after another, within a block.
const COMINGS: usize = 6;

/// Milliseconds from nothing to stable; from one more member to stable and from its LeaveGroup to stable, the mean of
/// [`COMINGS`] times; and from the end of a killed member's session to stable. The group is empty afterwards.
pub fn run(plan: &Plan) -> Outcome<Figures> {
    coordinated(&mut Connection::open(plan.port)?, &plan.group)?;
    // Connected before the clock starts: what is measured is the coordinator.
    let connections = (0..plan.members).map(|_| Connection::open(plan.port)).collect::<Outcome<Vec<_>>>()?;
    let board = Arc::new(Board::new(plan.partitions as usize, plan.members + 1));
    let mut running = Vec::new();
    let found = phases(plan, connections, &board, &mut running);
    for member in &running {
        member.order.fetch_max(LEAVE, Ordering::Release);
    }
    for member in running {
        member.thread.join().map_err(|_| "a member panicked")?;
    }
    found
}

fn phases(
    plan: &Plan,
    connections: Vec<Connection>,
    board: &Arc<Board>,
    running: &mut Vec<Running>,
) -> Outcome<Figures> {
    let since = |begin: Instant, end: Instant| end.duration_since(begin).as_secs_f64() * 1000.0;
    let begin = Instant::now();
    for (place, connection) in connections.into_iter().enumerate() {
        running.push(start(plan, place, connection, board)?);
    }
    let joined = since(begin, board.stable(plan.members)?);

    let (mut added, mut left) = (0.0, 0.0);
    for turn in 0..COMINGS {
        let connection = Connection::open(plan.port)?;
        // Heartbeats of the others run in step since the last rebalance: this one meets them at all phases.
        std::thread::sleep(
            Duration::from_millis(plan.interval_ms).mul_f64((turn as f64 + 0.5) / COMINGS as f64),
        );
        board.comes(plan.members);
        let begin = Instant::now();
        let late = start(plan, plan.members, connection, board)?;
        // Told to leave even when this fails.
        let order = late.order.clone();
        let stable = board.stable(plan.members + 1).inspect_err(|_| order.store(LEAVE, Ordering::Release))?;
        added += since(begin, stable) / COMINGS as f64;

        late.order.store(LEAVE, Ordering::Release);
        late.thread.join().map_err(|_| "a member panicked")?;
        board.gone(plan.members);
        let begin = Instant::now();
        left += since(begin, board.stable(plan.members + 1)?) / COMINGS as f64;
    }

    // Neither the first nor the last, of which a coordinator may think more.
    let place = plan.members / 2;
    let victim = running.swap_remove(place);
    victim.order.store(KILLED, Ordering::Release);
    victim.thread.join().map_err(|_| "a member panicked")?;
    board.gone(place);
    let heard = victim.heard.lock().expect("not poisoned").ok_or("the killed member never joined")?;
    let killed = since(heard, board.stable(plan.members + 1)?) - f64::from(plan.session_ms);
    Ok(vec![("joined_ms", joined), ("added_ms", added), ("left_ms", left), ("killed_ms", killed)])
}
