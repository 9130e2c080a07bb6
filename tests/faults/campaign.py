"""Many faults, one after the other, under a load of producers and readers of every kind.

One broker has topics of every durability class, two topics for transactions (one for each protocol), and a group whose
offsets are committed on their own. A fault comes at a random moment. Then nobody speaks, the broker comes back, and the
oracles look at what is there; then all go on.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field

from recovery.raw_commits import Committer, fetch

from faults import records
from faults.broker import Broker
from faults.committed import TransactionHistory
from faults.disk import FLUSH_JOURNAL, FLUSH_NOTHING, freeze
from faults.history import History, Violated
from faults.load import Gate, IdempotentProducer, Reader, TransactionalProducer, assert_alive, await_progress

NEVER = (1 << 63) - 1
PARTITIONS = 2
# Flushes that time brings about are looked for so often, at the latest.
TICK_S = 0.5
# A sync, on a machine that has other things to do.
SYNC_S = 0.5
LARGEST_BATCH = 20


@dataclass(frozen=True, eq=False)
class Class:
    """How durable a topic is. `None` promises everything; otherwise, of what was acknowledged more than `aged_s` before
    the power went, less than `window` records may be lost from the end of each partition."""

    name: str
    configs: dict
    aged_s: float = 0
    window: int | None = 0

    @property
    def promises(self) -> bool:
        return self.window == 0 and self.aged_s == 0


CLASSES = (
    # As shipped: acknowledged after it is synced.
    Class("durable", {}),
    Class("every-100", {"flush.messages": 100}, aged_s=SYNC_S, window=100 + LARGEST_BATCH),
    Class("every-200-ms", {"flush.messages": NEVER, "flush.ms": 200}, aged_s=0.2 + TICK_S + SYNC_S, window=1),
    # As Kafka is shipped: whenever the system likes.
    Class("relaxed", {"flush.messages": NEVER}, window=None),
)


@dataclass
class Figures:
    faults: int = 0
    during_recovery: int = 0
    right_after_recovery: int = 0
    # By class: acknowledged, and of these lost.
    acknowledged: dict = field(default_factory=dict)
    lost: dict = field(default_factory=dict)
    most_lost_at_once: dict = field(default_factory=dict)
    oldest_lost_s: dict = field(default_factory=dict)
    shown_batches: int = 0
    transactions: dict = field(default_factory=dict)
    commits: int = 0
    reread: int = 0
    seconds: float = 0

    def __str__(self) -> str:
        lines = [
            f"{self.faults} faults in {self.seconds:.0f} s, {self.during_recovery} more during recovery and {self.right_after_recovery} right after it;"
            f" {self.reread} records read again at the end, {self.shown_batches} batches were shown to readers"
        ]
        lines += [
            f"  {name:13} {count:8} acknowledged, {self.lost.get(name, 0):6} lost"
            + (f" (at most {self.most_lost_at_once[name]} at once, acknowledged up to {self.oldest_lost_s[name]:.2f} s before)" if name in self.lost else "")
            for name, count in self.acknowledged.items()
        ]
        lines += [f"  {name:13} {told}" for name, told in self.transactions.items()]
        return "\n".join([*lines, f"  {self.commits} commits of offsets"])


class Campaign:
    """With `transactions`, two transactional producers and a committer beside the producers of each class."""

    def __init__(self, broker: Broker, chance: random.Random, faults: int, *, classes=CLASSES, transactions: bool = True):
        self._broker, self._chance, self._faults = broker, chance, faults
        self._gate = Gate()
        self.figures = Figures()
        self._histories = {of: History(of.name, PARTITIONS, contiguous=of.promises) for of in classes}
        self._protocols = (1, 2) if transactions else ()

    def run(self, kind: str) -> Figures:
        """`kind` is `power` or `kill`."""
        began = time.monotonic()
        self._broker.start()
        self._prepare()
        port = self._broker.port
        self._producers = {
            of: IdempotentProducer(self._gate, port, history, self._chance.randrange(1 << 30), may_give_up=kind == "power" and not of.promises)
            for of, history in self._histories.items()
        }
        self._readers = [Reader(self._gate, port, history) for history in self._histories.values()]
        self._transactional = [TransactionalProducer(self._gate, port, f"transactions-{n}", PARTITIONS, n) for n in self._protocols]
        self._shown = [TransactionHistory(producer) for producer in self._transactional]
        self._speakers = [*self._producers.values(), *self._readers, *self._transactional]
        with ExitStack() as stack:
            self._committer = stack.enter_context(Committer(port, "readers", "committed", PARTITIONS)) if self._protocols else None
            stack.callback(self._end)
            for speaker in self._speakers:
                speaker.start()
            for number in range(self._faults):
                try:
                    self._cycle(kind, number)
                except BaseException:
                    print(f"fault {number + 1} of {self._faults} ({kind})\n{self._broker.tail()}")
                    raise
            self._finish()
        self.figures.seconds = time.monotonic() - began
        return self.figures

    def _prepare(self) -> None:
        with self._broker.client() as client:
            for of in self._histories:
                # Small segments: each cycle rolls some.
                client.create(of.name, PARTITIONS, {**of.configs, "segment.bytes": 1 << 20})
            for number in self._protocols:
                client.create(f"transactions-{number}", PARTITIONS)
            # A commit beyond the end of a log may rightly be moved back to it: there are records to commit.
            client.create("committed", PARTITIONS, {"flush.messages": NEVER})
            for first in range(0, 5_000 + 1_500 * self._faults, 5_000):
                data = records.batch("c", first, 5_000, 1)
                assert all(answer.code == 0 for answer in client.produce("committed", dict.fromkeys(range(PARTITIONS), data)).values())
        # And they are on the disk.
        assert self._broker.stop() == 0, self._broker.tail()
        self._broker.start()

    def _cycle(self, kind: str, number: int) -> None:
        self._await_load(number)
        with self._silence():
            cut_at = self._fault(kind)
            promised = self._promised()
            self.figures.faults += 1
            if self._chance.random() < 0.15:
                self._fault_during_recovery(kind)
            self._broker.start()
            self._check(cut_at, promised)
            if self._chance.random() < 0.1:
                # What was recovered and served is on the disk: nothing of it may go (KAFKA-10101).
                self._fault(kind)
                self.figures.right_after_recovery += 1
                self._broker.start()
                self._check(None, promised)
            self._gate.open()

    def _silence(self):
        """Of whoever commits offsets."""
        return self._committer.silent() if self._committer else nullcontext()

    def _promised(self) -> int:
        return self._committer.acknowledged if self._committer else 0

    def _await_load(self, number: int) -> None:
        counters = [lambda producer=producer: producer.acknowledged for producer in self._producers.values()]
        await_progress(counters, 20, self._speakers, f"before fault {number + 1}")
        await_progress([shown.ended for shown in self._shown], 1, self._speakers, f"before fault {number + 1}")
        if self._committer:
            self._committer.await_more(1, 60)
        # Mostly at once, sometimes after the syncs that time brings about.
        time.sleep(self._chance.uniform(0.5, 2.5) if number % 5 == 4 else self._chance.uniform(0, 0.25))

    def _fault(self, kind: str) -> float | None:
        """Gives the moment, if something may be lost by it."""
        if kind == "kill":
            self._broker.kill()
            self._gate.close()
            self._gate.await_idle()
            return None
        freeze(self._broker.process)
        at = time.monotonic()
        self._gate.close()
        self._broker.disk.cut_power(self._chance.choice([FLUSH_JOURNAL, FLUSH_NOTHING]))
        self._broker.kill()
        self._gate.await_idle()
        self._broker.disk.restore_power()
        return at

    def _fault_during_recovery(self, kind: str) -> None:
        for _ in range(self._chance.randint(1, 3)):
            self._broker.spawn()
            time.sleep(self._chance.uniform(0, 0.05))
            self._fault(kind)
            self.figures.during_recovery += 1

    def _check(self, cut_at: float | None, promised: int) -> None:
        with self._broker.client() as client:
            for of, history in self._histories.items():
                losses = history.check(client, cut_at=None if of.promises else cut_at, aged_s=of.aged_s)
                for loss in losses:
                    self._account(of, loss)
            for shown in self._shown:
                shown.check(client)
        if not self._committer:
            return
        found = fetch(self._broker.port, "readers", 60)
        if len(found) != PARTITIONS or not all(promised <= offset <= self._committer.sent for offset in found.values()):
            raise Violated(f"offsets: {promised} was promised, {self._committer.sent} sent, {found} is committed")

    def _account(self, of: Class, loss) -> None:
        figures = self.figures
        figures.lost[of.name] = figures.lost.get(of.name, 0) + loss.records
        figures.most_lost_at_once[of.name] = max(figures.most_lost_at_once.get(of.name, 0), loss.records)
        figures.oldest_lost_s[of.name] = max(figures.oldest_lost_s.get(of.name, 0.0), loss.oldest_s)
        if of.window is not None and loss.aged_records >= of.window:
            raise Violated(f"{of.name}: {loss}")

    def _finish(self) -> None:
        """All producers go on once more; then everything is read from the beginning."""
        self._await_load(self._faults)
        self._gate.close()
        self._gate.await_idle()
        with self._silence():
            self._check(None, self._promised())
        with self._broker.client() as client:
            self.figures.reread = sum(history.reread(client) for history in self._histories.values())
        self.figures.acknowledged = {of.name: producer.acknowledged for of, producer in self._producers.items()}
        self.figures.shown_batches = sum(reader.batches for reader in self._readers)
        for producer in self._transactional:
            counts = {outcome: producer.told.count(outcome) for outcome in ("committed", "aborted", "unknown")}
            self.figures.transactions[producer.topic] = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        self.figures.commits = self._promised()

    def _end(self) -> None:
        self._gate.end()
        for speaker in self._speakers:
            if speaker.is_alive():
                speaker.join(timeout=60)
        assert_alive(self._speakers)
