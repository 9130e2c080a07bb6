"""kafka-python (its own codec, no librdkafka): writes and reads the flights.

    flights_client.py write BOOTSTRAP TOPIC CODEC INPUT_DIR
    flights_client.py read  BOOTSTRAP TOPIC OUTPUT_DIR
"""

import sys
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer, TopicPartition


def write(bootstrap: str, topic: str, codec: str, source: str) -> None:
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type=None if codec == "none" else codec,
        acks="all",
        linger_ms=20,
        batch_size=128 * 1024,
    )
    futures = []
    for path in sorted(Path(source).glob("*.tsv")):
        partition = int(path.stem)
        for offset, line in enumerate(path.read_bytes().splitlines()):
            timestamp, key, value = line.split(b"\t", 2)
            future = producer.send(topic, value, key, partition=partition, timestamp_ms=int(timestamp))
            futures.append((partition, offset, future))
    producer.flush(timeout=120)
    for partition, offset, future in futures:
        metadata = future.get(timeout=60)
        if (metadata.partition, metadata.offset) != (partition, offset):
            sys.exit(f"acknowledged as {metadata.partition}/{metadata.offset} instead of {partition}/{offset}")
    producer.close()


def read(bootstrap: str, topic: str, target: str) -> None:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        check_crcs=True,
        consumer_timeout_ms=30_000,
    )
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        sys.exit(f"{topic} has no partitions")
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    files = {partition.partition: open(Path(target) / f"{partition.partition}.tsv", "wb") for partition in partitions}
    left = sum(ends.values())
    while left:
        fetched = consumer.poll(timeout_ms=30_000, max_records=10_000)
        if not fetched:
            sys.exit(f"30 s without a record, {left} of {sum(ends.values())} still missing")
        for partition, records in fetched.items():
            left -= len(records)
            for record in records:
                row = b"%d\t%d\t%s\t%s\n" % (record.offset, record.timestamp, record.key, record.value)
                files[partition.partition].write(row)
    for file in files.values():
        file.close()
    consumer.close()


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
