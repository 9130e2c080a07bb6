//! The batches of Apache Kafka's own topics, read file by file with every checksum verified.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::ImportError;
use crate::record::{BatchHeader, HEADER_LEN, Record, Records, crc_matches, decompress};
use crate::storage::segment::dir::parse_segment_name;

/// A batch of an internal topic is far smaller; bounds what damage can ask for.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// One whole batch.
pub struct Batch {
    pub header: BatchHeader,
    /// Header included.
    pub bytes: Vec<u8>,
    payload: Vec<u8>,
}

impl Batch {
    /// Its records, with their offsets.
    pub fn records(&self) -> impl Iterator<Item = Result<(i64, Record<'_>), crate::record::RecordError>> {
        let base = self.header.base_offset;
        let records = Records::new(&self.payload, self.header.record_count);
        records.map(move |record| record.map(|record| (base + i64::from(record.offset_delta), record)))
    }
}

/// Visits the batches of one file in order.
///
/// # Errors
/// [`ImportError::Damaged`] where the file cannot be read on, unless `may_be_torn`: then what follows counts as never written.
pub fn each_in_file(
    path: &Path,
    may_be_torn: bool,
    visit: &mut dyn FnMut(&Batch) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let file = File::open(path).map_err(|source| ImportError::io(path, source))?;
    let mut left = file.metadata().map_err(|source| ImportError::io(path, source))?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut position = 0;
    while left > 0 {
        match next(&mut reader, left).map_err(|source| ImportError::io(path, source))? {
            Ok(batch) => {
                let size = batch.bytes.len() as u64;
                visit(&batch).map_err(|error| error.at(path, position))?;
                position += size;
                left -= size;
            }
            Err(_) if may_be_torn => return Ok(()),
            Err(reason) => return Err(ImportError::Damaged { path: path.to_owned(), position, reason }),
        }
    }
    Ok(())
}

fn next(reader: &mut impl Read, left: u64) -> std::io::Result<Result<Batch, String>> {
    let mut bytes = vec![0; HEADER_LEN];
    if left < HEADER_LEN as u64 {
        return Ok(Err("the last batch header is cut".to_owned()));
    }
    reader.read_exact(&mut bytes)?;
    let header = match BatchHeader::parse(&bytes) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let size = header.size_in_bytes();
    if size as u64 > left || size > BATCH_BYTES_MAX {
        return Ok(Err("the last batch is cut".to_owned()));
    }
    bytes.resize(size, 0);
    reader.read_exact(&mut bytes[HEADER_LEN..])?;
    if !crc_matches(&bytes) {
        return Ok(Err("checksum mismatch".to_owned()));
    }
    let codec = match header.compression() {
        Ok(codec) => codec,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Ok(match decompress(codec, &bytes[HEADER_LEN..], BATCH_BYTES_MAX) {
        Ok(payload) => Ok(Batch { header, bytes, payload }),
        Err(error) => Err(error.to_string()),
    })
}

/// The `.log` files of a partition's directory by base offset, ascending.
///
/// # Errors
/// [`ImportError::Source`] when the directory shows that compaction was interrupted: only Kafka's own start settles that.
pub fn log_files(dir: &Path) -> Result<Vec<(i64, PathBuf)>, ImportError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| ImportError::io(dir, source))? {
        let entry = entry.map_err(|source| ImportError::io(dir, source))?;
        let name = entry.file_name();
        match name.to_str().and_then(parse_segment_name) {
            Some((base, ".log")) => files.push((base, entry.path())),
            Some((_, ".log.swap")) => {
                let reason =
                    "a compaction was interrupted here: start Apache Kafka once more and stop it in order";
                return Err(ImportError::source(dir, reason));
            }
            _ => {}
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Visits all batches of a partition's directory in order. With `may_be_torn` the last file may end in a write that was cut.
///
/// # Errors
/// As [`each_in_file`] and [`log_files`].
pub fn each_in_dir(
    dir: &Path,
    may_be_torn: bool,
    visit: &mut dyn FnMut(&Batch) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let files = log_files(dir)?;
    for (index, (_, path)) in files.iter().enumerate() {
        each_in_file(path, may_be_torn && index + 1 == files.len(), visit)?;
    }
    Ok(())
}
