"""Consume, transform, produce: two copiers of a client in a group, one of which is killed and comes back.

Each third transaction is aborted. The output must hold what the input does, once and in order, at read_committed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from recovery.raw_commits import fetch
from transactions.conftest import CLIENTS
from transactions.judge import copied
from transactions.ledger import READ_COMMITTED

PARTITIONS = 4
RECORDS = 1_200
PATIENCE = 90


def write(bootstrap: str, topic: str, lines: list[Path], count: int) -> dict[int, list[bytes]]:
    """So many flights in all; gives each partition's, as `key TAB value`."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 5})
    written = {}
    for partition, file in enumerate(lines):
        written[partition] = [line.split(b"\t", 1)[1] for line in file.read_bytes().splitlines()[: count // len(lines)]]
        for line in written[partition]:
            key, value = line.split(b"\t", 1)
            producer.produce(topic, value, key, partition=partition)
    assert producer.flush(60) == 0
    return written


@pytest.mark.parametrize("client", CLIENTS)
def test_copies_are_exact(client, broker, copier, readers, new_topic, lines, tmp_path):
    source, target = new_topic(f"source-{client}", partitions=PARTITIONS), new_topic(f"target-{client}", partitions=PARTITIONS)
    written = write(broker.bootstrap, source, lines, RECORDS)
    group, stop, port = f"copiers-{source}", tmp_path / "stop", int(broker.bootstrap.rpartition(":")[2])
    copiers = [
        copier(name, client, broker.bootstrap, group, source, target, f"{source}-{name}", 25, stop) for name in ("first", "second")
    ]
    for each in copiers:
        each.start()

    def await_copied(count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while (progress := sum(offset for (topic, _), offset in fetch(port, group, PATIENCE).items() if topic == source)) < count:
            told = "\n".join(each.told() for each in copiers)
            for each in copiers:
                assert not each.ended(), f"a copier ended with {each.statuses}\n{told}"
            assert time.monotonic() < deadline, f"only {progress} of {count} records are copied\n{told}"
            time.sleep(0.02)

    await_copied(RECORDS // 5)
    copiers[0].kill()
    copiers[0].start()
    await_copied(RECORDS)
    stop.touch()
    for each in copiers:
        assert each.process.wait(timeout=PATIENCE) == 0, each.told()

    folder = tmp_path / "read"
    os.mkdir(folder)
    reader = next(reader for reader in readers if reader.client == "confluent-kafka")
    reader("read", target, PARTITIONS, READ_COMMITTED, RECORDS, folder)
    got = {p: [row.split(b"\t", 2)[2] for row in (folder / f"{p}.tsv").read_bytes().splitlines()] for p in range(PARTITIONS)}
    wrong = copied(written, got)
    assert not wrong, "\n".join(wrong)
