"""Flights by aircraft, compacted: exactly the last record of each key is left, at its offset and with its bytes."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from compaction.cleaner import DAY_MS
from compaction.clients import CLIENTS
from compaction.oracle import GONE, KEPT, Written, assert_compacted, assert_sound, flaws, is_tombstone
from conftest import CODECS

# Over all writers, each codec is there with tombstones that are kept and with some that go.
TOMBSTONES = {"confluent-kafka": GONE, "franz-go": KEPT, "java": GONE}
DELETE_RETENTION_MS = {KEPT: DAY_MS, GONE: 0}
FULL_WRITERS = dict(pair.split(":") for pair in os.environ.get("COMPACTION_FULL", "java:lz4").split())


def own_copy(folder: Path, target: Path) -> Path:
    """A folder with the same input for one writer, which puts its acknowledgements beside it."""
    target.mkdir(parents=True)
    for file in folder.glob("*.tsv"):
        (target / file.name).symlink_to(file)
    return target


@pytest.fixture(scope="module")
def matrix(clients, new_table, small_table, tmp_path_factory):
    """A topic per client and codec, written and cleaned; how far; and the folders of all readings."""
    folder = tmp_path_factory.mktemp("matrix")
    tables = {
        (client, codec): new_table(f"{client}-{codec}", delete_retention_ms=DELETE_RETENTION_MS[TOMBSTONES[client]], segment_ms=DAY_MS)
        for client in CLIENTS
        for codec in CODECS
    }

    def fill(client: str) -> None:
        for codec in CODECS:
            table, source = tables[client, codec], own_copy(small_table, folder / f"{client}-{codec}")
            clients.write(client, table.broker.bootstrap, table.topic, codec, source, table.written)

    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        list(pool.map(fill, CLIENTS))
    for table in tables.values():
        table.roll()
    cleaned = {
        pair: table.await_emptied() if TOMBSTONES[pair[0]] == GONE else table.await_cleaned() for pair, table in tables.items()
    }
    bootstrap, topics = next(iter(tables.values())).broker.bootstrap, [table.topic for table in tables.values()]
    readings = clients.read(bootstrap, *topics, isolations=("read_committed",))
    return tables, cleaned, readings


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_last_flight_of_each_aircraft(client, codec, matrix):
    tables, cleaned, readings = matrix
    table = tables[client, codec]
    assert sum(map(len, table.written.records)) > 20_000
    for reading in readings:
        left = assert_compacted(table.written, reading / table.topic, cleaned[client, codec], TOMBSTONES[client])
        # Some thousands of aircraft. The segment that is written to has next to nothing.
        assert 2_000 < left < 5_000, f"{reading}: {left} records"


class Watcher:
    """Reads a topic from its beginning to its end, over and over, while others write and clean it."""

    def __init__(self, bootstrap: str, topic: str, partitions: int):
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True,
            "check.crcs": True, "isolation.level": "read_committed",
        })  # fmt: skip
        self._topic, self._partitions = topic, partitions
        self.passes: list[dict[int, list[tuple[int, bytes]]]] = []
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            while not self._stop.is_set():
                self.passes.append(self.once())
        except BaseException as failure:
            self.failure = failure

    def once(self) -> dict[int, list[tuple[int, bytes]]]:
        places = [TopicPartition(self._topic, partition, OFFSET_BEGINNING) for partition in range(self._partitions)]
        self._consumer.assign(places)
        rows: dict[int, list[tuple[int, bytes]]] = {partition: [] for partition in range(self._partitions)}
        unfinished, deadline = set(rows), time.monotonic() + 120
        while unfinished:
            assert time.monotonic() < deadline, f"partitions {unfinished} were not read to their end"
            for message in self._consumer.consume(2_000, timeout=0.05):
                if message.error():
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                    unfinished.discard(message.partition())
                    continue
                ((_, header),) = message.headers()
                line = b"%d\t%s\t%s" % (message.timestamp()[1], message.key(), header)
                rows[message.partition()].append((message.offset(), line if message.value() is None else line + b"\t" + message.value()))
        return rows

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=150)
        assert not self._thread.is_alive() and self.failure is None, self.failure

    def judge(self, written: Written) -> None:
        """Each pass was in order and of records that were written; the table it made is that of some moment."""
        for number, rows in enumerate(self.passes):
            for partition, read in rows.items():
                # A pass saw everything up to the last offset that it got.
                ends = [read[-1][0] + 1 if read else 0] * written.partitions
                found = flaws(written.until(ends), partition, read)
                assert not found, f"pass {number} of {len(self.passes)}, partition {partition}\n" + "\n".join(found[:10])


@pytest.mark.parametrize("client", FULL_WRITERS)
def test_all_flights_while_they_are_cleaned(client, clients, new_table, full_table, tmp_path):
    """336,776 flights are written and read while segments are cleaned; whoever reads has a true table at any time."""
    table = new_table(f"full-{client}", partitions=4, delete_retention_ms=0, segment_ms=7 * DAY_MS)
    bootstrap, folder = table.broker.bootstrap, own_copy(full_table, tmp_path / "input")
    watcher = Watcher(bootstrap, table.topic, 4)
    clients.write(client, bootstrap, table.topic, FULL_WRITERS[client], folder, table.written)
    during = clients.read(bootstrap, table.topic, isolations=("read_committed",))
    before_the_end = [max(records) + 1 for records in table.written.records]
    table.roll()
    cleaned = table.await_emptied()
    watcher.stop()
    total = sum(map(len, table.written.records))
    assert total > 336_776 and sum(is_tombstone(line) for records in table.written.records for line in records.values()) > 5_000
    for reading in during:
        assert_sound(table.written.until(before_the_end), reading / table.topic)
    watcher.judge(table.written)
    assert len(watcher.passes) > 1
    for reading in clients.read(bootstrap, table.topic):
        left = assert_compacted(table.written, reading / table.topic, cleaned, GONE)
        assert 4_000 < left < 10_000, left
    print(f"{total} records, {left} left; {len(watcher.passes)} passes while they were written and cleaned")
