//! File names, durable small files, and `partition.metadata`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::StorageError;

/// Suffix of a file whose name is already out of the log and whose bytes are to be unlinked.
pub const DELETED_SUFFIX: &str = ".deleted";
/// Suffix of a compacted segment that is still being written.
pub const CLEANED_SUFFIX: &str = ".cleaned";
/// Suffix of a compacted segment that is complete and must be moved into place.
pub const SWAP_SUFFIX: &str = ".swap";
/// What the `.txnindex` files beside it hold: see `txn_sums`.
pub const TXN_SUMS_FILE: &str = "txnindex-checksums";
const METADATA_FILE: &str = "partition.metadata";

/// What a segment file holds; the extension is Kafka's (`LogFileUtils`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Log,
    OffsetIndex,
    TimeIndex,
    TxnIndex,
    /// The checksums of all `.txnindex` files of a log.
    TxnSums,
    /// The partition directory itself: its entries need a sync of their own.
    Directory,
}

impl FileKind {
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TxnIndex => ".txnindex",
            Self::TxnSums | Self::Directory => "",
        }
    }
}

/// `<20-digit base offset><extension>` in `dir`.
pub fn segment_path(dir: &Path, base_offset: i64, extension: &str) -> PathBuf {
    dir.join(format!("{base_offset:020}{extension}"))
}

/// The file that is there while a segment that begins at `base_offset` takes the place of everything up to below
/// `end_offset`; `suffix` is [`CLEANED_SUFFIX`] or [`SWAP_SUFFIX`].
pub fn replaced_path(dir: &Path, base_offset: i64, end_offset: i64, suffix: &str) -> PathBuf {
    segment_path(dir, base_offset, &format!(".{end_offset:020}{suffix}"))
}

/// The end offset in the extension of a [`replaced_path`] with [`SWAP_SUFFIX`].
pub fn replaced_end(extension: &str) -> Option<i64> {
    let digits = extension.strip_prefix('.')?.strip_suffix(SWAP_SUFFIX)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Splits `00000000000000000042.log` into `(42, ".log")`; None for any other name.
pub fn parse_segment_name(name: &str) -> Option<(i64, &str)> {
    let digits = name.get(..20)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, name.get(20..)?)).filter(|(_, rest)| rest.starts_with('.'))
}

/// Makes the entries of a directory durable.
pub fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(|source| StorageError::io("sync directory", dir, source))
}

/// Replaces `path` so that a crash leaves either the old or the new content, whole and durable.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), StorageError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| StorageError::io("replace", path, source))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Reads a small text file; None if there is none.
///
/// A file above `limit` bytes is refused, so that a damaged file cannot take all memory.
pub fn read_text(path: &Path, limit: u64) -> Result<Option<String>, StorageError> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StorageError::io("read", path, source)),
    };
    if length > limit {
        return Err(StorageError::corrupt(path, 0, format!("{length} bytes, limit {limit}")));
    }
    let bytes = fs::read(path).map_err(|source| StorageError::io("read", path, source))?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|error| StorageError::corrupt(path, error.utf8_error().valid_up_to() as u64, "not text"))
}

/// Removes a file that may already be gone.
pub fn remove_if_present(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", path, source))
        }
        _ => Ok(()),
    }
}

/// Renames `path` to `path.deleted` and returns the new name; None if there was no file.
pub fn rename_deleted(path: &Path) -> Result<Option<PathBuf>, StorageError> {
    let mut target = path.as_os_str().to_owned();
    target.push(DELETED_SUFFIX);
    let target = PathBuf::from(target);
    match fs::rename(path, &target) {
        Ok(()) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StorageError::io("rename", path, source)),
    }
}

/// Writes `partition.metadata` (`PartitionMetadataFile`, version 0) into a new directory; see [`sync_metadata`].
pub fn write_metadata(dir: &Path, topic_id: [u8; 16]) -> Result<(), StorageError> {
    let path = dir.join(METADATA_FILE);
    let text = format!("version: 0\ntopic_id: {}", encode_topic_id(topic_id));
    fs::write(&path, text).map_err(|source| StorageError::io("write", &path, source))
}

/// Makes `partition.metadata` durable, with its name and those of all files beside it.
pub fn sync_metadata(dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(METADATA_FILE);
    File::open(&path)
        .and_then(|file| file.sync_all())
        .map_err(|source| StorageError::io("sync", &path, source))?;
    sync_dir(dir)
}

/// Reads the topic id of `partition.metadata`; None if the file does not exist.
pub fn read_metadata(dir: &Path) -> Result<Option<[u8; 16]>, StorageError> {
    let path = dir.join(METADATA_FILE);
    let Some(text) = read_text(&path, 4096)? else {
        return Ok(None);
    };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("version: "));
    let topic_id = lines.next().and_then(|line| line.strip_prefix("topic_id: "));
    match (version.map(str::trim), topic_id.and_then(|id| decode_topic_id(id.trim()))) {
        (Some("0"), Some(id)) => Ok(Some(id)),
        _ => Err(StorageError::corrupt(&path, 0, "not a version 0 partition.metadata")),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kafka's text form of a topic id: base64url without padding, 22 characters.
pub fn encode_topic_id(id: [u8; 16]) -> String {
    let number = u128::from_be_bytes(id);
    // 21 characters carry 126 bits; the last carries two bits and four zero bits.
    (0..22)
        .map(|place| {
            let bits = if place < 21 { number >> (122 - 6 * place) } else { number << 4 };
            char::from(ALPHABET[(bits & 63) as usize])
        })
        .collect()
}

fn decode_topic_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    let mut number = 0u128;
    for (place, byte) in text.bytes().enumerate() {
        let bits = ALPHABET.iter().position(|&letter| letter == byte)? as u128;
        number = if place < 21 { number << 6 | bits } else { number << 2 | bits >> 4 };
    }
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn topic_ids_round_trip(id in any::<[u8; 16]>()) {
            prop_assert_eq!(decode_topic_id(&encode_topic_id(id)), Some(id));
        }
    }

    #[test]
    fn topic_id_text_is_base64url() {
        // RFC 4648: eight bytes of 0xfb 0xff pairs give only '-' '_' class characters.
        assert_eq!(encode_topic_id([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(encode_topic_id([0xff; 16]), "_____________________w");
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(encode_topic_id(one), "AAAAAAAAAAAAAAAAAAAAAQ");
    }

    #[test]
    fn metadata_file_is_kafkas_text() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_metadata(dir.path()).unwrap(), None);
        write_metadata(dir.path(), [0; 16]).unwrap();
        let text = fs::read_to_string(dir.path().join("partition.metadata")).unwrap();
        assert_eq!(text, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(read_metadata(dir.path()).unwrap(), Some([0; 16]));
        fs::write(dir.path().join("partition.metadata"), "version: 0\n").unwrap();
        assert!(read_metadata(dir.path()).is_err());
    }

    #[test]
    fn segment_names() {
        assert_eq!(parse_segment_name("00000000000000000042.log"), Some((42, ".log")));
        assert_eq!(parse_segment_name("00000000000000000042.index.deleted"), Some((42, ".index.deleted")));
        assert_eq!(parse_segment_name("42.log"), None);
        assert_eq!(parse_segment_name("leader-epoch-checkpoint"), None);
        assert_eq!(parse_segment_name(TXN_SUMS_FILE), None);
        assert_eq!(parse_segment_name("é000000000000000042.log"), None);
        assert_eq!(segment_path(Path::new("d"), 42, ".log"), Path::new("d/00000000000000000042.log"));
        let path = replaced_path(Path::new("d"), 42, 99, SWAP_SUFFIX);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        assert_eq!(name, "00000000000000000042.00000000000000000099.swap");
        assert_eq!(parse_segment_name(name).and_then(|(_, extension)| replaced_end(extension)), Some(99));
        assert_eq!(
            (replaced_end(".log.swap"), replaced_end(".99.cleaned"), replaced_end(".swap")),
            (None, None, None)
        );
    }
}
