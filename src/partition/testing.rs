//! A partition in a directory of its own, batches for it, and a reader at read_committed, for the tests of this folder.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::checkpoints::Checkpointed;
use super::flusher::{Flusher, FlusherThread};
use super::handle::{Partition, PartitionId};
use super::metrics::FlushMetrics;
use super::read::ReadRequest;
use super::registry::{Registry, Wanted};
use crate::config::{BrokerConfig, Sources, TopicConfig, TopicOverrides, resolve};
use crate::record::{BatchBuilder, BatchHeader, Batches, EndMarker, TransactionOutcome, Validated};
use crate::storage::segment::space::Disk;
use crate::storage::segment::{AbortedTransaction, FileCache};

pub const TOPIC: &str = "t";

/// A data directory with one partition.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub config: Arc<TopicConfig>,
    pub registry: Registry,
    pub partition: Arc<Partition>,
    flusher: FlusherThread,
    topic_id: Uuid,
}

impl Bench {
    /// A new partition; `settings` are the topic's.
    pub fn new(settings: &[(&str, &str)]) -> Bench {
        Self::with_reserve(settings, Some(0))
    }

    /// A new partition on a disk with a reserve of so many bytes.
    pub fn with_reserve(settings: &[(&str, &str)], reserve: Option<u64>) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let overrides = vec![("log.dirs".to_owned(), dir.path().display().to_string())];
        let broker = BrokerConfig::load(&Sources { overrides, ..Sources::default() }).unwrap().config;
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let config = Arc::new(resolve(&broker, &TopicOverrides(settings.collect())).unwrap());
        let topic_id = Uuid::from_u128(7);
        let (flusher, registry) = registry(dir.path(), true, Checkpointed::default(), reserve);
        registry.create(TOPIC, topic_id, 0..1, &config, 0).unwrap();
        let partition = registry.get(&wanted(topic_id, &config), 0).unwrap();
        Bench { dir, config, registry, partition, flusher, topic_id }
    }

    /// Closes in order and opens again.
    pub fn reopen(self, now_ms: i64, told: impl Fn(&Arc<Partition>) + Send + Sync + 'static) -> Bench {
        self.reopen_changed(now_ms, |_| (), told)
    }

    /// The same; `change` does something to the files meanwhile.
    pub fn reopen_changed(
        self,
        now_ms: i64,
        change: impl FnOnce(&Path),
        told: impl Fn(&Arc<Partition>) + Send + Sync + 'static,
    ) -> Bench {
        assert!(self.registry.close());
        let checkpointed = self.partition.checkpointed();
        self.flusher.stop();
        change(self.partition.dir());
        let (flusher, registry) = registry(self.dir.path(), true, checkpointed, Some(0));
        registry.on_open_transactions(move |partition| {
            told(partition);
            Ok(())
        });
        let partition = registry.get(&wanted(self.topic_id, &self.config), now_ms).unwrap();
        Bench { registry, partition, flusher, ..self }
    }

    /// What another start finds in a copy of the directory, as a kill leaves it, after `change` has done to the files what
    /// a power cut may.
    pub fn killed(&self, recovery_point: i64, change: impl FnOnce(&Path)) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("{TOPIC}-0");
        let (from, to) = (self.dir.path().join(&name), dir.path().join(&name));
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        change(&to);
        let log_start_offset = self.partition.log_start_offset();
        let checkpointed = Checkpointed { recovery_point, log_start_offset };
        let (flusher, registry) = registry(dir.path(), false, checkpointed, Some(0));
        let partition = registry.get(&wanted(self.topic_id, &self.config), 0).unwrap();
        Bench { dir, registry, partition, flusher, config: self.config.clone(), topic_id: self.topic_id }
    }

    /// Where the log is.
    pub fn log_dir(&self) -> &Path {
        self.partition.dir()
    }

    /// Waits until all that was appended is committed.
    pub fn settle(&self) {
        let end = self.partition.log_end_offset();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.partition.committed(end, Duration::from_secs(30))).unwrap();
    }
}

fn registry(
    dir: &Path,
    clean: bool,
    checkpointed: Checkpointed,
    reserve: Option<u64>,
) -> (FlusherThread, Registry) {
    let metrics = FlushMetrics::register(&prometheus::Registry::new()).unwrap();
    let flusher = Flusher::start(dir, metrics).unwrap();
    let disk = Arc::new(Disk::new(dir, reserve).unwrap());
    let checkpoints = [((TOPIC.to_owned(), 0), checkpointed)];
    let registry = Registry::new(dir, FileCache::new(64), flusher.queue(), disk, clean, checkpoints);
    (flusher, registry)
}

fn wanted(topic_id: Uuid, config: &Arc<TopicConfig>) -> Wanted {
    Wanted { id: PartitionId { topic: TOPIC.into(), topic_id, index: 0 }, config: config.clone() }
}

fn built(builder: BatchBuilder, records: i32) -> Validated {
    let bytes =
        (0..records).fold(builder, |builder, _| builder.record(1_000, None, Some(b"value"))).build().unwrap();
    Validated { header: BatchHeader::parse(&bytes).unwrap(), bytes }
}

/// A batch that is part of a transaction.
pub fn transactional(producer_id: i64, epoch: i16, sequence: i32, records: i32) -> Validated {
    built(BatchBuilder::new().producer(producer_id, epoch, sequence).transactional(true), records)
}

/// A batch of nobody.
pub fn plain(records: i32) -> Validated {
    built(BatchBuilder::new(), records)
}

/// A batch of nobody, of so many bytes and a header.
pub fn plain_of(bytes: usize) -> Validated {
    let bytes = BatchBuilder::new().record(1_000, None, Some(&vec![7; bytes])).build().unwrap();
    Validated { header: BatchHeader::parse(&bytes).unwrap(), bytes }
}

pub fn marker(producer_id: i64, producer_epoch: i16, outcome: TransactionOutcome) -> EndMarker {
    EndMarker { producer_id, producer_epoch, coordinator_epoch: 0, outcome }
}

/// A read with nothing special.
pub fn request(offset: i64, max_bytes: usize, read_committed: bool) -> ReadRequest {
    ReadRequest {
        offset,
        max_bytes,
        min_one_batch: true,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        read_committed,
    }
}

/// Base offsets of the batches that a consumer at read_committed hands to its application, from `offset` on, as clients
/// work it out from what each fetch tells (`CompletedFetch`); and every aborted transaction it was told of.
pub fn consume(
    partition: &Partition,
    mut offset: i64,
    max_bytes: usize,
) -> (Vec<i64>, Vec<AbortedTransaction>) {
    let (mut delivered, mut told) = (Vec::new(), Vec::new());
    while let outcome = partition.read(request(offset, max_bytes, true), 0).unwrap()
        && let Some(slice) = outcome.slice
    {
        let mut aborted = outcome.aborted.unwrap();
        for entry in &aborted {
            assert!(
                entry.last_offset >= offset && entry.first_offset < slice.next_offset,
                "{entry:?} is out of the way"
            );
        }
        told.extend(aborted.iter().copied());
        aborted.sort_by_key(|entry| entry.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let mut passed_over = HashSet::new();
        let bytes = slice.read().unwrap();
        for batch in Batches::new(&bytes) {
            let (header, bytes) = batch.unwrap();
            while let Some(entry) = aborted.next_if(|entry| entry.first_offset <= header.last_offset()) {
                passed_over.insert(entry.producer_id);
            }
            match EndMarker::parse(&header, bytes) {
                Some(marker) if marker.outcome == TransactionOutcome::Abort => {
                    passed_over.remove(&marker.producer_id);
                }
                Some(_) => {}
                None if header.is_transactional() && passed_over.contains(&header.producer_id) => {}
                None => delivered.push(header.base_offset),
            }
            offset = header.last_offset() + 1;
        }
    }
    (delivered, told)
}
