//! Work repeated in rounds, timed by the CPU time of this thread: on a busy machine that is steadier than a clock.

/// CPU seconds this thread has used.
fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds of one repetition in the best and in the median of the rounds.
#[derive(Clone, Copy)]
pub struct Seconds {
    /// The least disturbed round.
    pub best: f64,
    /// The round in the middle.
    pub median: f64,
}

/// Runs `rounds` rounds of `repetitions` each, after one that warms up.
pub fn rounds(rounds: usize, repetitions: usize, mut work: impl FnMut()) -> Seconds {
    let mut round = || {
        let begin = thread_seconds();
        (0..repetitions).for_each(|_| work());
        (thread_seconds() - begin) / repetitions as f64
    };
    round();
    let mut took: Vec<f64> = (0..rounds).map(|_| round()).collect();
    took.sort_by(f64::total_cmp);
    Seconds { best: took[0], median: took[took.len() / 2] }
}

/// One line: what it was, and how many bytes of it pass in a second.
pub fn print(what: &str, bytes: usize, seconds: Seconds) {
    let rate = |seconds: f64| bytes as f64 / seconds / 1e9;
    println!(
        "{what:<58} {:>7.2} GB/s median, {:>7.2} best, {:>8.2} us each",
        rate(seconds.median),
        rate(seconds.best),
        seconds.median * 1e6
    );
}
