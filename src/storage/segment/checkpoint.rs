//! Files of a whole data directory: offset checkpoints and the mark of a clean stop.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::dir;
use super::error::StorageError;

/// Offsets up to which each log was flushed (`LogManager`).
pub const RECOVERY_POINT_FILE: &str = "recovery-point-offset-checkpoint";
/// First offset of each log that readers may see.
pub const LOG_START_FILE: &str = "log-start-offset-checkpoint";
/// Offset up to which each log was compacted.
pub const CLEANER_FILE: &str = "cleaner-offset-checkpoint";
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
/// A line is at most 249 + 32 bytes (topic names are bounded): room for some million partitions.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// Reads a checkpoint of Kafka's `OffsetCheckpointFile`, version 0. No file means no entries.
pub fn read_offsets(path: &Path) -> Result<Offsets, StorageError> {
    let Some(text) = dir::read_text(path, MAX_FILE_BYTES)? else {
        return Ok(Offsets::new());
    };
    parse(&text).ok_or_else(|| StorageError::corrupt(path, 0, "not a version 0 offset checkpoint"))
}

/// Replaces a checkpoint atomically and durably.
pub fn write_offsets(path: &Path, offsets: &Offsets) -> Result<(), StorageError> {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    dir::write_atomically(path, text.as_bytes())
}

fn parse(text: &str) -> Option<Offsets> {
    let mut lines = text.lines();
    if lines.next()?.trim() != "0" {
        return None;
    }
    let count: usize = lines.next()?.trim().parse().ok()?;
    let mut offsets = Offsets::new();
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        let topic = words.next()?.to_owned();
        let partition = words.next()?.parse().ok()?;
        let offset = words.next()?.parse().ok()?;
        if words.next().is_some() || offsets.insert((topic, partition), offset).is_some() {
            return None;
        }
    }
    (offsets.len() == count).then_some(offsets)
}

/// Leaves the mark of a clean stop (`CleanShutdownFileHandler`). Call it last: after every log
/// is flushed and every checkpoint written.
pub fn write_clean_shutdown(data_dir: &Path) -> Result<(), StorageError> {
    dir::write_atomically(&data_dir.join(CLEAN_SHUTDOWN_FILE), br#"{"version":0,"brokerEpoch":-1}"#)
}

/// Whether the mark of a clean stop is there; it stays.
pub fn has_clean_shutdown(data_dir: &Path) -> bool {
    data_dir.join(CLEAN_SHUTDOWN_FILE).exists()
}

/// True if the last stop was clean. The mark is removed durably before this returns, so that a
/// crash while the logs are loading counts as an unclean stop (KAFKA-10471).
///
/// The content is not judged: Kafka of any version leaves the file only after a clean stop, and
/// old versions leave it empty.
pub fn take_clean_shutdown(data_dir: &Path) -> Result<bool, StorageError> {
    let path = data_dir.join(CLEAN_SHUTDOWN_FILE);
    match fs::remove_file(&path) {
        Ok(()) => dir::sync_dir(data_dir).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StorageError::io("remove", &path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_are_kafkas_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECOVERY_POINT_FILE);
        assert!(read_offsets(&path).unwrap().is_empty());
        let offsets = Offsets::from([(("b".into(), 0), 5), (("a.b-c".into(), 12), 0)]);
        write_offsets(&path, &offsets).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n2\na.b-c 12 0\nb 0 5\n");
        for bad in ["", "7\n0\n", "0\n1\n", "0\n1\na 0\n", "0\n1\na 0 1 2\n", "0\n2\na 0 1\na 0 2\n"] {
            fs::write(&path, bad).unwrap();
            assert!(read_offsets(&path).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn clean_shutdown_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!take_clean_shutdown(dir.path()).unwrap());
        write_clean_shutdown(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(".kafka_cleanshutdown")).unwrap();
        assert_eq!(text, r#"{"version":0,"brokerEpoch":-1}"#);
        assert!(take_clean_shutdown(dir.path()).unwrap());
        assert!(!take_clean_shutdown(dir.path()).unwrap());
    }

    proptest! {
        #[test]
        fn offsets_round_trip(
            offsets in proptest::collection::btree_map(("[a-zA-Z0-9._-]{1,20}", 0..1000i32), 0..i64::MAX, 0..20)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(LOG_START_FILE);
            write_offsets(&path, &offsets).unwrap();
            prop_assert_eq!(read_offsets(&path).unwrap(), offsets);
        }
    }
}
