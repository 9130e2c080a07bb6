//! The log of one partition: the order of steps of create, append, roll, flush and close.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::active::Active;
use super::dir::{self, FileKind, segment_path};
use super::epochs::LeaderEpochs;
use super::error::StorageError;
use super::files::{FileCache, FileHandle, LogDir, modified_ms};
use super::retain::SegmentInfo;
use super::sealed::{Files, Sealed};
use super::txn_index::{AbortedTransaction, TxnIndex};
use super::txn_sums::{Noted, Stored};
use crate::record::{BatchHeader, HEADER_LEN};

/// When segments roll and how dense their indexes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`; values above 2 GiB - 1 act as that.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
        }
    }
}

/// Where an append went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Byte position in the active segment's `.log` file.
    pub position: u64,
    /// A new segment was begun for it.
    pub rolled: bool,
}

/// The files of one partition. The caller holds a lock per partition; nothing here blocks on
/// anything but the disk.
#[derive(Debug)]
pub struct Log {
    pub(super) dir: Arc<LogDir>,
    /// The directory, which is dirty after files were created, renamed or removed.
    pub(super) entries: Arc<FileHandle>,
    /// What was written down of the aborted transactions.
    pub(super) noted: Noted,
    pub(super) topic_id: Option<[u8; 16]>,
    pub(super) config: LogConfig,
    pub(super) sealed: Vec<Sealed>,
    pub(super) active: Active,
    pub(super) start_offset: i64,
    pub(super) flushed_offset: i64,
    pub(super) epochs: LeaderEpochs,
    pub(super) closed: bool,
}

impl Log {
    /// Creates the directory and files of a new, empty log. They survive a power cut once the caller has called
    /// [`Self::sync_created`] and synced the parent directory, or has synced the whole file system: many logs can then share
    /// one sync.
    ///
    /// The log begins in leader epoch 0, as in Kafka.
    ///
    /// What an interrupted attempt left is taken over if it holds no records.
    pub fn create(
        path: &Path,
        topic_id: [u8; 16],
        config: LogConfig,
        files: Arc<FileCache>,
        now_ms: i64,
    ) -> Result<Log, StorageError> {
        fs::create_dir_all(path).map_err(|source| StorageError::io("create", path, source))?;
        // Taking a log that exists for a new one would hide all of it.
        for base in super::swap::settle(path)? {
            let log = segment_path(path, base, ".log");
            let size = fs::metadata(&log).map_err(|source| StorageError::io("inspect", &log, source))?;
            if base != 0 || size.len() > 0 {
                return Err(StorageError::corrupt(&log, 0, "a new log's directory holds a log"));
            }
        }
        let log_dir = LogDir::new(path, files);
        let first = Files::create(&log_dir, 0)?;
        let mut epochs = LeaderEpochs::default();
        epochs.assign(0, 0);
        epochs.store_new(path)?;
        dir::write_metadata(path, topic_id)?;
        Ok(Log {
            entries: FileHandle::new(&log_dir, 0, FileKind::Directory),
            noted: Noted::found(&log_dir, Stored::load(path)?),
            dir: log_dir,
            topic_id: Some(topic_id),
            config,
            sealed: Vec::new(),
            active: Active::empty(0, first, now_ms),
            start_offset: 0,
            flushed_offset: 0,
            epochs,
            closed: false,
        })
    }

    /// Makes a log that was just created durable, save for its name in the parent directory. Files without content that are
    /// lost nonetheless are made anew when the log is opened.
    pub fn sync_created(&self) -> Result<(), StorageError> {
        dir::sync_metadata(&self.dir.path)
    }

    /// Appends one batch whose header already carries its final base offset and leader epoch.
    ///
    /// `prefix` is the first 16 bytes with these values, `rest` the batch from byte 16 on.
    ///
    /// # Errors
    /// Nothing of the batch is in the log after an error. `Corrupt` refuses a batch that would
    /// make the log unreadable (offsets going back, length not matching its header).
    pub fn append(
        &mut self,
        prefix: [u8; 16],
        rest: &[u8],
        header: &BatchHeader,
        now_ms: i64,
    ) -> Result<Appended, StorageError> {
        self.check_open()?;
        self.check_batch(&prefix, rest, header)?;
        let rolled = self.active.should_roll(&self.config, header, now_ms);
        if rolled {
            self.roll_to(header.base_offset, now_ms)?;
        }
        if self.epochs.latest().is_none_or(|latest| header.partition_leader_epoch > latest) {
            self.assign_epoch(header.partition_leader_epoch, header.base_offset)?;
        }
        let interval = u64::from(self.config.index_interval_bytes);
        let position = self.active.append(&self.dir, &prefix, rest, header, interval)?;
        Ok(Appended { position, rolled })
    }

    /// Notes a transaction that the marker appended last has aborted. Should the entry not reach the disk now, it does
    /// before [`Self::unflushed_indexes`], a roll or a close succeeds.
    pub fn append_aborted(&mut self, aborted: AbortedTransaction) {
        let active = &mut self.active;
        let txn = active.txn.get_or_insert_with(|| Box::new(TxnIndex::empty(&self.dir, active.base)));
        txn.append(aborted, &self.entries);
    }

    fn check_batch(&self, prefix: &[u8; 16], rest: &[u8], header: &BatchHeader) -> Result<(), StorageError> {
        let size = prefix.len() + rest.len();
        let refuse = |reason: String| {
            Err(StorageError::corrupt(&self.active.files.log.path(), self.active.size, reason))
        };
        if header.base_offset < self.end_offset() || header.last_offset_delta < 0 {
            return refuse(format!(
                "append of offsets {}..={} at log end {}",
                header.base_offset,
                header.last_offset(),
                self.end_offset()
            ));
        }
        if header.last_offset() == i64::MAX {
            return refuse("the offset range is used up".into());
        }
        let same_prefix = prefix[..8] == header.base_offset.to_be_bytes()
            && prefix[8..12] == header.batch_length.to_be_bytes()
            && prefix[12..] == header.partition_leader_epoch.to_be_bytes();
        if size < HEADER_LEN || size != header.size_in_bytes() || !same_prefix {
            return refuse(format!("append of {size} bytes that do not match their header"));
        }
        Ok(())
    }

    /// Begins a new segment at the log end. Does nothing if the active one is empty.
    pub fn roll(&mut self, now_ms: i64) -> Result<(), StorageError> {
        self.check_open()?;
        if self.active.size == 0 {
            return Ok(());
        }
        self.roll_to(self.end_offset(), now_ms)
    }

    fn roll_to(&mut self, base: i64, now_ms: i64) -> Result<(), StorageError> {
        self.dir.check()?;
        self.active.finish_indexes()?;
        self.write_aborted()?;
        // Now, while nothing is changed yet: without a descriptor for the sync the new segment could not become durable.
        self.entries.open_to_change()?;
        let files = match Files::create(&self.dir, base) {
            Ok(files) => files,
            Err(error) => {
                // A left-over file would claim, after a restart, that the log ends at its base.
                for kind in [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex] {
                    let path = segment_path(&self.dir.path, base, kind.extension());
                    let empty = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0);
                    if empty && fs::remove_file(&path).is_err() {
                        self.dir.stop();
                    }
                }
                return Err(error);
            }
        };
        self.entries.mark_written();
        let old = std::mem::replace(&mut self.active, Active::empty(base, files, now_ms));
        if old.size > 0 {
            self.sealed.push(old.seal());
        } else {
            // Only a jump in offsets too far for the index leaves an empty segment behind.
            let base = old.base;
            old.handles().for_each(|handle| handle.retire());
            for removed in self.rename_segment(base)? {
                dir::remove_if_present(&removed)?;
            }
        }
        Ok(())
    }

    /// Every file a sync must cover before [`Self::end_offset`], as it is now, is durable: data,
    /// indexes of sealed segments, and the directory after a roll.
    pub fn unflushed(&self) -> Vec<Arc<FileHandle>> {
        let mut dirty = vec![&self.active.files.log, &self.entries];
        let mut next_offset = self.active.base;
        for segment in self.sealed.iter().rev() {
            if next_offset < self.flushed_offset {
                break;
            }
            dirty.extend(segment.handles());
            next_offset = segment.base;
        }
        dirty.into_iter().filter(|handle| handle.is_dirty()).cloned().collect()
    }

    /// Writes the index entries that are still in memory, and gives the index files that must be synced
    /// before [`Self::flushed_offset`] may be used as a recovery point.
    pub fn unflushed_indexes(&mut self) -> Result<Vec<Arc<FileHandle>>, StorageError> {
        self.check_open()?;
        self.write_indexes()?;
        self.note_aborted()?;
        let mut dirty: Vec<_> = self.active.handles().skip(1).collect();
        // What was written down of them is to be true.
        dirty.extend(self.sealed.iter().filter_map(|segment| Some(segment.txn.as_ref()?.file())));
        dirty.push(self.noted.file());
        if self.active.txn.is_some() || self.noted.file().is_dirty() {
            // The file may have been made later than the batches it tells of.
            dirty.push(&self.entries);
        }
        Ok(dirty.into_iter().filter(|handle| handle.is_dirty()).cloned().collect())
    }

    fn write_indexes(&mut self) -> Result<(), StorageError> {
        self.active.files.index.write_pending()?;
        self.active.files.time.write_pending()?;
        self.write_aborted()
    }

    fn write_aborted(&mut self) -> Result<(), StorageError> {
        self.active.txn.as_mut().map_or(Ok(()), |txn| txn.write_pending(&self.entries))
    }

    /// Everything below `upto` is durable: call it after all of [`Self::unflushed`] was synced.
    pub fn mark_flushed(&mut self, upto: i64) {
        self.flushed_offset = self.flushed_offset.max(upto.min(self.end_offset()));
    }

    /// Offset below which everything is known to be durable: the recovery point.
    pub fn flushed_offset(&self) -> i64 {
        self.flushed_offset
    }

    /// Syncs everything now, in the caller's thread.
    pub fn flush(&mut self) -> Result<(), StorageError> {
        self.check_open()?;
        let upto = self.end_offset();
        self.unflushed().iter().try_for_each(FileHandle::sync)?;
        self.mark_flushed(upto);
        Ok(())
    }

    /// Begins an orderly close: completes the indexes as a closed log has them, and gives every file that must be synced
    /// before [`Self::finish_close`]. The log takes no more appends, even if this fails.
    pub fn begin_close(&mut self) -> Result<Vec<Arc<FileHandle>>, StorageError> {
        self.check_open()?;
        self.closed = true;
        self.active.finish_indexes()?;
        self.write_aborted()?;
        self.note_aborted()?;
        let mut dirty = self.unflushed();
        dirty.extend(Some(self.noted.file()).filter(|handle| handle.is_dirty()).cloned());
        dirty.extend(self.active.handles().skip(1).filter(|handle| handle.is_dirty()).cloned());
        Ok(dirty)
    }

    /// Ends an orderly close: everything is durable, and the files are closed.
    pub fn finish_close(&mut self) {
        self.mark_flushed(self.end_offset());
        self.release_files();
    }

    /// Closes a log in order, by itself.
    pub fn close(&mut self) -> Result<(), StorageError> {
        self.begin_close()?.iter().try_for_each(FileHandle::sync)?;
        self.finish_close();
        Ok(())
    }

    /// Gives back the descriptors and memory of a log nobody uses. Files with unflushed data
    /// stay open.
    pub fn release_idle(&mut self) -> Result<(), StorageError> {
        self.check_open()?;
        self.dir.check()?;
        self.write_indexes()?;
        for index in self.active.handles().skip(1).filter(|handle| handle.is_dirty()) {
            index.sync()?;
        }
        self.release_files();
        Ok(())
    }

    fn release_files(&mut self) {
        for handle in self.active.handles() {
            handle.close_if_clean();
        }
        self.entries.close_if_clean();
        self.noted.file().close_if_clean();
        self.sealed.iter_mut().for_each(Sealed::release);
    }

    pub(super) fn check_open(&self) -> Result<(), StorageError> {
        if self.closed {
            return Err(StorageError::Closed { path: self.dir.path.clone() });
        }
        Ok(())
    }

    /// Uses other limits from the next append on.
    pub fn update_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// Records, durably, that `epoch` begins at `start_offset`.
    pub fn assign_epoch(&mut self, epoch: i32, start_offset: i64) -> Result<(), StorageError> {
        let mut epochs = self.epochs.clone();
        if epochs.assign(epoch, start_offset) {
            epochs.store(&self.dir.path)?;
            self.epochs = epochs;
        }
        Ok(())
    }

    /// The epoch `offset` was written in; -1 if unknown.
    pub fn epoch_for_offset(&self, offset: i64) -> i32 {
        self.epochs.epoch_for(offset)
    }

    /// See [`LeaderEpochs::end_offset_for`].
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        self.epochs.end_offset_for(epoch, self.end_offset())
    }

    /// The newest leader epoch the log knows.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest()
    }

    /// Directory of the log.
    pub fn path(&self) -> &Path {
        &self.dir.path
    }

    /// Id in `partition.metadata`; None if the directory has no such file.
    pub fn topic_id(&self) -> Option<[u8; 16]> {
        self.topic_id
    }

    /// Offset the next record gets.
    pub fn end_offset(&self) -> i64 {
        self.active.next_offset
    }

    /// First offset readers may ask for.
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// Bytes in all `.log` files.
    pub fn size_bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.size).sum::<u64>() + self.active.size
    }

    /// Segments, the active one included.
    pub fn segment_count(&self) -> usize {
        self.sealed.len() + 1
    }

    /// Base offset of the segment appends go to.
    pub fn active_base_offset(&self) -> i64 {
        self.active.base
    }

    /// When the segment that appends go to was begun, milliseconds since the epoch; `None` while it is empty.
    pub fn active_since_ms(&self) -> Option<i64> {
        (self.active.size > 0).then(|| self.active.created_ms())
    }

    /// The largest timestamps of the first batches of the sealed segments that reach to `offset` or above
    /// (`UnifiedLog.getFirstBatchTimestampForSegments`), milliseconds since the epoch.
    pub fn first_timestamps(&self, offset: i64) -> Result<Vec<i64>, StorageError> {
        let mut timestamps = Vec::new();
        for (index, segment) in self.sealed.iter().enumerate() {
            let next_offset = self.bound(index);
            if next_offset > offset
                && let Some(first) = segment.view(&self.dir, next_offset)?.walk().next()?
            {
                timestamps.push(first.header.max_timestamp);
            }
        }
        Ok(timestamps)
    }

    /// Bytes in the `.log` file of the segment appends go to.
    pub fn active_size(&self) -> u64 {
        self.active.size
    }

    /// Open descriptors of this log.
    pub fn open_files(&self) -> usize {
        let handles = self.sealed.iter().flat_map(Sealed::handles).chain(self.active.handles());
        handles.chain([&self.entries, self.noted.file()]).filter(|handle| handle.is_open()).count()
    }

    /// First offset behind sealed segment `index`.
    pub(super) fn bound(&self, index: usize) -> i64 {
        self.sealed.get(index + 1).map_or(self.active.base, |next| next.base)
    }

    /// All segments, oldest first, the active one last: what retention decides on.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, StorageError> {
        let mut infos = Vec::with_capacity(self.segment_count());
        let modified = |base| modified_ms(&segment_path(&self.dir.path, base, ".log"));
        for (index, segment) in self.sealed.iter().enumerate() {
            let next_offset = self.bound(index);
            let newest = segment.newest(&self.dir, next_offset)?;
            infos.push(SegmentInfo {
                base_offset: segment.base,
                next_offset,
                size: segment.size,
                max_timestamp: newest.timestamp,
                modified_ms: if newest.timestamp < 0 { modified(segment.base)? } else { 0 },
            });
        }
        infos.push(SegmentInfo {
            base_offset: self.active.base,
            next_offset: self.end_offset(),
            size: self.active.size,
            max_timestamp: self.active.newest.timestamp,
            modified_ms: modified(self.active.base)?,
        });
        Ok(infos)
    }
}
