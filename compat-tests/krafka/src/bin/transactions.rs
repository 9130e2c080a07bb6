//! krafka with transactions; `transactions/programs.py` says what this program obeys.
//!
//! The client refuses offsets from somebody outside a group, so the command `offsets` is not here.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{BufRead, BufWriter, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use krafka::{
    Compression, Kafka, KrafkaError, Record,
    consumer::{
        AutoOffsetReset, Consumer, ConsumerRecord, GroupProtocol, IsolationLevel, PartitionAssignmentStrategy,
    },
    producer::{TopicPartitionOffset, TransactionalProducer},
};

struct Program {
    kafka: Kafka,
    producers: HashMap<String, TransactionalProducer>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let bootstrap = arguments.first().context("usage: transactions BOOTSTRAP [copy ...]")?;
    let kafka = Kafka::builder(bootstrap).client_id("krafka-transactions").connect().await?;
    let mut program = Program { kafka, producers: HashMap::new() };
    if let ["copy", group, input, output, id, size, stop] =
        arguments[1..].iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        return program.copy(group, input, output, id, size.parse()?, Path::new(stop)).await;
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match program.obey(&line.split(' ').collect::<Vec<_>>()).await {
            Ok(()) => println!("ok"),
            Err(failure) => {
                // Whatever is not an error of the client's is a mistake and ends the program.
                let failure = failure.downcast::<KrafkaError>()?;
                println!("error {} {}", name(&failure), failure.to_string().replace('\n', " "));
            }
        }
    }
    // Producers are not closed: that would end their transactions.
    std::process::exit(0);
}

/// The client's own name of an error.
fn name(failure: &KrafkaError) -> String {
    match failure {
        KrafkaError::Broker { code, .. } => format!("{code:?}"),
        other => format!("{other:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned(),
    }
}

impl Program {
    async fn obey(&mut self, words: &[&str]) -> Result<()> {
        match words {
            ["init", name, id, timeout] => {
                let producer = self.transactional(id, Duration::from_millis(timeout.parse()?)).await?;
                self.producers.insert((*name).to_owned(), producer);
            }
            ["begin", name] => self.named(name)?.begin()?,
            ["send", name, topic, partition, file, first, count] => {
                let records =
                    rows(topic, partition.parse()?, Path::new(file), first.parse()?, count.parse()?)?;
                send(self.named(name)?, records).await?;
            }
            ["commit", name] => self.named(name)?.commit().await?,
            ["abort", name] => self.named(name)?.abort().await?,
            ["read", topic, partitions, isolation, count, directory] => {
                self.read(topic, partitions.parse()?, isolation, count.parse()?, Path::new(directory))
                    .await?;
            }
            other => bail!("no such command: {other:?}"),
        }
        Ok(())
    }

    fn named(&self, name: &str) -> Result<&TransactionalProducer> {
        self.producers.get(name).with_context(|| format!("no producer {name}"))
    }

    async fn transactional(&self, id: &str, timeout: Duration) -> Result<TransactionalProducer> {
        let builder = self.kafka.producer().compression(Compression::None).linger(Duration::from_millis(5));
        let builder =
            builder.transaction_timeout(timeout).delivery_timeout(timeout.min(Duration::from_secs(45)));
        Ok(builder.build_transactional(id).await?)
    }

    async fn read(
        &self,
        topic: &str,
        partitions: i32,
        isolation: &str,
        wanted: usize,
        directory: &Path,
    ) -> Result<()> {
        let level = match isolation {
            "read_committed" => IsolationLevel::ReadCommitted,
            _ => IsolationLevel::ReadUncommitted,
        };
        let consumer = self
            .kafka
            .consumer_without_group()
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .isolation_level(level)
            .fetch_max_wait(Duration::from_millis(100))
            .build()
            .await?;
        let mut files = Vec::new();
        for partition in 0..partitions {
            files.push(BufWriter::new(File::create(directory.join(format!("{partition}.tsv")))?));
        }
        consumer.assign(topic, (0..partitions).collect()).await?;
        let (give_up, mut enough) = (Instant::now() + Duration::from_secs(30), None);
        let mut got = 0;
        while Instant::now() < enough.unwrap_or(give_up).min(give_up) {
            for record in consumer.poll(Duration::from_millis(100)).await? {
                let file =
                    files.get_mut(usize::try_from(record.partition)?).context("a partition of nobody's")?;
                write!(file, "{}\t{}\t", record.offset, record.timestamp)?;
                file.write_all(&record.key.unwrap_or_default())?;
                file.write_all(b"\t")?;
                file.write_all(&record.value.unwrap_or_default())?;
                file.write_all(b"\n")?;
                got += 1;
            }
            if got >= wanted && enough.is_none() {
                enough = Some(Instant::now() + Duration::from_millis(300));
            }
        }
        for mut file in files {
            file.flush()?;
        }
        consumer.close().await?;
        Ok(())
    }

    async fn copy(
        &self,
        group: &str,
        input: &str,
        output: &str,
        id: &str,
        size: i32,
        stop: &Path,
    ) -> Result<()> {
        let producer = self.transactional(id, Duration::from_secs(60)).await?;
        let consumer = self
            .kafka
            .consumer(group)
            .group_protocol(GroupProtocol::Classic)
            .partition_assignment_strategy(PartitionAssignmentStrategy::Range)
            .session_timeout(Duration::from_secs(3))
            .heartbeat_interval(Duration::from_millis(500))
            .enable_auto_commit(false)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .isolation_level(IsolationLevel::ReadCommitted)
            .fetch_max_wait(Duration::from_millis(100))
            .max_poll_records(size)
            .build()
            .await?;
        consumer.subscribe([input]).await?;
        let mut transactions = 0;
        while !stop.exists() {
            let records = match consumer.poll(Duration::from_millis(100)).await {
                Ok(records) => records,
                Err(away) => {
                    eprintln!("no records: {away}");
                    continue;
                }
            };
            if records.is_empty() {
                continue;
            }
            producer.begin()?;
            transactions += 1;
            match transact(&consumer, &producer, &records, output).await {
                Ok(()) if transactions % 3 != 0 => match producer.commit().await {
                    Ok(()) => continue,
                    Err(failure) if failure.is_fatal() => return Err(failure.into()),
                    Err(failure) => eprintln!("a commit failed: {failure}"),
                },
                Ok(()) => {}
                Err(failure) if failure.is_fatal() => return Err(failure.into()),
                Err(failure) => eprintln!("a transaction is given up: {failure}"),
            }
            producer.abort().await?;
            rewind(&consumer, input).await?;
        }
        consumer.close().await?;
        Ok(())
    }
}

fn rows(topic: &str, partition: i32, file: &Path, first: usize, count: usize) -> Result<Vec<Record>> {
    let content = fs::read_to_string(file)?;
    let mut records = Vec::new();
    for line in content.lines().skip(first).take(count) {
        let mut columns = line.splitn(3, '\t');
        let (Some(timestamp), Some(key), Some(value)) = (columns.next(), columns.next(), columns.next())
        else {
            bail!("not a record: {line}");
        };
        let record = Record::new(topic, value.to_owned()).key(key.to_owned());
        records.push(record.partition(partition).timestamp(timestamp.parse()?));
    }
    Ok(records)
}

async fn send(producer: &TransactionalProducer, records: Vec<Record>) -> Result<(), KrafkaError> {
    let mut waiting = Vec::new();
    for record in records {
        waiting.push(producer.enqueue(record).await?);
    }
    for acknowledgement in waiting {
        let _ = acknowledgement.await?;
    }
    Ok(())
}

/// Writes copies of records and the offsets after them into the open transaction.
async fn transact(
    consumer: &Consumer,
    producer: &TransactionalProducer,
    records: &[ConsumerRecord],
    output: &str,
) -> Result<(), KrafkaError> {
    let metadata = consumer.group_metadata().await;
    let metadata =
        metadata.ok_or_else(|| KrafkaError::transaction_abortable("not a member at the moment"))?;
    let (mut copies, mut next) = (Vec::new(), BTreeMap::new());
    for record in records {
        let mut copied =
            Record::new(output, record.value.clone().unwrap_or_default()).partition(record.partition);
        copied.key = record.key.clone();
        copies.push(copied);
        next.insert(record.partition, (record.topic.clone(), record.offset + 1));
    }
    send(producer, copies).await?;
    let offsets: Vec<_> = next
        .into_iter()
        .map(|(partition, (topic, offset))| TopicPartitionOffset::new(&*topic, partition, offset))
        .collect();
    producer.send_offsets(&offsets, &metadata).await
}

/// Goes back to what is committed.
async fn rewind(consumer: &Consumer, input: &str) -> Result<()> {
    let held = consumer.assignment().await.remove(input).unwrap_or_default();
    let asked: Vec<_> = held.iter().map(|partition| (input, *partition)).collect();
    let committed = loop {
        match consumer.committed(&asked).await {
            Ok(committed) => break committed,
            Err(failure) if failure.is_retriable() => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(failure) => return Err(failure.into()),
        }
    };
    for partition in held {
        let offset = committed.get(&(input.to_owned(), partition)).map_or(0, |position| position.offset);
        if let Err(gone) = consumer.seek(input, partition, offset).await {
            // Given to another member meanwhile.
            eprintln!("{gone}");
        }
    }
    Ok(())
}
