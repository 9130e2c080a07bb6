"""confluent-kafka (librdkafka) on compacted topics; `compaction/clients.py` says what this program does."""

import sys
import time
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition


def lines_of(path: Path):
    """Partition, timestamp, key, header and value of each line."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        timestamp, key, header, *value = line.split(b"\t", 3)
        yield int(timestamp), key, header, value[0] if value else None


def write(bootstrap: str, topic: str, codec: str, *folders: str) -> None:
    failures: list[str] = []
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "compression.type": codec,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 20,
        # A batch of everything would be in one segment, however short segments are.
        "batch.num.messages": 50,
        "message.timeout.ms": 120_000,
        "reconnect.backoff.max.ms": 500,
        "error_cb": lambda error: failures.append(str(error)) if error.fatal() else None,
    })  # fmt: skip
    for number, folder in enumerate(folders):
        if number:
            print("written", flush=True)
            sys.stdin.readline()
        acknowledged: dict[int, list[int]] = {}

        def note(error, message) -> None:
            if error is not None:
                failures.append(str(error))
            else:
                acknowledged[message.partition()].append(message.offset())

        for path in sorted(Path(folder).glob("*.tsv")):
            partition = int(path.stem)
            acknowledged[partition] = []
            for timestamp, key, header, value in lines_of(path):
                while True:
                    try:
                        producer.produce(
                            topic, value, key, partition, timestamp=timestamp, headers=[("row", header)], on_delivery=note
                        )
                        break
                    except BufferError:
                        producer.poll(0.1)
                producer.poll(0)
        if producer.flush(120):
            failures.append("records were left unsent after 120 s")
        if failures:
            sys.exit(f"{len(failures)} failures, first: {failures[0]}")
        for partition, offsets in acknowledged.items():
            Path(folder, f"{partition}.acks").write_text("".join(f"{offset}\n" for offset in offsets))


def read(bootstrap: str, isolation: str, target: str, *topics: str) -> None:
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False,
        "enable.partition.eof": True, "check.crcs": True, "isolation.level": isolation,
    })  # fmt: skip
    for topic in topics:
        Path(target, topic).mkdir(parents=True)
        partitions = sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        files = {partition: open(Path(target, topic, f"{partition}.tsv"), "wb") for partition in partitions}
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        unfinished, last = set(partitions), time.monotonic()
        while unfinished:
            batch = consumer.consume(5_000, timeout=0.1)
            if batch:
                last = time.monotonic()
            elif time.monotonic() - last > 30:
                sys.exit(f"30 s without a record, partitions {sorted(unfinished)} of {topic} not at their end")
            for message in batch:
                if message.error():
                    if message.error().code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(message.error())
                    unfinished.discard(message.partition())
                    continue
                ((_, header),) = message.headers()
                row = b"%d\t%d\t%s\t%s" % (message.offset(), message.timestamp()[1], message.key(), header)
                if message.value() is not None:
                    row += b"\t" + message.value()
                files[message.partition()].write(row + b"\n")
        for file in files.values():
            file.close()
    consumer.close()


def keyless(bootstrap: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    for key in (b"first", None, b"last"):

        def told(error, message) -> None:
            print(f"error {error.name()}" if error is not None else f"ok {message.offset()}", flush=True)

        producer.produce(topic, b"value", key, 0, on_delivery=told)
        if producer.flush(60):
            sys.exit("left unsent after 60 s")


if __name__ == "__main__":
    {"write": write, "read": read, "keyless": keyless}[sys.argv[1]](*sys.argv[2:])
