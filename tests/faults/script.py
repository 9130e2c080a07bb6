"""One piece of work that does everything a broker writes for: topics, batches over several segments, idempotent ones, offsets,
transactions, records and topics deleted. It is done step by step, each step after the answer to the one before, and keeps
what it was told; so a crash at any system call can be judged.

`check` says whether what is there afterwards agrees with that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from recovery.raw_commits import commit, fetch
from transactions.raw import SECOND, RawProducer
from transactions.raw import Refused as TransactionRefused

from faults import records
from faults.committed import numbers, visible
from faults.history import Violated
from faults.records import Batch, parse
from faults.wire import EARLIEST, NOT_YET, Client, Refused, until

BIG = 40_000
GROUP = "scripted"
# Who sends what a check sends.
AFTER = "after"


class Interrupted(Exception):
    """The broker went away, or said that it could not; the step before was the last one that was done."""


@dataclass
class Told:
    """What is known. A step that was begun and not answered may have been done or not."""

    topics: dict[str, int] = field(default_factory=dict)
    # Of the topic whose creation, or whose deletion, was not answered.
    open_topics: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    # By topic: (offset, label, first, count), and what was sent without an answer.
    acknowledged: dict[str, list[tuple[int, str, int, int]]] = field(default_factory=dict)
    sent: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    starts: dict[str, tuple[int, int]] = field(default_factory=dict)
    committed_offset: int = 0
    sent_offset: int = 0
    # Numbers of transactions, and how they ended.
    transactions: dict[int, str] = field(default_factory=dict)
    steps: int = 0


class Script:
    """Over one connection, with answers that end it when they are not the ones of a sound broker."""

    def __init__(self, port: int):
        self.port, self.told = port, Told()
        self._client: Client | None = None
        self._next: dict[str, int] = {}
        self._transactional: RawProducer | None = None

    def run(self) -> Told:
        """To the end, or to where the broker goes away."""
        try:
            with Client(self.port, timeout=20) as self._client:
                for step in self._steps():
                    step()
                    self.told.steps += 1
        except (OSError, Interrupted, Refused, TransactionRefused):
            pass
        return self.told

    def _steps(self) -> list[Callable[[], None]]:
        small = {"segment.bytes": 1 << 20}
        return [
            lambda: self.create("plain", 2, small),
            lambda: self.create("gone", 2, {}),
            *[lambda: self.produce("plain", 3, 50) for _ in range(3)],
            lambda: self.produce("gone", 3, 50),
            # Each of these is a third of a segment.
            *[lambda: self.produce("plain", 8, BIG) for _ in range(5)],
            lambda: self.commit(10),
            lambda: self.transaction(0, commit=True),
            lambda: self.delete_records("plain", 5),
            lambda: self.transaction(1, commit=False),
            lambda: self.delete("gone"),
            lambda: self.create("gone", 1, {}),
            lambda: self.produce("gone", 2, 50),
            *[lambda: self.produce("plain", 8, BIG) for _ in range(3)],
            lambda: self.commit(20),
            lambda: self.transaction(2, commit=True),
            lambda: self.produce("plain", 2, 50),
        ]

    # Steps.

    def create(self, topic: str, partitions: int, configs: dict) -> None:
        self.told.open_topics.add(topic)
        self._client.create(topic, partitions, configs)
        self.told.open_topics.discard(topic)
        self.told.topics[topic] = partitions
        self.told.acknowledged[topic], self.told.sent[topic] = [], []

    def delete(self, topic: str) -> None:
        # From here on nothing of it is promised.
        del self.told.topics[topic]
        self.told.open_topics.add(topic)
        self._client.delete(topic)
        self.told.open_topics.discard(topic)
        self.told.deleted.add(topic)

    def produce(self, topic: str, count: int, width: int) -> None:
        # The label says which of several topics of one name a record was for.
        label = f"{topic}{len(self.told.deleted)}"
        first = self._next.get(label, 0)
        self._next[label] = first + count
        self.told.sent[topic].append((label, first, count))
        answer = self._client.produce(topic, {0: records.batch(label, first, count, width)})[0]
        if answer.code:
            raise Interrupted(f"error code {answer.code}")
        self.told.acknowledged[topic].append((answer.offset, label, first, count))

    def delete_records(self, topic: str, offset: int) -> None:
        self.told.starts[topic] = (self.told.starts.get(topic, (0, 0))[0], offset)
        code, start = self._client.delete_records(topic, {0: offset})[0]
        if code:
            raise Interrupted(f"error code {code}")
        self.told.starts[topic] = (start, start)

    def commit(self, offset: int) -> None:
        self.told.sent_offset = offset
        commit(self.port, GROUP, "plain", 1, offset, 20)
        self.told.committed_offset = offset

    def transaction(self, number: int, *, commit: bool) -> None:
        """Its number in partition 1, with the offset of a group of its own."""
        self.told.transactions[number] = "unknown"
        if self._transactional is None:
            self._transactional = RawProducer(self.port, "plain", "scripted", SECOND)
            self._transactional.init()
        self._transactional.produce({1: [b"%d" % number] * 2})
        self._transactional.commit_offsets(f"{GROUP}-in-transactions", {1: number + 1})
        self._transactional.end(commit=commit)
        self.told.transactions[number] = "committed" if commit else "aborted"


def everything(client: Client, topic: str, partition: int, *, since: int | None = None, committed: bool = False) -> list[Batch]:
    """Every batch of a partition from its start, or from an offset; each must be sound."""
    if since is None:
        code, _, since = until_open(client, lambda: client.list_offsets(topic, [partition], EARLIEST)[partition])
    found = []
    while True:
        answer = until_open(client, lambda: client.fetch(topic, {partition: since}, committed=committed, max_bytes=8 << 20)[partition])
        if answer.code:
            raise Refused(f"Fetch {topic}-{partition}@{since}", answer.code)
        shown, end = visible(answer.data, answer.aborted, since) if committed else (list(parse(answer.data)), since)
        found += shown
        since = max([end, *(batch.end for batch in shown)])
        if since >= (answer.last_stable_offset if committed else answer.high_watermark):
            return found


def until_open(client: Client, ask):
    """Asks until the partition is open; gives the last answer."""
    deadline = time.monotonic() + 10
    while True:
        answer = ask()
        code = answer[0] if isinstance(answer, tuple) else answer.code
        if code not in NOT_YET or time.monotonic() > deadline:
            return answer
        time.sleep(0.01)


def check(port: int, told: Told) -> None:
    """Fails if a promise was not kept, or something is there that was never asked for."""
    until(port, lambda client: _check_topics(client, told))
    _check_offsets(port, told)
    with Client(port) as client:
        # And the broker works: the log goes on where it ended.
        for topic in told.topics:
            answer = until_open(client, lambda: client.produce(topic, {0: records.batch(AFTER, 0, 1, 50)})[0])
            if answer.code:
                raise Violated(f"{topic}-0 takes no more records: error code {answer.code}")


def _check_topics(client: Client, told: Told) -> None:
    there = client.topics()
    for topic, partitions in told.topics.items():
        if len(there.get(topic, [])) != partitions:
            raise Violated(f"topic {topic} was made with {partitions} partitions and has {there.get(topic)}")
        _check_records(client, topic, told)
    for topic in there:
        # Topics that a broker keeps its own state in may be shown.
        if topic.startswith("__"):
            continue
        if topic not in told.topics and topic not in told.open_topics:
            raise Violated(f"topic {topic} is there, which was deleted or never made")
        # One that was being made, or deleted, is whole or absent: it can be read.
        for partition in range(len(there[topic])):
            everything(client, topic, partition)
    if "plain" in told.topics:
        _check_transactions(client, told)


def _check_records(client: Client, topic: str, told: Told) -> None:
    found = everything(client, topic, 0)
    at = {batch.base: (*batch.read(), batch.count) for batch in found}
    least, most = told.starts.get(topic, (0, 0))
    for offset, *sent in told.acknowledged[topic]:
        # Below the log start nothing is promised; a batch that it cuts through may be there.
        if at.get(offset) != tuple(sent) and offset >= most:
            raise Violated(f"{topic}-0@{offset}: {sent} was acknowledged, {at.get(offset)} is there")
    # Earlier checks may have left records of their own.
    sent_ones = {offset: sent for offset, sent in at.items() if sent[0] != AFTER}
    for offset, sent in sent_ones.items():
        if sent not in told.sent[topic]:
            raise Violated(f"{topic}-0@{offset}: {sent} was never sent")
    if len(set(sent_ones.values())) != len(sent_ones):
        raise Violated(f"{topic}-0: a batch is there twice: {sorted(at.items())}")
    start = client.list_offsets(topic, [0], EARLIEST)[0][2]
    if not least <= start <= most:
        raise Violated(f"{topic}-0: the log starts at {start}, not between {least} and {most}")


def _check_transactions(client: Client, told: Told) -> None:
    shown = [number for batch in everything(client, "plain", 1, committed=True) for number in numbers(batch)]
    for number, outcome in told.transactions.items():
        times = shown.count(number)
        if times not in {"committed": (2,), "aborted": (0,), "unknown": (0, 2)}[outcome]:
            raise Violated(f"transaction {number}: {outcome}, and {times} of its 2 records are shown")
    if stray := set(shown) - told.transactions.keys():
        raise Violated(f"transactions {stray} were never begun")


def _check_offsets(port: int, told: Told) -> None:
    found = fetch(port, GROUP, 20)
    offset = found.get(("plain", 0), 0)
    if not told.committed_offset <= offset <= told.sent_offset:
        raise Violated(f"offset {told.committed_offset} is committed, {told.sent_offset} was sent, {offset} is there")
    ended = [number + 1 for number, outcome in told.transactions.items() if outcome == "committed"]
    possible = {max(ended, default=0)} | {number + 1 for number, outcome in told.transactions.items() if outcome == "unknown"}
    offset = fetch(port, f"{GROUP}-in-transactions", 20).get(("plain", 1), 0)
    if offset not in possible:
        raise Violated(f"offset {offset} is there of a transaction, {possible} are possible: {told.transactions}")


