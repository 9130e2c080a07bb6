//! Moving in: what a stopped single node of Apache Kafka (KRaft, 3.7 to 4.3) left becomes a data directory of Tidelog.
//!
//! ```text
//! source           locks, identity, which directories       target     new, and nobody's until all is durable
//! metadata_image   __cluster_metadata: topics, settings     batches    reads Kafka's own topics
//! group_log        __consumer_offsets: groups, offsets      wire       Kafka's message encoding
//! transaction_log  __transaction_state                      plan       what is taken, and what is not and why
//! copy             partitions' files as they are            rows       what the state store is to hold
//! ```
//!
//! Logs are Kafka's own files and are not read: `tidelog log verify` does that. Kafka's directories are only read.

mod batches;
mod copy;
mod group_log;
mod metadata_image;
mod plan;
mod rows;
mod source;
mod target;
mod transaction_log;
mod wire;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use plan::LeftOut;
pub use rows::{GroupFigures, TransactionFigures};
pub use target::IMPORT_MARK;

use crate::config::BrokerConfig;
use crate::metadata::store::cluster_id::{self, IdentityError};
use crate::metadata::store::meta_properties::{self, MetaProperties, MetaPropertiesError};
use crate::record::RecordError;
use crate::storage::rocks::RocksState;
use crate::storage::segment::{StorageError, checkpoint};
use crate::storage::{StateError, StateStore};
use source::Source;
use target::Target;
use transaction_log::TransactionLog;
use wire::BadMessage;

/// Room that is to stay free beside what is copied, bytes: the state store and the file system need some.
const SPARE_BYTES: u64 = 64 << 20;

/// Why an import did not take place. The source is as it was; the target is nobody's.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A directory cannot be imported from.
    #[error("{}: {reason}", path.display())]
    Source { path: PathBuf, reason: String },
    /// A directory cannot be imported into.
    #[error("{}: {reason}", path.display())]
    Target { path: PathBuf, reason: String },
    /// Something that must be there is not.
    #[error("{0}")]
    Missing(String),
    /// Kafka's own data is damaged.
    #[error("{} is damaged at byte {position}: {reason}", path.display())]
    Damaged { path: PathBuf, position: u64, reason: String },
    /// A record of Kafka's own topics cannot be read.
    #[error(transparent)]
    Message(#[from] BadMessage),
    /// The records of a batch cannot be told apart.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What is to be imported is not permitted here.
    #[error("{0}")]
    Refused(String),
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    MetaProperties(#[from] MetaPropertiesError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl ImportError {
    fn io(path: &Path, source: io::Error) -> ImportError {
        ImportError::Io { path: path.to_owned(), source }
    }

    fn source(path: &Path, reason: impl Into<String>) -> ImportError {
        ImportError::Source { path: path.to_owned(), reason: reason.into() }
    }

    fn target(path: &Path, reason: impl Into<String>) -> ImportError {
        ImportError::Target { path: path.to_owned(), reason: reason.into() }
    }

    /// Says where a record is that cannot be read.
    fn at(self, path: &Path, position: u64) -> ImportError {
        let reason = match self {
            ImportError::Message(error) => error.to_string(),
            ImportError::Record(error) => error.to_string(),
            other => return other,
        };
        ImportError::Damaged { path: path.to_owned(), position, reason }
    }
}

/// What to import, and how.
#[derive(Debug)]
pub struct Options<'a> {
    /// Kafka's `log.dirs`, and `metadata.log.dir` if it is another one.
    pub from: &'a [PathBuf],
    /// The new data directory.
    pub to: &'a Path,
    /// Settings of the broker that will run on it.
    pub config: &'a BrokerConfig,
    /// Segments that are never written to again are shared instead of copied.
    pub hard_link: bool,
    /// Take it although Kafka did not stop in order.
    pub unclean: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

/// What was done, or in a dry run would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub cluster_id: String,
    pub node_id: i32,
    pub topics: u64,
    pub partitions: u64,
    /// Bytes of the partitions' files.
    pub bytes: u64,
    /// Of these, shared with the source.
    pub shared_bytes: u64,
    pub groups: GroupFigures,
    /// Offsets of transactions that were not committed.
    pub pending_offsets: u64,
    pub transactions: TransactionFigures,
    pub next_producer_id: i64,
    /// Kafka stopped in order, so the first start verifies nothing.
    pub is_clean: bool,
    /// An interrupted import was there, and was removed.
    pub restarted: bool,
    pub left_out: Vec<LeftOut>,
}

/// Imports.
///
/// # Errors
/// [`ImportError`]. The target then has the mark of an import, unless it was refused as it was.
pub fn run(options: &Options<'_>, progress: &mut dyn FnMut(&str)) -> Result<Report, ImportError> {
    let source = Source::open(options.from, options.unclean)?;
    Target::check(options.to)?;
    progress("reading the metadata");
    let image = source.metadata()?;
    let found = source.partitions()?;
    let plan = plan::plan(&image, &found, source.node_id, options.config)?;
    let mut report = Report {
        cluster_id: source.cluster_id.clone(),
        node_id: source.node_id,
        topics: plan.topics.len() as u64,
        is_clean: source.is_clean,
        left_out: plan.left_out.clone(),
        ..Report::default()
    };
    let mut partitions = Vec::new();
    let mut highest_producer_id = -1;
    for topic in &plan.topics {
        for (index, dir) in topic.dirs.iter().enumerate() {
            let (pieces, others) = copy::pieces(dir)?;
            for name in others {
                let why = "it is no file of a log".to_owned();
                report.left_out.push(LeftOut { what: dir.join(name).display().to_string(), why });
            }
            report.bytes += pieces.iter().map(|piece| piece.bytes).sum::<u64>();
            let shared = pieces.iter().filter(|piece| options.hard_link && piece.is_sealed_log);
            report.shared_bytes += shared.map(|piece| piece.bytes).sum::<u64>();
            highest_producer_id = copy::highest_producer_id(&pieces).max(highest_producer_id);
            partitions.push((format!("{}-{index}", topic.name), topic.id, pieces));
        }
    }
    report.partitions = partitions.len() as u64;
    let needed = (report.bytes - report.shared_bytes).saturating_add(SPARE_BYTES);
    let free = Target::free_bytes(options.to)?;
    if free < needed {
        let reason = format!("{needed} bytes are needed, {free} are free");
        return Err(ImportError::target(options.to, reason));
    }
    progress("reading groups and transactions");
    let (mut transactions, mut groups) = (TransactionLog::default(), Vec::new());
    for ((topic, _), dir) in &found {
        match topic.as_str() {
            "__transaction_state" => source.transactions(dir, &mut transactions)?,
            "__consumer_offsets" => {
                let (log, highest) = source.groups(dir)?;
                highest_producer_id = highest.max(highest_producer_id);
                groups.push(log);
            }
            _ => {}
        }
    }
    let decided = transactions.decided_commits();
    report.pending_offsets = groups.iter_mut().map(|log| log.finish(&decided) as u64).sum();
    let used = highest_producer_id.max(transactions.highest_producer_id());
    report.next_producer_id = image.next_producer_id().max(used.saturating_add(1));

    // In a dry run the same rows go to memory, so that what would be refused is refused now.
    let target = match options.dry_run {
        true => None,
        false => Some(Target::open(options.to)?),
    };
    let store: Arc<dyn StateStore> = match &target {
        None => Arc::new(crate::storage::MemoryState::new()),
        Some(target) => {
            report.restarted = target.restarted;
            for (number, (name, topic_id, pieces)) in partitions.iter().enumerate() {
                progress(&format!("copying {name} ({} of {})", number + 1, partitions.len()));
                copy::partition(pieces, &target.path.join(name), *topic_id.as_bytes(), options.hard_link)?;
            }
            Arc::new(RocksState::open(&target.path.join("state"))?)
        }
    };
    let topics = rows::topic_ids(&plan);
    rows::metadata(store.clone(), &plan, &source.cluster_id, source.node_id, options.config)?;
    for log in &groups {
        rows::groups(&*store, log, &topics, options.now_ms, &mut report.groups, &mut report.left_out)?;
    }
    report.transactions = rows::transactions(
        &*store,
        &transactions,
        &topics,
        &mut report.next_producer_id,
        options.now_ms,
        &mut report.left_out,
    )?;
    rows::producer_ids(&*store, report.next_producer_id)?;
    let Some(target) = target else {
        return Ok(report);
    };
    progress("making everything durable");
    let taken: HashSet<&str> = plan.topics.iter().map(|topic| topic.name.as_str()).collect();
    copy::checkpoints(&source, &target.path, |topic, _| taken.contains(topic))?;
    target.sync()?;
    store.flush()?;
    cluster_id::load_or_create(&*store, source.node_id, Some(&source.cluster_id), cluster_id::random_uuid)?;
    store.close()?;
    if source.is_clean {
        checkpoint::write_clean_shutdown(&target.path)?;
    }
    let identity = MetaProperties {
        cluster_id: source.cluster_id.clone(),
        node_id: source.node_id,
        directory_id: Some(cluster_id::random_uuid()),
    };
    meta_properties::write(&target.path, &identity)?;
    target.sync()?;
    target.finish()?;
    Ok(report)
}
