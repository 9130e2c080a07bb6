"""A compacted topic from outside: its configuration, the files of its partitions, and how far it is cleaned."""

from __future__ import annotations

import re
import time
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from compaction.oracle import Written
from conftest import Broker

MEBIBYTE = 1 << 20
DAY_MS = 86_400_000
# Records that roll a segment have these numbers: higher than those of all others.
FILLER = 10**9
# Seconds for what takes a broker a moment; never what a scenario measures.
PATIENCE = 60


def partition_folder(broker: Broker, topic: str, partition: int) -> Path:
    return broker.log_dir / f"{topic}-{partition}"


def base_offsets(folder: Path) -> list[int]:
    """Where the segments of a partition begin; the last is the one that is written to."""
    return sorted(int(file.stem) for file in folder.glob("*.log"))


def checkpoint(broker: Broker, topic: str, partition: int) -> int | None:
    """How far the partition is cleaned, out of `cleaner-offset-checkpoint`: a version, a count, and a line for each."""
    file = broker.log_dir / "cleaner-offset-checkpoint"
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return None
    assert not lines or lines[0] == "0", lines
    for line in lines[2:]:
        name, number, offset = line.rsplit(" ", 2)
        if (name, int(number)) == (topic, partition):
            return int(offset)
    return None


class Table:
    """A compacted topic and what was written to it."""

    def __init__(self, broker: Broker, topic: str, partitions: int, **config):
        self.broker, self.topic, self.written = broker, topic, Written(partitions)
        defaults = {
            "cleanup.policy": "compact", "min.cleanable.dirty.ratio": 0, "segment.bytes": MEBIBYTE, "segment.ms": 7 * DAY_MS,
            "retention.ms": -1,
        }  # fmt: skip
        settings = {name.replace("_", "."): str(value) for name, value in {**defaults, **config}.items()}
        made = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=settings)
        admin = self.admin()
        admin.create_topics([made], operation_timeout=30)[topic].result(60)
        # How many records were written to roll segments.
        self.fillers = 0

    @property
    def partitions(self) -> int:
        return self.written.partitions

    def admin(self) -> AdminClient:
        """A new client: what an old one knows of before a restart is not asked for."""
        return AdminClient({"bootstrap.servers": self.broker.bootstrap})

    def alter(self, **config) -> None:
        entries = [
            ConfigEntry(name.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET) for name, value in config.items()
        ]
        resource = ConfigResource("topic", self.topic, incremental_configs=entries)
        admin = self.admin()
        admin.incremental_alter_configs([resource])[resource].result(60)

    def write(self, lines: list[tuple[int, bytes]]) -> None:
        """Records to their partitions, and their offsets into the oracle."""
        failures = []
        producer = Producer({"bootstrap.servers": self.broker.bootstrap, "acks": "all", "linger.ms": 5, "batch.num.messages": 50})
        for partition, line in lines:
            timestamp, key, header, *value = line.split(b"\t", 3)

            def told(error, message, line=line) -> None:
                if error is not None:
                    failures.append(str(error))
                else:
                    self.written.put(message.partition(), message.offset(), line)

            producer.produce(
                self.topic, value[0] if value else None, key, partition,
                timestamp=int(timestamp), headers=[("row", header)], on_delivery=told,
            )  # fmt: skip
            producer.poll(0)
        assert producer.flush(PATIENCE) == 0 and not failures, failures

    def roll(self, timestamp: int | None = None) -> None:
        """Makes each partition begin a new segment, by a record that is later than `segment.ms` allows in the last one.

        Without a `timestamp`, it is of some time behind all flights, and behind the roll before.
        """
        before, lines = self.ends(), []
        for partition in range(self.partitions):
            self.fillers += 1
            # Years behind the flights, and years before today.
            moment = 1_500_000_000_000 + self.fillers * 8 * DAY_MS if timestamp is None else timestamp
            lines.append((partition, b"%d\tfiller\t%d\t%d" % (moment, FILLER + self.fillers, self.fillers)))
        self.write(lines)
        after = self.ends()
        assert all(now > then for now, then in zip(after, before)), f"{self.topic} did not roll: {before}, then {after}"

    def ends(self) -> list[int]:
        """Where what can be cleaned ends, as long as nobody writes: at the segment that is written to."""
        return [base_offsets(partition_folder(self.broker, self.topic, partition))[-1] for partition in range(self.partitions)]

    def await_cleaned(self) -> list[int]:
        """Returns when all that can be cleaned is, and how far that is in each partition."""
        ends, deadline = self.ends(), time.monotonic() + PATIENCE
        while True:
            reached = [checkpoint(self.broker, self.topic, partition) for partition in range(self.partitions)]
            if all(at is not None and at >= end for at, end in zip(reached, ends)):
                return ends
            assert time.monotonic() < deadline, f"{self.topic} is cleaned to {reached}, not to {ends}\n{self.broker.tail()}"
            time.sleep(0.02)

    def await_emptied(self, timestamp: int | None = None) -> list[int]:
        """Returns when tombstones that need not be kept are gone, and how far the topic is cleaned then.

        The first cleaning dates them, a second one removes them, and without anything to clean there is none.
        """
        self.await_cleaned()
        self.roll(timestamp)
        return self.await_cleaned()


def unfinished_files(folder: Path) -> list[str]:
    """What a cleaning leaves behind that was interrupted."""
    return sorted(file.name for file in folder.iterdir() if re.search(r"\.(cleaned|swap)$", file.name))
