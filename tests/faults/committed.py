"""The oracle for transactions: each is whole or absent, over partitions and offsets, and as its producer was told."""

from __future__ import annotations

import time

from recovery.raw_commits import fetch
from transactions.judge import State, atomic

from faults.history import Violated
from faults.load import TransactionalProducer
from faults.records import TRANSACTIONAL, Batch, parse
from faults.wire import Client, Refused


def visible(data: bytes, aborted: list[tuple[int, int]], since: int) -> tuple[list[Batch], int]:
    """What a reader at read_committed makes of what it fetched, from an offset on; and the offset behind it."""
    waiting, leaving_out = sorted(aborted, key=lambda entry: entry[1]), set()
    shown, end = [], since
    for batch in parse(data):
        while waiting and waiting[0][1] < batch.end:
            leaving_out.add(waiting.pop(0)[0])
        end = max(end, batch.end)
        if batch.is_control:
            # The key of a marker's record: version, and 0 for an abort.
            leaving_out.discard(batch.producer[0])
        elif batch.base >= since and not (batch.attributes & TRANSACTIONAL and batch.producer[0] in leaving_out):
            shown.append(batch)
    return shown, end


def numbers(batch: Batch) -> list[int]:
    """The values of a batch of a transactional load, which are numbers in digits."""
    found, at = [], 0
    for _ in range(batch.count):
        # All lengths here are below 64: one byte each, zigzag.
        length = batch.records[at] >> 1
        size = batch.records[at + 5] >> 1
        found.append(int(batch.records[at + 6 : at + 6 + size]))
        at += 1 + length
    return found


class TransactionHistory:
    """What was shown of a transactional producer's topic; what comes later must go on from there."""

    def __init__(self, producer: TransactionalProducer):
        self._producer = producer
        self._records: dict[int, list[int]] = {partition: [] for partition in range(producer.partitions)}
        self._position = dict.fromkeys(self._records, 0)
        self._stable = dict.fromkeys(self._records, 0)
        # Transactions before this one were judged, and this one is there: what comes later comes behind it.
        self._since = 0

    def ended(self) -> int:
        return sum(outcome != "unknown" for outcome in self._producer.told)

    def check(self, client: Client) -> State:
        """Looks at what is new. The producer must be idle. What was decided before a fault is carried out by the start behind it,
        and seen a moment later: so a transaction that is not whole yet is looked at again."""
        deadline = time.monotonic() + 5
        while True:
            self._read(client)
            try:
                return self._judge()
            except Violated:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _read(self, client: Client) -> None:
        topic = self._producer.topic
        for partition in self._records:
            while True:
                at = self._position[partition]
                answer = client.fetch(topic, {partition: at}, committed=True, max_bytes=4 << 20)[partition]
                if answer.code:
                    raise Refused(f"Fetch {topic}-{partition}@{at}", answer.code)
                if answer.last_stable_offset < self._stable[partition]:
                    raise Violated(f"{topic}-{partition}: the last stable offset went from {self._stable[partition]} to {answer.last_stable_offset}")
                self._stable[partition] = answer.last_stable_offset
                shown, self._position[partition] = visible(answer.data, answer.aborted, at)
                for batch in shown:
                    self._records[partition] += numbers(batch)
                if self._position[partition] >= answer.last_stable_offset:
                    break

    def _judge(self) -> State:
        committed = fetch(self._producer.port, self._producer.group, 60)
        since = self._since
        offsets = {partition: offset - since for (topic, partition), offset in committed.items() if topic == self._producer.topic}
        state = State({partition: [number - since for number in found] for partition, found in self._records.items()}, offsets)
        if wrong := atomic(self._producer.told[since:], state, self._producer.EACH):
            raise Violated("\n".join([f"{self._producer.topic}, counted from transaction {since}:", *wrong[:10]]))
        self._since = max((number for found in self._records.values() for number in found), default=0)
        self._records = {p: [number for number in found if number >= self._since] for p, found in self._records.items()}
        return state
