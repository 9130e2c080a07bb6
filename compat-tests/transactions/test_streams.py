"""Kafka Streams with `exactly_once_v2`: delays of flights are added up while the application and the broker are killed.

The application writes a record for each flight. At read_committed there must be as many as flights with a known delay, and
each must be the sum over exactly the flights before it: every carrier's are in one partition, so their order is known.
"""

from __future__ import annotations

import json
import os
import random
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import flights
from conftest import HERE, NOT_OURS, TRANSACTION_SETTINGS, Broker, running_broker, topic_maker
from packages import jars
from recovery.raw_commits import fetch
from transactions.ledger import READ_COMMITTED, READ_UNCOMMITTED
from transactions.programs import Copier
from transactions.writer import end_offsets

# Also the name of its group.
APPLICATION = "delays"
PATIENCE = 180
ROUNDS = 4
# What a killed instance left open holds the next one up for so long; but Apache Kafka takes some ten seconds to start.
TRANSACTION_TIMEOUT_MS = 25_000 if NOT_OURS else 5_000


@pytest.fixture
def broker(tmp_path):
    with running_broker(tmp_path / "broker", TRANSACTION_SETTINGS) as own:
        yield own


@pytest.fixture(scope="session")
def application(java_class):
    """The command line of the program without its arguments."""
    libs = jars("java-streams", HERE / "java" / "streams" / "pom.xml") / "libs"
    line = java_class("Delays", libs, pom="streams/pom.xml")
    return [line[0], "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *line[1:]]


def changelog_policy(bootstrap: str) -> str:
    """`compact`, which is what the library asks for by itself, where the broker takes it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    try:
        admin.create_topics([NewTopic("compacted", 1, 1, config={"cleanup.policy": "compact"})])["compacted"].result(60)
    except KafkaException as refused:
        assert refused.args[0].code() == KafkaError.INVALID_CONFIG, refused
        return "delete"
    return "compact"


def sums(rows: list[bytes]) -> dict[str, list[str]]:
    """What the application must write for each carrier, in order, computed directly."""
    known: dict[str, list[str]] = {}
    totals: dict[str, int] = {}
    for row in rows:
        flight = json.loads(row.split(b"\t", 2)[2])
        if flight["arr_delay"] is None:
            continue
        carrier = flight["carrier"]
        totals[carrier] = totals.get(carrier, 0) + flight["arr_delay"]
        lines = known.setdefault(carrier, [])
        lines.append(f"{len(lines) + 1} {totals[carrier]}")
    return known


def where(broker: Broker) -> str:
    """How far everything is, for somebody who looks into a failure."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    lines = []
    for topic, described in admin.list_topics(timeout=30).topics.items():
        ends = [end_offsets(admin, topic, len(described.partitions), level) for level in (READ_COMMITTED, READ_UNCOMMITTED)]
        if not topic.startswith("__"):
            lines.append(f"{topic}: stable to {ends[0]}, written to {ends[1]}")
    return "\n".join([*lines, f"committed {fetch(broker.port, APPLICATION, 60)}"])


class Output:
    """All that is shown of a topic at read_committed, in the order in which it came."""

    def __init__(self, bootstrap: str, topic: str):
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": "unused", "isolation.level": "read_committed",
            "enable.auto.commit": False, "reconnect.backoff.max.ms": 500, "fetch.wait.max.ms": 100,
        })  # fmt: skip
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(flights.PARTITIONS)])
        self.lines: dict[str, list[str]] = {}
        self.count = 0

    def take(self) -> None:
        for message in self._consumer.consume(5_000, timeout=0.05):
            # What it reports of a broker that is away, it gets over.
            if not message.error():
                self.lines.setdefault(message.key().decode(), []).append(message.value().decode())
                self.count += 1


def test_sums_of_delays_are_exact(broker, application, small_set, tmp_path):
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    chance, new_topic = random.Random(seed), topic_maker(broker.bootstrap)
    source, target = new_topic("flights", partitions=flights.PARTITIONS), new_topic("delays", partitions=flights.PARTITIONS)
    policy = changelog_policy(broker.bootstrap)
    print(f"sums are kept in a topic with cleanup.policy={policy}")
    rows = [
        (partition, row) for partition in range(flights.PARTITIONS) for row in (small_set.input / f"{partition}.tsv").read_bytes().splitlines()
    ]
    # All partitions are under load at once; within one, the order stays.
    order = [partition for partition, _ in rows]
    chance.shuffle(order)
    waiting = {partition: iter([row for of, row in rows if of == partition]) for partition in range(flights.PARTITIONS)}
    shuffled = [(partition, next(waiting[partition])) for partition in order]
    expected = sums([row for _, row in shuffled])
    total = sum(map(len, expected.values()))

    stop = tmp_path / "stop"
    command = [*application, broker.bootstrap, APPLICATION, source, target, tmp_path / "state", policy, TRANSACTION_TIMEOUT_MS, stop]
    instance, output = Copier(APPLICATION, command, tmp_path), Output(broker.bootstrap, target)
    producer = Producer({
        "bootstrap.servers": broker.bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 5,
        "reconnect.backoff.max.ms": 500,
    })  # fmt: skip
    deadline = time.monotonic() + PATIENCE

    def await_output(count: int) -> None:
        while output.count < count:
            output.take()
            assert not instance.ended(), f"ended with {instance.statuses}\n{instance.told()}"
            if time.monotonic() > deadline:
                pytest.fail(f"{output.count} of {total} records\n{where(broker)}\n{instance.told()}\n{broker.tail()}")

    try:
        instance.start()
        size = -(-len(shuffled) // ROUNDS)
        for round in range(ROUNDS):
            before = output.count
            for partition, row in shuffled[round * size : (round + 1) * size]:
                # With the time of today: Apache Kafka takes a producer for long gone whose last records are of 2013, when
                # it starts again, and then knows no repetition of them.
                _, key, value = row.split(b"\t", 2)
                producer.produce(source, value, key, partition)
                producer.poll(0)
            assert producer.flush(60) == 0
            await_output(before + chance.randint(1, size // 2))
            if round % 2 == 0:
                instance.kill()
                instance.start()
            else:
                broker.kill()
                broker.start()
        await_output(total)
        # Nothing comes after that.
        quiet = time.monotonic() + 1
        while time.monotonic() < quiet:
            output.take()
        stop.touch()
        assert instance.process.wait(timeout=60) == 0, instance.told()
    finally:
        instance.kill()
    ends = sum(end_offsets(AdminClient({"bootstrap.servers": broker.bootstrap}), source, flights.PARTITIONS, READ_UNCOMMITTED))
    assert ends == len(shuffled), f"the input has {ends} records instead of {len(shuffled)}"
    wrong = [
        f"{carrier}: {len(got)} records instead of {len(wanted)}, the last {got[-1:]} instead of {wanted[-1]}"
        for carrier, wanted in expected.items()
        if (got := output.lines.get(carrier, [])) != wanted
    ]
    assert not wrong and output.lines.keys() == expected.keys(), "\n".join(wrong)
