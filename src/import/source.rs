//! The data directories of a stopped Apache Kafka: whose they are, whether they may be read, and what lies in them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::ImportError;
use super::batches::{each_in_dir, each_in_file, log_files};
use super::group_log::GroupLog;
use super::metadata_image::KafkaImage;
use super::transaction_log::TransactionLog;
use crate::metadata::store::meta_properties;
use crate::record::EndMarker;

const METADATA_DIR: &str = "__cluster_metadata-0";
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";

/// Directories by topic and partition.
pub type PartitionDirs = BTreeMap<(String, i32), PathBuf>;

/// What a node of Apache Kafka left. Its locks are held as long as this lives.
pub struct Source {
    pub cluster_id: String,
    pub node_id: i32,
    /// Every directory was left by an orderly stop.
    pub is_clean: bool,
    pub dirs: Vec<PathBuf>,
    _locks: Vec<File>,
}

impl Source {
    /// Looks at the directories and takes their locks, as Kafka itself does (`FileLock`).
    ///
    /// # Errors
    /// When one is in use, is not Kafka's, belongs to another node than the first; or was not left by an orderly stop and
    /// `unclean` does not permit that.
    pub fn open(paths: &[PathBuf], unclean: bool) -> Result<Source, ImportError> {
        let mut source: Option<Source> = None;
        for path in paths {
            let dir = path.canonicalize().map_err(|error| ImportError::io(path, error))?;
            let meta = meta_properties::read(&dir)?.ok_or_else(|| {
                ImportError::source(&dir, "there is no meta.properties: not a data directory of Apache Kafka")
            })?;
            if dir.join("state/CURRENT").exists() {
                return Err(ImportError::source(&dir, "it belongs to Tidelog already"));
            }
            let found = source.get_or_insert_with(|| Source {
                cluster_id: meta.cluster_id.clone(),
                node_id: meta.node_id,
                is_clean: true,
                dirs: Vec::new(),
                _locks: Vec::new(),
            });
            if (&meta.cluster_id, meta.node_id) != (&found.cluster_id, found.node_id) {
                return Err(ImportError::source(&dir, "it belongs to another node than the first directory"));
            }
            found._locks.extend(lock(&dir)?);
            // A directory of metadata alone (metadata.log.dir) gets no mark.
            let has_logs = list(&dir)?.iter().any(|(topic, _, _)| topic != "__cluster_metadata");
            if has_logs && !dir.join(CLEAN_SHUTDOWN_FILE).exists() {
                found.is_clean = false;
                if !unclean {
                    let reason = "Apache Kafka did not stop in order here; start it once more and stop it with SIGTERM, or give --unclean to have the logs verified at the first start";
                    return Err(ImportError::source(&dir, reason));
                }
            }
            if found.dirs.contains(&dir) {
                return Err(ImportError::source(&dir, "it is named twice"));
            }
            found.dirs.push(dir);
        }
        source.ok_or_else(|| ImportError::source(Path::new("."), "no directory is named"))
    }

    /// All directories of partitions.
    ///
    /// # Errors
    /// When a directory cannot be listed, or two hold the same partition.
    pub fn partitions(&self) -> Result<PartitionDirs, ImportError> {
        let mut found = PartitionDirs::new();
        for dir in &self.dirs {
            for (topic, index, path) in list(dir)? {
                if let Some(other) = found.insert((topic, index), path.clone()) {
                    let reason = format!("{} holds the same partition", other.display());
                    return Err(ImportError::source(&path, reason));
                }
            }
        }
        Ok(found)
    }

    /// The metadata: the newest snapshot, and the log behind it.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn metadata(&self) -> Result<KafkaImage, ImportError> {
        let dir = self.dirs.iter().map(|dir| dir.join(METADATA_DIR)).find(|dir| dir.is_dir());
        let dir = dir.ok_or_else(|| {
            let reason =
                "there is no __cluster_metadata-0: name the directory of metadata.log.dir with --from too";
            ImportError::source(&self.dirs[0], reason)
        })?;
        let mut image = KafkaImage::default();
        let snapshot = newest_snapshot(&dir)?;
        let from = snapshot.as_ref().map_or(0, |(end, _)| *end);
        if let Some((_, path)) = snapshot {
            each_in_file(&path, false, &mut |batch| {
                if batch.header.is_control() {
                    return Ok(());
                }
                batch.records().try_for_each(|record| Ok(image.apply(record?.1.value.unwrap_or_default())?))
            })?;
        }
        if log_files(&dir)?.first().is_some_and(|(base, _)| *base > from) {
            return Err(ImportError::source(&dir, "the metadata begins behind its newest snapshot"));
        }
        each_in_dir(&dir, !self.is_clean, &mut |batch| {
            if batch.header.is_control() || batch.header.last_offset() < from {
                return Ok(());
            }
            batch.records().try_for_each(|record| {
                let (offset, record) = record?;
                if offset < from {
                    return Ok(());
                }
                Ok(image.apply(record.value.unwrap_or_default())?)
            })
        })?;
        Ok(image)
    }

    /// Groups and offsets in one partition of `__consumer_offsets`; returns also the highest producer id in it, or -1.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn groups(&self, dir: &Path) -> Result<(GroupLog, i64), ImportError> {
        let (mut log, mut highest) = (GroupLog::default(), -1);
        each_in_dir(dir, !self.is_clean, &mut |batch| {
            let header = &batch.header;
            highest = header.producer_id.max(highest);
            if let Some(marker) = EndMarker::parse(header, &batch.bytes) {
                log.end(marker.producer_id, marker.outcome);
            }
            if header.is_control() {
                return Ok(());
            }
            let producer = header.is_transactional().then_some(header.producer_id);
            batch.records().try_for_each(|record| {
                let (offset, record) = record?;
                Ok(log.apply(offset, producer, record.key.unwrap_or_default(), record.value)?)
            })
        })?;
        Ok((log, highest))
    }

    /// Takes the transactional ids of one partition of `__transaction_state` in.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn transactions(&self, dir: &Path, log: &mut TransactionLog) -> Result<(), ImportError> {
        each_in_dir(dir, !self.is_clean, &mut |batch| {
            if batch.header.is_control() {
                return Ok(());
            }
            batch.records().try_for_each(|record| {
                let (_, record) = record?;
                Ok(log.apply(record.key.unwrap_or_default(), record.value)?)
            })
        })
    }
}

/// Takes Kafka's lock, a lock of the whole file by POSIX. A directory that no broker ever ran on has no file.
fn lock(dir: &Path) -> Result<Option<File>, ImportError> {
    let path = dir.join(".lock");
    let file = match File::options().write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImportError::io(&path, error)),
    };
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| ImportError::source(dir, "a broker is running on it; stop it first"))?;
    Ok(Some(file))
}

fn list(dir: &Path) -> Result<Vec<(String, i32, PathBuf)>, ImportError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| ImportError::io(dir, source))? {
        let entry = entry.map_err(|source| ImportError::io(dir, source))?;
        let name = entry.file_name();
        let Some((topic, index)) = name.to_str().and_then(|name| name.rsplit_once('-')) else { continue };
        if let Ok(index) = index.parse::<i32>()
            && !topic.is_empty()
            && entry.path().is_dir()
        {
            found.push((topic.to_owned(), index, entry.path()));
        }
    }
    Ok(found)
}

/// The snapshot of the metadata with the highest end, and that end (`Snapshots.java`: end offset and epoch are in the name; a
/// snapshot that was not completed has another suffix).
fn newest_snapshot(dir: &Path) -> Result<Option<(i64, PathBuf)>, ImportError> {
    let mut newest: Option<((i64, i32), PathBuf)> = None;
    for entry in fs::read_dir(dir).map_err(|source| ImportError::io(dir, source))? {
        let entry = entry.map_err(|source| ImportError::io(dir, source))?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| {
            let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
            Some((end.parse::<i64>().ok()?, epoch.parse::<i32>().ok()?))
        });
        if let Some(id) = id
            && newest.as_ref().is_none_or(|(known, _)| *known < id)
        {
            newest = Some((id, entry.path()));
        }
    }
    Ok(newest.map(|((end, _), path)| (end, path)))
}
