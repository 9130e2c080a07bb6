"""Producers and readers that live through faults, and tell a history what they were told.

They are threads, and speak only while the `Gate` is open: it is closed at the fault and opened after the broker that came
back has been looked at, so that what is found there is from before.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from transactions.raw import FIRST, SECOND, RawProducer
from recovery.transactional_load import Load as Transactions

from faults import records
from faults.history import History
from faults.wire import NOT_YET, OFFSET_OUT_OF_RANGE, OUT_OF_ORDER_SEQUENCE, UNKNOWN_PRODUCER_ID, Client, Refused

# Requests under way on a connection, as many as an idempotent producer may have.
IN_FLIGHT = 5


class Gate:
    """Open or closed; and who waits behind it, is idle."""

    def __init__(self):
        self._changed, self._open, self._over, self._inside = threading.Condition(), True, False, 0

    def enter(self) -> bool:
        """Waits until the gate is open; false when all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._open or self._over)
            if not self._over:
                self._inside += 1
            return not self._over

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._open = False

    def await_idle(self, patience: float = 60) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: not self._inside, patience), f"{self._inside} speakers do not come to rest"

    def open(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()

    @property
    def is_open(self) -> bool:
        return self._open and not self._over

    def end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()


class Speaker(threading.Thread):
    """Talks to a broker for as long as the gate is open, over and over; what goes wrong fails the test."""

    def __init__(self, gate: Gate, port: int, name: str):
        super().__init__(name=name, daemon=True)
        self.gate, self.port, self.failure = gate, port, None

    def run(self) -> None:
        try:
            while self.gate.enter():
                try:
                    with Client(self.port) as client:
                        self.talk(client)
                except OSError:
                    # The broker is away.
                    time.sleep(0.005)
                finally:
                    self.gate.leave()
        except BaseException as failure:
            self.failure = failure

    def talk(self, client: Client) -> None:
        raise NotImplementedError


@dataclass
class _Flight:
    """A batch under way; `request` is None when it is to be sent again."""

    sent: tuple[str, int, int]
    data: bytes
    partition: int
    request: int | None = None


class IdempotentProducer(Speaker):
    """Writes to all partitions of a topic, with up to five batches under way, which it sends again until they are
    acknowledged, always in the same order.

    `may_give_up` is for topics whose end a power cut may take: then the broker may rightly say that a batch does not follow
    the one before, and the producer begins anew behind what it cannot know the fate of.
    """

    def __init__(self, gate: Gate, port: int, history: History, seed: int, *, may_give_up: bool = False, width: int = 100, pause_s: float = 0.004):
        super().__init__(gate, port, f"producer of {history.topic}")
        self._history, self._chance = history, random.Random(seed)
        self._may_give_up, self._width, self._pause_s = may_give_up, width, pause_s
        self._label = f"p{seed % 1000}"
        self._producer: tuple[int, int] | None = None
        self._next = [0] * history.count
        self._sequences = [0] * history.count
        self._under_way: deque[_Flight] = deque()
        self.acknowledged = 0
        self.given_up = 0

    def talk(self, client: Client) -> None:
        if self._producer is None:
            self._producer = client.init_producer()
        for flight in self._under_way:
            flight.request = None
        while self.gate.is_open or self._under_way:
            if not self.gate.is_open and not any(flight.request for flight in self._under_way):
                return
            for flight in self._under_way:
                if flight.request is None and self.gate.is_open:
                    flight.request = client.send_produce(self._history.topic, {flight.partition: flight.data})
            if self.gate.is_open and len(self._under_way) < IN_FLIGHT:
                self._send(client)
                time.sleep(self._chance.uniform(0, self._pause_s))
                if len(self._under_way) < self._chance.randint(1, IN_FLIGHT):
                    continue
            if not self._hear(client):
                return

    def _send(self, client: Client) -> None:
        partition, count = self._chance.randrange(self._history.count), self._chance.randint(1, 20)
        # Now and then one that spans many pages.
        width = self._width * 40 if self._chance.random() < 0.02 else self._width
        sent = (self._label, self._next[partition], count)
        data = records.batch(*sent, width, producer=self._producer, sequence=self._sequences[partition])
        self._next[partition] += count
        self._sequences[partition] += count
        flight = _Flight(sent, data, partition)
        self._under_way.append(flight)
        flight.request = client.send_produce(self._history.topic, {partition: data})

    def _hear(self, client: Client) -> bool:
        """Reads one answer; false if the connection is to be made anew."""
        flight = self._under_way[0]
        answer = client.receive_produced(flight.request)[flight.partition]
        if answer.code in NOT_YET:
            # The rest of what is under way may have been taken or refused; sent again, all of it is in order.
            time.sleep(0.005)
            return False
        if answer.code in (OUT_OF_ORDER_SEQUENCE, UNKNOWN_PRODUCER_ID) and self._may_give_up:
            self.given_up += sum(flight.sent[2] for flight in self._under_way)
            self._under_way.clear()
            self._producer, self._sequences = None, [0] * self._history.count
            return False
        if answer.code:
            raise Refused(f"{self._history.topic}-{flight.partition}: {flight.sent}", answer.code)
        self._under_way.popleft()
        self._history.acknowledge(flight.partition, answer.offset, flight.sent)
        self.acknowledged += flight.sent[2]
        return True


class Reader(Speaker):
    """Reads a topic from where the history has looked at it, and keeps what it was shown."""

    def __init__(self, gate: Gate, port: int, history: History):
        super().__init__(gate, port, f"reader of {history.topic}")
        self._history = history
        self.batches = 0

    def talk(self, client: Client) -> None:
        offsets = {partition: self._history.end(partition) for partition in range(self._history.count)}
        while self.gate.is_open:
            for partition, found in client.fetch(self._history.topic, offsets, max_bytes=256 << 10, wait_ms=20).items():
                if found.code in NOT_YET:
                    continue
                if found.code == OFFSET_OUT_OF_RANGE:
                    raise AssertionError(f"{self._history.topic}-{partition}: offset {offsets[partition]} is out of range: {found}")
                if found.code:
                    raise Refused(f"Fetch {self._history.topic}-{partition}", found.code)
                batches = [batch for batch in records.parse(found.data) if batch.base >= offsets[partition]]
                self._history.show(partition, found.high_watermark, batches)
                self.batches += len(batches)
                offsets[partition] = batches[-1].end if batches else offsets[partition]


class _GatedProducer(RawProducer):
    """Asks only while the gate is open."""

    gate: Gate

    def ask(self, api: int, body: bytes):
        if not self.gate.enter():
            raise _Over
        try:
            return super().ask(api, body)
        finally:
            self.gate.leave()


class _Over(Exception):
    pass


@dataclass(eq=False)
class TransactionalProducer(threading.Thread):
    """Makes one transaction after the other, over all partitions of a topic and the offsets of a group; see
    `recovery/transactional_load.py`. `told` has what is known of the outcome of each."""

    gate: Gate
    port: int
    topic: str
    partitions: int
    protocol: int
    told: list[str] = field(default_factory=list)
    failure: BaseException | None = None
    # Records that a transaction has in each partition.
    EACH = 2

    def __post_init__(self) -> None:
        super().__init__(name=f"transactions of {self.topic}", daemon=True)
        producer = _GatedProducer(self.port, self.topic, f"load-{self.topic}", SECOND if self.protocol == 2 else FIRST)
        producer.gate = self.gate
        self._load = Transactions(producer, self.partitions, self.group, self.EACH)

    @property
    def group(self) -> str:
        return f"group-{self.topic}"

    def run(self) -> None:
        try:
            self._load.init()
            while True:
                self.told.append("unknown")
                ended = self._load.transact(len(self.told) - 1)
                if ended:
                    self.told[-1] = ended
        except _Over:
            pass
        except BaseException as failure:
            self.failure = failure


def await_progress(counters: list[Callable[[], int]], more: int, speakers: list, context: str, patience: float = 60) -> None:
    """Returns when each counter has gone up by `more`."""
    wanted, deadline = [counter() + more for counter in counters], time.monotonic() + patience
    while any(counter() < want for counter, want in zip(counters, wanted, strict=True)):
        assert_alive(speakers)
        assert time.monotonic() < deadline, f"no progress {context}: {[counter() for counter in counters]} of {wanted}"
        time.sleep(0.002)


def assert_alive(speakers: list) -> None:
    for speaker in speakers:
        if speaker.failure is not None:
            raise AssertionError(f"{speaker.name}: {speaker.failure!r}") from speaker.failure
