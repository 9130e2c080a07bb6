"""The broker is killed under load, over and over: what it acknowledged is there, once, in order."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from conftest import HERE

KILLS = 10
PARTITIONS = 4


def read_all(bootstrap: str, topic: str) -> dict[int, list[tuple[int, int]]]:
    """Each partition's records as (offset, number), in the order they were fetched."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False,
        "enable.partition.eof": True, "check.crcs": True,
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
    found: dict[int, list[tuple[int, int]]] = {partition: [] for partition in range(PARTITIONS)}
    unfinished = set(found)
    deadline = time.monotonic() + 120
    while unfinished:
        assert time.monotonic() < deadline, f"partitions {sorted(unfinished)} were not read to their end"
        for message in consumer.consume(5_000, timeout=0.2):
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                unfinished.discard(message.partition())
            else:
                found[message.partition()].append((message.offset(), int(message.value())))
    consumer.close()
    return found


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_ten_kills_under_load(own_broker, tmp_path):
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = "killed"
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(60)
    acknowledged, stop = tmp_path / "acknowledged", tmp_path / "stop"
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    chance = random.Random(seed)

    load = subprocess.Popen(
        [sys.executable, HERE / "recovery" / "idempotent_load.py", own_broker.bootstrap, topic, str(PARTITIONS), acknowledged, stop],
        stderr=open(tmp_path / "load.log", "w"),
    )
    told = lambda: (tmp_path / "load.log").read_text()[-3000:]  # noqa: E731
    try:
        for number in range(KILLS):
            # A kill counts only while acknowledgements are coming in.
            before, deadline = lines(acknowledged), time.monotonic() + 90
            while lines(acknowledged) < before + 2_000:
                assert load.poll() is None, told()
                assert time.monotonic() < deadline, f"no progress before kill {number + 1}\n{told()}\n{own_broker.tail()}"
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.5))
            own_broker.kill()
            own_broker.start()
        stop.touch()
        assert load.wait(timeout=180) == 0, told()
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()

    found = read_all(own_broker.bootstrap, topic)
    promised = [tuple(map(int, line.split())) for line in acknowledged.read_text().splitlines()]
    assert len(promised) >= KILLS * 2_000

    at = {(partition, offset): number for partition, records in found.items() for offset, number in records}
    lost = [entry for entry in promised if at.get(entry[:2]) != entry[2]]
    assert not lost, f"{len(lost)} of {len(promised)} acknowledged records are not at their offset, first {lost[:5]}"
    counted = Counter(number for records in found.values() for _, number in records)
    twice = [number for number, times in counted.items() if times > 1]
    assert not twice, f"{len(twice)} records are there more than once, first {twice[:5]}"
    for partition, records in found.items():
        # Nothing was given up on, so offsets have no gap and numbers follow each other in the order of sending.
        assert [offset for offset, _ in records] == list(range(len(records))), f"partition {partition}"
        assert [number for _, number in records] == [partition + PARTITIONS * n for n in range(len(records))]
    assert len(counted) == len(promised)


def test_a_clean_stop_and_start_keeps_everything(own_broker, tmp_path):
    """SIGTERM ends the process with status 0; topic, records and the producer's sequence survive."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    topic = "stopped"
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(60)
    producer = Producer({
        "bootstrap.servers": own_broker.bootstrap, "acks": "all", "enable.idempotence": True,
        "reconnect.backoff.max.ms": 500,
    })  # fmt: skip
    for half in range(2):
        for number in range(half * 5_000, (half + 1) * 5_000):
            producer.produce(topic, str(number).encode(), partition=number % PARTITIONS)
        assert producer.flush(60) == 0
        if half == 0:
            # Apache Kafka's script ends with 143, the status of a JVM that SIGTERM stopped.
            assert own_broker.stop() in (0, 143)
            own_broker.start()
    found = read_all(own_broker.bootstrap, topic)
    for partition, records in found.items():
        assert records == [(offset, partition + PARTITIONS * offset) for offset in range(2_500)], f"partition {partition}"
