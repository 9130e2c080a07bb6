//! Keeps the cleaner's reads and writes below `log.cleaner.io.max.bytes.per.second`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The longest sleep at a time: a stop does not wait longer.
const NAP: Duration = Duration::from_millis(100);
/// What was not used up is saved for so long.
const SAVED: Duration = Duration::from_millis(300);

/// When the next bytes may be read or written: a pure account of bytes against time.
#[derive(Debug, Clone, Copy)]
struct Account {
    bytes_per_second: f64,
    /// Everything booked so far is paid for at this time.
    paid_at: Instant,
}

impl Account {
    /// Books `bytes` at `now`; returns how long to wait for them.
    fn book(&mut self, bytes: u64, now: Instant) -> Duration {
        let earliest = now.checked_sub(SAVED).unwrap_or(now);
        let begin = self.paid_at.max(earliest);
        let seconds = bytes as f64 / self.bytes_per_second;
        // Beyond a day the rate is a way to switch the cleaner off.
        self.paid_at = begin + Duration::from_secs_f64(seconds.min(86_400.0));
        self.paid_at.saturating_duration_since(now)
    }
}

/// One rate for all cleaner threads.
#[derive(Debug)]
pub struct Throttle {
    account: Mutex<Account>,
    stopping: AtomicBool,
}

impl Throttle {
    /// Lets through `bytes_per_second`, which is above 0.
    pub fn new(bytes_per_second: f64) -> Throttle {
        let account = Account { bytes_per_second, paid_at: Instant::now() };
        Throttle { account: Mutex::new(account), stopping: AtomicBool::new(false) }
    }

    /// Notes that so many bytes were read or written, and sleeps until they are within the rate. False if the cleaner has to
    /// stop.
    pub fn admit(&self, bytes: u64) -> bool {
        let wait = self.account.lock().book(bytes, Instant::now());
        self.sleep(wait)
    }

    /// Sleeps; false, at once, if the cleaner has to stop.
    pub fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            if self.is_stopping() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    /// Ends every wait.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the cleaner has to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_time() {
        let begin = Instant::now() + Duration::from_secs(10);
        let mut account = Account { bytes_per_second: 1000.0, paid_at: begin };
        assert_eq!(account.book(500, begin), Duration::from_millis(500));
        assert_eq!(account.book(500, begin), Duration::from_millis(1000));
        assert_eq!(account.book(0, begin + Duration::from_millis(400)), Duration::from_millis(600));
        // A pause earns a little, not everything.
        let later = begin + Duration::from_secs(60);
        assert_eq!(account.book(300, later), Duration::ZERO);
        assert_eq!(account.book(300, later), Duration::from_millis(300));
        let mut unlimited = Account { bytes_per_second: f64::MAX, paid_at: begin };
        assert_eq!(unlimited.book(u64::MAX, begin), Duration::ZERO);
        let mut tiny = Account { bytes_per_second: f64::MIN_POSITIVE, paid_at: begin };
        assert!(tiny.book(1, begin) <= Duration::from_secs(86_400));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let throttle = Throttle::new(1.0);
        throttle.stop();
        assert!(!throttle.admit(1 << 20));
    }
}
