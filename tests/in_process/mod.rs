//! A broker without sockets: the dispatcher over a data directory, and produce requests as a client frames them.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tidelog::api::data::fetch_session::FetchSessions;
use tidelog::api::dispatch::Dispatcher;
use tidelog::api::metrics::ApiMetrics;
use tidelog::api::services::Services;
use tidelog::broker::data_dir::DataDir;
use tidelog::broker::group_settings;
use tidelog::broker::topic_logs::TopicLogs;
use tidelog::broker::transactions;
use tidelog::config::{BrokerConfig, Sources};
use tidelog::groups::coordinator::Coordinator;
use tidelog::groups::coordinator::metrics::GroupMetrics;
use tidelog::metadata::store::cluster_id;
use tidelog::metadata::{
    Controller, ControllerOptions, NewTopic, Overrides, PartitionLimit, ProducerIds, Topic,
};
use tidelog::partition::Registry;
use tidelog::partition::checkpoints::Checkpoints;
use tidelog::partition::cleaner::progress::Progress;
use tidelog::partition::flusher::{Flusher, FlusherThread};
use tidelog::partition::key_index::KeyIndexes;
use tidelog::partition::metrics::FlushMetrics;
use tidelog::protocol::reply::Reply;
use tidelog::record::BatchBuilder;
use tidelog::server::{Outcome, Peer, Service};
use tidelog::storage::journal::{Journal, JournalThread};
use tidelog::storage::rocks::blocking::Blocking;
use tidelog::storage::segment::FileCache;
use tidelog::storage::segment::space::Disk;
use tidelog::storage::{MemoryState, StateStore};
use tidelog::transactions::coordinator::metrics::TransactionMetrics;

/// The version that today's clients use; topics go by id.
const PRODUCE: i16 = 13;

/// One topic on a broker of its own.
pub struct InProcess {
    dispatcher: Dispatcher,
    topic: Arc<Topic>,
    peer: Arc<Peer>,
    runtime: tokio::runtime::Runtime,
    _flusher: FlusherThread,
    _journal: JournalThread,
    _dir: tempfile::TempDir,
}

impl InProcess {
    /// A broker with a topic of that many partitions; `settings` as on the command line.
    pub fn new(partitions: i32, settings: &[(&str, &str)]) -> InProcess {
        let dir = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut overrides = vec![("log.dirs".to_owned(), dir.path().display().to_string())];
        overrides.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let sources = Sources { overrides, ..Sources::default() };
        let config = Arc::new(BrokerConfig::load(&sources).unwrap().config);
        let data_dir = DataDir::open(&config.log_dirs).unwrap();
        let state: Arc<dyn StateStore> = Arc::new(MemoryState::new());
        let identity = data_dir.identity(&*state, config.node_id).unwrap();
        let metrics = prometheus::Registry::new();
        let flusher = Flusher::start(data_dir.path(), FlushMetrics::register(&metrics).unwrap()).unwrap();
        let registry = Arc::new(Registry::new(
            data_dir.path(),
            FileCache::new(512),
            flusher.queue(),
            Arc::new(Disk::new(data_dir.path(), None).unwrap()),
            true,
            [],
        ));
        let options = ControllerOptions {
            limit: PartitionLimit { per_broker: u32::MAX },
            new_topic_id: Arc::new(cluster_id::random_uuid),
        };
        let compacted = Arc::new(Progress::open(data_dir.path()));
        let logs = Box::new(TopicLogs::new(registry.clone(), compacted, config.clone()));
        let controller =
            Arc::new(runtime.block_on(Controller::open(state.clone(), identity, logs, options)).unwrap());
        let watched = controller.clone();
        let (queue, journal) =
            Journal::start(state.clone(), group_settings::durability(&config), |_| {}).unwrap();
        let groups = Coordinator::new(
            state.clone(),
            queue.clone(),
            move || watched.image(),
            group_settings::settings(&config, true),
            GroupMetrics::register(&metrics).unwrap(),
        );
        let producer_ids =
            Arc::new(ProducerIds::new(Blocking::new(state.clone(), Blocking::DEFAULT_CALLS_MAX)));
        let composed = transactions::Composed {
            store: state,
            journal: queue,
            partitions: registry.clone(),
            controller: controller.clone(),
            groups: groups.clone(),
            producer_ids: producer_ids.clone(),
            config: config.clone(),
        };
        let (transactions, _) =
            transactions::coordinator(composed, TransactionMetrics::register(&metrics).unwrap());
        let services = Arc::new(Services {
            fetch_sessions: FetchSessions::new(config.max_incremental_fetch_session_cache_slots),
            metrics: ApiMetrics::register(&prometheus::Registry::new()).unwrap(),
            producer_ids,
            groups,
            transactions,
            partitions: registry,
            checkpoints: Checkpoints::new(data_dir.path()),
            key_indexes: KeyIndexes::new(data_dir.key_index_path()),
            controller,
            config,
            retention_clock: Default::default(),
        });
        let new = NewTopic { name: "topic".into(), partitions, overrides: Overrides::default() };
        let topic = runtime.block_on(services.controller.create_topics(vec![new])).remove(0).unwrap();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9092));
        InProcess {
            dispatcher: Dispatcher::new(services),
            topic,
            peer: Arc::new(Peer { remote: address, local: address, listener: "PLAINTEXT".into() }),
            runtime,
            _flusher: flusher,
            _journal: journal,
            _dir: dir,
        }
    }

    /// A request frame, without its length prefix, with one batch of `records` to each of the first `batches` partitions.
    pub fn frame(&self, batches: i32, records: &Bytes, acks: i16) -> Bytes {
        let data = (0..batches)
            .map(|index| {
                PartitionProduceData::default().with_index(index).with_records(Some(records.clone()))
            })
            .collect();
        let request =
            ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![
                TopicProduceData::default().with_topic_id(self.topic.id).with_partition_data(data),
            ]);
        let header = RequestHeader::default()
            .with_request_api_key(ApiKey::Produce as i16)
            .with_request_api_version(PRODUCE)
            .with_correlation_id(7)
            .with_client_id(Some(StrBytes::from_static_str("bench")));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, ProduceRequest::header_version(PRODUCE)).unwrap();
        request.encode(&mut frame, PRODUCE).unwrap();
        frame.freeze()
    }

    /// Begins a request on this thread, as a connection does.
    pub fn begin(&self, frame: Bytes) -> Outcome {
        self.dispatcher.call(&self.peer, frame)
    }

    /// Waits for the answer and checks that every batch of it was appended.
    pub fn expect_success(&self, outcome: Outcome) {
        let reply = match outcome {
            Outcome::Now(reply) => reply,
            Outcome::Later(reply) | Outcome::Alone(reply) => self.runtime.block_on(reply),
        };
        let Reply::Single(frame) = reply else { panic!("no answer: {reply:?}") };
        let mut body = frame.slice(4..);
        ResponseHeader::decode(&mut body, ProduceResponse::header_version(PRODUCE)).unwrap();
        let response = ProduceResponse::decode(&mut body, PRODUCE).unwrap();
        for partition in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
            assert_eq!(partition.error_code, 0, "partition {}", partition.index);
        }
    }
}

/// An uncompressed batch of records of `value_bytes`, at least `batch_bytes` together, as a producer sends it.
pub fn batch(batch_bytes: usize, value_bytes: usize) -> Bytes {
    let mut value = BytesMut::new();
    (0..value_bytes).for_each(|at| value.put_u8(b'A' + (at * 7 % 26) as u8));
    let records = batch_bytes.div_ceil(value_bytes);
    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    (0..records)
        .fold(BatchBuilder::new(), |batch, _| batch.record(now_ms, None, Some(&value)))
        .build()
        .unwrap()
}
