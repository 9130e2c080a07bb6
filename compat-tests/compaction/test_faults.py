"""The broker is killed, or loses its power, over and over, while it cleans what a load of updates writes.

The last acknowledged value of each key is there at its offset, deleted keys stay deleted, also once their tombstones are gone, no
offset is there twice, and none that was not acknowledged. COMPACTION_KILLS and POWER_CUTS say how often, COMPAT_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from compaction.cleaner import Table, checkpoint, partition_folder, unfinished_files
from compaction.conftest import SETTINGS
from compaction.oracle import GONE, assert_compacted
from compaction.updates import updates
from conftest import NOT_OURS
from recovery.disks import FLUSH_JOURNAL, FLUSH_NOTHING, broker_on_disk

PARTITIONS = 2
# Longer than the load takes, and short enough to be ahead of it by some.
SEGMENT_MS = 600_000
# Apache Kafka takes ten seconds to start.
KILLS = int(os.environ.get("COMPACTION_KILLS", 3 if NOT_OURS else 20))
CUTS = int(os.environ.get("POWER_CUTS", 10))
# A pass over what is dirty takes a while, so that faults hit it at work; but less than it takes until there is as much again.
SLOW = {**SETTINGS, "log.cleaner.io.max.bytes.per.second": 32 << 20}


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def slow_broker(tmp_path):
    import conftest as root

    with root.running_broker(tmp_path / "broker", SLOW) as own:
        yield own


@pytest.fixture
def broker_with_disk(tmp_path):
    if NOT_OURS:
        pytest.skip("what survives a power cut is for each broker's defaults to say")
    yield from broker_on_disk(tmp_path, 512 + 100 * CUTS, SLOW)


def folders(table: Table) -> list[Path]:
    return [partition_folder(table.broker, table.topic, partition) for partition in range(table.partitions)]


def judge(table: Table, clients, load, interrupted: list[list[str]], faults: int) -> None:
    """What is left when everything is cleaned, to three clients."""
    print(f"{load.count()} acknowledged; after {sum(map(bool, interrupted))} of {faults} faults a rewritten segment was left behind")
    for partition, offset, line in load.promised():
        table.written.put(partition, offset, line)
    now = int(time.time() * 1000)
    table.roll(now + 2 * SEGMENT_MS)
    cleaned = table.await_emptied(now + 4 * SEGMENT_MS)
    for folder in folders(table):
        assert not unfinished_files(folder)
    # Offsets are given out one by one: what was never acknowledged would have left a gap.
    for records in table.written.records:
        assert sorted(records) == list(range(len(records)))
    for reading in clients.read(table.broker.bootstrap, table.topic):
        left = assert_compacted(table.written, reading / table.topic, cleaned, GONE)
        assert left < load.count() / 4, f"{left} of {load.count()}"
    # It was at work all the time, and faults met it there.
    assert any(interrupted)


def test_kills_while_segments_are_cleaned(slow_broker, clients, chance, tmp_path):
    table = Table(slow_broker, "killed", PARTITIONS, delete_retention_ms=0, segment_ms=SEGMENT_MS)
    interrupted = []
    with updates(tmp_path, slow_broker.bootstrap, table.topic, PARTITIONS) as load:
        for number in range(KILLS):
            load.wait_for(500, f"kill {number + 1}")
            await_at_work(table, chance)
            slow_broker.kill()
            interrupted.append([name for folder in folders(table) for name in unfinished_files(folder)])
            slow_broker.start()
        load.finish()
        judge(table, clients, load, interrupted, KILLS)


def test_power_cuts_while_segments_are_cleaned(broker_with_disk, clients, chance, tmp_path):
    broker = broker_with_disk
    table = Table(broker, "cut", PARTITIONS, delete_retention_ms=0, segment_ms=SEGMENT_MS)
    interrupted = []
    with updates(tmp_path, broker.bootstrap, table.topic, PARTITIONS) as load:
        for number in range(CUTS):
            load.wait_for(500, f"cut {number + 1}")
            await_at_work(table, chance)
            # What the disk loses is lost; that the cleaner was at work, is seen before.
            interrupted.append([name for folder in folders(table) for name in unfinished_files(folder)])
            broker.lose_power(chance.choice([FLUSH_JOURNAL, FLUSH_NOTHING]))
            broker.start()
        load.finish()
        judge(table, clients, load, interrupted, CUTS)


def await_at_work(table: Table, chance: random.Random) -> None:
    """Returns while a segment is being rewritten, being exchanged, or was a moment ago; or at no moment in particular."""
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0, 0.3))
        return
    deadline = time.monotonic() + 20
    while not any(unfinished_files(folder) for folder in folders(table)):
        assert time.monotonic() < deadline, f"nothing was cleaned for 20 s; up to {[checkpoint(table.broker, table.topic, p) for p in range(PARTITIONS)]}"
        time.sleep(0.001)
    time.sleep(chance.choice([0, 0, chance.uniform(0, 0.02), chance.uniform(0, 0.2)]))
