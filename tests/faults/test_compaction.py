"""The broker dies while it compacts, at every step of that (row 17). Skipped where topics cannot be compacted."""

from __future__ import annotations

import time

import pytest

from conftest import sample
from faults import records, strace
from faults.broker import Broker
from faults.disk import FLUSH_JOURNAL, FLUSH_NOTHING
from faults.history import Violated
from faults.script import everything, until_open
from faults.wire import Client, Refused, until

TOPIC = "compacted"
KEYS, ROUNDS, WIDTH = 5, 6, 60_000
SETTINGS = {"log.cleaner.backoff.ms": 100, "log.segment.delete.delay.ms": 100}
CONFIGS = {"cleanup.policy": "compact", "segment.bytes": 1 << 20, "min.cleanable.dirty.ratio": "0.01", "file.delete.delay.ms": 100}
POINTS = 24


def label(key: int) -> str:
    return f"k{key}"


def fill(client: Client, latest: dict[int, tuple[int, int]]) -> None:
    """Every key in turn, several segments of them; `latest` has number and offset of what was acknowledged last."""
    for _ in range(ROUNDS * KEYS):
        for key in range(KEYS):
            number = latest.get(key, (-1, 0))[0] + 1
            data = records.batch(label(key), number, 1, WIDTH, key=label(key).encode())
            answer = client.produce(TOPIC, {0: data})[0]
            if answer.code:
                raise Refused("Produce", answer.code)
            latest[key] = (number, answer.offset)


def check(client: Client, latest: dict[int, tuple[int, int]], context: str) -> int:
    """The last record of each key is there, offsets ascend, and no record is there twice or of nobody."""
    until_open(client, lambda: client.fetch(TOPIC, {0: 0})[0])
    found = everything(client, TOPIC, 0)
    offsets = [batch.base for batch in found]
    if offsets != sorted(set(offsets)):
        raise Violated(f"{context}: the offsets go {offsets}")
    there = {}
    for batch in found:
        name, number = batch.read()
        if number <= there.get(name, (-1, 0))[0]:
            raise Violated(f"{context}: {name} goes from {there[name]} to {number}")
        there[name] = (number, batch.base)
    for key, (number, offset) in latest.items():
        last = there.get(label(key), (-1, -1))
        # One more may have been written whose answer was lost.
        if last != (number, offset) and last[0] != number + 1:
            raise Violated(f"{context}: the last of {label(key)} is {last} instead of {(number, offset)}")
        latest[key] = last
    return len(found)


def await_compaction(port: int, latest: dict, patience: float = 30) -> None:
    deadline = time.monotonic() + patience
    while True:
        count = until(port, lambda client: check(client, latest, "while it is compacted"))
        # What is left of the sealed segments is one record for each key; the active one is not touched.
        if count <= KEYS + (1 << 20) // WIDTH + KEYS:
            return
        assert time.monotonic() < deadline, f"{count} records stay"
        time.sleep(0.1)


@pytest.fixture
def compacting(make_broker):
    """A function that starts a broker with a compacted topic, on a disk of its own or not."""

    def start(**options) -> Broker:
        broker = make_broker(settings=SETTINGS, **options)
        broker.start()
        with broker.client() as client:
            try:
                client.create(TOPIC, 1, CONFIGS)
            except Refused as refused:
                pytest.skip(f"cleanup.policy=compact is refused with error code {refused.code}")
            latest: dict = {}
            fill(client, latest)
        broker.latest = latest
        return broker

    return start


def test_compaction_keeps_the_last_of_each_key(compacting):
    broker = compacting()
    await_compaction(broker.port, broker.latest)


@pytest.mark.parametrize("kind", ["kill", "power"])
def test_at_every_call_of_compaction(kind, compacting, chance):
    """Each start compacts what was written before, and dies at a later call. Nothing that is half done may be served or
    stay: no `.cleaned` and no `.swap`, no segment twice."""
    strace.required()
    broker = compacting(**({"megabytes": 512} if kind == "power" else {}))
    calls = ("write", "pwrite64", "pwritev", "fdatasync", "fsync", "syncfs", "rename", "renameat2", "unlink", "unlinkat", "ftruncate")
    points = sample(chance, [(call, number) for number in (1, 2, 3, 5, 8, 13, 21, 34) for call in calls], POINTS)
    died = 0
    for call, number in points:
        context = f"{kind} at {call} number {number}"
        with broker.client() as client:
            fill(client, broker.latest)
        with strace.attached(broker, f"{call}:signal=SIGKILL:when={number}"):
            deadline = time.monotonic() + 3
            while broker.is_running() and time.monotonic() < deadline:
                time.sleep(0.01)
        died += not broker.is_running()
        broker.kill()
        if broker.disk:
            broker.disk.cut_power(chance.choice([FLUSH_JOURNAL, FLUSH_NOTHING]))
            broker.disk.restore_power()
        broker.start()
        with broker.client() as client:
            check(client, broker.latest, context)
        # With the log open, nothing half done is left.
        deadline = time.monotonic() + 20
        while left := [path.name for path in broker.partition(TOPIC).iterdir() if path.name.endswith((".swap", ".deleted"))]:
            assert time.monotonic() < deadline, f"{context}: {left} stay"
            time.sleep(0.05)
    await_compaction(broker.port, broker.latest)
    assert died > len(points) // 4, f"only {died} points were reached"
