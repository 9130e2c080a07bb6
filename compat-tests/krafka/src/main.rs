//! krafka (pure Rust, independent of librdkafka and of Java): writes and reads the flights.
//!
//! ```text
//! flights write BOOTSTRAP TOPIC CODEC INPUT_DIR
//! flights read  BOOTSTRAP TOPIC OUTPUT_DIR
//! ```

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use krafka::{Compression, Kafka, Record, consumer::AutoOffsetReset};

/// Acknowledgements that may be outstanding before the oldest is awaited.
const IN_FLIGHT: usize = 20_000;

/// `ListOffsets` timestamp that asks for the end of a partition.
const LATEST: i64 = -1;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", bootstrap, topic, codec, source] => write(bootstrap, topic, codec, Path::new(source)).await,
        ["read", bootstrap, topic, target] => read(bootstrap, topic, Path::new(target)).await,
        _ => bail!("usage: flights write BOOTSTRAP TOPIC CODEC INPUT_DIR | read BOOTSTRAP TOPIC OUTPUT_DIR"),
    }
}

async fn write(bootstrap: &str, topic: &str, codec: &str, source: &Path) -> Result<()> {
    let compression = match codec {
        "none" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        other => bail!("no such codec: {other}"),
    };
    let kafka = Kafka::builder(bootstrap)
        .client_id("krafka-flights")
        .connect()
        .await?;
    let producer = kafka
        .producer()
        .compression(compression)
        .linger(Duration::from_millis(20))
        .build()
        .await?;
    let partitions = producer.partitions_for(topic).await?.len();
    let mut waiting = VecDeque::new();
    for partition in 0..i32::try_from(partitions)? {
        let path = source.join(format!("{partition}.tsv"));
        let content = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (offset, line) in content.lines().enumerate() {
            let mut columns = line.splitn(3, '\t');
            let (Some(timestamp), Some(key), Some(value)) = (columns.next(), columns.next(), columns.next())
            else {
                bail!("not a record: {line}");
            };
            let record = Record::new(topic, value.to_owned())
                .key(key.to_owned())
                .partition(partition)
                .timestamp(timestamp.parse()?);
            waiting.push_back((partition, i64::try_from(offset)?, producer.enqueue(record).await?));
            if waiting.len() > IN_FLIGHT
                && let Some((partition, offset, acknowledgement)) = waiting.pop_front()
            {
                let found = acknowledgement.await?;
                ensure!(
                    (found.partition, found.offset) == (partition, offset),
                    "acknowledged as {found:?} instead of {partition}@{offset}"
                );
            }
        }
    }
    producer.flush().await?;
    for (partition, offset, acknowledgement) in waiting {
        let found = acknowledgement.await?;
        ensure!(
            (found.partition, found.offset) == (partition, offset),
            "acknowledged as {found:?} instead of {partition}@{offset}"
        );
    }
    producer.close().await?;
    Ok(())
}

async fn read(bootstrap: &str, topic: &str, target: &Path) -> Result<()> {
    let kafka = Kafka::builder(bootstrap)
        .client_id("krafka-flights")
        .connect()
        .await?;
    let consumer = kafka
        .consumer_without_group()
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .await?;
    let mut left = 0;
    let mut files = HashMap::new();
    for (partition, end) in consumer.offsets_for_times_for_topic(topic, LATEST).await? {
        left += end?;
        files.insert(
            partition,
            BufWriter::new(File::create(target.join(format!("{partition}.tsv")))?),
        );
    }
    consumer.assign(topic, files.keys().copied().collect()).await?;
    let mut idle = 0;
    while left > 0 {
        let records = consumer.poll(Duration::from_secs(1)).await?;
        idle = if records.is_empty() { idle + 1 } else { 0 };
        ensure!(idle < 30, "30 s without a record, {left} missing");
        for record in records {
            left -= 1;
            let file = files
                .get_mut(&record.partition)
                .context("a partition that was not assigned")?;
            write!(file, "{}\t{}\t", record.offset, record.timestamp)?;
            file.write_all(&record.key.context("a record without its key")?)?;
            file.write_all(b"\t")?;
            file.write_all(&record.value.context("a record without its value")?)?;
            file.write_all(b"\n")?;
        }
    }
    for file in files.into_values() {
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    }
    consumer.close().await?;
    Ok(())
}
