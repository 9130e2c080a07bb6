//! The controller against logs and a journal that record what they were asked, and fail when told to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::storage::{KeySpace, MemoryState, StateError};

/// What happened, in order: "prepare a 0..2", "journal 1", "discard a 0..2".
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, line: String) {
        self.0.lock().push(line);
    }
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[derive(Clone, Default)]
struct TestLogs {
    diary: Diary,
    refuse: Arc<Mutex<Option<String>>>,
}

impl Logs for TestLogs {
    fn prepare(&self, topic: &Topic, partitions: Range<i32>) -> Result<(), String> {
        self.diary.note(format!("prepare {} {partitions:?}", topic.name));
        if self.refuse.lock().as_deref() == Some(&*topic.name) {
            return Err("no room".into());
        }
        Ok(())
    }
    fn discard(&self, topic: &Topic, partitions: Range<i32>) {
        self.diary.note(format!("discard {} {partitions:?}", topic.name));
    }
}

struct TestJournal {
    inner: StateJournal,
    diary: Diary,
    fail: Arc<AtomicBool>,
}

impl Journal for TestJournal {
    fn append(&self, entry: Entry<'_>) -> Result<(), JournalError> {
        self.diary.note(format!("journal {}", entry.changes.len()));
        if self.fail.load(Ordering::SeqCst) {
            return Err(StateError::Unavailable { message: "disk".into(), retryable: true }.into());
        }
        self.inner.append(entry)
    }
}

struct Bench {
    store: Arc<dyn StateStore>,
    controller: Controller,
    logs: TestLogs,
    fail: Arc<AtomicBool>,
}

fn identity() -> ClusterIdentity {
    ClusterIdentity { cluster_id: "c".into(), node_id: 1 }
}

fn options() -> ControllerOptions {
    let next = AtomicU64::new(1000);
    ControllerOptions {
        limit: PartitionLimit { per_broker: 50_000 },
        new_topic_id: Arc::new(move || Uuid::from_u128(next.fetch_add(1, Ordering::SeqCst).into())),
    }
}

fn bench_on(store: Arc<dyn StateStore>) -> Bench {
    let logs = TestLogs::default();
    let fail = Arc::new(AtomicBool::new(false));
    let journal = TestJournal {
        inner: StateJournal::new(Arc::clone(&store)),
        diary: logs.diary.clone(),
        fail: Arc::clone(&fail),
    };
    let image = MetadataImage::empty("c", 1);
    let controller = Controller::new(image, Box::new(journal), Box::new(logs.clone()), options());
    Bench { store, controller, logs, fail }
}

fn bench() -> Bench {
    bench_on(Arc::new(MemoryState::new()))
}

impl Bench {
    /// The image the next process would load.
    fn on_disk(&self) -> MetadataImage {
        store::load(&*self.store, MetadataImage::empty("c", 1)).expect("load")
    }
}

fn new_topic(name: &str, partitions: i32) -> NewTopic {
    let overrides = Overrides::from([("retention.ms".to_owned(), "1".to_owned())]);
    NewTopic { name: name.into(), partitions, overrides }
}

fn named(name: &str) -> TopicRef {
    TopicRef::Name(name.into())
}

#[tokio::test]
async fn directories_then_record_then_image_and_back() {
    let bench = bench();
    let mut versions = bench.controller.subscribe();
    let created = bench.controller.create_topics(vec![new_topic("a", 2), new_topic("b", 1)]).await;
    assert_eq!(created.iter().filter(|answer| answer.is_ok()).count(), 2);
    // Both topics are in one journal entry, after both sets of directories.
    assert_eq!(bench.logs.diary.take(), ["prepare a 0..2", "prepare b 0..1", "journal 2"]);
    versions.changed().await.expect("the controller lives");
    assert_eq!(*versions.borrow_and_update(), 1);
    assert_eq!(bench.controller.image().version, 1);

    let grown = NewPartitions { topic: "a".into(), total: 5 };
    let grown = bench.controller.create_partitions(vec![grown]).await.remove(0).expect("grown");
    assert_eq!(grown.partitions, 5);
    assert_eq!(bench.logs.diary.take(), ["prepare a 2..5", "journal 1"]);

    let wanted = vec![named("a"), named("a"), named("never"), TopicRef::Id(Uuid::from_u128(7))];
    let deleted = bench.controller.delete_topics(wanted).await;
    assert!(deleted[0].is_ok());
    assert_eq!(deleted[1], Err(DeleteTopicError::UnknownName("a".into())));
    assert_eq!(deleted[2], Err(DeleteTopicError::UnknownName("never".into())));
    assert_eq!(deleted[3], Err(DeleteTopicError::UnknownId(Uuid::from_u128(7))));
    assert_eq!(bench.logs.diary.take(), ["journal 1", "discard a 0..5"]);

    let image = bench.controller.image();
    assert_eq!((image.version, image.topic_count(), image.partition_count()), (3, 1, 1));
    assert_eq!(bench.on_disk(), *image);
}

#[tokio::test]
async fn a_failed_journal_shows_nothing_and_leaves_no_orphan() {
    let bench = bench();
    bench.controller.create_topics(vec![new_topic("old", 1)]).await.remove(0).expect("created");
    let before = bench.controller.image();
    bench.logs.diary.take();
    bench.fail.store(true, Ordering::SeqCst);

    let created = bench.controller.create_topics(vec![new_topic("a", 2), new_topic("", 1)]).await;
    assert!(matches!(created[0], Err(CreateTopicError::Journal(_))), "{created:?}");
    assert!(matches!(created[1], Err(CreateTopicError::Name(_))), "{created:?}");
    assert_eq!(bench.logs.diary.take(), ["prepare a 0..2", "journal 1", "discard a 0..2"]);

    let grown = NewPartitions { topic: "old".into(), total: 3 };
    let grown = bench.controller.create_partitions(vec![grown]).await.remove(0);
    assert!(matches!(grown, Err(CreatePartitionsError::Journal(_))), "{grown:?}");
    assert_eq!(bench.logs.diary.take(), ["prepare old 1..3", "journal 1", "discard old 1..3"]);

    // A deletion that was not recorded must not touch a file.
    let deleted = bench.controller.delete_topics(vec![named("old")]).await.remove(0);
    assert!(matches!(deleted, Err(DeleteTopicError::Journal(_))), "{deleted:?}");
    assert_eq!(bench.logs.diary.take(), ["journal 1"]);

    let set = bench.controller.set_overrides(named("old"), Overrides::new()).await;
    assert!(matches!(set, Err(SetOverridesError::Journal(_))), "{set:?}");

    assert_eq!(*bench.controller.image(), *before);
    assert_eq!(bench.on_disk(), *before);

    bench.fail.store(false, Ordering::SeqCst);
    bench.controller.create_topics(vec![new_topic("a", 2)]).await.remove(0).expect("created");
    assert_eq!(bench.on_disk(), *bench.controller.image());
}

#[tokio::test]
async fn one_refused_topic_does_not_stop_the_others() {
    let bench = bench();
    *bench.logs.refuse.lock() = Some("full".into());
    let wanted = [("a", 1), ("full", 3), ("a", 1), ("b_x", 1), ("b.x", 1), ("c", i32::MAX), ("d", 0)];
    let wanted: Vec<_> = wanted.into_iter().map(|(name, n)| new_topic(name, n)).collect();
    let checked = bench.controller.check_topics(wanted.clone());
    assert!(checked[1].is_ok() && checked[2].is_err());
    assert_eq!(bench.logs.diary.take(), Vec::<String>::new());

    let created = bench.controller.create_topics(wanted).await;
    assert!(created[0].is_ok() && created[3].is_ok(), "{created:?}");
    assert_eq!(created[1], Err(CreateTopicError::Logs { reason: "no room".into() }));
    assert!(matches!(created[2], Err(CreateTopicError::Exists { .. })));
    assert!(matches!(created[4], Err(CreateTopicError::NameCollision { .. })));
    assert!(matches!(created[5], Err(CreateTopicError::TooManyPartitions { .. })));
    assert!(matches!(created[6], Err(CreateTopicError::PartitionCount { .. })));
    let diary = bench.logs.diary.take();
    let expected =
        ["prepare a 0..1", "prepare full 0..3", "discard full 0..3", "prepare b_x 0..1", "journal 2"];
    assert_eq!(diary, expected);
    assert_eq!(bench.controller.image().topic_count(), 2);

    // Adding partitions fails the same way, and the topic stays as it was.
    *bench.logs.refuse.lock() = Some("a".into());
    let more = |topic: &str, total| NewPartitions { topic: topic.into(), total };
    let wanted = vec![more("a", 4), more("b_x", 2), more("never", 2), more("b_x", 2)];
    let grown = bench.controller.create_partitions(wanted).await;
    assert!(matches!(grown[0], Err(CreatePartitionsError::Logs { .. })), "{grown:?}");
    assert!(grown[1].is_ok(), "{grown:?}");
    assert_eq!(grown[2], Err(CreatePartitionsError::UnknownName("never".into())));
    assert_eq!(grown[3], Err(CreatePartitionsError::NotMore { current: 2, asked: 2 }));
    assert_eq!(bench.controller.image().partition_count(), 3);
    assert_eq!(bench.on_disk(), *bench.controller.image());
}

/// Everything survives a restart, on whatever keeps the rows.
async fn reloads(mut open: impl FnMut() -> Arc<dyn StateStore>) {
    let bench = bench_on(open());
    let created = bench.controller.create_topics(vec![new_topic("a", 2), new_topic("b", 1)]).await;
    let b = created[1].clone().expect("created");
    bench.controller.delete_topics(vec![TopicRef::Id(b.id)]).await.remove(0).expect("deleted");
    bench.controller.create_topics(vec![new_topic("b", 4)]).await.remove(0).expect("re-created");
    bench.controller.set_overrides(named("b"), Overrides::new()).await.expect("cleared");
    let edited = bench.controller.edit_overrides(named("a"), |topic| {
        let mut overrides = Overrides::clone(&topic.overrides);
        overrides.insert("segment.ms".into(), "5".into());
        Ok::<_, SetOverridesError>(overrides)
    });
    assert_eq!(edited.await.expect("edited").overrides.len(), 2);
    let before = bench.controller.image();
    bench.store.close().expect("close");
    drop(bench);

    let store = open();
    let logs = Box::new(TestLogs::default());
    let again = Controller::open(Arc::clone(&store), identity(), logs, options()).await;
    let again = again.expect("reopened");
    assert_eq!(*again.image(), *before);
    assert_eq!(again.image().topic_by_id(b.id), None);
    assert_eq!(again.image().version, 5);

    // Ids come from the same sequence again here: one that is taken is passed over.
    let created = again.create_topics(vec![new_topic("c", 1)]).await.remove(0).expect("created");
    assert_eq!(created.created_version, 6);
    assert_eq!(again.image().topic_count(), 3);
    let deleted = again.delete_topics(vec![named("a"), named("b"), named("c")]).await;
    assert!(deleted.iter().all(Result::is_ok));
    for space in [KeySpace::Topics, KeySpace::Configs] {
        assert!(crate::storage::conformance::rows(&*store, space, b"").is_empty(), "{space:?}");
    }
}

#[tokio::test]
async fn reloads_from_memory() {
    let first = MemoryState::new();
    reloads(|| Arc::new(first.reopen())).await;
}

#[tokio::test]
async fn reloads_from_rocks() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    reloads(|| Arc::new(crate::storage::rocks::RocksState::open(dir.path()).expect("open"))).await;
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_split_a_change() {
    struct SlowLogs(Arc<tokio::sync::Notify>, Mutex<std::sync::mpsc::Receiver<()>>);
    impl Logs for SlowLogs {
        fn prepare(&self, _: &Topic, _: Range<i32>) -> Result<(), String> {
            self.0.notify_one();
            self.1.lock().recv().map_err(|error| error.to_string())
        }
        fn discard(&self, _: &Topic, _: Range<i32>) {}
    }
    let (go, gate) = std::sync::mpsc::channel();
    let started = Arc::new(tokio::sync::Notify::new());
    let logs = Box::new(SlowLogs(Arc::clone(&started), Mutex::new(gate)));
    let store = Arc::new(MemoryState::new());
    let controller = Controller::open(store.clone(), identity(), logs, options()).await.expect("open");
    let caller = tokio::spawn({
        let controller = controller.clone();
        async move { controller.create_topics(vec![new_topic("a", 1)]).await }
    });
    started.notified().await;
    caller.abort();
    assert!(caller.await.expect_err("aborted").is_cancelled());
    let mut versions = controller.subscribe();
    go.send(()).expect("the proposal still runs");
    let seen = tokio::time::timeout(Duration::from_secs(10), versions.changed()).await;
    seen.expect("in time").expect("the controller lives");
    let loaded = store::load(&*store, MetadataImage::empty("c", 1)).expect("load");
    assert_eq!(loaded, *controller.image());
    assert_eq!(loaded.topic_count(), 1);
}

#[tokio::test]
async fn thousands_of_single_creates_stay_cheap() {
    let bench = bench();
    let started = Instant::now();
    for number in 0..2000 {
        let new = vec![new_topic(&format!("topic-{number}"), 1)];
        bench.controller.create_topics(new).await.remove(0).expect("created");
    }
    assert_eq!(bench.controller.image().topic_count(), 2000);
    // An unoptimised build on a busy machine needs well under a second; a copy of the whole image per
    // topic would be noticed here.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(bench.on_disk(), *bench.controller.image());
}

#[tokio::test]
async fn overrides_of_a_group_are_kept_whether_it_exists_or_not() {
    let bench = bench();
    let edit = |key: &'static str, value: Option<&'static str>| {
        move |present: &Overrides| {
            let mut next = present.clone();
            match value {
                Some(value) => drop(next.insert(key.to_owned(), value.to_owned())),
                None => drop(next.remove(key)),
            }
            Ok::<_, SetOverridesError>(next)
        }
    };
    let set = |edit| bench.controller.edit_group_overrides("g".into(), edit);
    set(edit("a", Some("1"))).await.expect("set");
    set(edit("b", Some("2"))).await.expect("set");
    let expected = Overrides::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    assert_eq!(bench.controller.image().group_overrides("g").map(|found| &**found), Some(&expected));
    assert_eq!(bench.on_disk(), *bench.controller.image());

    // A change to what is there already writes nothing.
    bench.logs.diary.take();
    set(edit("b", Some("2"))).await.expect("set");
    assert_eq!(bench.logs.diary.take(), Vec::<String>::new());

    set(edit("a", None)).await.expect("removed");
    set(edit("b", None)).await.expect("removed");
    assert_eq!(bench.controller.image().configured_groups().count(), 0);
    assert_eq!(bench.store.get(KeySpace::GroupConfigs, b"g"), Ok(None));
    assert_eq!(bench.on_disk(), *bench.controller.image());
}
