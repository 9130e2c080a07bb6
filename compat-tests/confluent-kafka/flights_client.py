"""confluent-kafka (librdkafka): writes and reads the flights.

    flights_client.py write BOOTSTRAP TOPIC CODEC INPUT_DIR
    flights_client.py read  BOOTSTRAP TOPIC OUTPUT_DIR
"""

import sys
import time
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition


def write(bootstrap: str, topic: str, codec: str, source: str) -> None:
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "compression.type": codec,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 20,
        "message.timeout.ms": 120_000,
    })  # fmt: skip
    failures: list[str] = []
    next_offset: dict[int, int] = {}

    def acknowledged(error, message) -> None:
        if error is not None:
            failures.append(str(error))
            return
        # An idempotent producer's acknowledgements count up without a gap in a topic that nobody else writes.
        expected = next_offset.get(message.partition(), 0)
        if message.offset() != expected:
            failures.append(f"partition {message.partition()}: offset {message.offset()} instead of {expected}")
        next_offset[message.partition()] = message.offset() + 1

    for path in sorted(Path(source).glob("*.tsv")):
        partition = int(path.stem)
        for line in path.read_bytes().splitlines():
            timestamp, key, value = line.split(b"\t", 2)
            while True:
                try:
                    producer.produce(
                        topic, value, key, partition, timestamp=int(timestamp), on_delivery=acknowledged
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
    if producer.flush(120):
        failures.append("records were left unsent after 120 s")
    if failures:
        sys.exit(f"{len(failures)} failures, first: {failures[0]}")


def read(bootstrap: str, topic: str, target: str) -> None:
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        # The client demands a name; no group is joined, since partitions are assigned here.
        "group.id": "unused",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "check.crcs": True,
    })  # fmt: skip
    partitions = sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
    for partition in partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        print(f"partition {partition}: {low}..{high}")
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    files = {partition: open(Path(target) / f"{partition}.tsv", "wb") for partition in partitions}
    unfinished = set(partitions)
    last = time.monotonic()
    while unfinished:
        # Returns when it has that many or when the time is up, so a short time keeps the end of a topic short.
        batch = consumer.consume(5_000, timeout=0.2)
        if batch:
            last = time.monotonic()
        elif time.monotonic() - last > 30:
            sys.exit(f"30 s without a record, partitions {sorted(unfinished)} not at their end")
        for message in batch:
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(message.error())
                unfinished.discard(message.partition())
                continue
            row = b"%d\t%d\t%s\t%s\n" % (message.offset(), message.timestamp()[1], message.key(), message.value())
            files[message.partition()].write(row)
    for file in files.values():
        file.close()
    consumer.close()


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
