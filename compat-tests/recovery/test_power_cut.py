"""The power goes, over and over: what was acknowledged is there, once, in order.

A cut is the file system's own: FS_IOC_SHUTDOWN stops an ext4 on a loop device from one instant to the next, and what
was not synced is gone, as with a machine. POWER_CUTS says how many cuts a scenario makes; COMPAT_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import wait

import pytest

from conftest import NOT_OURS
from recovery.disks import FLUSH_JOURNAL, FLUSH_NOTHING, broker_on_disk
from recovery.history import assert_complete, load, read_all
from recovery.raw_commits import Committer, fetch, fill

pytestmark = pytest.mark.skipif(NOT_OURS, reason="what survives a power cut is for each broker's defaults to say")

CUTS = int(os.environ.get("POWER_CUTS", 10))
PARTITIONS = 4
# Digits of a value where segments are to roll: the load then writes some mebibytes a second.
WIDTH = 1_000
# Offsets that may be committed: some hundreds a second, for the seconds that a cut and a start take.
RECORDS_TO_COMMIT = 2_000 * CUTS
# Seconds until a broker that was started again answers.
PATIENCE = 60
# Room for every cut's records; the image takes only what is written.
DISK_MEGABYTES = 512 + 100 * CUTS


@pytest.fixture
def broker(tmp_path):
    yield from broker_on_disk(tmp_path, DISK_MEGABYTES)


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    return random.Random(seed)


def kind_of_cut(chance: random.Random) -> int:
    return chance.choice([FLUSH_JOURNAL, FLUSH_NOTHING])


@pytest.mark.parametrize("width", [0, WIDTH], ids=["small-records", "large-records"])
def test_cuts_under_load(width, broker, chance, tmp_path):
    """With the settings as shipped and acks=all, at moments of no meaning."""
    broker.create("cut", PARTITIONS)
    with load(tmp_path, broker.bootstrap, "cut", PARTITIONS, width) as running:
        for number in range(CUTS):
            running.wait_for(2_000, f"cut {number + 1}")
            time.sleep(chance.uniform(0, 0.3))
            broker.lose_power(kind_of_cut(chance))
            broker.start()
        running.finish()
    assert_complete(read_all(broker.bootstrap, "cut", PARTITIONS, width=width), running.promised())


def test_cuts_just_after_a_segment_rolled(broker, chance, tmp_path):
    """The new segment's name is in a directory that has to be synced, too."""
    broker.create("rolled", PARTITIONS, **{"segment.bytes": str(1 << 20)})

    def segments() -> int:
        return sum(len(list((broker.log_dir / f"rolled-{partition}").glob("*.log"))) for partition in range(PARTITIONS))

    with load(tmp_path, broker.bootstrap, "rolled", PARTITIONS, WIDTH) as running:
        for number in range(CUTS):
            running.wait_for(500, f"cut {number + 1}")
            before, deadline = segments(), time.monotonic() + 60
            while segments() == before:
                assert time.monotonic() < deadline, f"no segment rolled\n{running.told()}\n{broker.tail()}"
            # At once, or after a few of the syncs that follow.
            time.sleep(chance.choice([0, chance.uniform(0, 0.02)]))
            broker.lose_power(kind_of_cut(chance))
            broker.start()
        running.finish()
        assert segments() > PARTITIONS
    assert_complete(read_all(broker.bootstrap, "rolled", PARTITIONS, width=WIDTH), running.promised())


def test_cuts_just_after_topics_were_created(broker, chance):
    """A topic that was acknowledged is there with its settings and takes records; one that was not is whole or absent."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import ConfigResource, NewTopic

    acknowledged, attempted = [], []
    for cut in range(CUTS):
        admin = broker.admin()
        for number in range(chance.randint(0, 3)):
            name = f"created-{cut}-{number}"
            broker.create(name, 2, **{"retention.bytes": str(1_000_000 + cut)})
            acknowledged.append((name, 1_000_000 + cut))
        # One more is under way when the power goes.
        name = f"attempted-{cut}"
        under_way = admin.create_topics([NewTopic(name, 2, 1)], request_timeout=5)[name]
        attempted.append(name)
        wait([under_way], timeout=chance.uniform(0, 0.02))
        if under_way.done():
            under_way.result()
            acknowledged.append((name, None))
        broker.lose_power(kind_of_cut(chance))
        broker.start()

        admin = broker.admin()
        topics = admin.list_topics(timeout=30).topics
        missing = [name for name, _ in acknowledged if name not in topics]
        assert not missing, f"acknowledged topics are gone after cut {cut + 1}: {missing}\n{broker.tail()}"
        present = [name for name in topics if name in dict(acknowledged) or name in attempted]
        assert all(len(topics[name].partitions) == 2 for name in present)
        resources = {ConfigResource("topic", name): size for name, size in acknowledged if size}
        for resource, described in (admin.describe_configs(list(resources)) if resources else {}).items():
            assert described.result(30)["retention.bytes"].value == str(resources[resource])
        producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "message.timeout.ms": 30_000})
        failures = []
        for name in present:
            for partition in range(2):
                producer.produce(name, b"1", partition=partition, on_delivery=lambda error, _: error and failures.append(error))
        assert producer.flush(60) == 0 and not failures, f"{failures}\n{broker.tail()}"
    for name, _ in acknowledged:
        for partition, records in read_all(broker.bootstrap, name, 2).items():
            assert records and {number for _, number in records} == {1}, f"{name}-{partition}"


def test_cuts_just_after_offsets_were_committed(broker, chance):
    """A commit that was acknowledged is there, and nothing is there that was never sent."""
    broker.create("read", PARTITIONS)
    fill(broker.bootstrap, "read", PARTITIONS, RECORDS_TO_COMMIT)
    with Committer(broker.port, "readers", "read", PARTITIONS) as committer:
        for cut in range(CUTS):
            committer.await_more(20, PATIENCE)
            time.sleep(chance.choice([0, chance.uniform(0, 0.02)]))
            broker.lose_power(kind_of_cut(chance))
            with committer.silent():
                promised = committer.acknowledged
                broker.start()
                found = fetch(broker.port, "readers", PATIENCE)
            assert len(found) == PARTITIONS, f"after cut {cut + 1}: {found}\n{broker.tail()}"
            for offset in found.values():
                assert promised <= offset <= committer.sent, f"cut {cut + 1}: {promised} promised, {offset} found\n{broker.tail()}"
        assert committer.sent < RECORDS_TO_COMMIT


def test_a_second_cut_takes_nothing_that_was_served(broker, chance, tmp_path):
    """Recovery reads bytes that the page cache has and the disk has not. What it serves, it must have synced (KAFKA-10101).

    The topic is flushed as rarely as Kafka's are. First the process is killed, which leaves the page cache, and what
    is read after the restart must survive the cut that follows at once.
    """
    broker.create("twice", PARTITIONS, **{"flush.messages": str(1 << 62), "segment.bytes": str(4 << 20)})
    kept: dict[int, list[tuple[int, int]]] = {partition: [] for partition in range(PARTITIONS)}
    for number in range(CUTS):
        # Without finish: what was under way at the kill stays undecided, and no producer writes after it.
        directory = tmp_path / f"load-{number}"
        directory.mkdir()
        with load(directory, broker.bootstrap, "twice", PARTITIONS, WIDTH) as running:
            running.wait_for(3_000, f"cut {number + 1}")
            running.process.kill()
            running.process.wait()
        broker.kill()
        broker.start()
        served = read_all(broker.bootstrap, "twice", PARTITIONS, width=WIDTH)
        broker.lose_power(kind_of_cut(chance))
        broker.start()
        after = read_all(broker.bootstrap, "twice", PARTITIONS, width=WIDTH)
        for partition in range(PARTITIONS):
            assert len(served[partition]) > len(kept[partition])
            assert after[partition] == served[partition], (
                f"partition {partition} had {len(served[partition])} records, after the cut {len(after[partition])}\n{broker.tail()}"
            )
        kept = after
