//! The coordinator over real logs and a store that can lose writes. A crash ends the run at once: logs keep what was written,
//! the store keeps what it took.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::config::{BrokerConfig, Migration, Sources, TopicConfig};
use crate::groups::assign::Assignor;
use crate::groups::coordinator::metrics::GroupMetrics;
use crate::groups::coordinator::{Commit, Committed, FetchOf, Fetched, Held, Settings as GroupSettings};
use crate::groups::limits::{ClassicLimits, ConsumerLimits};
use crate::groups::offsets::OffsetKey;
use crate::groups::request::Committer;
use crate::metadata::{Change, MetadataImage, apply};
use crate::partition::append::Appended;
use crate::partition::flusher::{Flusher, FlusherThread};
use crate::partition::metrics::FlushMetrics;
use crate::partition::read::ReadRequest;
use crate::partition::registry::Wanted;
use crate::partition::{AppendError, PartitionId};
use crate::record::{BatchBuilder, BatchHeader, EndMarker, Records, Validated};
use crate::storage::hooked_state::{HookedState, disk_error};
use crate::storage::journal::JournalThread;
use crate::storage::rocks::blocking::Blocking;
use crate::storage::segment::FileCache;
use crate::storage::segment::space::Disk;
use crate::storage::{Durability, MemoryState};
use crate::transactions::transaction::State;

pub(super) const TOPIC: Uuid = Uuid::from_u128(7);
pub(super) const PARTITIONS: i32 = 3;
pub(super) const ID: &str = "payments";
pub(super) const GROUP: &str = "readers";
/// Long enough for anything, unless it hangs.
const SOON: Duration = Duration::from_secs(60);

/// What outlives a crash.
pub(super) struct World {
    dir: tempfile::TempDir,
    rows: MemoryState,
}

/// One process.
pub(super) struct Run {
    pub(super) coordinator: Coordinator,
    groups: Groups,
    /// Writes that the store still takes; negative for any number.
    writes_left: Arc<AtomicI64>,
    stop: watch::Sender<bool>,
    endings: Option<Endings>,
    carrier: Option<tokio::task::JoinHandle<()>>,
    journal: Option<JournalThread>,
    _flusher: FlusherThread,
}

pub(super) fn of(partition: i32) -> TopicPartition {
    TopicPartition { topic: TOPIC, partition }
}

fn topic_config() -> Arc<TopicConfig> {
    let sources = Sources { overrides: vec![("log.dirs".into(), "x".into())], ..Sources::default() };
    Arc::new(BrokerConfig::load(&sources).unwrap().config.topic_defaults)
}

fn image() -> Arc<MetadataImage> {
    let topic = Change::TopicCreated {
        name: "t".into(),
        id: TOPIC,
        partitions: PARTITIONS,
        overrides: Arc::default(),
    };
    Arc::new(apply(&MetadataImage::empty("c", 1), &[topic]))
}

fn group_settings() -> GroupSettings {
    let classic = ClassicLimits {
        session_min_ms: 10,
        session_max_ms: 60_000,
        initial_rebalance_delay_ms: 0,
        members_max: 100,
        pending_members_max: 100,
    };
    let limits = ConsumerLimits {
        session_timeout_ms: 45_000,
        heartbeat_interval_ms: 5000,
        members_max: 100,
        assignors: vec![Assignor::Uniform],
        migration: Migration::Bidirectional,
        regex_refresh_interval_ms: 600_000,
        classic,
    };
    GroupSettings {
        limits,
        resolve: |limits, _| limits.clone(),
        metadata_bytes_max: 100,
        offsets_retention_ms: 1_000_000,
        was_clean: true,
    }
}

impl World {
    pub(super) fn new() -> World {
        World { dir: tempfile::tempdir().unwrap(), rows: MemoryState::new() }
    }

    pub(super) fn start(&self) -> Run {
        self.start_with(-1)
    }

    /// A process whose store takes so many writes and then no more.
    pub(super) fn start_with(&self, writes: i64) -> Run {
        let writes_left = Arc::new(AtomicI64::new(writes));
        let left = writes_left.clone();
        let store = Arc::new(HookedState::new(self.rows.reopen(), move |rows, batch, durability| match left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                (left != 0).then(|| if left > 0 { left - 1 } else { left })
            }) {
            Ok(_) => rows.write(batch, durability),
            Err(_) => Err(disk_error()),
        }));
        let metrics = prometheus::Registry::new();
        let flusher = Flusher::start(self.dir.path(), FlushMetrics::register(&metrics).unwrap()).unwrap();
        let disk = Arc::new(Disk::new(self.dir.path(), None).unwrap());
        let files = FileCache::new(64);
        let partitions = Arc::new(Registry::new(self.dir.path(), files, flusher.queue(), disk, false, []));
        let config = topic_config();
        if !partitions.partition_dir("t", 0).exists() {
            partitions.create("t", TOPIC, 0..PARTITIONS, &config, 0).unwrap();
        }
        let (queue, journal) = Journal::start(store.clone(), Durability::Synced, |_| {}).unwrap();
        let group_metrics = GroupMetrics::register(&metrics).unwrap();
        let groups = Groups::new(store.clone(), queue.clone(), image, group_settings(), group_metrics);
        let opened = partitions.clone();
        let open = Box::new(move |of: TopicPartition| {
            let id = PartitionId { topic: "t".into(), topic_id: of.topic, index: of.partition };
            (of.topic == TOPIC).then(|| opened.get(&Wanted { id, config: config.clone() }, now_ms()))
        });
        let ids = Blocking::new(Arc::new(self.rows.reopen()), Blocking::DEFAULT_CALLS_MAX);
        let parts = Parts {
            store,
            journal: queue,
            partitions: partitions.clone(),
            open,
            groups: groups.clone(),
            producer_ids: Arc::new(ProducerIds::new(ids)),
        };
        let settings =
            Settings { max_timeout_ms: 900_000, id_expiration_ms: 1_000_000, verifies: true, max_ids: 3 };
        let (coordinator, endings) =
            Coordinator::new(parts, settings, TransactionMetrics::register(&metrics).unwrap());
        partitions.on_open_transactions(coordinator.claimer());
        let stop = watch::Sender::new(false);
        let endings = Some(endings);
        let (carrier, journal) = (None, Some(journal));
        let mut run =
            Run { coordinator, groups, writes_left, stop, endings, carrier, journal, _flusher: flusher };
        run.carry_out();
        run
    }
}

impl Run {
    /// Begins to carry out what was decided.
    fn carry_out(&mut self) {
        if let Some(endings) = self.endings.take() {
            self.carrier = Some(tokio::spawn(endings.run(self.stop.subscribe())));
        }
    }

    /// From now on nothing that is decided is carried out.
    pub(super) async fn stop_carrying_out(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.abort();
            carrier.await.unwrap_err();
        }
    }

    /// The process ends without a word.
    pub(super) async fn crash(mut self) {
        self.writes_left.store(0, Ordering::SeqCst);
        self.stop_carrying_out().await;
        if let Some(journal) = self.journal.take() {
            journal.stop();
        }
    }

    pub(super) fn partition(&self, index: i32) -> Arc<Partition> {
        (self.coordinator.0.parts.open)(of(index)).unwrap().unwrap()
    }

    pub(super) async fn init(&self) -> Producer {
        self.try_init().await.expect("a producer id is given out")
    }

    /// As a client: again while what an earlier producer had begun is being aborted.
    pub(super) async fn try_init(&self) -> Option<Producer> {
        for _ in 0..1000 {
            match self.coordinator.init_producer_id(ID, 60_000, None).await {
                Err(TransactionError::ConcurrentTransactions) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                given => return given.ok(),
            }
        }
        None
    }

    /// Sends one record as Produce does.
    pub(super) fn produce(
        &self,
        producer: Producer,
        protocol: Protocol,
        index: i32,
        sequence: i32,
        value: &str,
    ) -> Produced {
        let partition = self.partition(index);
        let batch = batch(producer, sequence, value);
        match partition.append(&batch, now_ms()) {
            Err(AppendError::NotEnlisted { .. }) => {}
            appended => {
                let is_repeat = appended.as_ref().is_ok_and(|appended| appended.is_repeat);
                let queued = if is_repeat { self.coordinator.queued(ID) } else { Ok(None) };
                return match queued {
                    Ok(receipt) => Produced { appended: Ok(appended), receipt, partition },
                    Err(error) => Produced { appended: Err(error), receipt: None, partition },
                };
            }
        }
        let is_second = protocol == Protocol::Second;
        let append = || partition.append_enlisted(&batch, now_ms(), is_second);
        match self.coordinator.append(ID, producer, protocol, of(index), append) {
            Ok((appended, receipt)) => Produced { appended: Ok(appended), receipt, partition },
            Err(error) => Produced { appended: Err(error), receipt: None, partition },
        }
    }

    pub(super) fn commit_offset(
        &self,
        producer: Producer,
        protocol: Protocol,
        offset: i64,
    ) -> Result<Held<Vec<Committed>>, TransactionError> {
        let committer = Committer { member_id: String::new(), instance_id: None, generation_or_epoch: -1 };
        let commit = Commit {
            of: OffsetKey { topic: TOPIC, partition: 0 },
            offset,
            leader_epoch: -1,
            metadata: "".into(),
        };
        self.coordinator.commit_offsets(ID, producer, protocol, GROUP, |groups, term| {
            groups.commit_pending(term, GROUP, (producer.id, producer.epoch), &committer, vec![commit])
        })
    }

    pub(super) async fn end(
        &self,
        producer: Producer,
        protocol: Protocol,
        outcome: TransactionOutcome,
    ) -> Result<Producer, TransactionError> {
        let ended = self.coordinator.end(ID, producer, outcome, protocol).settled();
        tokio::time::timeout(SOON, ended).await.expect("an answer")
    }

    /// What a reader at read_committed is given of a partition, once it is stable up to its end.
    pub(super) async fn committed(&self, index: i32) -> Vec<String> {
        let partition = self.partition(index);
        let end = partition.log_end_offset();
        partition.committed(end, SOON).await.unwrap();
        assert_eq!(partition.last_stable_offset(), end, "nothing is open in partition {index}");
        self.stable(index)
    }

    /// What a reader at read_committed is given now.
    fn stable(&self, index: i32) -> Vec<String> {
        let partition = self.partition(index);
        let request = ReadRequest {
            offset: 0,
            max_bytes: 1 << 20,
            min_one_batch: true,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            read_committed: true,
        };
        let outcome = partition.read(request, now_ms()).unwrap();
        let aborted = outcome.aborted.unwrap();
        let Some(slice) = outcome.slice else { return Vec::new() };
        let bytes = slice.read().unwrap();
        let mut values = Vec::new();
        // As a client does: a producer's batches are passed over from where an abort began to its marker.
        let mut passed_over = BTreeSet::new();
        let mut at = 0;
        while at < bytes.len() {
            let header = BatchHeader::parse(&bytes[at..]).unwrap();
            let batch = &bytes[at..at + header.size_in_bytes()];
            at += header.size_in_bytes();
            passed_over.extend(
                aborted
                    .iter()
                    .filter(|aborted| aborted.first_offset <= header.last_offset())
                    .filter(|aborted| aborted.last_offset >= header.base_offset)
                    .map(|aborted| aborted.producer_id),
            );
            if let Some(marker) = EndMarker::parse(&header, batch) {
                passed_over.remove(&marker.producer_id);
            } else if !header.is_transactional() || !passed_over.contains(&header.producer_id) {
                values.extend(
                    Records::new(&batch[crate::record::HEADER_LEN..], header.record_count)
                        .map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()),
                );
            }
        }
        values
    }

    pub(super) async fn group_offset(&self) -> Option<i64> {
        let asked = FetchOf::These(vec![OffsetKey { topic: TOPIC, partition: 0 }]);
        let found = self.groups.fetch(GROUP, None, asked, false, &|_| None).settled().await.unwrap();
        found.into_iter().find_map(|(_, found)| match found {
            Fetched::Committed(committed) => Some(committed.offset),
            Fetched::Unstable => None,
        })
    }

    fn state(&self) -> State {
        self.coordinator.shard(ID).unwrap().ids[ID].state
    }

    pub(super) async fn wait_for(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let waited = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, waited).await.unwrap_or_else(|_| panic!("{what}"));
    }

    fn endings_on_disk(&self) -> usize {
        let mut count = 0;
        let store = &self.coordinator.0.parts.store;
        store
            .scan_prefix(KeySpace::TransactionEndings, &[], &mut |_, _| {
                count += 1;
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        count
    }
}

pub(super) struct Produced {
    appended: Result<Result<Appended, AppendError>, TransactionError>,
    receipt: Option<Receipt>,
    partition: Arc<Partition>,
}

impl Produced {
    /// What the client is told, as acks=all has it.
    pub(super) async fn acknowledged(self) -> Result<i64, String> {
        let appended =
            self.appended.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.partition.committed(appended.end_offset, SOON).await.map_err(|error| error.to_string())?;
        if let Some(receipt) = self.receipt {
            receipt.await.map_err(|error| error.to_string())?;
        }
        Ok(appended.base_offset)
    }
}

fn batch(producer: Producer, sequence: i32, value: &str) -> Validated {
    let bytes: Bytes = BatchBuilder::new()
        .producer(producer.id, producer.epoch, sequence)
        .transactional(true)
        .record(now_ms(), None, Some(value.as_bytes()))
        .build()
        .unwrap();
    Validated { header: BatchHeader::parse(&bytes).unwrap(), bytes }
}

const BOTH: [Protocol; 2] = [Protocol::First, Protocol::Second];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_shows_records_and_offsets_together() {
    for protocol in BOTH {
        let world = World::new();
        let run = world.start();
        let producer = run.init().await;
        if protocol == Protocol::First {
            let partitions = BTreeSet::from([of(0), of(1)]);
            run.coordinator.add_partitions(ID, producer, partitions).settled().await.unwrap();
            run.coordinator.add_offsets(ID, producer, GROUP).settled().await.unwrap();
        }
        run.produce(producer, protocol, 0, 0, "a").acknowledged().await.unwrap();
        run.produce(producer, protocol, 1, 0, "b").acknowledged().await.unwrap();
        run.commit_offset(producer, protocol, 5).unwrap().settled().await.unwrap();
        assert_eq!(run.stable(0), Vec::<String>::new(), "an open transaction shows nothing");
        assert_eq!(run.group_offset().await, None);
        let next = run.end(producer, protocol, TransactionOutcome::Commit).await.unwrap();
        assert_eq!(next.epoch - producer.epoch, if protocol == Protocol::Second { 1 } else { 0 });
        assert_eq!((run.committed(0).await, run.committed(1).await), (vec!["a".into()], vec!["b".into()]));
        assert_eq!(run.group_offset().await, Some(5));
        assert_eq!(run.state(), State::CompleteCommit);
        // The ending leaves the disk when its markers are durable.
        run.wait_for("the ending to be done with", || {
            run.coordinator.tidy();
            run.endings_on_disk() == 0
        })
        .await;
        run.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_shows_nothing() {
    for protocol in BOTH {
        let world = World::new();
        let run = world.start();
        let producer = run.init().await;
        if protocol == Protocol::First {
            run.coordinator.add_partitions(ID, producer, BTreeSet::from([of(0)])).settled().await.unwrap();
            run.coordinator.add_offsets(ID, producer, GROUP).settled().await.unwrap();
        }
        run.produce(producer, protocol, 0, 0, "a").acknowledged().await.unwrap();
        run.commit_offset(producer, protocol, 5).unwrap().settled().await.unwrap();
        run.end(producer, protocol, TransactionOutcome::Abort).await.unwrap();
        assert_eq!(run.committed(0).await, Vec::<String>::new());
        assert_eq!(run.group_offset().await, None);
        run.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decided_transaction_is_carried_out_by_the_next_start_and_only_once() {
    for protocol in BOTH {
        let world = World::new();
        let mut run = world.start();
        let producer = run.init().await;
        if protocol == Protocol::First {
            let partitions = BTreeSet::from([of(0), of(1), of(2)]);
            run.coordinator.add_partitions(ID, producer, partitions).settled().await.unwrap();
        }
        for index in [0, 1] {
            run.produce(producer, protocol, index, 0, "x").acknowledged().await.unwrap();
        }
        run.stop_carrying_out().await;
        let ended = run.coordinator.end(ID, producer, TransactionOutcome::Commit, protocol);
        run.wait_for("the decision to be durable", || run.endings_on_disk() == 1).await;
        // One of the markers was written before the crash.
        let row = run.coordinator.shard(ID).unwrap().unsettled.values().next().unwrap().row.clone();
        let from = row.partitions[&of(0)];
        assert!(endings::mark(&run.partition(0), &row, from, false).unwrap().is_some());
        assert_eq!(endings::mark(&run.partition(0), &row, from, false).unwrap(), None, "a second one is not");
        drop(ended);
        run.crash().await;

        let run = world.start();
        run.coordinator.load_all();
        run.wait_for("the start to carry it out, and to be done with it", || {
            run.coordinator.shard(ID).is_ok_and(|shard| shard.unsettled.is_empty())
        })
        .await;
        assert_eq!(run.endings_on_disk(), 0, "no third start finds it");
        assert_eq!((run.committed(0).await, run.committed(1).await), (vec!["x".into()], vec!["x".into()]));
        assert_eq!((run.partition(0).log_end_offset(), run.partition(1).log_end_offset()), (2, 2));
        assert_eq!(run.partition(2).log_end_offset(), 0, "nothing was open there");
        // The client asks again, and is told what was decided.
        let again = run.end(producer, protocol, TransactionOutcome::Commit).await.unwrap();
        assert_eq!(again.epoch - producer.epoch, if protocol == Protocol::Second { 1 } else { 0 });
        assert_eq!(
            run.end(producer, protocol, TransactionOutcome::Abort).await,
            Err(TransactionError::InvalidTxnState)
        );
        run.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ending_that_is_carried_out_again_does_not_end_a_later_transaction_of_the_same_epoch() {
    let world = World::new();
    let run = world.start();
    let producer = run.init().await;
    let first = Protocol::First;
    run.coordinator.add_partitions(ID, producer, BTreeSet::from([of(0)])).settled().await.unwrap();
    run.produce(producer, first, 0, 0, "one").acknowledged().await.unwrap();
    run.end(producer, first, TransactionOutcome::Commit).await.unwrap();
    run.committed(0).await;
    // The next transaction is open, and the ending of the one before is still on the disk.
    run.coordinator.add_partitions(ID, producer, BTreeSet::from([of(0)])).settled().await.unwrap();
    let ending = KeySpace::TransactionEndings;
    let mut rows = WriteBatch::new();
    let row = EndingRow {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        outcome: TransactionOutcome::Commit,
        partitions: [(of(0), store::ending::OpenFrom::Offset(0))].into(),
    };
    rows.put(ending, store::ending::key(ID, 0), store::ending::value(&row));
    run.produce(producer, first, 0, 1, "two").acknowledged().await.unwrap();
    world.rows.reopen().write(rows, Durability::Synced).unwrap();
    run.crash().await;

    let run = world.start();
    run.coordinator.load_all();
    run.wait_for("the ending to be carried out", || {
        run.coordinator.shard(ID).is_ok_and(|shard| shard.unsettled.is_empty())
    })
    .await;
    assert_eq!(run.partition(0).open_transactions().len(), 1, "the second one is open");
    assert_eq!(run.stable(0), ["one"]);
    run.end(producer, first, TransactionOutcome::Abort).await.unwrap();
    assert_eq!(run.committed(0).await, ["one"]);
    run.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_whose_row_was_lost_is_taken_in_again() {
    let world = World::new();
    let run = world.start();
    let producer = run.init().await;
    let second = Protocol::Second;
    run.produce(producer, second, 0, 0, "a").acknowledged().await.unwrap();
    // The store takes nothing from here on, the log does.
    run.writes_left.store(0, Ordering::SeqCst);
    let produced = run.produce(producer, second, 1, 0, "b");
    assert!(produced.acknowledged().await.is_err());
    run.crash().await;

    let run = world.start();
    // The client did not hear of its batch and sends it again: it is recognised, and belongs to the transaction.
    assert_eq!(run.produce(producer, second, 1, 0, "b").acknowledged().await, Ok(0));
    run.end(producer, second, TransactionOutcome::Commit).await.unwrap();
    assert_eq!((run.committed(0).await, run.committed(1).await), (vec!["a".into()], vec!["b".into()]));
    run.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_transactions_find_no_owner_stays_closed() {
    let world = World::new();
    let run = world.start();
    let producer = run.init().await;
    run.produce(producer, Protocol::Second, 0, 0, "a").acknowledged().await.unwrap();
    run.writes_left.store(0, Ordering::SeqCst);
    run.produce(producer, Protocol::Second, 1, 0, "b").acknowledged().await.unwrap_err();
    run.crash().await;

    // The row that takes the partition in again cannot be written.
    let run = world.start_with(0);
    let opened = (run.coordinator.0.parts.open)(of(1)).unwrap();
    assert!(matches!(opened, Err(OpenError::Offline(_))));
    assert!((run.coordinator.0.parts.open)(of(0)).unwrap().is_ok(), "nothing has to be written for this one");
    run.crash().await;
    let run = world.start();
    run.produce(producer, Protocol::Second, 1, 0, "b").acknowledged().await.unwrap();
    run.end(producer, Protocol::Second, TransactionOutcome::Commit).await.unwrap();
    assert_eq!((run.committed(0).await, run.committed(1).await), (vec!["a".into()], vec!["b".into()]));
    run.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_is_refused_and_what_is_in_the_logs_is_taken_in_again() {
    let world = World::new();
    let run = world.start();
    let producer = run.init().await;
    let second = Protocol::Second;
    run.produce(producer, second, 0, 0, "a").acknowledged().await.unwrap();
    run.writes_left.store(0, Ordering::SeqCst);
    assert!(run.produce(producer, second, 1, 0, "b").acknowledged().await.is_err());
    let refused = run.end(producer, second, TransactionOutcome::Commit).await;
    assert!(
        matches!(refused, Err(TransactionError::NotCoordinator | TransactionError::CoordinatorNotAvailable)),
        "{refused:?}"
    );
    let repeated = run.produce(producer, second, 1, 0, "b").acknowledged().await;
    assert!(repeated.is_err(), "it is in the log, but nobody would know on the next start whose it is");
    run.writes_left.store(-1, Ordering::SeqCst);
    // In the same process: the state is read from the disk again, and the open logs tell the rest.
    run.wait_for("the store to be tried again", || run.coordinator.shard(ID).is_ok()).await;
    assert_eq!(run.produce(producer, second, 1, 0, "b").acknowledged().await, Ok(0));
    run.end(producer, second, TransactionOutcome::Commit).await.unwrap();
    assert_eq!((run.committed(0).await, run.committed(1).await), (vec!["a".into()], vec!["b".into()]));
    run.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_would_end_is_aborted_when_the_log_is_opened() {
    let world = World::new();
    let run = world.start();
    let stranger = Producer { id: 999, epoch: 3 };
    run.partition(0).append_enlisted(&batch(stranger, 0, "lost"), now_ms(), true).unwrap();
    let end = run.partition(0).log_end_offset();
    run.partition(0).committed(end, SOON).await.unwrap();
    run.crash().await;
    let run = world.start();
    assert_eq!(run.committed(0).await, Vec::<String>::new());
    assert_eq!(run.partition(0).log_end_offset(), 2);
    run.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_producer_ends_what_the_old_one_began_and_fences_it() {
    let world = World::new();
    let run = world.start();
    let old = run.init().await;
    run.produce(old, Protocol::Second, 0, 0, "old").acknowledged().await.unwrap();
    let new = run.init().await;
    assert!(new.id == old.id && new.epoch > old.epoch);
    assert!(run.produce(old, Protocol::Second, 0, 1, "late").acknowledged().await.is_err());
    assert_eq!(
        run.end(old, Protocol::Second, TransactionOutcome::Commit).await,
        Err(TransactionError::ProducerFenced)
    );
    run.produce(new, Protocol::Second, 0, 0, "new").acknowledged().await.unwrap();
    run.end(new, Protocol::Second, TransactionOutcome::Commit).await.unwrap();
    assert_eq!(run.committed(0).await, ["new"]);
    run.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overdue_transaction_is_aborted_and_its_producer_fenced() {
    let world = World::new();
    let run = world.start();
    let producer = run.coordinator.init_producer_id(ID, 1, None).await.unwrap();
    run.produce(producer, Protocol::First, 0, 0, "x").acknowledged().await.unwrap_err();
    run.coordinator.add_partitions(ID, producer, BTreeSet::from([of(0)])).settled().await.unwrap();
    run.produce(producer, Protocol::First, 0, 0, "x").acknowledged().await.unwrap();
    run.wait_for("time to pass", || {
        run.coordinator.shard(ID).is_ok_and(|shard| shard.ids[ID].is_overdue(now_ms()))
    })
    .await;
    run.coordinator.abort_overdue().await;
    run.wait_for("the marker", || run.partition(0).open_transactions().is_empty()).await;
    assert_eq!(run.committed(0).await, Vec::<String>::new());
    assert!(run.produce(producer, Protocol::First, 0, 1, "late").acknowledged().await.is_err());
    assert_eq!(
        run.end(producer, Protocol::First, TransactionOutcome::Commit).await,
        Err(TransactionError::ProducerFenced)
    );
    run.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_bounded_in_number_and_length() {
    let world = World::new();
    let run = world.start();
    for id in ["a", "b", "c"] {
        run.coordinator.init_producer_id(id, 1000, None).await.unwrap();
    }
    let init = |id: &'static str| run.coordinator.init_producer_id(id, 1000, None);
    assert_eq!(init("d").await, Err(TransactionError::TooManyTransactionalIds));
    assert!(init("a").await.is_ok(), "a known one is served");
    run.crash().await;
    let run = world.start();
    let init = |id: &'static str| run.coordinator.init_producer_id(id, 1000, None);
    assert_eq!(
        init("d").await,
        Err(TransactionError::TooManyTransactionalIds),
        "whatever was read since the start"
    );
    assert_eq!(init("").await, Err(TransactionError::InvalidRequest));
    let long = "x".repeat(store::TRANSACTIONAL_ID_BYTES_MAX + 1);
    assert_eq!(
        run.coordinator.init_producer_id(&long, 1000, None).await,
        Err(TransactionError::InvalidRequest)
    );
    run.crash().await;
}
