//! File handles that open when they are used, and the bound on how many stay open.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::dir::{FileKind, TXN_SUMS_FILE, segment_path};
use super::error::{StorageError, StorageErrorKind, is_out_of_files};
use super::verified::DamageCount;

/// Open files kept by default: half of the usual soft limit of 1024 descriptors.
pub const DEFAULT_OPEN_FILES: usize = 512;
/// Handles looked at for one that can be closed, each time one opens. When that many in a row
/// are dirty, the next sync is due anyway and the bound gives way for that long.
const EVICTION_STEPS: usize = 64;
/// Descriptors given back when the system has no more: a new segment needs three, and a reader or two.
const GIVEN_BACK: usize = 8;
/// Descriptors kept for writing when connections have taken all others: a new segment needs four.
const SPARE: usize = 12;
/// How often and after what pauses a file to sync is opened again when no descriptor is left.
const SYNC_OPENED: (usize, Duration) = (100, Duration::from_millis(20));

/// Bounds the open files of all logs that share it.
///
/// The order is that of a clock: a handle used since the hand passed gets another round.
#[derive(Debug)]
pub struct FileCache {
    capacity: usize,
    ring: Mutex<VecDeque<Weak<FileHandle>>>,
    damage: Arc<DamageCount>,
    /// Open files that are of no use but for their descriptors.
    spare: Mutex<Vec<File>>,
    /// No descriptor is left, says the test.
    #[cfg(test)]
    refuses: AtomicBool,
}

impl FileCache {
    /// A cache that closes idle files above `capacity`.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            ring: Mutex::new(VecDeque::new()),
            damage: Arc::default(),
            spare: Mutex::new(spare_files()),
            #[cfg(test)]
            refuses: AtomicBool::new(false),
        })
    }

    /// How many damaged places the logs have.
    pub fn damage(&self) -> &DamageCount {
        &self.damage
    }

    /// Handles in the ring; those of dropped logs leave when the hand passes.
    pub fn tracked(&self) -> usize {
        self.ring.lock().len()
    }

    /// From now on no file can be opened, or all can again.
    #[cfg(test)]
    pub(crate) fn refuse_for_test(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Release);
    }

    /// Opens a file. When no descriptor is left, idle files are closed for it, and it is tried once more.
    fn open(&self, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        #[cfg(test)]
        let open = || match self.refuses.load(Ordering::Acquire) {
            true => Err(io::Error::from_raw_os_error(24)),
            false => open(),
        };
        match open() {
            Err(error) if is_out_of_files(&error) && self.give_back() > 0 => open(),
            opened => opened,
        }
    }

    /// As [`Self::open`], for writing: at last a spare descriptor is used. One is given up for each file, so that nobody else
    /// can take it meanwhile but by a rare chance.
    fn open_to_write(&self, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        let opened = match self.open(&open) {
            Err(error) if is_out_of_files(&error) => {
                let Some(spare) = self.spare.lock().pop() else {
                    return Err(error);
                };
                drop(spare);
                #[cfg(test)]
                if self.refuses.load(Ordering::Acquire) {
                    return Err(error);
                }
                return open();
            }
            opened => opened?,
        };
        // Descriptors are to be had again.
        let mut spare = self.spare.lock();
        if spare.len() < SPARE {
            *spare = spare.drain(..).chain(spare_files()).take(SPARE).collect();
        }
        Ok(opened)
    }

    /// Closes some files that nobody is using, however lately they were used. How many.
    fn give_back(&self) -> usize {
        let mut ring = self.ring.lock();
        let mut closed = 0;
        for _ in 0..ring.len() {
            if closed == GIVEN_BACK {
                break;
            }
            let Some(weak) = ring.pop_front() else { break };
            let Some(candidate) = weak.upgrade() else { continue };
            // One that a reader holds stays open until the reader is done.
            if candidate.is_in_use() || !candidate.close_if_clean() {
                ring.push_back(weak);
            } else {
                candidate.tracked.store(false, Ordering::Relaxed);
                closed += 1;
            }
        }
        closed
    }

    fn opened(&self, handle: &Arc<FileHandle>) {
        let mut ring = self.ring.lock();
        if !handle.tracked.swap(true, Ordering::Relaxed) {
            ring.push_back(Arc::downgrade(handle));
        }
        for _ in 0..EVICTION_STEPS.min(ring.len()) {
            if ring.len() <= self.capacity {
                break;
            }
            let Some(weak) = ring.pop_front() else { break };
            let Some(candidate) = weak.upgrade() else { continue };
            let used = candidate.touched.swap(false, Ordering::Relaxed);
            if used || !candidate.close_if_clean() {
                ring.push_back(weak);
            } else {
                candidate.tracked.store(false, Ordering::Relaxed);
            }
        }
    }
}

/// As many spare files as can be had, [`SPARE`] at most.
fn spare_files() -> Vec<File> {
    std::iter::repeat_with(|| File::open("/dev/null")).take(SPARE).map_while(Result::ok).collect()
}

/// What the handles of one partition share.
#[derive(Debug)]
pub(super) struct LogDir {
    pub path: PathBuf,
    pub cache: Arc<FileCache>,
    stopped: AtomicBool,
    /// How often the log lost its end: what was read before may not be in it any more.
    truncations: AtomicU64,
    /// A rewrite of segments has files here.
    rewriting: AtomicBool,
    /// The directory's name no longer belongs to this log.
    gone: AtomicBool,
}

impl LogDir {
    pub fn new(path: &Path, cache: Arc<FileCache>) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_path_buf(),
            cache,
            stopped: AtomicBool::new(false),
            truncations: AtomicU64::new(0),
            rewriting: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        })
    }

    /// The directory is about to be renamed: none of its files is opened any more.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub fn check(&self) -> Result<(), StorageError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(StorageError::Stopped { path: self.path.clone() });
        }
        Ok(())
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Notes that the end of the log is about to be cut off.
    pub fn truncated(&self) {
        self.truncations.fetch_add(1, Ordering::AcqRel);
    }

    pub fn truncations(&self) -> u64 {
        self.truncations.load(Ordering::Acquire)
    }

    /// True if the caller alone may make files of rewritten segments, until [`Self::end_rewrite`].
    pub fn begin_rewrite(&self) -> bool {
        !self.rewriting.swap(true, Ordering::AcqRel)
    }

    pub fn end_rewrite(&self) {
        self.rewriting.store(false, Ordering::Release);
    }
}

/// One file of a log. Costs no descriptor until it is used.
///
/// A file with unsynced writes is never closed by the cache: Linux reports a failed write-back
/// to descriptors that were open when it happened, and a file closed before its sync could lose
/// data without anyone hearing of it.
#[derive(Debug)]
pub struct FileHandle {
    dir: Arc<LogDir>,
    base_offset: i64,
    kind: FileKind,
    open: Mutex<Option<Arc<File>>>,
    written: AtomicU64,
    synced: AtomicU64,
    /// The name no longer belongs to these bytes, so it must not be opened again.
    retired: AtomicBool,
    /// A reader has it while its name goes: it stays open.
    pinned: AtomicBool,
    tracked: AtomicBool,
    touched: AtomicBool,
}

/// What had been written when a sync began; see [`FileHandle::sync_begin`].
#[derive(Debug, Clone, Copy)]
pub struct SyncTicket(u64);

impl FileHandle {
    pub(super) fn new(dir: &Arc<LogDir>, base_offset: i64, kind: FileKind) -> Arc<Self> {
        Arc::new(Self {
            dir: dir.clone(),
            base_offset,
            kind,
            open: Mutex::new(None),
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            pinned: AtomicBool::new(false),
            tracked: AtomicBool::new(false),
            touched: AtomicBool::new(false),
        })
    }

    /// A handle on an existing segment file, for tests of what reads through one.
    #[cfg(test)]
    pub(crate) fn for_test(dir: &Path, base_offset: i64) -> Arc<Self> {
        Self::new(&LogDir::new(dir, FileCache::new(8)), base_offset, FileKind::Log)
    }

    /// The file's path.
    pub fn path(&self) -> PathBuf {
        match self.kind {
            FileKind::Directory => self.dir.path.clone(),
            FileKind::TxnSums => self.dir.path.join(TXN_SUMS_FILE),
            kind => segment_path(&self.dir.path, self.base_offset, kind.extension()),
        }
    }

    /// The open file. Whoever holds it can go on reading after the segment was deleted.
    ///
    /// # Errors
    /// The file cannot be opened, or its segment was removed from the log meanwhile.
    pub fn file(self: &Arc<Self>) -> Result<Arc<File>, StorageError> {
        self.file_for(false)
    }

    /// The open file, which stays open until what is written to it next is synced.
    fn file_to_write(self: &Arc<Self>) -> Result<Arc<File>, StorageError> {
        self.file_for(true)
    }

    fn file_for(self: &Arc<Self>, writing: bool) -> Result<Arc<File>, StorageError> {
        self.touched.store(true, Ordering::Relaxed);
        let mut open = self.open.lock();
        if let Some(file) = &*open {
            if writing {
                self.mark_written();
            }
            return Ok(file.clone());
        }
        let path = self.path();
        if self.is_removed() {
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(StorageError::io("open removed", &path, source));
        }
        let write = self.kind != FileKind::Directory;
        let cache = &self.dir.cache;
        let opening = || OpenOptions::new().read(true).write(write).open(&path);
        let file = if writing { cache.open_to_write(opening) } else { cache.open(opening) };
        let file = file.map_err(|source| StorageError::io("open", &path, source))?;
        let file = Arc::new(file);
        *open = Some(file.clone());
        if writing {
            // Before the cache may look at it.
            self.mark_written();
        }
        drop(open);
        self.dir.cache.opened(self);
        Ok(file)
    }

    /// Creates the file, or empties the index a failed roll left behind. A `.log` with content
    /// is never emptied.
    pub(super) fn create(self: &Arc<Self>) -> Result<(), StorageError> {
        let path = self.path();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(self.kind != FileKind::Log);
        let file = self
            .dir
            .cache
            .open_to_write(|| options.open(&path))
            .map_err(|source| StorageError::io("create", &path, source))?;
        let length = file.metadata().map_err(|source| StorageError::io("create", &path, source))?.len();
        if length > 0 {
            return Err(StorageError::corrupt(&path, 0, "a new segment's file holds data"));
        }
        self.touched.store(true, Ordering::Relaxed);
        self.mark_written();
        *self.open.lock() = Some(Arc::new(file));
        self.dir.cache.opened(self);
        Ok(())
    }

    /// When the file was created, milliseconds since the epoch; `None` where the file system does not tell.
    pub(super) fn created_ms(self: &Arc<Self>) -> Option<i64> {
        let created = self.file().ok()?.metadata().ok()?.created().ok()?;
        let since = created.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    }

    /// Bytes in the file.
    pub(super) fn len(self: &Arc<Self>) -> Result<u64, StorageError> {
        let file = self.file()?;
        let metadata = file.metadata().map_err(|source| StorageError::io("inspect", &self.path(), source))?;
        Ok(metadata.len())
    }

    /// Fills `buf` from `position`; fewer bytes only at the end of the file.
    pub fn read_at(self: &Arc<Self>, buf: &mut [u8], position: u64) -> Result<usize, StorageError> {
        let file = self.file()?;
        let mut filled = 0;
        while filled < buf.len() {
            match file.read_at(&mut buf[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StorageError::io("read", &self.path(), source)),
            }
        }
        Ok(filled)
    }

    /// Fills `buf` from `position` without waiting for the disk; false if not all of it is in memory
    /// (or in the file).
    pub fn read_cached(self: &Arc<Self>, buf: &mut [u8], position: u64) -> Result<bool, StorageError> {
        let file = self.file()?;
        let wanted = buf.len();
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        match rustix::io::preadv2(&*file, &mut [io::IoSliceMut::new(buf)], position, flags) {
            Ok(count) => Ok(count == wanted),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
            // Not every file system can tell; those that cannot are mostly memory themselves.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                Ok(self.read_at(buf, position)? == wanted)
            }
            Err(error) => Err(StorageError::io("read", &self.path(), error.into())),
        }
    }

    /// Whether the `len` bytes from `position` on are likely in memory: their first and last are.
    /// What lies between was read or written with them, or is on its way by read-ahead.
    pub fn is_cached(self: &Arc<Self>, position: u64, len: usize) -> Result<bool, StorageError> {
        let last = position + (len as u64).saturating_sub(1);
        Ok(self.read_cached(&mut [0], position)? && self.read_cached(&mut [0], last)?)
    }

    /// Writes two pieces one after the other at `position`, going on after a short write.
    pub(super) fn write_at(
        self: &Arc<Self>,
        mut head: &[u8],
        mut tail: &[u8],
        mut position: u64,
    ) -> Result<(), StorageError> {
        self.dir.check()?;
        // Counted before, so that the cache keeps the descriptor, and after, so that a sync
        // which began in between does not cover it.
        let file = self.file_to_write()?;
        let fail = |source| StorageError::io("write", &self.path(), source);
        while !head.is_empty() || !tail.is_empty() {
            let pieces = [IoSlice::new(head), IoSlice::new(tail)];
            match rustix::io::pwritev(&*file, &pieces, position) {
                Ok(0) => return Err(fail(io::Error::from(io::ErrorKind::WriteZero))),
                Ok(count) => {
                    let from_head = count.min(head.len());
                    head = &head[from_head..];
                    tail = &tail[count - from_head..];
                    position += count as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(fail(error.into())),
            }
        }
        self.mark_written();
        Ok(())
    }

    /// Cuts the file to `length` bytes.
    pub(super) fn truncate(self: &Arc<Self>, length: u64) -> Result<(), StorageError> {
        let cut = self.file_to_write()?.set_len(length);
        self.mark_written();
        cut.map_err(|source| StorageError::io("truncate", &self.path(), source))
    }

    /// Notes that something was written that a sync must still make durable.
    pub(super) fn mark_written(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
    }

    /// True if a sync is still needed.
    pub fn is_dirty(&self) -> bool {
        self.written.load(Ordering::Acquire) > self.synced.load(Ordering::Acquire)
    }

    /// Makes everything written so far durable. After a failure the whole log refuses writes
    /// and syncs until it is reopened.
    pub fn sync(self: &Arc<Self>) -> Result<(), StorageError> {
        self.dir.check()?;
        let ticket = self.sync_begin();
        let synced = self.file_to_sync().and_then(|file| {
            let result = match self.kind {
                FileKind::Directory => file.sync_all(),
                _ => file.sync_data(),
            };
            result.map_err(|source| StorageError::io("sync", &self.path(), source))
        });
        match synced {
            Ok(()) => {
                self.sync_done(ticket);
                Ok(())
            }
            // A removed segment has nothing left to protect.
            Err(_) if self.is_removed() => Ok(()),
            Err(error) => {
                self.dir.stop();
                Err(error)
            }
        }
    }

    /// Files that are written stay open until they are synced, but for a directory nobody had a reason to open. No descriptor
    /// for it is no failure of the disk: nothing was tried yet, so there is time.
    fn file_to_sync(self: &Arc<Self>) -> Result<Arc<File>, StorageError> {
        let (times, pause) = SYNC_OPENED;
        for _ in 1..times {
            match self.file() {
                Err(error) if error.kind() == StorageErrorKind::OutOfFiles => std::thread::sleep(pause),
                opened => return opened,
            }
        }
        self.file()
    }

    /// Opens a directory whose entries are about to change, for the sync that must follow.
    pub(super) fn open_to_change(self: &Arc<Self>) -> Result<(), StorageError> {
        self.file_to_write().map(drop)
    }

    /// For a caller that syncs the whole file system (`syncfs`): take a ticket of each handle
    /// before, and give it back with [`Self::sync_done`] or [`Self::sync_failed`] after.
    pub fn sync_begin(&self) -> SyncTicket {
        SyncTicket(self.written.load(Ordering::Acquire))
    }

    /// The sync that `ticket` belongs to succeeded.
    pub fn sync_done(&self, ticket: SyncTicket) {
        self.synced.fetch_max(ticket.0, Ordering::AcqRel);
    }

    /// A sync that should have covered this file failed: its log stops.
    pub fn sync_failed(&self) {
        self.dir.stop();
    }

    /// Whether somebody beside the handle has the open file now.
    fn is_in_use(&self) -> bool {
        self.open.try_lock().is_none_or(|open| open.as_ref().is_none_or(|file| Arc::strong_count(file) > 1))
    }

    /// Closes the descriptor if nothing unsynced depends on it; true if it is closed.
    pub(super) fn close_if_clean(&self) -> bool {
        let Some(mut open) = self.open.try_lock() else {
            return false;
        };
        if self.pinned.load(Ordering::Acquire) || self.is_dirty() && !self.is_removed() {
            return false;
        }
        *open = None;
        true
    }

    /// Whether somebody beside the log has it. Handles are given out under the log's lock only.
    pub(super) fn is_shared(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    /// To be called before the file's name goes: if a reader has the handle, it is opened and stays open for as long as
    /// the handle lives, so that the reader gets the bytes it was promised. Should that fail, the reader gets an error.
    pub(super) fn pin_for_readers(self: &Arc<Self>) {
        if self.is_shared() {
            self.pinned.store(true, Ordering::Release);
            if let Err(error) = self.file() {
                tracing::warn!(%error, "a reader of a file that is being removed has to ask again");
            }
        }
    }

    /// The file leaves the log: whoever has it open may finish, nobody opens it again.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    fn is_removed(&self) -> bool {
        self.retired.load(Ordering::Acquire) || self.dir.gone.load(Ordering::Acquire)
    }

    pub(super) fn damage_count(&self) -> &Arc<DamageCount> {
        &self.dir.cache.damage
    }

    /// True if the file is open now.
    pub fn is_open(&self) -> bool {
        self.open.lock().is_some()
    }
}

/// When a file was last written, in ms since the epoch.
pub(super) fn modified_ms(path: &Path) -> Result<i64, StorageError> {
    let modified = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .map_err(|source| StorageError::io("inspect", path, source))?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_files_close_and_dirty_ones_stay_open() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LogDir::new(temp.path(), FileCache::new(2));
        let handles: Vec<_> = (0..8).map(|base| FileHandle::new(&dir, base, FileKind::Log)).collect();
        for handle in &handles {
            handle.create().unwrap();
        }
        assert_eq!(handles.iter().filter(|h| h.is_open()).count(), 8, "all are dirty");
        handles.iter().for_each(|h| h.sync().unwrap());
        let extra = FileHandle::new(&dir, 9, FileKind::Log);
        extra.create().unwrap();
        extra.sync().unwrap();
        let again = FileHandle::new(&dir, 10, FileKind::Log);
        again.create().unwrap();
        let open = handles.iter().filter(|h| h.is_open()).count();
        assert!(open <= 1, "{open} of the clean files are still open");
        assert!(again.is_open());
        handles[0].write_at(b"ab", b"cd", 0).unwrap();
        let mut read = [0; 8];
        assert_eq!(handles[0].read_at(&mut read, 1).unwrap(), 3);
        assert_eq!(&read[..3], b"bcd");
    }

    #[test]
    fn idle_files_are_given_back_when_no_descriptor_is_left() {
        let temp = tempfile::tempdir().unwrap();
        let cache = FileCache::new(100);
        let dir = LogDir::new(temp.path(), cache.clone());
        let handles: Vec<_> = (0..20).map(|base| FileHandle::new(&dir, base, FileKind::Log)).collect();
        for handle in &handles {
            handle.create().unwrap();
        }
        let tries = std::cell::Cell::new(0);
        let open = |works_at: usize| {
            tries.set(0);
            cache.open(|| {
                tries.set(tries.get() + 1);
                if tries.get() < works_at {
                    Err(io::Error::from_raw_os_error(24))
                } else {
                    File::open(temp.path())
                }
            })
        };
        assert!(is_out_of_files(&open(2).unwrap_err()), "all files have unsynced data");
        assert_eq!(tries.get(), 1);
        handles.iter().for_each(|handle| handle.sync().unwrap());
        let read = handles[0].file().unwrap();
        open(2).unwrap();
        assert_eq!(handles.iter().filter(|handle| handle.is_open()).count(), 20 - GIVEN_BACK);
        assert!(handles[0].is_open(), "it is being read");
        drop(read);
        assert!(is_out_of_files(&open(3).unwrap_err()), "it is tried once more, and not for ever");
        assert_eq!(tries.get(), 2);
        // They open again when they are used.
        handles.iter().for_each(|handle| assert_eq!(handle.len().unwrap(), 0));
    }

    #[test]
    fn a_spare_descriptor_is_used_for_writing_and_taken_again() {
        let cache = FileCache::new(100);
        let left = std::cell::Cell::new(false);
        // The first try of each opening finds none, until there are some again.
        let open = || {
            let tries = std::cell::Cell::new(0);
            cache.open_to_write(|| {
                tries.set(tries.get() + 1);
                match left.get() || tries.get() > 1 {
                    true => File::open("/dev/null"),
                    false => Err(io::Error::from_raw_os_error(24)),
                }
            })
        };
        let opened: Vec<_> = (0..SPARE).map(|_| open().unwrap()).collect();
        assert_eq!((opened.len(), cache.spare.lock().len()), (SPARE, 0));
        assert!(is_out_of_files(&open().unwrap_err()), "none is left");
        left.set(true);
        open().unwrap();
        assert_eq!(cache.spare.lock().len(), SPARE);
    }

    #[test]
    fn a_sync_covers_only_what_was_written_before_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LogDir::new(temp.path(), FileCache::new(2));
        let handle = FileHandle::new(&dir, 0, FileKind::Log);
        handle.create().unwrap();
        let ticket = handle.sync_begin();
        handle.write_at(b"x", b"", 0).unwrap();
        handle.sync_done(ticket);
        assert!(handle.is_dirty());
        handle.sync().unwrap();
        assert!(!handle.is_dirty());
        handle.sync_failed();
        assert!(matches!(handle.write_at(b"x", b"", 1), Err(StorageError::Stopped { .. })));
        assert!(matches!(handle.sync(), Err(StorageError::Stopped { .. })));
    }

    #[test]
    fn a_removed_file_is_not_opened_again() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LogDir::new(temp.path(), FileCache::new(2));
        let handle = FileHandle::new(&dir, 0, FileKind::Log);
        handle.create().unwrap();
        let held = handle.file().unwrap();
        handle.retire();
        assert!(handle.close_if_clean());
        assert!(handle.file().is_err());
        assert_eq!(held.metadata().unwrap().len(), 0);
    }
}
