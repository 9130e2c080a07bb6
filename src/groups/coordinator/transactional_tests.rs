//! Offsets in transactions: with the transaction's row or not at all, whatever happens to the disk.

use super::*;
use crate::groups::pending::PendingOffset;
use crate::groups::store::{committed_offset, pending_offset};
use crate::record::control::TransactionOutcome::{self, Abort, Commit as Commits};
use crate::storage::{StateStore, journal::Receipt};

const PRODUCER: (i64, i16) = (7, 0);

pub(super) fn commit_of(partition: i32, offset: i64) -> Commit {
    Commit { of: of(partition), offset, leader_epoch: 3, metadata: "m".into() }
}

fn row(value: u8) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::Transactions, b"t".to_vec(), vec![value]);
    batch
}

/// Another group, in the shard of "g" or in another.
pub(super) fn other(is_neighbour: bool) -> Arc<str> {
    let is_it = |id: &String| (store::shard_of(id) == store::shard_of("g")) == is_neighbour;
    (0..).map(|n| format!("n{n}")).find(is_it).expect("one of them").into()
}

impl Bench {
    pub(super) fn term(&self) -> u64 {
        self.coordinator.0.journal.term()
    }

    pub(super) async fn send_as(
        &self,
        group: &str,
        producer: (i64, i16),
        committer: &Committer,
        commits: Vec<Commit>,
    ) -> Result<Vec<Committed>, GroupError> {
        given(self.coordinator.commit_pending(self.term(), group, producer, committer, commits)).await
    }

    pub(super) async fn send(&self, group: &str, partition: i32, offset: i64) -> Result<(), GroupError> {
        let commits = vec![commit_of(partition, offset)];
        let results = self.send_as(group, PRODUCER, &nobody(), commits).await?;
        results.into_iter().next().expect("one result")
    }

    /// Ends the transaction in these groups, and queues `value` as its row.
    fn queue_end(
        &self,
        groups: &[&str],
        outcome: TransactionOutcome,
        value: u8,
    ) -> Result<Receipt, GroupError> {
        let groups: Vec<Arc<str>> = groups.iter().map(|group| Arc::from(*group)).collect();
        self.coordinator.end_transaction(self.term(), &groups, PRODUCER.0, outcome, row(value))
    }

    /// Whether the end is durable.
    pub(super) async fn end(&self, groups: &[&str], outcome: TransactionOutcome, value: u8) -> bool {
        match self.queue_end(groups, outcome, value) {
            Ok(receipt) => receipt.await.is_ok(),
            Err(_) => false,
        }
    }

    async fn fetched(&self, group: &str, of: FetchOf, stable: bool) -> Vec<(OffsetKey, Fetched)> {
        given(self.coordinator.fetch(group, None, of, stable, &|_| None)).await.expect("fetched")
    }

    /// What a reader is shown that requires stable offsets: `Err` when it is to ask again.
    pub(super) async fn stable_in(&self, group: &str, partition: i32) -> Result<Option<i64>, ()> {
        let found = self.fetched(group, FetchOf::These(vec![of(partition)]), true).await;
        match found.first() {
            None => Ok(None),
            Some((_, Fetched::Committed(committed))) => Ok(Some(committed.offset)),
            Some((_, Fetched::Unstable)) => Err(()),
        }
    }

    pub(super) async fn committed_in(&self, group: &str, partition: i32) -> Option<i64> {
        let found = self.fetched(group, FetchOf::These(vec![of(partition)]), false).await;
        found.first().map(|(_, found)| committed(found).offset)
    }

    pub(super) fn row(&self) -> Option<u8> {
        let row = self.store.rows.get(KeySpace::Transactions, b"t").expect("read");
        row.and_then(|row| row.first().copied())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_show_with_the_end_of_their_transaction() {
    let bench = Bench::new();
    bench.commit(&nobody(), 0, 3).await.expect("committed");
    bench.send("g", 0, 10).await.expect("sent");
    bench.send("g", 1, 11).await.expect("sent");
    assert_eq!((bench.committed(0).await, bench.committed(1).await), (Some(3), None));
    assert_eq!((bench.stable_in("g", 0).await, bench.stable_in("g", 1).await), (Err(()), Err(())));
    assert_eq!(bench.stable_in("g", 2).await, Ok(None));
    // Who asks for all is told of those that have a commit.
    assert_eq!(bench.fetched("g", FetchOf::All, true).await, [(of(0), Fetched::Unstable)]);
    assert_eq!(bench.fetched("g", FetchOf::All, false).await.len(), 1);

    let bench = bench.after_power_cut(true);
    assert_eq!((bench.committed(0).await, bench.stable_in("g", 0).await), (Some(3), Err(())));
    assert!(bench.end(&["g"], Commits, 1).await);
    assert_eq!((bench.stable_in("g", 0).await, bench.stable_in("g", 1).await), (Ok(Some(10)), Ok(Some(11))));

    bench.send("g", 0, 20).await.expect("sent");
    assert!(bench.end(&["g"], Abort, 2).await);
    assert_eq!(bench.stable_in("g", 0).await, Ok(Some(10)));
    let bench = bench.after_power_cut(true);
    assert_eq!((bench.row(), bench.stable_in("g", 0).await), (Some(2), Ok(Some(10))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_leaves_the_transactions_row_and_all_offsets_or_none() {
    let (near, far) = (other(true), other(false));
    let groups = ["g", &*near, &*far];
    let bench = Bench::new();
    for (number, group) in groups.iter().enumerate() {
        bench.send(group, 0, number as i64).await.expect("sent");
    }
    // The write of the end never comes back.
    bench.stuck.store(true, Ordering::SeqCst);
    let queued = bench.queue_end(&groups, Commits, 1).expect("queued");
    assert_eq!(queued.outcome(), None);
    let bench = bench.after_power_cut(true);
    assert_eq!(bench.row(), None);
    for group in groups {
        assert_eq!((bench.committed_in(group, 0).await, bench.stable_in(group, 0).await), (None, Err(())));
    }
    assert!(bench.end(&groups, Commits, 1).await);
    let bench = bench.after_power_cut(true);
    assert_eq!(bench.row(), Some(1));
    for (number, group) in groups.iter().enumerate() {
        assert_eq!(bench.stable_in(group, 0).await, Ok(Some(number as i64)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_end_changes_nothing_and_is_done_again_in_the_next_term() {
    let far = other(false);
    let bench = Bench::new();
    bench.send("g", 0, 10).await.expect("sent");
    bench.send(&far, 0, 20).await.expect("sent");
    let term = bench.term();
    bench.failing.store(true, Ordering::SeqCst);
    assert!(!bench.end(&["g", &far], Commits, 1).await);
    bench.failing.store(false, Ordering::SeqCst);
    assert_eq!(
        (bench.row(), bench.committed(0).await, bench.stable_in(&far, 0).await),
        (None, None, Err(()))
    );
    // What was decided on what was lost is refused: an end, and offsets of a transaction that may not have been enlisted.
    let ended = bench.coordinator.end_transaction(term, &["g".into()], 7, Commits, row(1));
    assert_eq!(ended.map(drop), Err(GroupError::NotCoordinator));
    let ended = bench.coordinator.end_transaction(term, &[], 7, Commits, row(1));
    assert_eq!(ended.map(drop), Err(GroupError::NotCoordinator));
    let held = bench.coordinator.commit_pending(term, "g", PRODUCER, &nobody(), vec![commit_of(3, 1)]);
    assert_eq!(given(held).await, Err(GroupError::NotCoordinator));
    assert_eq!((bench.row(), bench.stable_in("g", 3).await), (None, Ok(None)));

    assert!(bench.end(&["g", &far], Commits, 1).await);
    assert_eq!((bench.row(), bench.stable_in("g", 0).await), (Some(1), Ok(Some(10))));
    assert_eq!(bench.stable_in(&far, 0).await, Ok(Some(20)));
    assert!(bench.end(&[], Commits, 2).await, "a transaction without groups");
    assert_eq!(bench.row(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_too_large_to_write_is_refused_whole() {
    let bench = Bench::new();
    bench.send("g", 0, 10).await.expect("sent");
    let mut rows = row(1);
    rows.put(KeySpace::Transactions, b"u".to_vec(), vec![0; crate::storage::state_store::MAX_BATCH_BYTES]);
    let ended = bench.coordinator.end_transaction(bench.term(), &["g".into()], 7, Commits, rows);
    assert_eq!(ended.map(drop), Err(GroupError::NotCoordinator));
    assert_eq!((bench.row(), bench.committed(0).await, bench.stable_in("g", 0).await), (None, None, Err(())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_send_offsets() {
    let bench = Bench::new();
    let send = |group: &str, committer: &Committer| {
        let held =
            bench.coordinator.commit_pending(bench.term(), group, PRODUCER, committer, vec![commit_of(0, 1)]);
        async move { given(held).await.map(|results| results[0].clone()) }
    };
    assert_eq!(send("", &nobody()).await, Err(GroupError::InvalidGroupId));
    assert_eq!(send(&"x".repeat(40_000), &nobody()).await, Err(GroupError::InvalidGroupId));
    let stranger = Committer { member_id: "x".into(), generation_or_epoch: 1, ..nobody() };
    assert_eq!(send("g", &stranger).await, Err(GroupError::IllegalGeneration));
    assert_eq!(bench.list().await, []);
    // A group of offsets alone is made, as by OffsetCommit.
    assert_eq!(send("s", &nobody()).await, Ok(Ok(())));
    let listed = bench.list().await;
    assert_eq!(listed.iter().map(|group| (&*group.id, group.state)).collect::<Vec<_>>(), [("s", "Empty")]);

    let joined = bench.stable().await;
    assert_eq!(send("g", &member(&joined)).await, Ok(Ok(())));
    assert_eq!(send("g", &nobody()).await, Ok(Ok(())), "who cannot name a member");
    let late = Committer { generation_or_epoch: joined.generation - 1, ..member(&joined) };
    assert_eq!(send("g", &late).await, Err(GroupError::IllegalGeneration));
    assert_eq!(send("g", &stranger).await, Err(GroupError::UnknownMemberId));

    let beat = crate::groups::request::ConsumerHeartbeat {
        client: Client::default(),
        member_id: "m".into(),
        new_member_id: String::new(),
        member_epoch: 0,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: 1000,
        topics: Some(vec!["t".into()]),
        topic_regex: None,
        assignor: None,
        owned: Some(Default::default()),
        version: 1,
    };
    let answer = given(bench.coordinator.consumer_heartbeat("c", beat)).await.expect("joined");
    let with_epoch =
        |epoch| Committer { member_id: "m".into(), instance_id: None, generation_or_epoch: epoch };
    assert_eq!(send("c", &with_epoch(answer.member_epoch)).await, Ok(Ok(())));
    // In an OffsetCommit it would be a stale epoch, which a TxnOffsetCommit does not know.
    for wrong in [answer.member_epoch + 1, answer.member_epoch - 1] {
        assert_eq!(send("c", &with_epoch(wrong)).await, Err(GroupError::IllegalGeneration));
    }
    assert_eq!(send("c", &stranger).await, Err(GroupError::UnknownMemberId));
    let long = Commit { metadata: "12345678901".into(), ..commit_of(0, 1) };
    let results = bench.send_as("s", PRODUCER, &nobody(), vec![long, commit_of(1, 1)]).await;
    assert_eq!(results, Ok(vec![Err(GroupError::OffsetMetadataTooLarge), Ok(())]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_offsets_of_open_transactions_do_not_expire() {
    let rows = MemoryState::new();
    let old = CommittedOffset {
        offset: 1,
        leader_epoch: -1,
        metadata: "".into(),
        committed_at_ms: 0,
        expires_at_ms: None,
    };
    let pending = PendingOffset { committed: old.clone(), producer_epoch: 0, order: 3, unverified: false };
    let mut batch = WriteBatch::new();
    for partition in [0, 1] {
        let key = committed_offset::key("g", of(partition));
        batch.put(KeySpace::Offsets, key, committed_offset::value(&old, 1));
    }
    let key = pending_offset::key("g", 7, of(0));
    batch.put(KeySpace::PendingOffsets, key, pending_offset::value(&pending));
    // Pending for a topic that is gone, and in a group of which nothing else is there.
    let gone = OffsetKey { topic: Uuid::from_u128(9), partition: 0 };
    for group in ["g", "h"] {
        let key = pending_offset::key(group, 7, gone);
        batch.put(KeySpace::PendingOffsets, key, pending_offset::value(&pending));
    }
    rows.write(batch, Durability::Synced).expect("written");
    let bench = Bench::on(rows, true);
    bench.coordinator.load_all();
    bench.coordinator.expire();
    assert_eq!((bench.committed(0).await, bench.committed(1).await), (Some(1), None));
    let mut listed: Vec<Arc<str>> = bench.list().await.into_iter().map(|group| group.id).collect();
    listed.sort();
    assert_eq!(listed, ["g".into(), "h".into()]);

    bench.coordinator.forget_deleted_topics();
    let listed: Vec<Arc<str>> = bench.list().await.into_iter().map(|group| group.id).collect();
    assert_eq!(listed, ["g".into()]);
    let bench = bench.after_power_cut(true);
    assert_eq!(bench.stable_in("g", 0).await, Err(()));
    assert!(bench.end(&["g", "h"], Abort, 1).await);
    bench.coordinator.expire();
    assert_eq!(bench.list().await, []);
    assert_eq!(bench.after_power_cut(true).list().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_gone_gets_no_offsets() {
    let bench = Bench::new();
    let gone = OffsetKey { topic: Uuid::from_u128(9), partition: 0 };
    let commits = vec![Commit { of: gone, ..commit_of(0, 1) }, commit_of(1, 2)];
    bench.send_as("g", PRODUCER, &nobody(), commits).await.expect("sent");
    assert!(bench.end(&["g"], Commits, 1).await);
    let bench = bench.after_power_cut(true);
    let found = bench.fetched("g", FetchOf::These(vec![gone, of(1)]), true).await;
    assert_eq!(found.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [of(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_takes_what_is_pending_with_it() {
    let bench = Bench::new();
    for partition in [0, 1] {
        bench.send("g", partition, 10).await.expect("sent");
    }
    let deleted = given(bench.coordinator.delete_offsets("g", vec![of(0)])).await;
    assert_eq!(deleted, Ok(vec![Ok(())]));
    assert_eq!((bench.stable_in("g", 0).await, bench.stable_in("g", 1).await), (Ok(None), Err(())));
    given(bench.coordinator.delete("g")).await.expect("deleted");
    assert_eq!((bench.stable_in("g", 1).await, bench.list().await), (Ok(None), vec![]));
    assert!(bench.end(&["g"], Commits, 1).await, "there is nothing left to commit");
    assert_eq!(bench.list().await, []);
    let bench = bench.after_power_cut(true);
    assert_eq!((bench.row(), bench.list().await), (Some(1), vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_commit_wins_over_restarts() {
    let bench = Bench::new();
    bench.send("g", 0, 10).await.expect("sent");
    bench.commit(&nobody(), 0, 5).await.expect("committed");
    bench.commit(&nobody(), 1, 6).await.expect("committed");
    let bench = bench.after_power_cut(true);
    bench.send("g", 1, 11).await.expect("sent");
    let bench = bench.after_power_cut(true);
    assert!(bench.end(&["g"], Commits, 1).await);
    let bench = bench.after_power_cut(true);
    assert_eq!((bench.stable_in("g", 0).await, bench.stable_in("g", 1).await), (Ok(Some(5)), Ok(Some(11))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_no_transactional_commit_points_beyond_its_log() {
    let bench = Bench::new();
    bench.send("g", 0, 100).await.expect("sent");
    let bench = bench.after_power_cut(false);
    assert!(bench.end(&["g"], Commits, 1).await);
    bench.send("g", 1, 100).await.expect("sent after the crash");
    assert!(bench.end(&["g"], Commits, 2).await);
    let asked = || FetchOf::These(vec![of(0), of(1)]);
    let found =
        given(bench.coordinator.fetch("g", None, asked(), true, &|_| Some(60))).await.expect("fetched");
    let offsets: Vec<i64> = found.iter().map(|(_, found)| committed(found).offset).collect();
    assert_eq!(offsets, [60, 100]);
    let bench = bench.after_power_cut(true);
    assert_eq!((bench.stable_in("g", 0).await, bench.stable_in("g", 1).await), (Ok(Some(60)), Ok(Some(100))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_for_the_offsets_topic_ends_what_is_pending_in_its_shard() {
    let (near, far) = (other(true), other(false));
    let bench = Bench::new();
    for group in ["g", &near, &far] {
        bench.send_as(group, (7, 3), &nobody(), vec![commit_of(0, 10)]).await.expect("sent");
    }
    bench.send_as("g", (8, 0), &nobody(), vec![commit_of(1, 20)]).await.expect("sent");
    let shard = store::shard_of("g");
    let mark =
        |partition, epoch, outcome| given(bench.coordinator.end_in_partition(partition, (7, epoch), outcome));
    assert_eq!(mark(shard, 2, Abort).await, Err(GroupError::InvalidProducerEpoch));
    assert_eq!(mark(store::SHARDS, 3, Abort).await, Err(GroupError::NotCoordinator));
    assert_eq!(bench.stable_in("g", 0).await, Err(()));
    mark(shard, 3, Abort).await.expect("ended");
    assert_eq!((bench.stable_in("g", 0).await, bench.stable_in(&near, 0).await), (Ok(None), Ok(None)));
    assert_eq!((bench.stable_in("g", 1).await, bench.stable_in(&far, 0).await), (Err(()), Err(())));
    mark(shard, 3, Abort).await.expect("again: there is nothing to do");
    mark(store::shard_of(&far), 4, Commits).await.expect("ended");
    let bench = bench.after_power_cut(true);
    assert_eq!((bench.stable_in("g", 0).await, bench.stable_in(&far, 0).await), (Ok(None), Ok(Some(10))));
    assert_eq!(bench.stable_in("g", 1).await, Err(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transaction_gets_more_offsets_than_one_write_can_end() {
    let bench = Bench::new();
    // Long names of groups make rows large.
    let names: Vec<String> = ["a", "b"].map(|letter| letter.repeat(30_000)).into();
    let mut taken = Vec::new();
    for name in &names {
        let commits = (0..100).map(|partition| commit_of(partition, 1)).collect();
        let results = bench.send_as(name, PRODUCER, &nobody(), commits).await.expect("decided");
        let refused = results.iter().filter(|result| result.is_err()).collect::<Vec<_>>();
        assert!(refused.iter().all(|result| **result == Err(GroupError::OffsetMetadataTooLarge)));
        taken.push(results.len() - refused.len());
    }
    // 8 MiB by 60,000 bytes and some each.
    assert_eq!(taken, [100, 39]);
    // What is there already can be sent again, and another producer is not concerned.
    let results = bench.send_as(&names[0], PRODUCER, &nobody(), vec![commit_of(5, 2)]).await;
    assert_eq!(results, Ok(vec![Ok(())]));
    let results = bench.send_as(&names[1], (8, 0), &nobody(), vec![commit_of(60, 2)]).await;
    assert_eq!(results, Ok(vec![Ok(())]));
    // The same after a restart, once the shards are loaded.
    let bench = bench.after_power_cut(true);
    bench.coordinator.load_all();
    let results = bench.send_as(&names[1], PRODUCER, &nobody(), vec![commit_of(39, 2)]).await;
    assert_eq!(results, Ok(vec![Err(GroupError::OffsetMetadataTooLarge)]));
    assert!(bench.end(&[&names[0], &names[1]], Commits, 1).await);
    assert_eq!(bench.stable_in(&names[1], 38).await, Ok(Some(1)));
    let results = bench.send_as(&names[1], PRODUCER, &nobody(), vec![commit_of(39, 2)]).await;
    assert_eq!(results, Ok(vec![Ok(())]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_pending_row_makes_its_shard_unavailable_and_ends_nothing_in_part() {
    let far = other(false);
    let rows = MemoryState::new();
    let mut batch = WriteBatch::new();
    batch.put(KeySpace::PendingOffsets, pending_offset::key("g", 7, of(0)), b"\x01?".to_vec());
    rows.write(batch, Durability::Synced).expect("written");
    let bench = Bench::on(rows, true);
    assert_eq!(bench.send("g", 0, 1).await, Err(GroupError::CoordinatorNotAvailable));
    bench.send(&far, 0, 1).await.expect("sent");
    for groups in [["g", &*far], [&*far, "g"]] {
        let ended = bench.queue_end(&groups, Commits, 1);
        assert_eq!(ended.map(drop), Err(GroupError::CoordinatorNotAvailable));
    }
    assert_eq!((bench.row(), bench.stable_in(&far, 0).await), (None, Err(())));
}
