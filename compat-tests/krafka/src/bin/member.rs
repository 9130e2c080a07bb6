//! krafka as a member of a group, until the file JOURNAL.stop appears.
//!
//! ```text
//! member BOOTSTRAP GROUP TOPIC STYLE JOURNAL
//! ```
//!
//! STYLE is `eager`, `cooperative` or `consumer` (KIP-848). `groups/journal.py` says what the journal holds.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use krafka::{
    Kafka,
    consumer::{
        AutoOffsetReset, Consumer, ConsumerRebalanceListener, GroupProtocol, OffsetAndMetadata,
        PartitionAssignmentStrategy, TopicPartition,
    },
};
use rustix::time::{ClockId, clock_gettime};

/// What was handled and whose commit was not acknowledged yet: partition and next offset.
type Pending = BTreeMap<i32, i64>;

struct Member {
    topic: String,
    journal: Mutex<File>,
    pending: Mutex<Pending>,
    /// Set once the consumer is built; its listener needs it to commit.
    consumer: OnceLock<Weak<Consumer>>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [bootstrap, group, topic, style, journal] => run(bootstrap, group, topic, style, journal).await,
        _ => bail!("usage: member BOOTSTRAP GROUP TOPIC STYLE JOURNAL"),
    }
}

async fn run(bootstrap: &str, group: &str, topic: &str, style: &str, path: &str) -> Result<()> {
    let journal = OpenOptions::new().create(true).append(true).open(path)?;
    let member = Arc::new(Member {
        topic: topic.to_owned(),
        journal: Mutex::new(journal),
        pending: Mutex::default(),
        consumer: OnceLock::new(),
    });
    let kafka = Kafka::builder(bootstrap).client_id("krafka-member").connect().await?;
    let builder = kafka
        .consumer(group)
        .enable_auto_commit(false)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .max_poll_records(50)
        .rebalance_listener(Listener(member.clone()));
    let builder = match style {
        "consumer" => builder.group_protocol(GroupProtocol::Consumer),
        "eager" | "cooperative" => builder
            .group_protocol(GroupProtocol::Classic)
            .partition_assignment_strategy(if style == "eager" {
                PartitionAssignmentStrategy::Range
            } else {
                PartitionAssignmentStrategy::CooperativeSticky
            })
            .session_timeout(Duration::from_secs(6))
            .heartbeat_interval(Duration::from_millis(500)),
        other => bail!("no such style: {other}"),
    };
    let consumer = Arc::new(builder.build().await?);
    member.consumer.set(Arc::downgrade(&consumer)).ok().context("the consumer was set twice")?;
    consumer.subscribe([topic]).await?;
    let stop = format!("{path}.stop");
    while !Path::new(&stop).exists() {
        for record in consumer.poll(Duration::from_millis(200)).await? {
            member.write([format!("record {} {}", record.partition, record.offset)])?;
            lock(&member.pending).insert(record.partition, record.offset + 1);
        }
        let everything = lock(&member.pending).clone();
        if let Err(failure) = member.commit(&consumer, everything).await {
            // A rebalance overtook it: what is still this member's is committed after that. A group that never gets
            // its commits through does not pass, since the committed offsets must reach the log's end.
            eprintln!("a commit failed: {failure}");
        }
    }
    consumer.close().await?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    async fn commit(&self, consumer: &Consumer, offsets: Pending) -> Result<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.write(offsets.iter().map(|(partition, offset)| format!("committing {partition} {offset}")))?;
        consumer
            .commit_offsets(offsets.iter().map(|(partition, offset)| {
                (TopicPartition::new(self.topic.clone(), *partition), OffsetAndMetadata::new(*offset))
            }))
            .await?;
        self.write(offsets.iter().map(|(partition, offset)| format!("committed {partition} {offset}")))?;
        lock(&self.pending).retain(|partition, offset| offsets.get(partition) != Some(offset));
        Ok(())
    }

    /// Notes partitions that came or went.
    fn change(&self, event: &str, partitions: &[TopicPartition]) {
        for partition in partitions {
            lock(&self.pending).remove(&partition.partition);
        }
        let rows = partitions.iter().map(|partition| format!("{event} {}", partition.partition));
        if let Err(broken) = self.write(rows) {
            eprintln!("{broken}");
            std::process::exit(1);
        }
    }

    /// Hands lines to the kernel, which keeps them when this process is killed.
    fn write(&self, rows: impl IntoIterator<Item = String>) -> Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let nanoseconds = now.tv_sec * 1_000_000_000 + now.tv_nsec;
        let mut text = String::new();
        for row in rows {
            writeln!(text, "{nanoseconds} {row}")?;
        }
        lock(&self.journal).write_all(text.as_bytes())?;
        Ok(())
    }
}

struct Listener(Arc<Member>);

impl ConsumerRebalanceListener for Listener {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        self.0.change("assigned", partitions);
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        let theirs = lock(&self.0.pending)
            .iter()
            .filter(|(number, _)| partitions.iter().any(|partition| partition.partition == **number))
            .map(|(number, offset)| (*number, *offset))
            .collect();
        if let Some(consumer) = self.0.consumer.get().and_then(Weak::upgrade)
            && let Err(failure) = self.0.commit(&consumer, theirs).await
        {
            eprintln!("a commit before a revocation failed: {failure}");
        }
        self.0.change("revoked", partitions);
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        self.0.change("lost", partitions);
    }
}
