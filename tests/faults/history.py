"""The oracle: what was promised, what was shown, what is there, and whether the three agree.

A `History` is that of one topic and one kind of fault. Producers tell it what they were acknowledged, readers what they
were shown, and after each fault it looks at the logs. It fails on

* an acknowledged record that is not at its offset with its bytes,
* a record that a reader was shown and that is gone or another now,
* a high watermark below one that a reader was told,
* bytes that nobody sent, and offsets that are missing or twice,
* a number that is there twice, or out of its producer's order, or behind a gap that nobody accounts for.

Where the durability class lets a power cut take something, it may only take an end of each log, and `Loss` says from when
what was taken was.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from faults.records import Batch, parse
from faults.wire import LATEST, Client, Refused

# Who sent a batch, its first number, and how many.
Sent = tuple[str, int, int]


class Violated(AssertionError):
    """A promise was not kept."""


@dataclass
class Loss:
    """What one power cut took from one partition of a class that does not promise to keep it."""

    partition: int
    # Acknowledged records, and those of them that had been acknowledged for longer than `aged_s`.
    records: int
    aged_records: int
    # How long before the cut the oldest of them had been acknowledged.
    oldest_s: float


@dataclass
class _Partition:
    # What was found in the log and is not looked at again but by `reread`: base offset to what is there.
    verified: dict[int, Sent] = field(default_factory=dict)
    end: int = 0
    # Acknowledged, with the time; seen by readers.
    acknowledged: dict[int, tuple[Sent, float]] = field(default_factory=dict)
    shown: dict[int, Sent] = field(default_factory=dict)
    high_watermark: int = 0
    # The next number of each producer, and numbers it has given up on: they may be there or not.
    next: dict[str, int] = field(default_factory=dict)


class History:
    """Thread-safe: producers and readers tell, the test asks."""

    def __init__(self, topic: str, partitions: int, *, contiguous: bool = True):
        self.topic, self.count = topic, partitions
        # Whether a producer may give nothing up.
        self._contiguous = contiguous
        self._partitions = [_Partition() for _ in range(partitions)]
        self._lock = threading.Lock()
        self.promised = 0

    def acknowledge(self, partition: int, offset: int, sent: Sent) -> None:
        now = time.monotonic()
        with self._lock:
            of = self._partitions[partition]
            self.promised += sent[2]
            if offset < of.end:
                # It was found after the fault, and its producer was told only now.
                if of.verified.get(offset) != sent:
                    raise Violated(f"{self._at(partition, offset)}: {sent} is acknowledged, {of.verified.get(offset)} is there")
                return
            before = of.acknowledged.setdefault(offset, (sent, now))
            if before[0] != sent:
                raise Violated(f"{self._at(partition, offset)}: acknowledged to {before[0]} and to {sent}")

    def show(self, partition: int, high_watermark: int, batches: list[Batch]) -> None:
        with self._lock:
            of = self._partitions[partition]
            of.high_watermark = max(of.high_watermark, high_watermark)
            for batch in batches:
                sent = (*batch.read(), batch.count)
                if batch.base < of.end:
                    if of.verified.get(batch.base) != sent:
                        raise Violated(f"{self._at(partition, batch.base)}: {sent} is shown, {of.verified.get(batch.base)} was there")
                    continue
                if of.shown.setdefault(batch.base, sent) != sent:
                    raise Violated(f"{self._at(partition, batch.base)}: {of.shown[batch.base]} was shown, {sent} is now")
                if batch.end > of.high_watermark:
                    raise Violated(f"{self._at(partition, batch.base)}: shown above the high watermark {of.high_watermark}")

    def _at(self, partition: int, offset: int) -> str:
        return f"{self.topic}-{partition}@{offset}"

    def end(self, partition: int) -> int:
        with self._lock:
            return self._partitions[partition].end

    def check(self, client: Client, *, cut_at: float | None = None, aged_s: float = 0) -> list[Loss]:
        """Looks at what is new in the logs. Nobody may write meanwhile.

        `cut_at` says when (time.monotonic) the power went, for a class in which that may take the end of a log.
        """
        ends = self._ends(client)
        losses = []
        for partition in range(self.count):
            found = self._read(client, partition, self.end(partition), ends[partition])
            with self._lock:
                losses += self._judge(partition, ends[partition], found, cut_at, aged_s)
        return losses

    def reread(self, client: Client) -> int:
        """Looks at everything, from the beginning; returns how many records there are."""
        records = 0
        for partition in range(self.count):
            of = self._partitions[partition]
            found = {batch.base: (*batch.read(), batch.count) for batch in self._read(client, partition, 0, of.end)}
            if found != of.verified:
                differing = sorted(base for base in found.keys() | of.verified.keys() if found.get(base) != of.verified.get(base))
                at = differing[0]
                raise Violated(f"{self._at(partition, at)}: {of.verified.get(at)} was there, {found.get(at)} is now; {len(differing)} differ")
            records += sum(sent[2] for sent in found.values())
        return records

    def _ends(self, client: Client) -> dict[int, int]:
        # A partition that is being opened is waited for; one that stays away fails the test.
        deadline = time.monotonic() + 30
        while True:
            answers = client.list_offsets(self.topic, range(self.count), LATEST)
            codes = {code for code, _, _ in answers.values()}
            if codes == {0}:
                return {partition: offset for partition, (_, _, offset) in answers.items()}
            if time.monotonic() > deadline:
                raise Violated(f"{self.topic}: ListOffsets answers {answers}")
            time.sleep(0.01)

    def _read(self, client: Client, partition: int, since: int, end: int) -> list[Batch]:
        found, at = [], since
        while at < end:
            answer = client.fetch(self.topic, {partition: at}, max_bytes=8 << 20)[partition]
            if answer.code:
                raise Refused(f"Fetch {self._at(partition, at)}", answer.code)
            batches = [batch for batch in parse(answer.data) if batch.end > at]
            if not batches:
                raise Violated(f"{self._at(partition, at)}: nothing is there below the high watermark {answer.high_watermark}")
            for batch in batches:
                if batch.base != at:
                    raise Violated(f"{self._at(partition, at)}: the next batch is at {batch.base}")
                at = batch.end
            found += batches
        return found

    def _judge(self, partition: int, end: int, found: list[Batch], cut_at: float | None, aged_s: float) -> list[Loss]:
        of = self._partitions[partition]
        if end < of.end:
            raise Violated(f"{self._at(partition, end)}: the log ended at {of.end} after the fault before, and nothing took that")
        if cut_at is None and end < of.high_watermark:
            raise Violated(f"{self._at(partition, end)}: the log ends here, and a reader was told of a high watermark of {of.high_watermark}")
        there = {batch.base: (*batch.read(), batch.count) for batch in found}
        for offset, sent in of.shown.items():
            if there.get(offset) != sent and (cut_at is None or offset < end):
                raise Violated(f"{self._at(partition, offset)}: {sent} was shown, {there.get(offset)} is there; the log ends at {end}")
        lost, times, aged = 0, [], 0
        for offset, (sent, at) in of.acknowledged.items():
            if there.get(offset) == sent:
                continue
            if cut_at is None or offset < end:
                raise Violated(f"{self._at(partition, offset)}: {sent} was acknowledged, {there.get(offset)} is there; the log ends at {end}")
            lost += sent[2]
            times.append(at)
            aged += sent[2] if at < cut_at - aged_s else 0
        self._follow(of, partition, there)
        if lost or cut_at is not None:
            # What its producers send next follows what is lost.
            for sent, _ in of.acknowledged.values():
                of.next[sent[0]] = max(of.next.get(sent[0], 0), sent[1] + sent[2])
        of.acknowledged, of.shown = {}, {}
        of.verified |= there
        of.end = of.high_watermark = end
        return [Loss(partition, lost, aged, cut_at - min(times))] if lost else []

    def _follow(self, of: _Partition, partition: int, there: dict[int, Sent]) -> None:
        """Each producer's numbers ascend, and none is left out that was not given up."""
        for offset, (label, first, count) in there.items():
            expected = of.next.get(label, 0)
            if first < expected or (first > expected and self._contiguous):
                raise Violated(f"{self._at(partition, offset)}: {label} goes on with {first} instead of {expected}")
            of.next[label] = first + count
