//! Which bytes of a segment this process knows to be good, and where it found damage.
//!
//! ```text
//!   0        verified by a read      damaged            own_from        size
//!   ├───────────┼──────────┼───────────┼───┼───────────────┼────────────┤
//!    unknown: looked at       good      error   unknown      written or recovered by this process
//!    before it is served                        again
//! ```
//!
//! A client need not check checksums (librdkafka does not by default), so bytes that lay on a disk while nobody watched
//! are looked at once before they are served. What this process wrote itself is not: a look at one number tells.
//! What a read found good is remembered in a few ranges; what does not fit is looked at again.
//!
//! The CRC of a batch leaves out its first 16 bytes: offset, length and leader epoch. These are held against the batches
//! around, the offset index and the leader epochs; see [`check`].

mod check;
mod ranges;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

pub(super) use check::{Anchor, Doubt};
use ranges::Ranges;

/// Ranges that are remembered per segment.
const RANGES_MAX: usize = 16;
/// Damaged places kept apart per segment; beyond it neighbours are taken for one.
const DAMAGES_MAX: usize = 64;

/// A place in a segment that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// First byte.
    pub position: u64,
    /// First byte behind it, where a sound batch begins or the segment ends.
    pub resume: u64,
    /// First offset that cannot be read.
    pub offset: i64,
    /// First offset behind it.
    pub next_offset: i64,
    /// What is wrong.
    pub reason: String,
}

/// How many damaged places were found, over all logs that share it.
#[derive(Debug, Default)]
pub struct DamageCount {
    found: AtomicU64,
    known: AtomicI64,
}

impl DamageCount {
    /// Places found since the start.
    pub fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }

    /// Places in logs that are open now.
    pub fn known(&self) -> i64 {
        self.known.load(Ordering::Relaxed)
    }
}

/// What is known of one segment's bytes.
#[derive(Debug)]
pub(super) struct Trust {
    own_from: u64,
    known: OnceLock<Arc<Known>>,
    /// Ranges that are remembered.
    remembered: usize,
}

impl Trust {
    /// Of a file that was found on disk.
    pub fn none() -> Self {
        Self::own(u64::MAX)
    }

    /// Of a file that this process wrote or recovered from `position` on.
    pub fn own(position: u64) -> Self {
        Self { own_from: position, known: OnceLock::new(), remembered: RANGES_MAX }
    }

    /// Of a file whose pages may be lost: after a failed sync even bytes written by this process, and bytes read once, may
    /// be others at the next read.
    pub fn lost() -> Self {
        Self { remembered: 1, ..Self::none() }
    }

    /// Whether everything from `position` on is this process's own.
    pub fn covers(&self, position: u64) -> bool {
        position >= self.own_from
    }

    /// The file was cut to `size` bytes; what is written behind is new.
    pub fn cut(&self, size: u64) -> Self {
        Self { own_from: self.own_from.min(size), known: OnceLock::new(), remembered: self.remembered }
    }

    /// What reads have found.
    pub fn known(&self, count: &Arc<DamageCount>) -> &Arc<Known> {
        self.known.get_or_init(|| {
            Arc::new(Known {
                own_from: self.own_from,
                count: count.clone(),
                found: Mutex::new(Found { good: Ranges::new(self.remembered), damages: Vec::new() }),
            })
        })
    }

    /// What reads have found, if anything was read.
    pub fn known_if_any(&self) -> Option<&Arc<Known>> {
        self.known.get()
    }
}

/// What reads found out about one segment. Shared with the reads under way.
#[derive(Debug)]
pub(super) struct Known {
    own_from: u64,
    count: Arc<DamageCount>,
    found: Mutex<Found>,
}

#[derive(Debug)]
struct Found {
    good: Ranges,
    /// By position, none overlaps another.
    damages: Vec<Damage>,
}

/// The part of a segment around an offset that is not known to be damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sound {
    /// First byte, and the offset of the batch there, where damage lies before it.
    pub start: Option<(u64, i64)>,
    /// The damage behind, if there is any.
    pub behind: Option<Damage>,
}

impl Known {
    /// Whether the bytes from `from` to below `to` were found good, or are this process's own.
    pub fn is_good(&self, from: u64, to: u64) -> bool {
        let to = to.min(self.own_from);
        from >= to || self.found.lock().good.contain(from, to)
    }

    fn mark_good(&self, from: u64, to: u64) {
        self.found.lock().good.insert(from, to.min(self.own_from));
    }

    /// The sound part that holds `offset`.
    ///
    /// # Errors
    /// The damage that holds it.
    pub fn around(&self, offset: i64) -> Result<Sound, Damage> {
        let found = self.found.lock();
        let mut sound = Sound { start: None, behind: None };
        for damage in &found.damages {
            if damage.next_offset <= offset {
                sound.start = Some((damage.resume, damage.next_offset));
            } else if damage.offset <= offset {
                return Err(damage.clone());
            } else {
                sound.behind = Some(damage.clone());
                break;
            }
        }
        Ok(sound)
    }

    /// Takes a damaged place in; says so once per place.
    fn add(&self, path: &Path, damage: Damage) {
        let mut found = self.found.lock();
        let damages = &mut found.damages;
        let at = damages.partition_point(|known| known.resume <= damage.position);
        if let Some(known) = damages.get_mut(at).filter(|known| known.position < damage.resume) {
            // Another read met the same place, or it reaches further than was thought.
            known.position = known.position.min(damage.position);
            known.offset = known.offset.min(damage.offset);
            known.resume = known.resume.max(damage.resume);
            known.next_offset = known.next_offset.max(damage.next_offset);
            return;
        }
        tracing::error!(
            path = %path.display(), position = damage.position, bytes = damage.resume - damage.position,
            first_offset = damage.offset, next_offset = damage.next_offset, reason = damage.reason,
            "a log is damaged: these offsets cannot be read"
        );
        self.count.found.fetch_add(1, Ordering::Relaxed);
        if damages.len() < DAMAGES_MAX {
            self.count.known.fetch_add(1, Ordering::Relaxed);
            damages.insert(at, damage);
            return;
        }
        match at.checked_sub(1).and_then(|before| damages.get_mut(before)) {
            Some(before) => {
                before.resume = damage.resume;
                before.next_offset = damage.next_offset;
            }
            None => {
                let first = &mut damages[0];
                first.position = damage.position;
                first.offset = damage.offset;
            }
        }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let known = self.found.get_mut().damages.len();
        self.count.known.fetch_sub(known as i64, Ordering::Relaxed);
    }
}
