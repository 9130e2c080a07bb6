"""A program that writes transactions, together with the ledger of what it wrote."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from transactions.ledger import READ_COMMITTED, READ_UNCOMMITTED, Ledger
from transactions.programs import Program


LEVELS = {READ_COMMITTED: IsolationLevel.READ_COMMITTED, READ_UNCOMMITTED: IsolationLevel.READ_UNCOMMITTED}


def end_offsets(admin: AdminClient, topic: str, partitions: int, isolation: str) -> list[int]:
    """Where the partitions end, as ListOffsets has it."""
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(partitions)}
    found = admin.list_offsets(asked, isolation_level=LEVELS[isolation], request_timeout=30)
    told = {place.partition: answer.result(60).offset for place, answer in found.items()}
    return [told[partition] for partition in range(partitions)]


class Writer:
    """Has a program make transactions on one topic, and notes in a ledger what was acknowledged."""

    def __init__(self, program: Program, bootstrap: str, topic: str, ledger: Ledger, lines: list[Path]):
        self.program, self.topic, self.ledger = program, topic, ledger
        self._lines = lines
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        # Where the next records of a partition come from; no flight is written twice.
        self._next = [0] * len(lines)

    def init(self, name: str, timeout_ms: int = 60_000) -> None:
        self.program("init", name, f"{self.topic}-{name}", timeout_ms)

    def begin(self, name: str) -> None:
        self.program("begin", name)
        self.ledger.begin(name)

    def take(self, partition: int, count: int) -> tuple[int, list[bytes]]:
        """The next flights of a partition: number of the first, and their lines."""
        first = self._next[partition]
        self._next[partition] += count
        with open(self._lines[partition], "rb") as file:
            return first, [line.rstrip(b"\n") for line in itertools.islice(file, first, first + count)]

    def send(self, name: str, counts: dict[int, int]) -> None:
        """So many records to each of some partitions."""
        for partition, count in counts.items():
            first, lines = self.take(partition, count)
            self.program("send", name, self.topic, partition, self._lines[partition], first, count)
            self.ledger.send(name, partition, lines)

    def end(self, name: str, *, commit: bool) -> None:
        self.program("commit" if commit else "abort", name)
        self.ledger.end(name, commit=commit)
        self.settle()

    def settle(self) -> None:
        """Waits for the control records: an end may be answered when it is decided, before they are in the partitions."""
        deadline = time.monotonic() + 20
        while (ends := end_offsets(self.admin, self.topic, self.ledger.partitions, READ_UNCOMMITTED)) != self.ledger.ends:
            assert time.monotonic() < deadline, f"the partitions end at {ends}, not at {self.ledger.ends}"
            time.sleep(0.01)
