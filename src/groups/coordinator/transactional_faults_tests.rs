//! Offsets in transactions among failing disks, power cuts, and each other.

use proptest::prelude::*;

use super::transactional::{commit_of, other};
use super::*;
use crate::record::control::TransactionOutcome::{Abort, Commit as Commits};

/// Many transactions at once over the same groups, each told in another order, among plain commits and readers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transactions_that_end_at_once_do_not_wait_for_each_other_for_ever() {
    let bench = Arc::new(Bench::new());
    let names: Vec<Arc<str>> = (0..12).map(|n| Arc::from(format!("n{n}"))).collect();
    let of_producer = |producer_id: i64| {
        let (bench, mut names) = (bench.clone(), names.clone());
        async move {
            names.rotate_left(usize::try_from(producer_id).expect("small"));
            for round in 0..40 {
                let partition = i32::try_from(producer_id).expect("small");
                let commits = || vec![commit_of(partition, round)];
                for name in &names {
                    let sent = bench.send_as(name, (producer_id, 0), &nobody(), commits()).await;
                    assert_eq!(sent, Ok(vec![Ok(())]));
                    let plain =
                        bench.coordinator.commit(name, &nobody(), 9, vec![commit_of(99, round)], None);
                    assert_eq!(given(plain).await, Ok(vec![Ok(())]));
                }
                let term = bench.term();
                let ended =
                    bench.coordinator.end_transaction(term, &names, producer_id, Commits, WriteBatch::new());
                ended.expect("queued").await.expect("durable");
                assert_eq!(bench.stable_in(&names[0], partition).await, Ok(Some(round)));
                bench.list().await;
            }
        }
    };
    let tasks: Vec<_> = (0..4).map(|producer_id| tokio::spawn(of_producer(producer_id))).collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(60), task).await.expect("in time").expect("as it should");
    }
}

/// What may happen before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Fails,
    /// It fails and takes effect all the same.
    Unsure,
    PowerCut,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        5 => Just(Fault::None),
        1 => Just(Fault::Fails),
        1 => Just(Fault::Unsure),
        1 => Just(Fault::PowerCut),
    ]
}

/// Transactions that each send their number to three groups and write it as their row: the row and all groups always name
/// the same one. What was acknowledged is the least that is there.
async fn run(transactions: Vec<(Vec<Fault>, bool)>) {
    let (near, far) = (other(true), other(false));
    let groups = ["g", &*near, &*far];
    let mut bench = Bench::new();
    let mut acknowledged = 0;
    for (number, (faults, commits)) in (1u8..).zip(transactions) {
        let mut is_sent = true;
        for (step, fault) in faults.into_iter().enumerate() {
            if fault == Fault::PowerCut {
                bench = bench.after_power_cut(true);
            }
            bench.failing.store(fault == Fault::Fails, Ordering::SeqCst);
            bench.unsure.store(fault == Fault::Unsure, Ordering::SeqCst);
            if let Some(group) = groups.get(step) {
                is_sent &= bench.send(group, 0, number.into()).await == Ok(());
            } else if commits && is_sent {
                if bench.end(&groups, Commits, number).await {
                    acknowledged = number;
                }
            } else {
                // The row stays as it is.
                let row = bench.row().unwrap_or_default();
                bench.end(&groups, Abort, row).await;
            }
            bench.failing.store(false, Ordering::SeqCst);
            bench.unsure.store(false, Ordering::SeqCst);
            let row = bench.row();
            assert!(row.unwrap_or_default() >= acknowledged);
            for group in groups {
                let offset = bench.committed_in(group, 0).await;
                assert_eq!(offset, row.map(i64::from).filter(|row| *row > 0), "{group} in {number}");
            }
        }
        // The coordinator ends what it may have left behind.
        let row = bench.row().unwrap_or_default();
        assert!(bench.end(&groups, Abort, row).await);
        for group in groups {
            assert!(bench.stable_in(group, 0).await.is_ok());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_row_and_the_offsets_agree_whatever_fails(
        transactions in prop::collection::vec((prop::collection::vec(fault(), 4), any::<bool>()), 1..6)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("started").block_on(run(transactions));
    }
}
