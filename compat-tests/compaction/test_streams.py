"""Kafka Streams restores a store from a changelog that was compacted, and goes on with the right sums."""

from __future__ import annotations

import shutil
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

import flights
from compaction.cleaner import base_offsets, checkpoint, partition_folder
from conftest import NOT_OURS, topic_maker
from transactions.programs import Copier
from transactions.test_streams import Output, application, sums  # noqa: F401  (a fixture)

PATIENCE = 240
APPLICATION = "restored"
CHANGELOG = f"{APPLICATION}-sums-changelog"
TRANSACTION_TIMEOUT_MS = 25_000 if NOT_OURS else 5_000


def test_a_store_is_restored_from_a_cleaned_changelog(own_broker, application, small_set, tmp_path):  # noqa: F811
    bootstrap, new_topic = own_broker.bootstrap, topic_maker(own_broker.bootstrap)
    source, target = new_topic("flights"), new_topic("delays")
    rows = [row for partition in range(flights.PARTITIONS) for row in (small_set.input / f"{partition}.tsv").read_bytes().splitlines()]
    # By turns, so that each half has flights of all carriers.
    rows = [row for turn in range(10) for row in rows[turn::10]]
    halves = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    expected = [sums(halves[0]), sums(rows)]
    stop = tmp_path / "stop"
    command = [*application, bootstrap, APPLICATION, source, target, tmp_path / "state", "compact", TRANSACTION_TIMEOUT_MS, stop]
    instance, output = Copier(APPLICATION, command, tmp_path), Output(bootstrap, target)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    deadline = time.monotonic() + PATIENCE
    folders = [partition_folder(own_broker, CHANGELOG, partition) for partition in range(flights.PARTITIONS)]

    def feed(half: int) -> None:
        for row in halves[half]:
            _, key, value = row.split(b"\t", 2)
            producer.produce(source, value, key, flights.partition_of(key))
            producer.poll(0)
        assert producer.flush(60) == 0
        wanted = sum(map(len, expected[half].values()))
        while output.count < wanted:
            output.take()
            assert not instance.ended(), f"ended with {instance.statuses}\n{instance.told()}"
            if time.monotonic() > deadline:
                pytest.fail(f"{output.count} of {wanted} records\n{instance.told()}\n{own_broker.tail()}")
        assert output.lines == expected[half]

    def finish() -> None:
        stop.touch()
        assert instance.process.wait(timeout=60) == 0, instance.told()
        instance.process = None
        stop.unlink()

    try:
        instance.start()
        feed(0)
        finish()
        described = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30).topics
        assert len(described[CHANGELOG].partitions) == flights.PARTITIONS
        # The library asked for compaction itself; the broker closed segments by time, and cleaned all but the last of each.
        while any((checkpoint(own_broker, CHANGELOG, number) or 0) < base_offsets(folder)[-1] for number, folder in enumerate(folders)):
            assert time.monotonic() < deadline, f"{[base_offsets(folder) for folder in folders]}\n{own_broker.tail()}"
            time.sleep(0.1)
        cleaned = [base_offsets(folder)[-1] for folder in folders]
        changes = Output(bootstrap, CHANGELOG)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            changes.take()
        total = sum(map(len, expected[0].values()))
        print(f"{changes.count} of {total} changes are left, cleaned to {cleaned}")
        assert sum(cleaned) > 0 and changes.count < total
        # Nothing of the sums is left but the changelog.
        shutil.rmtree(tmp_path / "state")
        own_broker.kill()
        own_broker.start()
        instance.start()
        feed(1)
        finish()
    finally:
        instance.kill()
