"""The broker dies at every system call of a piece of work, and at every one of the recovery behind it (rows 2 and 5).

Once by kill -9, and once with the power going at that moment: what was not synced by then is gone. The second shows every
place where a sync is missing or comes too late, also those of files and directories that were just made.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from conftest import sample
from faults import strace
from faults.broker import Broker, Ended
from faults.disk import FLUSH_JOURNAL, FLUSH_NOTHING
from faults.history import Violated
from faults.script import Script, check

# Points of a sweep in a bounded run.
POINTS = 30
KINDS = pytest.mark.parametrize("kind", ["kill", "power"])


def points_of(broker: Broker, work) -> list[tuple[str, int]]:
    """Every (system call, number) of some work with a broker."""
    listing = broker.directory / "calls"
    broker.prefix, broker.environment = strace.counting(listing, strace.CHANGES), strace.ONE_WORKER
    work()
    broker.kill()
    broker.prefix = []
    counts = strace.counted(listing)
    assert {"pwritev", "fdatasync", "rename", "unlink"} & counts.keys(), counts
    return [(call, number + 1) for call, times in sorted(counts.items()) for number in range(times)]


def away(broker: Broker, chance: random.Random) -> None:
    """After the process has died by itself: its data is as after a kill, or as after a power cut."""
    if broker.is_running():
        # The point was beyond what was done this time.
        broker.kill()
    if broker.disk:
        broker.disk.cut_power(chance.choice([FLUSH_JOURNAL, FLUSH_NOTHING]))
        broker.disk.restore_power()


def disk_of(kind: str) -> dict:
    return {"megabytes": 96} if kind == "power" else {}


@KINDS
def test_at_every_call_of_some_work(kind, make_broker, chance):
    strace.required()
    trial = make_broker(**disk_of(kind))

    def work() -> None:
        trial.start()
        told = Script(trial.port).run()
        assert len(told.transactions) == 3 and told.committed_offset == 20, told
        check(trial.port, told)

    points = points_of(trial, work)
    died = 0
    for call, number in sample(chance, points, POINTS):
        broker = make_broker(**disk_of(kind))
        broker.environment = strace.ONE_WORKER
        broker.prefix = strace.injecting(f"{call}:signal=SIGKILL:when={number}")
        broker.spawn()
        try:
            broker.await_answer()
        except AssertionError:
            # During its very first start.
            assert not broker.is_running(), broker.tail()
        told = Script(broker.port).run()
        died += not broker.is_running()
        away(broker, chance)
        broker.prefix = []
        try:
            broker.start()
            check(broker.port, told)
        except (AssertionError, Violated) as failure:
            raise Violated(f"{kind} at {call} number {number}: {failure}\n{told}\n{broker.tail()}") from failure
        broker.remove()
    assert died > len(sample(chance, points, POINTS)) // 3, f"only {died} points were reached"


@KINDS
def test_at_every_call_of_recovery(kind, make_broker, chance):
    """One data directory, over and over: each start dies at a later call than the one before, and none may make it worse."""
    strace.required()
    broker = make_broker(**disk_of(kind))
    broker.start()
    told = Script(broker.port).run()
    assert len(told.transactions) == 3, broker.tail()
    away(broker, chance)

    def tear() -> None:
        """The beginning of a batch that was never acknowledged: something to cut off."""
        for index, size in ((0, 70), (1, 3)):
            tail = max(broker.partition("plain", index).glob("*.log"))
            with open(tail, "ab") as log:
                log.write(bytes(size))
                log.flush()
                os.fsync(log.fileno())

    def work() -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                broker.start()
                break
            except Ended:
                # The traced process is gone a moment later than its tracer.
                if "in use by another broker" not in broker.tail() or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        check(broker.port, told)

    points = sample(chance, [(call, number) for call in strace.CHANGES for number in range(1, 13)], 2 * POINTS)
    died = 0
    for place, (call, number) in enumerate(points):
        broker.environment, broker.prefix = strace.ONE_WORKER, strace.injecting(f"{call}:signal=SIGKILL:when={number}")
        tear()
        broker.spawn()
        try:
            broker.await_answer()
            with broker.client() as client:
                client.fetch("plain", {0: 40, 1: 0})
        except (AssertionError, OSError):
            pass
        died += not broker.is_running()
        away(broker, chance)
        broker.prefix = []
        if place % 5 == 4:
            try:
                work()
            except (AssertionError, Violated) as failure:
                raise Violated(f"{kind} at {call} number {number} of a start: {failure}\n{broker.tail()}") from failure
            away(broker, chance)
    work()
    assert died > 5, f"only {died} points were reached"


@KINDS
def test_at_random_moments_of_recovery(kind, make_broker, chance):
    """Ten times in a row some milliseconds after the start, then it must be as if nothing had been (KAFKA-10471)."""
    broker = make_broker(**disk_of(kind))
    for _ in range(3):
        broker.start()
        told = Script(broker.port).run()
        assert len(told.transactions) == 3, broker.tail()
        away(broker, chance)
        for _ in range(10):
            broker.spawn()
            time.sleep(chance.uniform(0, 0.06))
            away(broker, chance)
        position = broker.log_size()
        broker.start()
        check(broker.port, told)
        assert "the last stop was not orderly" in broker.logged_since(position), broker.tail()
        broker.remove()
        broker = make_broker(**disk_of(kind))
