//! Room on the disk, and the reserve that appends leave alone.
//!
//! A disk that records have filled to the last byte can neither delete a topic, nor apply retention, nor start a broker:
//! all of these write a little before they free much. So appends stop while there is still room for the rest.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

/// Smallest and largest reserve that is chosen by itself, bytes.
const RESERVE_BYTES_MIN: u64 = 4 << 20;
const RESERVE_BYTES_MAX: u64 = 256 << 20;
/// The part of the disk that is reserved between these bounds: one in so many bytes.
const RESERVE_PART: u64 = 100;

/// Room of a file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its size.
    pub total: u64,
    /// Free for us.
    pub usable: u64,
}

/// The reserve on a disk of `total` bytes where the operator named none.
pub fn reserve_for(total: u64) -> u64 {
    (total / RESERVE_PART).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
}

/// The disk under a data directory.
#[derive(Debug)]
pub struct Disk {
    data_dir: File,
    reserve: Option<u64>,
    /// Bytes that may be appended before the disk is asked again.
    allowance: AtomicI64,
}

impl Disk {
    /// Over the file system of `data_dir`. Without `reserve`, [`reserve_for`] chooses.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn new(data_dir: &Path, reserve: Option<u64>) -> io::Result<Disk> {
        Ok(Disk { data_dir: File::open(data_dir)?, reserve, allowance: AtomicI64::new(0) })
    }

    /// Its room now.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn room(&self) -> io::Result<Room> {
        let stat = rustix::fs::fstatvfs(&self.data_dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Room { total: bytes(stat.f_blocks), usable: bytes(stat.f_bavail) })
    }

    /// Whether `bytes` can be written and one part in `part` of the reserve is still free. True where the disk does not tell.
    pub fn leaves_reserve(&self, bytes: u64, part: u64) -> bool {
        let Ok(room) = self.room() else { return true };
        let reserve = self.reserve.unwrap_or_else(|| reserve_for(room.total));
        room.usable.saturating_sub(reserve / part.max(1)) >= bytes
    }

    /// Whether `bytes` may be appended. The disk is asked only when what it last granted is used up, so that an append
    /// pays for one addition; and at every append while it is full, so that appends go on as soon as there is room.
    pub fn admits(&self, bytes: usize) -> bool {
        /// Granted at a time, at most: others write to the disk as well.
        const GRANT_BYTES_MAX: u64 = 64 << 20;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.allowance.fetch_sub(bytes, Ordering::Relaxed) >= bytes {
            return true;
        }
        // Where the disk does not tell, only the write itself can find out.
        let Ok(room) = self.room() else { return true };
        let reserve = self.reserve.unwrap_or_else(|| reserve_for(room.total));
        let granted = room.usable.saturating_sub(reserve).min(GRANT_BYTES_MAX) as i64;
        self.allowance.store(granted.saturating_sub(bytes).max(0), Ordering::Relaxed);
        granted >= bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_hundredth_within_bounds() {
        assert_eq!(reserve_for(64 << 20), 4 << 20);
        assert_eq!(reserve_for(10 << 30), (10 << 30) / 100);
        assert_eq!(reserve_for(1 << 40), 256 << 20);
    }

    #[test]
    fn nothing_is_admitted_into_the_reserve() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path(), Some(0)).unwrap();
        let room = disk.room().unwrap();
        assert!(room.usable <= room.total);
        assert!((0..200).all(|_| disk.admits(1 << 20)), "grants are renewed while there is room");
        let full = Disk::new(dir.path(), Some(u64::MAX)).unwrap();
        assert!((0..3).all(|_| !full.admits(1)));
        let nearly = Disk::new(dir.path(), Some(room.usable.saturating_sub(32 << 20))).unwrap();
        assert!(!nearly.admits(1 << 30), "more than there is");
        assert!(disk.leaves_reserve(1, 1) && !full.leaves_reserve(1, 1));
    }
}
