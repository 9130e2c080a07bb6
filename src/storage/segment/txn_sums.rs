//! What the `.txnindex` files of a log hold, in a file of its own beside them: their format has no checksum, and a segment
//! without the file is the rule, so that by itself a changed, cut or missing one looks like one with other aborted
//! transactions, whose records readers would then be given.
//!
//! ```text
//!   txnindex-checksums   0                              version
//!                        2                              lines that follow
//!                        0 3 5a0e6c11                   base offset | entries | CRC-32C of their bytes
//!                        4096 1 07f3ab20
//!                        90cc1e77                       CRC-32C of all lines above
//! ```
//!
//! While compaction replaces a segment there is a line for each of its two indexes, and the right one is to be believed.
//!
//! Kafka ignores the file. A log without aborted transactions has none, and nothing is spent on it. It is written before the
//! recovery point passes an entry, so that every entry below the recovery point is covered. It may be ahead of what
//! reached the disk: then an index is taken for damaged that is not, and made anew from the batches all the same.
//! That both an index and this file are gone cannot be noticed: it looks like a log in which nothing was ever aborted.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::dir::{self, FileKind, TXN_SUMS_FILE};
use super::error::StorageError;
use super::files::{FileHandle, LogDir};
use super::log::Log;
use super::txn_index::ENTRY_LEN;

/// Some million segments: no log has as many.
const MAX_FILE_BYTES: u64 = 64 << 20;
const VERSION: &str = "0";

/// What the first entries of one `.txnindex` file are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sum {
    /// How many.
    pub entries: usize,
    /// CRC-32C of their bytes.
    pub crc: u32,
}

/// With the base offset of the segment. One that has no entries need not be in it.
pub(super) type Sums = BTreeSet<(i64, Sum)>;

/// What the index of one segment may hold.
pub(super) fn of_segment(sums: &Sums, base: i64) -> Vec<Sum> {
    let known: Vec<Sum> =
        sums.range((base, Sum::default())..).map_while(|(at, sum)| (*at == base).then_some(*sum)).collect();
    if known.is_empty() { vec![Sum::default()] } else { known }
}

/// The file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    /// There is none: nothing was aborted, or the log is of Kafka's making.
    Absent,
    /// It is damaged.
    Unreadable,
    Sums(Sums),
}

impl Stored {
    /// Reads the file of the log in `dir`.
    ///
    /// # Errors
    /// When it is there and cannot be read; whatever it holds is no error.
    pub fn load(dir: &Path) -> Result<Stored, StorageError> {
        let path = dir.join(TXN_SUMS_FILE);
        let read = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => return Ok(Stored::Unreadable),
            Ok(_) => fs::read(&path),
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => Ok(String::from_utf8(bytes)
                .ok()
                .and_then(|text| parse(&text))
                .map_or(Stored::Unreadable, Stored::Sums)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stored::Absent),
            Err(source) => Err(StorageError::io("read", &path, source)),
        }
    }
}

/// Says durably that nothing is known of the indexes in `dir`: whoever opens the log makes them anew.
pub(super) fn distrust(dir: &Path) -> Result<(), StorageError> {
    dir::write_atomically(&dir.join(TXN_SUMS_FILE), b"")
}

/// Writes down, durably, what all `.txnindex` files in `dir` hold: of a log at rest, when they are known to be right.
pub(super) fn rebuild(dir: &Path) -> Result<(), StorageError> {
    let mut sums = Sums::new();
    for entry in fs::read_dir(dir).map_err(|source| StorageError::io("list", dir, source))? {
        let path = entry.map_err(|source| StorageError::io("list", dir, source))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some((base, ".txnindex")) = dir::parse_segment_name(&name) {
            let bytes = fs::read(&path).map_err(|source| StorageError::io("read", &path, source))?;
            sums.insert((base, Sum { entries: bytes.len() / ENTRY_LEN, crc: crc32c::crc32c(&bytes) }));
        }
    }
    sums.retain(|(_, sum)| sum.entries > 0);
    dir::write_atomically(&dir.join(TXN_SUMS_FILE), encode(&sums).as_bytes())
}

/// The text of the file.
pub(super) fn encode(sums: &Sums) -> String {
    let mut text = format!("{VERSION}\n{}\n", sums.len());
    for (base, sum) in sums {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{base} {} {:08x}", sum.entries, sum.crc);
    }
    let crc = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "{crc:08x}");
    text
}

fn parse(text: &str) -> Option<Sums> {
    let mut lines = text.lines().skip(1);
    let count: usize = lines.next()?.parse().ok()?;
    let mut sums = Sums::new();
    for line in lines.take(count) {
        let mut words = line.split(' ');
        let base = words.next()?.parse().ok()?;
        let entries = words.next()?.parse().ok()?;
        sums.insert((base, Sum { entries, crc: u32::from_str_radix(words.next()?, 16).ok()? }));
    }
    // Checks the version and the checksum, and that there is one way to say it.
    (encode(&sums) == text).then_some(sums)
}

/// The file of an open log.
#[derive(Debug)]
pub(super) struct Noted {
    /// What it holds; `None` if that is not known.
    sums: Option<Sums>,
    file: Arc<FileHandle>,
}

impl Noted {
    /// As it was found in `dir`.
    pub fn found(dir: &Arc<LogDir>, stored: Stored) -> Noted {
        let sums = match stored {
            Stored::Absent => Some(Sums::new()),
            Stored::Unreadable => None,
            Stored::Sums(sums) => Some(sums),
        };
        Noted { sums, file: FileHandle::new(dir, 0, FileKind::TxnSums) }
    }

    /// A handle on the file: dirty until what it holds is durable.
    pub fn file(&self) -> &Arc<FileHandle> {
        &self.file
    }

    /// Replaces the file if it does not hold `sums`. To make it durable, sync it, and then the directory `entries`.
    fn store(&mut self, dir: &Arc<LogDir>, sums: Sums, entries: &FileHandle) -> Result<(), StorageError> {
        if self.sums.as_ref() == Some(&sums) {
            return Ok(());
        }
        dir.check()?;
        let path = dir.path.join(TXN_SUMS_FILE);
        self.sums = None;
        // The old handle may be open on the file that is replaced.
        let file = FileHandle::new(dir, 0, FileKind::TxnSums);
        if sums.is_empty() {
            dir::remove_if_present(&path)?;
        } else {
            let temporary = path.with_extension("tmp");
            let written = fs::write(&temporary, encode(&sums)).and_then(|()| fs::rename(&temporary, &path));
            if let Err(source) = written {
                let _ = fs::remove_file(&temporary);
                return Err(StorageError::io("replace", &path, source));
            }
            file.mark_written();
        }
        entries.mark_written();
        self.file = file;
        self.sums = Some(sums);
        Ok(())
    }
}

impl Log {
    /// What the `.txnindex` files hold now.
    fn sums(&self) -> Sums {
        let sealed = self.sealed.iter().map(|segment| (segment.base, &segment.txn));
        let all = sealed.chain([(self.active.base, &self.active.txn)]);
        let sums = all.filter_map(|(base, txn)| Some((base, txn.as_ref()?.sum())));
        sums.filter(|(_, sum)| sum.entries > 0).collect()
    }

    /// Writes down what the `.txnindex` files hold now, if anything changed. Nothing is durable yet: the files to sync are
    /// [`Noted::file`] and the directory.
    pub(super) fn note_aborted(&mut self) -> Result<(), StorageError> {
        let sums = self.sums();
        self.noted.store(&self.dir, sums, &self.entries)
    }

    /// As [`Self::note_aborted`], and durable when this returns.
    pub(super) fn note_aborted_durably(&mut self) -> Result<(), StorageError> {
        self.note_aborted()?;
        self.sync_noted()
    }

    /// Writes down, durably, that the index of the segment `base` is about to be replaced by one that holds `new`.
    pub(super) fn note_replacement(&mut self, base: i64, new: Sum) -> Result<(), StorageError> {
        let mut sums = self.sums();
        let old = of_segment(&sums, base);
        if old != [new] {
            sums.extend(old.into_iter().chain([new]).map(|sum| (base, sum)));
        }
        self.noted.store(&self.dir, sums, &self.entries)?;
        self.sync_noted()
    }

    fn sync_noted(&self) -> Result<(), StorageError> {
        if self.noted.file.is_dirty() {
            self.noted.file.sync()?;
            self.entries.sync()?;
        }
        Ok(())
    }

    /// Brings the file of a log that was just opened up to date. Where that fails, as on a full disk, a log without the file
    /// is better than one that could not be opened: its indexes are looked at more closely the next time.
    pub(super) fn settle_noted(&mut self) -> Result<(), StorageError> {
        match self.note_aborted() {
            Ok(()) => self.note_aborted_durably(),
            Err(error) => {
                tracing::warn!(%error, "the checksums of aborted transactions are not kept");
                dir::remove_if_present(&self.dir.path.join(TXN_SUMS_FILE))?;
                self.entries.mark_written();
                self.entries.sync()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sums() -> impl Strategy<Value = Sums> {
        let sum = (0..1000usize, any::<u32>()).prop_map(|(entries, crc)| Sum { entries, crc });
        prop::collection::btree_set((0..i64::MAX, sum), 0..6)
    }

    #[test]
    fn the_text() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(Stored::load(temp.path()).unwrap(), Stored::Absent);
        let sums =
            Sums::from([(0, Sum { entries: 3, crc: 0xabc }), (4096, Sum { entries: 1, crc: u32::MAX })]);
        assert_eq!(of_segment(&sums, 0), [Sum { entries: 3, crc: 0xabc }]);
        assert_eq!(of_segment(&sums, 1), [Sum::default()]);
        let text = encode(&sums);
        let lines = "0\n2\n0 3 00000abc\n4096 1 ffffffff\n";
        assert_eq!(text, format!("{lines}{:08x}\n", crc32c::crc32c(lines.as_bytes())));
        fs::write(temp.path().join(TXN_SUMS_FILE), text).unwrap();
        assert_eq!(Stored::load(temp.path()).unwrap(), Stored::Sums(sums));
        distrust(temp.path()).unwrap();
        assert_eq!(Stored::load(temp.path()).unwrap(), Stored::Unreadable);
        let sealed = |lines: &str| format!("{lines}{:08x}\n", crc32c::crc32c(lines.as_bytes()));
        assert_eq!(parse(&sealed("0\n0\n")), Some(Sums::new()));
        for wrong in [
            "",
            "0\n",
            "1\n0\n",
            "0\n1\n",
            "0\n1\n0 1\n",
            "0\n1\n0 1 0000000g\n",
            "0\n1\n0 1 1\n",
            "0\n0\n0 1 00000001\n",
        ] {
            assert_eq!(parse(&sealed(wrong)), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_change_is_noticed(sums in sums(), at in any::<usize>(), bit in 0..8u8, cut in any::<bool>()) {
            let text = encode(&sums);
            prop_assert_eq!(parse(&text), Some(sums));
            let mut bytes = text.into_bytes();
            let at = at % bytes.len();
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << bit;
            }
            let changed = String::from_utf8(bytes).ok().and_then(|text| parse(&text));
            prop_assert_eq!(changed, None);
        }
    }
}
