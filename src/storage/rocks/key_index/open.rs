//! Opening the database, and beginning anew where it is damaged: all of it can be read from the logs again.

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::{DB, ErrorKind, Options};
use tracing::warn;

use super::{damaged, options, rows, translate};
use crate::storage::key_index::{KeyHasher, KeyIndexError};

/// Where a run is written before it becomes part of the database.
pub(super) fn ingest_dir(dir: &Path) -> PathBuf {
    dir.join("ingest")
}

/// Opens what is there, or creates it. What is damaged, or in a format that is not known, is deleted.
pub(super) fn open(dir: &Path, options: &Options) -> Result<(DB, KeyHasher), KeyIndexError> {
    match open_intact(dir, options, KeyHasher::random()) {
        Err(KeyIndexError::Damaged { message }) => {
            warn!(dir = %dir.display(), message, "the key index cannot be used and is built anew from the logs");
            create(dir, options, KeyHasher::random())
        }
        opened => opened,
    }
}

/// Deletes what is there and begins anew.
pub(super) fn create(
    dir: &Path,
    options: &Options,
    hasher: KeyHasher,
) -> Result<(DB, KeyHasher), KeyIndexError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("delete", dir, &error)),
        _ => open_intact(dir, options, hasher),
    }
}

/// Opens the database. A new one gets `hasher`.
fn open_intact(dir: &Path, options: &Options, hasher: KeyHasher) -> Result<(DB, KeyHasher), KeyIndexError> {
    let ingest = ingest_dir(dir);
    fs::create_dir_all(&ingest).map_err(|error| failed("create", &ingest, &error))?;
    let db = DB::open(options, dir).map_err(|error| match error.kind() {
        // Column families or an order of keys that this program does not have.
        ErrorKind::InvalidArgument => damaged(error.into_string()),
        _ => translate(error),
    })?;
    // Of a run that was being written. Nobody else writes there: the database is locked.
    for left in fs::read_dir(&ingest).into_iter().flatten().flatten() {
        let _ = fs::remove_file(left.path());
    }
    if let Some(format) = db.get(rows::FORMAT).map_err(translate)? {
        let secret = rows::decode_format(&format).map_err(damaged)?;
        return Ok((db, KeyHasher::with_secret(secret)));
    }
    let mut first = db.raw_iterator();
    first.seek_to_first();
    if first.valid() {
        return Err(damaged("the format is not said"));
    }
    first.status().map_err(translate)?;
    drop(first);
    db.put_opt(rows::FORMAT, rows::encode_format(hasher.secret()), &options::write()).map_err(translate)?;
    db.flush().map_err(translate)?;
    Ok((db, hasher))
}

fn failed(action: &str, path: &Path, error: &std::io::Error) -> KeyIndexError {
    let message = format!("cannot {action} {}: {error}", path.display());
    KeyIndexError::Unavailable { message, retryable: false }
}
