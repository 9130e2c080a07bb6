"""Snapshots of a running broker under load, and brokers that are started from them.

Of each snapshot: everything that was acknowledged before it was begun is there, at its offset and once; every transaction is
whole or absent, across partitions and offsets, and the broker that was copied goes on as if nothing had happened.
SNAPSHOTS says how many a scenario takes; COMPAT_SEED repeats a run's moments.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import NOT_OURS, Broker, run
from recovery.atomicity import EACH, GROUP, PARTITIONS, transactional_load
from recovery.history import assert_complete, assert_kept, load, read_all
from recovery.raw_commits import fetch
from transactions.judge import ABORTED, COMMITTED, UNKNOWN, State, atomic

pytestmark = pytest.mark.skipif(NOT_OURS, reason="the command is Tidelog's own")

SNAPSHOTS = int(os.environ.get("SNAPSHOTS", 4))
PATIENCE = 90


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    return random.Random(seed)


def create(broker: Broker, topic: str, partitions: int, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(60)


def snapshot(broker: Broker, directory: Path, *options: str) -> tuple[Broker, dict]:
    """Takes a snapshot, from which the broker that is returned can be started, and tells what the command said."""
    directory.mkdir()
    copy = Broker(directory)
    command = [broker.command()[0], "snapshot", "--data", broker.log_dir, "--to", copy.log_dir, "--json", *options]
    return copy, json.loads(run(command))


def tidelog(broker: Broker, *words) -> subprocess.CompletedProcess:
    command = [str(word) for word in (broker.command()[0], *words)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def test_acknowledged_records_are_in_each_snapshot(own_broker, chance, tmp_path):
    """An idempotent producer writes all the time. The copies are looked at while the load goes on."""
    topic = "snapped"
    # Segments of a MiB, so that most of what is copied is shared.
    create(own_broker, topic, PARTITIONS, **{"segment.bytes": "1048576"})
    with load(tmp_path, own_broker.bootstrap, topic, PARTITIONS, width=200) as running:
        for number in range(SNAPSHOTS):
            running.wait_for(3_000, f"snapshot {number + 1}")
            time.sleep(chance.uniform(0, 0.2))
            promised = running.promised()
            copy, told = snapshot(own_broker, tmp_path / f"copy-{number}")
            assert told["partitions"] == PARTITIONS
            copy.start()
            found = read_all(copy.bootstrap, topic, PARTITIONS, width=200)
            assert_kept(found, promised)
            for partition, records in found.items():
                assert [number for _, number in records] == [partition + PARTITIONS * n for n in range(len(records))]
            assert copy.stop() == 0
        running.finish()
    assert_complete(read_all(own_broker.bootstrap, topic, PARTITIONS, width=200), running.promised())


@pytest.mark.parametrize("protocol", [1, 2])
def test_transactions_are_whole_or_absent_in_each_snapshot(protocol, own_broker, chance, tmp_path):
    topic = "transactions"
    create(own_broker, topic, PARTITIONS)
    taken: list[tuple[Broker, list[str]]] = []
    with transactional_load(tmp_path, own_broker.port, topic, protocol) as running:
        for number in range(SNAPSHOTS):
            running.wait_for(chance.randint(5, 40), f"snapshot {number + 1}")
            time.sleep(chance.uniform(0, 0.02))
            told = running.outcomes()
            copy, _ = snapshot(own_broker, tmp_path / f"copy-{number}")
            taken.append((copy, told))
        running.wait_for(10, "the end")
        running.finish()
    running.assert_atomic("of the broker itself", own_broker.tail)
    final = running.outcomes()
    assert final.count(COMMITTED) > SNAPSHOTS and final.count(ABORTED) > 0, final
    for number, (copy, told) in enumerate(taken):
        copy.start()
        records = read_all(copy.bootstrap, topic, PARTITIONS)
        committed = fetch(copy.port, GROUP, PATIENCE)
        state = State(
            {partition: [value for _, value in found] for partition, found in records.items()},
            {p: committed[topic, p] for p in range(PARTITIONS) if (topic, p) in committed},
        )
        # What was committed later may be there or not; what was aborted later is not there.
        expected = told + [UNKNOWN] * (len(final) - len(told))
        expected = [ABORTED if last == ABORTED else then for then, last in zip(expected, final, strict=True)]
        wrong = atomic(expected, state, EACH)
        assert not wrong, "\n".join([f"snapshot {number}", *wrong[:10], copy.tail()])
        assert copy.stop() == 0


def test_a_stopped_directory_and_another_file_system(own_broker, tmp_path):
    """The same command without a broker; `--copy` shares nothing; what cannot be done is told, with a status."""
    from confluent_kafka import Producer

    topic = "resting"
    create(own_broker, topic, 1)
    producer = Producer({"bootstrap.servers": own_broker.bootstrap, "acks": "all"})
    for number in range(1_000):
        producer.produce(topic, str(number).encode())
    assert producer.flush(60) == 0
    expected = {0: [(number, number) for number in range(1_000)]}
    assert own_broker.stop() == 0
    copies = [snapshot(own_broker, tmp_path / "linked"), snapshot(own_broker, tmp_path / "copied", "--copy")]
    assert copies[1][1]["shared_bytes"] == 0
    again = tidelog(own_broker, "snapshot", "--data", own_broker.log_dir, "--to", copies[0][0].log_dir)
    assert again.returncode == 1 and "not empty" in again.stderr, again
    own_broker.start()
    for copy, _ in copies:
        copy.start()
        assert read_all(copy.bootstrap, topic, 1) == expected
        assert copy.stop() == 0
    assert read_all(own_broker.bootstrap, topic, 1) == expected


def test_keys_of_a_topic_without_an_index_are_not_looked_up(own_broker):
    create(own_broker, "plain", 1)
    for topic, reason in [("plain", "not compacted"), ("missing", "no topic")]:
        done = tidelog(own_broker, "key", "get", topic, "k", "--data", own_broker.log_dir)
        assert done.returncode == 2 and reason in done.stderr and not done.stdout, done
    assert own_broker.stop() == 0
    done = tidelog(own_broker, "key", "get", "plain", "k", "--data", own_broker.log_dir)
    assert done.returncode == 2 and "no broker answers" in done.stderr, done
