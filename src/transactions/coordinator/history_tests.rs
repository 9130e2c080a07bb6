//! Random histories of one producer over logs and groups, with crashes at any step: every transaction is whole afterwards.

use std::time::Duration;

use super::tests::{GROUP, ID, PARTITIONS, Run, World, of};
use super::*;

/// Steps of a history, decided by its seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What the client knows of the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Committed,
    Aborted,
    /// The answer did not come.
    Nothing,
}

#[derive(Debug)]
struct Sent {
    name: String,
    partitions: Vec<i32>,
    offset: Option<i64>,
    known: Known,
}

/// One transaction; false when the process is of no use any more.
async fn transact(
    run: &mut Run,
    dice: &mut Dice,
    protocol: Protocol,
    producer: &mut Producer,
    sequences: &mut [i32; PARTITIONS as usize],
    sent: &mut Vec<Sent>,
) -> bool {
    let number = sent.len() as i64;
    let partitions: Vec<i32> = (0..PARTITIONS).filter(|_| dice.roll(3) > 0).collect();
    let offset = (dice.roll(2) == 0).then_some(number + 1);
    let name = format!("t{number}");
    sent.push(Sent { name: name.clone(), partitions: partitions.clone(), offset, known: Known::Nothing });
    let last = sent.len() - 1;
    if protocol == Protocol::First {
        let enlisted = partitions.iter().map(|index| of(*index)).collect();
        if run.coordinator.add_partitions(ID, *producer, enlisted).settled().await.is_err() {
            return false;
        }
        if offset.is_some() && run.coordinator.add_offsets(ID, *producer, GROUP).settled().await.is_err() {
            return false;
        }
    }
    for index in &partitions {
        let sequence = &mut sequences[*index as usize];
        if run.produce(*producer, protocol, *index, *sequence, &name).acknowledged().await.is_err() {
            return false;
        }
        *sequence += 1;
    }
    if let Some(offset) = offset {
        let taken = match run.commit_offset(*producer, protocol, offset) {
            Ok(held) => held.settled().await.is_ok_and(|results| results.iter().all(Result::is_ok)),
            Err(_) => false,
        };
        if !taken {
            return false;
        }
    }
    let outcome = if dice.roll(3) > 0 { TransactionOutcome::Commit } else { TransactionOutcome::Abort };
    match dice.roll(8) {
        // The process ends while the transaction does: perhaps it is decided, perhaps even marked.
        0 => {
            let ended = run.coordinator.end(ID, *producer, outcome, protocol);
            for _ in 0..dice.roll(50) {
                tokio::task::yield_now().await;
            }
            drop(ended);
            return false;
        }
        // It is decided, and nothing is carried out before the process ends.
        1 => {
            run.stop_carrying_out().await;
            let ended = run.coordinator.end(ID, *producer, outcome, protocol);
            tokio::time::sleep(Duration::from_millis(dice.roll(4))).await;
            drop(ended);
            return false;
        }
        // The process ends before it was asked to end the transaction.
        2 => return false,
        _ => {}
    }
    match run.end(*producer, protocol, outcome).await {
        Ok(next) => {
            if next != *producer {
                *sequences = Default::default();
            }
            *producer = next;
            sent[last].known = match outcome {
                TransactionOutcome::Commit => Known::Committed,
                TransactionOutcome::Abort => Known::Aborted,
            };
            true
        }
        // Nothing can be committed where nothing was sent.
        Err(TransactionError::InvalidTxnState) if partitions.is_empty() && offset.is_none() => true,
        Err(_) => false,
    }
}

async fn history(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..4 {
        dice.roll(2);
    }
    let world = World::new();
    let mut sent = Vec::new();
    for _ in 0..5 {
        let protocol = if dice.roll(2) == 0 { Protocol::First } else { Protocol::Second };
        let mut run = match dice.roll(3) {
            0 => world.start(),
            _ => world.start_with(dice.roll(25) as i64),
        };
        if dice.roll(2) == 0 {
            run.coordinator.load_all();
        }
        if let Some(mut producer) = run.try_init().await {
            let mut sequences = [0; PARTITIONS as usize];
            for _ in 0..4 {
                if !transact(&mut run, &mut dice, protocol, &mut producer, &mut sequences, &mut sent).await {
                    break;
                }
            }
        }
        run.crash().await;
    }

    let run = world.start();
    run.coordinator.load_all();
    run.coordinator.open_logs();
    // Whatever is open is ended for the new producer.
    run.init().await;
    let mut visible = Vec::new();
    for index in 0..PARTITIONS {
        run.wait_for("nothing to be open", || run.partition(index).open_transactions().is_empty()).await;
        visible.push(run.committed(index).await);
    }
    let mut last_offset = None;
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); PARTITIONS as usize];
    for transaction in &sent {
        let shows = |index: &i32| visible[*index as usize].contains(&transaction.name);
        let shown = transaction.partitions.iter().filter(|index| shows(index)).count();
        let is_committed = match transaction.known {
            Known::Committed => true,
            Known::Aborted => false,
            // With offsets alone the group tells, below.
            Known::Nothing => shown > 0,
        };
        let whole = if is_committed { transaction.partitions.len() } else { 0 };
        assert_eq!(shown, whole, "seed {seed}: {transaction:?} in {visible:?}");
        if is_committed {
            transaction
                .partitions
                .iter()
                .for_each(|index| expected[*index as usize].push(transaction.name.clone()));
            last_offset = transaction.offset.or(last_offset);
        }
    }
    assert_eq!(visible, expected, "seed {seed}: each once, and in order");
    let found = run.group_offset().await;
    let may_be = |transaction: &Sent| {
        transaction.known == Known::Nothing
            && transaction.partitions.is_empty()
            && transaction.offset == found
    };
    assert!(
        found == last_offset || (found > last_offset && sent.iter().any(may_be)),
        "seed {seed}: the group is at {found:?}, its last transaction at {last_offset:?}: {sent:?}"
    );
    run.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_crashes_every_transaction_is_whole() {
    let seeds = std::env::var("TIDELOG_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(25);
    for seed in 1..=seeds {
        history(seed).await;
    }
}
