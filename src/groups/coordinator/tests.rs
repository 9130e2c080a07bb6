//! The coordinator against a store in memory that can lose power and fail.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::config::Migration;
use crate::groups::assign::Assignor;
use crate::groups::limits::ClassicLimits;
use crate::groups::offsets::{CommittedOffset, OffsetKey};
use crate::groups::request::{
    Client, Committer, HeartbeatRequest, JoinRequest, Joined, Protocol, SyncRequest,
};
use crate::metadata::{Change, apply};
use crate::storage::hooked_state::{HookedState, disk_error};
use crate::storage::journal::JournalThread;
use crate::storage::{Durability, KeySpace, MemoryState, WriteBatch};

const TOPIC: Uuid = Uuid::from_u128(7);

fn image() -> Arc<MetadataImage> {
    let topic =
        Change::TopicCreated { name: "t".into(), id: TOPIC, partitions: 4, overrides: Arc::default() };
    Arc::new(apply(&MetadataImage::empty("c", 1), &[topic]))
}

fn settings(was_clean: bool) -> Settings {
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
    Settings {
        limits,
        resolve: |limits, _| limits.clone(),
        metadata_bytes_max: 10,
        offsets_retention_ms: 1000,
        was_clean,
    }
}

struct Bench {
    store: Arc<HookedState>,
    failing: Arc<AtomicBool>,
    /// True while writes take effect and are said to have failed.
    unsure: Arc<AtomicBool>,
    /// True while no write is to come back.
    stuck: Arc<AtomicBool>,
    coordinator: Coordinator,
    journal: Option<JournalThread>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Bench {
    fn on(rows: MemoryState, was_clean: bool) -> Bench {
        let flag = || Arc::new(AtomicBool::new(false));
        let (failing, unsure, stuck) = (flag(), flag(), flag());
        let (fails, is_unsure, waits) = (failing.clone(), unsure.clone(), stuck.clone());
        let store = Arc::new(HookedState::new(rows, move |rows, batch, durability| {
            while waits.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if fails.load(Ordering::SeqCst) {
                return Err(disk_error());
            }
            rows.write(batch, durability)?;
            if is_unsure.load(Ordering::SeqCst) { Err(disk_error()) } else { Ok(()) }
        }));
        let metrics = GroupMetrics::register(&prometheus::Registry::new()).expect("registered");
        let (queue, journal) = Journal::start(store.clone(), Durability::Synced, |_| {}).expect("started");
        let coordinator = Coordinator::new(store.clone(), queue, image, settings(was_clean), metrics);
        let stop = tokio::sync::watch::Sender::new(false);
        tokio::spawn(coordinator.clone().run_alarms(stop.subscribe()));
        Bench { store, failing, unsure, stuck, coordinator, journal: Some(journal), stop }
    }

    fn new() -> Bench {
        Bench::on(MemoryState::new(), true)
    }

    /// The next process finds what was synced, and nothing else.
    fn after_power_cut(mut self, was_clean: bool) -> Bench {
        let rows = self.store.rows.reopen();
        // What is on its way does not arrive.
        self.failing.store(true, Ordering::SeqCst);
        self.stuck.store(false, Ordering::SeqCst);
        self.stop.send_replace(true);
        if let Some(journal) = self.journal.take() {
            journal.stop();
        }
        Bench::on(rows, was_clean)
    }

    async fn join(&self, member_id: &str) -> Joined {
        let answer = given(self.coordinator.join("g", join_request(member_id))).await.expect("decided");
        answer.result.expect("joined")
    }

    /// One member that has its assignment.
    async fn stable(&self) -> Joined {
        let joined = self.join("").await;
        let sync = sync_request(&joined);
        let synced = given(self.coordinator.sync("g", sync)).await.expect("decided").expect("synced");
        assert_eq!(&synced.assignment[..], b"mine");
        joined
    }

    async fn commit(&self, committer: &Committer, partition: i32, offset: i64) -> Result<(), GroupError> {
        let commit = Commit { of: of(partition), offset, leader_epoch: 3, metadata: "m".into() };
        let results = given(self.coordinator.commit("g", committer, 9, vec![commit], None)).await?;
        results.into_iter().next().expect("one result")
    }

    async fn list(&self) -> Vec<Listed> {
        given(self.coordinator.list()).await.expect("listed")
    }

    async fn committed(&self, partition: i32) -> Option<i64> {
        let asked = FetchOf::These(vec![of(partition)]);
        let found = given(self.coordinator.fetch("g", None, asked, false, &|_| None)).await.expect("fetched");
        found.first().map(|(_, fetched)| committed(fetched).offset)
    }
}

fn committed(fetched: &Fetched) -> &CommittedOffset {
    match fetched {
        Fetched::Committed(committed) => committed,
        Fetched::Unstable => panic!("it is unstable"),
    }
}

fn of(partition: i32) -> OffsetKey {
    OffsetKey { topic: TOPIC, partition }
}

async fn given<T: Send + 'static>(held: Held<T>) -> Result<T, GroupError> {
    match held.answer(|answer| answer) {
        Answering::Now(answer) => answer,
        Answering::Later(answer) => {
            tokio::time::timeout(Duration::from_secs(60), answer).await.expect("an answer")
        }
    }
}

fn join_request(member_id: &str) -> JoinRequest {
    JoinRequest {
        client: Client { id: "c".into(), host: "/127.0.0.1".into() },
        member_id: member_id.into(),
        new_member_id: format!("c-{}", Uuid::new_v4()),
        instance_id: None,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: Bytes::from_static(b"s") }],
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        requires_known_member_id: false,
        supports_skipping_assignment: false,
        reason: None,
    }
}

fn sync_request(joined: &Joined) -> SyncRequest {
    SyncRequest {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![(joined.member_id.clone(), Bytes::from_static(b"mine"))],
    }
}

fn member(joined: &Joined) -> Committer {
    Committer {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation_or_epoch: joined.generation,
    }
}

fn nobody() -> Committer {
    Committer { member_id: String::new(), instance_id: None, generation_or_epoch: -1 }
}

fn heartbeat(joined: &Joined) -> HeartbeatRequest {
    HeartbeatRequest { member_id: joined.member_id.clone(), instance_id: None, generation: joined.generation }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_offsets_outlive_a_power_cut() {
    let bench = Bench::new();
    let joined = bench.stable().await;
    bench.commit(&member(&joined), 0, 42).await.expect("committed");
    bench.commit(&member(&joined), 1, 43).await.expect("committed");

    let bench = bench.after_power_cut(true);
    given(bench.coordinator.heartbeat("g", &heartbeat(&joined))).await.expect("the member is still one");
    assert_eq!(bench.committed(0).await, Some(42));
    assert_eq!(bench.committed(1).await, Some(43));
    assert_eq!(bench.committed(2).await, None);
    bench.commit(&member(&joined), 0, 50).await.expect("it goes on with its generation");
    let listed = bench.list().await;
    assert_eq!(listed.len(), 1);
    assert_eq!((&*listed[0].id, listed[0].state, listed[0].kind), ("g", "Stable", "classic"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_takes_back_what_it_was_to_write_and_all_that_followed() {
    let bench = Bench::new();
    let joined = bench.stable().await;
    bench.commit(&member(&joined), 0, 1).await.expect("committed");
    bench.failing.store(true, Ordering::SeqCst);
    let refused = bench.commit(&member(&joined), 0, 2).await;
    assert_eq!(refused, Err(GroupError::NotCoordinator));
    bench.failing.store(false, Ordering::SeqCst);
    // What is loaded again is what is on disk: the failed commit never was, and the member goes on.
    assert_eq!(bench.committed(0).await, Some(1));
    bench.commit(&member(&joined), 0, 3).await.expect("committed");
    assert_eq!(bench.committed(0).await, Some(3));
    assert_eq!(bench.after_power_cut(true).committed(0).await, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_told_to_look_again_when_the_state_is_given_up() {
    let bench = Bench::new();
    let joined = bench.stable().await;
    // A second member makes the first rejoin; until then it waits.
    let waiting = bench.coordinator.join("g", join_request(""));
    assert!(matches!(waiting, Held::Waiting(_)));
    bench.failing.store(true, Ordering::SeqCst);
    assert_eq!(bench.commit(&member(&joined), 0, 2).await, Err(GroupError::NotCoordinator));
    bench.failing.store(false, Ordering::SeqCst);
    // The next look at the shard loads it again.
    assert_eq!(bench.committed(0).await, None);
    assert_eq!(given(waiting).await, Err(GroupError::NotCoordinator));

    let waiting = bench.coordinator.join("g", join_request(""));
    assert!(matches!(waiting, Held::Waiting(_)));
    bench.coordinator.release_waiting();
    assert_eq!(given(waiting).await, Err(GroupError::NotCoordinator));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_from_outside_makes_a_group_that_deletion_takes_away() {
    let bench = Bench::new();
    assert_eq!(given(bench.coordinator.delete("g")).await, Err(group_not_found()));
    bench.commit(&nobody(), 0, 5).await.expect("committed");
    let long = Commit { of: of(1), offset: 1, leader_epoch: -1, metadata: "12345678901".into() };
    let short = Commit { of: of(2), offset: 2, leader_epoch: -1, metadata: "1234567890".into() };
    let results = given(bench.coordinator.commit("g", &nobody(), 9, vec![long, short], None)).await;
    assert_eq!(results, Ok(vec![Err(GroupError::OffsetMetadataTooLarge), Ok(())]));
    let bench = bench.after_power_cut(true);
    assert_eq!((bench.committed(0).await, bench.committed(1).await), (Some(5), None));
    assert_eq!(bench.list().await.first().map(|group| group.state), Some("Empty"));
    let deleted = given(bench.coordinator.delete_offsets("g", vec![of(2), of(3)])).await;
    assert_eq!(deleted, Ok(vec![Ok(()), Ok(())]));
    assert_eq!((bench.committed(0).await, bench.committed(2).await), (Some(5), None));
    given(bench.coordinator.delete("g")).await.expect("deleted");
    assert_eq!(bench.list().await, []);
    let bench = bench.after_power_cut(true);
    assert_eq!(bench.list().await, []);
    assert_eq!(bench.committed(0).await, None);
    // A member's commit needs its group.
    let stranger = Committer { generation_or_epoch: 1, ..nobody() };
    assert_eq!(bench.commit(&stranger, 0, 1).await, Err(group_not_found()));
    let old = Commit { of: of(0), offset: 1, leader_epoch: -1, metadata: "".into() };
    let refused = given(bench.coordinator.commit("g", &stranger, 8, vec![old], None)).await;
    assert_eq!(refused, Err(GroupError::IllegalGeneration));
}

fn group_not_found() -> GroupError {
    crate::groups::access::not_found("g")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_no_commit_points_beyond_its_log() {
    let bench = Bench::new();
    bench.commit(&nobody(), 0, 100).await.expect("committed");
    bench.commit(&nobody(), 1, 100).await.expect("committed");
    let bench = bench.after_power_cut(false);
    let fetch = |log_end: i64| {
        let held = bench.coordinator.fetch("g", None, FetchOf::These(vec![of(0)]), false, &|_| Some(log_end));
        async move {
            given(held)
                .await
                .expect("fetched")
                .first()
                .map(|(_, found)| (committed(found).offset, committed(found).leader_epoch))
        }
    };
    assert_eq!(fetch(60).await, Some((60, -1)));
    // It was compared once; what the client commits later is its own affair.
    assert_eq!(fetch(10).await, Some((60, -1)));
    let bench = bench.after_power_cut(true);
    assert_eq!((bench.committed(0).await, bench.committed(1).await), (Some(60), Some(100)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_falls_silent_is_removed_by_the_alarm() {
    let bench = Bench::new();
    let request = JoinRequest { session_timeout_ms: 20, ..join_request("") };
    let answer = given(bench.coordinator.join("g", request)).await.expect("decided");
    let joined = answer.result.expect("joined");
    given(bench.coordinator.sync("g", sync_request(&joined))).await.expect("decided").expect("synced");
    let emptied = async {
        while bench.list().await.iter().any(|group| group.state != "Empty") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), emptied).await.expect("the session ends");
    let refused = given(bench.coordinator.heartbeat("g", &heartbeat(&joined))).await;
    assert_eq!(refused, Err(GroupError::UnknownMemberId));
    assert_eq!(bench.commit(&member(&joined), 0, 9).await, Err(GroupError::UnknownMemberId));
    assert_eq!(bench.committed(0).await, None);
    // That is durable as well.
    let bench = bench.after_power_cut(true);
    let refused = given(bench.coordinator.heartbeat("g", &heartbeat(&joined))).await;
    assert_eq!(refused, Err(GroupError::UnknownMemberId));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_makes_its_shard_unavailable_and_no_other() {
    let rows = MemoryState::new();
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Groups, store::key("g", &crate::groups::effects::RowKey::Head), b"\x09?".to_vec());
    rows.write(batch, Durability::Synced).expect("written");
    let bench = Bench::on(rows, true);
    assert_eq!(bench.commit(&nobody(), 0, 1).await, Err(GroupError::CoordinatorNotAvailable));
    assert_ne!(store::shard_of("g"), store::shard_of("h"));
    let commit = Commit { of: of(0), offset: 1, leader_epoch: -1, metadata: "".into() };
    let results = given(bench.coordinator.commit("h", &nobody(), 9, vec![commit], None)).await;
    assert_eq!(results, Ok(vec![Ok(())]));
    assert_eq!(given(bench.coordinator.list()).await, Err(GroupError::CoordinatorNotAvailable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_given_an_id_first_joins_with_it() {
    let bench = Bench::new();
    let first = JoinRequest { requires_known_member_id: true, ..join_request("") };
    let answer = given(bench.coordinator.join("g", first)).await.expect("decided");
    assert_eq!(answer.result, Err(GroupError::MemberIdRequired));
    let again = JoinRequest { requires_known_member_id: true, ..join_request(&answer.member_id) };
    let answer = given(bench.coordinator.join("g", again)).await.expect("decided");
    assert_eq!(answer.result.expect("joined").leader, answer.member_id);
}

/// What is given up in memory may still be on its way to the disk. To read before it is there would be to read the past,
/// and to decide on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_given_up_is_read_again_after_what_was_queued() {
    let bench = Bench::new();
    let neighbour = (0..).map(|n| format!("n{n}")).find(|id| store::shard_of(id) == store::shard_of("g"));
    let neighbour = neighbour.expect("one of them");
    let commit = |offset| {
        let commit = Commit { of: of(0), offset, leader_epoch: -1, metadata: "".into() };
        bench.coordinator.commit(&neighbour, &nobody(), 9, vec![commit], None)
    };
    given(commit(1)).await.expect("committed");
    let joined = bench.join("").await;

    bench.stuck.store(true, Ordering::SeqCst);
    let committing = commit(2);
    assert!(matches!(committing, Held::Durable(..)));
    // An assignment that no row can hold: the decision is not taken, and the shard is given up with it.
    let huge = Bytes::from(vec![0; crate::storage::state_store::MAX_BATCH_BYTES + 1]);
    let sync = SyncRequest { assignments: vec![(joined.member_id.clone(), huge)], ..sync_request(&joined) };
    let refused = given(bench.coordinator.sync("g", sync)).await;
    assert_eq!(refused, Err(GroupError::NotCoordinator));
    let reading = {
        let (coordinator, neighbour) = (bench.coordinator.clone(), neighbour.clone());
        tokio::spawn(async move {
            given(coordinator.fetch(&neighbour, None, FetchOf::All, false, &|_| None)).await.expect("fetched")
        })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.stuck.store(false, Ordering::SeqCst);
    let read = reading.await.expect("read");
    assert_eq!(given(committing).await, Ok(vec![Ok(())]));
    assert_eq!(read.first().map(|(_, found)| committed(found).offset), Some(2));
}

#[path = "transactional_tests.rs"]
mod transactional;

#[path = "transactional_faults_tests.rs"]
mod transactional_faults;
