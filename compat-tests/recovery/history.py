"""What a load was promised, what is there, and whether the two agree.

A history is a list of `partition offset number` for each acknowledgement, and for each partition the records that were
read: pairs of offset and number. Numbers are unique in a load, and ascend in each partition in the order of sending.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from conftest import HERE

Records = dict[int, list[tuple[int, int]]]


def read_all(bootstrap: str, topic: str, partitions: int, *, width: int = 0, since: dict[int, int] | None = None) -> Records:
    """Each partition's records as (offset, number), in the order they were fetched; at read_committed.

    With a `width`, each value must be its number in so many digits: no byte of a record was exchanged. `since` says where to
    begin in each partition.
    """
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    since = since or dict.fromkeys(range(partitions), OFFSET_BEGINNING)

    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False,
        "enable.partition.eof": True, "check.crcs": True, "isolation.level": "read_committed",
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, partition, since[partition]) for partition in range(partitions)])
    found: Records = {partition: [] for partition in range(partitions)}
    unfinished = set(found)
    deadline = time.monotonic() + 120
    while unfinished:
        assert time.monotonic() < deadline, f"partitions {sorted(unfinished)} were not read to their end"
        for message in consumer.consume(5_000, timeout=0.2):
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                unfinished.discard(message.partition())
                continue
            number = int(message.value())
            if width:
                assert message.value() == b"%0*d" % (width, number), f"{message.partition()}@{message.offset()}"
            found[message.partition()].append((message.offset(), number))
    consumer.close()
    return found


def assert_kept(found: Records, promised: list[tuple[int, int, int]]) -> None:
    """Everything acknowledged is at its offset, nothing is there twice, and no offset is missing."""
    at = {(partition, offset): number for partition, records in found.items() for offset, number in records}
    lost = [entry for entry in promised if at.get(entry[:2]) != entry[2]]
    assert not lost, f"{len(lost)} of {len(promised)} acknowledged records are not at their offset, first {lost[:5]}"
    counted = Counter(number for records in found.values() for _, number in records)
    twice = [number for number, times in counted.items() if times > 1]
    assert not twice, f"{len(twice)} records are there more than once, first {twice[:5]}"
    for partition, records in found.items():
        assert [offset for offset, _ in records] == list(range(len(records))), f"partition {partition}"


def assert_complete(found: Records, promised: list[tuple[int, int, int]]) -> None:
    """Beyond that, nothing was given up on: the numbers of each partition follow each other in the order of sending."""
    assert_kept(found, promised)
    for partition, records in found.items():
        assert [number for _, number in records] == [partition + len(found) * n for n in range(len(records))]
    assert sum(map(len, found.values())) == len(promised)


class Load:
    """A running `idempotent_load.py`."""

    def __init__(self, directory: Path, bootstrap: str, topic: str, partitions: int, width: int = 0):
        self.acknowledged, self.stop_file = directory / f"{topic}.acknowledged", directory / f"{topic}.stop"
        self.log = directory / f"{topic}.load.log"
        command = [
            sys.executable, HERE / "recovery" / "idempotent_load.py", bootstrap, topic, str(partitions),
            self.acknowledged, self.stop_file, str(width),
        ]  # fmt: skip
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def told(self) -> str:
        return self.log.read_text()[-3000:]

    def count(self) -> int:
        return self.acknowledged.read_bytes().count(b"\n") if self.acknowledged.exists() else 0

    def wait_for(self, more: int, context: str) -> None:
        """Returns when so many more records are acknowledged: a fault counts only while they are coming in."""
        wanted, deadline = self.count() + more, time.monotonic() + 90
        while self.count() < wanted:
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < deadline, f"no progress before {context}\n{self.told()}"
            time.sleep(0.02)

    def finish(self) -> None:
        """Has everything that was sent acknowledged; fails if anything was not."""
        self.stop_file.touch()
        assert self.process.wait(timeout=180) == 0, self.told()

    def promised(self) -> list[tuple[int, int, int]]:
        """What is acknowledged, as far as it is told in whole lines."""
        told = self.acknowledged.read_text()
        return [tuple(map(int, line.split())) for line in told[: told.rfind("\n") + 1].splitlines()]


@contextmanager
def load(directory: Path, bootstrap: str, topic: str, partitions: int, width: int = 0):
    running = Load(directory, bootstrap, topic, partitions, width)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
