//! The time that retention goes by: the wall clock, unless it has jumped ahead.
//!
//! A wall clock that is set a year ahead makes every record old. It is held against a clock that only counts: what the wall
//! clock gained beyond it is not believed at once. What it lost is, since that only delays deletions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing::{info, warn};

/// The wall clock may gain so much between two looks: what time synchronisation corrects at once on a sound machine.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;
/// Beside it one part in so many of the time passed: a clock that is steered may run so much faster for long.
const DRIFT_PART: i64 = 1000;
/// A clock that stays ahead for so long is right after all: it was set, or the machine had been wrong before.
const BELIEVED_AFTER_MS: i64 = 24 * 3600 * 1000;

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds since the epoch.
    pub wall_ms: i64,
    /// Milliseconds since some moment, which nobody sets. Counts while the machine sleeps (`CLOCK_BOOTTIME`).
    pub steady_ms: i64,
}

/// What the clock says, and whether that is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The time to decide by, milliseconds since the epoch.
    pub now_ms: i64,
    /// How far the wall clock is ahead without being believed, milliseconds; 0 if it is believed.
    pub jump_ms: i64,
    /// What changed at this look.
    pub news: Option<News>,
}

/// A change of belief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The wall clock jumped ahead and is not believed.
    Jumped,
    /// It came back.
    CameBack,
    /// It stayed ahead for so long that it is believed.
    Believed,
}

/// Follows the wall clock; a pure decision over readings.
#[derive(Debug, Clone, Copy)]
pub struct Follower {
    /// The last reading, with the time that was told instead of the wall clock's.
    last: Reading,
    /// Since when, steady, the wall clock is ahead, and by how much it was ahead of the steady clock then.
    ahead: Option<(i64, i64)>,
}

impl Follower {
    /// Begins with a wall clock that is believed: nothing tells a long stop from a jump.
    pub fn new(first: Reading) -> Follower {
        Follower { last: first, ahead: None }
    }

    /// Takes the next reading.
    pub fn follow(&mut self, now: Reading) -> Told {
        let passed = now.steady_ms.saturating_sub(self.last.steady_ms).max(0);
        let expected = self.last.wall_ms.saturating_add(passed);
        let jump_ms = now.wall_ms.saturating_sub(expected);
        let tolerance = TOLERANCE_MS + passed / DRIFT_PART;
        let was_ahead = self.ahead.is_some();
        let (told, news) = if jump_ms <= tolerance {
            self.ahead = None;
            (now.wall_ms, was_ahead.then_some(News::CameBack))
        } else {
            let difference = now.wall_ms.saturating_sub(now.steady_ms);
            // A second jump ahead has to last as well.
            let same = self.ahead.filter(|(_, known)| difference <= known.saturating_add(TOLERANCE_MS));
            let (since, known) = same.unwrap_or((now.steady_ms, difference));
            self.ahead = Some((since, known));
            if now.steady_ms.saturating_sub(since) >= BELIEVED_AFTER_MS {
                self.ahead = None;
                (now.wall_ms, Some(News::Believed))
            } else {
                (expected, same.is_none().then_some(News::Jumped))
            }
        };
        self.last = Reading { wall_ms: told, steady_ms: now.steady_ms };
        Told { now_ms: told, jump_ms: now.wall_ms.saturating_sub(told).max(0), news }
    }
}

/// The clock of this process.
#[derive(Debug)]
pub struct RetentionClock(Mutex<(Follower, Told)>);

impl Default for RetentionClock {
    fn default() -> RetentionClock {
        let first = reading();
        let told = Told { now_ms: first.wall_ms, jump_ms: 0, news: None };
        RetentionClock(Mutex::new((Follower::new(first), told)))
    }
}

impl RetentionClock {
    /// The time to decide about deletions by, milliseconds since the epoch. Looks at both clocks.
    pub fn now_ms(&self) -> i64 {
        let mut clock = self.0.lock();
        let now = reading();
        let told = clock.0.follow(now);
        clock.1 = told;
        let (wall_ms, retention_ms) = (now.wall_ms, told.now_ms);
        match told.news {
            Some(News::Jumped) => warn!(
                wall_ms,
                retention_ms,
                believed_after_hours = BELIEVED_AFTER_MS / 3_600_000,
                "the wall clock jumped ahead: nothing is deleted by its age as that clock has it, until it has lasted"
            ),
            Some(News::CameBack) => info!(wall_ms, "the wall clock is back: retention follows it"),
            Some(News::Believed) => {
                warn!(wall_ms, "the wall clock stayed ahead: retention follows it from now on")
            }
            None => {}
        }
        told.now_ms
    }

    /// How far the wall clock was ahead, without being believed, at the last look.
    pub fn jump(&self) -> Duration {
        Duration::from_millis(self.0.lock().1.jump_ms.max(0).unsigned_abs())
    }
}

fn reading() -> Reading {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let steady = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Reading {
        wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
        steady_ms: steady.tv_sec.saturating_mul(1000).saturating_add(steady.tv_nsec / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;
    const BEGAN: i64 = 1_700_000_000_000;

    fn at(steady_ms: i64, ahead_ms: i64) -> Reading {
        Reading { wall_ms: BEGAN + steady_ms + ahead_ms, steady_ms }
    }

    #[test]
    fn a_jump_ahead_is_not_believed_before_it_has_lasted() {
        let mut clock = Follower::new(at(0, 0));
        assert_eq!(clock.follow(at(HOUR, 1_000)).now_ms, BEGAN + HOUR + 1_000);
        let year = 365 * 24 * HOUR;
        let jumped = clock.follow(at(2 * HOUR, year));
        assert_eq!(jumped.news, Some(News::Jumped));
        // It counts on from what it said before.
        assert_eq!(jumped.now_ms, BEGAN + 2 * HOUR + 1_000);
        assert_eq!(jumped.jump_ms, year - 1_000);
        for hour in 3..26 {
            let told = clock.follow(at(hour * HOUR, year));
            assert_eq!((told.now_ms, told.news), (BEGAN + hour * HOUR + 1_000, None), "it is told of once");
        }
        let believed = clock.follow(at(26 * HOUR, year));
        assert_eq!((believed.now_ms, believed.jump_ms), (BEGAN + 26 * HOUR + year, 0));
        assert_eq!(believed.news, Some(News::Believed));
        assert_eq!(clock.follow(at(27 * HOUR, year)).news, None);
    }

    #[test]
    fn a_clock_that_comes_back_is_followed_at_once() {
        let mut clock = Follower::new(at(0, 0));
        assert_eq!(clock.follow(at(HOUR, 10 * HOUR)).news, Some(News::Jumped));
        let back = clock.follow(at(2 * HOUR, 0));
        assert_eq!((back.now_ms, back.jump_ms, back.news), (BEGAN + 2 * HOUR, 0, Some(News::CameBack)));
        // Also when it goes back by a year, and then on from there.
        assert_eq!(clock.follow(at(3 * HOUR, -9_000 * HOUR)).now_ms, BEGAN - 8_997 * HOUR);
        // The way to the right time is a jump ahead again: it has to last.
        assert_eq!(clock.follow(at(4 * HOUR, 0)).news, Some(News::Jumped));
    }

    #[test]
    fn a_second_jump_has_to_last_as_well() {
        let mut clock = Follower::new(at(0, 0));
        clock.follow(at(HOUR, 10 * HOUR));
        assert_eq!(clock.follow(at(20 * HOUR, 1_000 * HOUR)).news, Some(News::Jumped));
        assert_eq!(clock.follow(at(26 * HOUR, 1_000 * HOUR)).now_ms, BEGAN + 26 * HOUR);
        assert_eq!(clock.follow(at(44 * HOUR, 1_000 * HOUR)).news, Some(News::Believed));
    }

    #[test]
    fn a_sleeping_machine_and_a_steered_clock_are_no_jump() {
        let mut clock = Follower::new(at(0, 0));
        // The steady clock counts a night's sleep.
        assert_eq!(clock.follow(at(9 * HOUR, 500)).news, None);
        let mut ahead = 500;
        for hour in 10..2_000 {
            // Half a thousandth too fast.
            ahead += HOUR / 2_000;
            let told = clock.follow(at(hour * HOUR, ahead));
            assert_eq!((told.now_ms, told.news), (BEGAN + hour * HOUR + ahead, None));
        }
    }

    #[test]
    fn the_clocks_of_this_machine() {
        let clock = RetentionClock::default();
        let wall = reading().wall_ms;
        assert!((clock.now_ms() - wall).abs() < 60_000);
        assert_eq!(clock.jump(), Duration::ZERO);
    }

    proptest! {
        /// Within the time a jump has to last, no record becomes older than the machine saw it become, save for what a sound
        /// clock may gain.
        #[test]
        fn nothing_ages_by_a_jump(steps in proptest::collection::vec((0..10 * 60_000i64, -1_000_000_000..1_000_000_000i64), 1..100)) {
            let mut clock = Follower::new(at(0, 0));
            let mut steady = 0;
            let mut told = BEGAN;
            for (passed, ahead) in steps {
                steady += passed;
                let now = clock.follow(at(steady, ahead));
                prop_assert!(now.now_ms <= told + passed + TOLERANCE_MS + passed / DRIFT_PART || now.news == Some(News::Believed));
                prop_assert!(now.now_ms <= BEGAN + steady + ahead.max(0) || now.jump_ms == 0);
                told = now.now_ms;
            }
        }
    }
}
