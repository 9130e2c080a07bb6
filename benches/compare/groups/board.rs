//! Who owns what, as the members themselves know it, and since when all of it fits together.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::Outcome;

/// How long nothing may move until a group counts as stable. Not part of the time measured.
const SETTLED: Duration = Duration::from_millis(400);

/// What one member was last told.
#[derive(Clone, Default)]
struct Seat {
    /// Generation or member epoch.
    generation: i32,
    owned: Vec<i32>,
    changed: Option<Instant>,
    gone: bool,
}

/// All members of a group.
pub struct Board {
    partitions: usize,
    state: Mutex<(Vec<Seat>, Option<String>)>,
    moved: Condvar,
}

impl Board {
    pub fn new(partitions: usize, most: usize) -> Self {
        Self { partitions, state: Mutex::new((vec![Seat::default(); most], None)), moved: Condvar::new() }
    }

    /// A member reports; what is as before changes nothing.
    pub fn tell(&self, place: usize, generation: i32, owned: &[i32]) {
        let mut state = self.state.lock().expect("not poisoned");
        let seat = &mut state.0[place];
        if seat.generation != generation || seat.owned != owned {
            (seat.generation, seat.owned, seat.changed) = (generation, owned.to_vec(), Some(Instant::now()));
            self.moved.notify_all();
        }
    }

    /// Someone new takes the place of who was there.
    pub fn comes(&self, place: usize) {
        self.state.lock().expect("not poisoned").0[place] = Seat::default();
    }

    pub fn gone(&self, place: usize) {
        let mut state = self.state.lock().expect("not poisoned");
        state.0[place].gone = true;
        self.moved.notify_all();
    }

    pub fn failed(&self, error: String) {
        self.state.lock().expect("not poisoned").1.get_or_insert(error);
        self.moved.notify_all();
    }

    /// Waits until the first `members` of the group that are not gone share one generation and own every partition
    /// once and evenly, and gives the instant of the last change that took.
    pub fn stable(&self, members: usize) -> Outcome<Instant> {
        let until = Instant::now() + Duration::from_secs(60);
        let mut state = self.state.lock().expect("not poisoned");
        loop {
            if let Some(error) = &state.1 {
                return Err(error.clone().into());
            }
            let since = self.since(&state.0[..members]);
            match since.map(|at| SETTLED.saturating_sub(at.elapsed())) {
                Some(Duration::ZERO) => return Ok(since.expect("it is there")),
                _ if Instant::now() > until => return Err(self.why(&state.0[..members]).into()),
                left => {
                    let most = left.unwrap_or(Duration::from_secs(1));
                    state = self.moved.wait_timeout(state, most).expect("not poisoned").0;
                }
            }
        }
    }

    fn since(&self, seats: &[Seat]) -> Option<Instant> {
        let seats: Vec<&Seat> = seats.iter().filter(|seat| !seat.gone).collect();
        let counts = || seats.iter().map(|seat| seat.owned.len());
        let (least, most, sum) = (counts().min()?, counts().max()?, counts().sum::<usize>());
        let one = seats.iter().all(|seat| seat.generation == seats[0].generation);
        if !one || most - least > 1 || sum != self.partitions {
            return None;
        }
        let mut all: Vec<i32> = seats.iter().flat_map(|seat| seat.owned.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        (all.len() == self.partitions).then(|| seats.iter().filter_map(|seat| seat.changed).max())?
    }

    fn why(&self, seats: &[Seat]) -> String {
        let seats = seats.iter().filter(|seat| !seat.gone);
        let told: Vec<String> =
            seats.map(|seat| format!("{}:{}", seat.generation, seat.owned.len())).collect();
        format!("not stable within 60 s; generation:partitions of each member: {}", told.join(" "))
    }
}
