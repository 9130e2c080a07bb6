"""Producers whose records were all superseded go on where they were, also after the broker was started again."""

from __future__ import annotations

import time

import pytest

from compaction.cleaner import partition_folder
from compaction.clients import CLIENTS, Producer
from compaction.oracle import assert_compacted, key_of, parsed

KEYS, RECORDS, PHASES = 10, 500, 4
SEGMENT_MS = 60_000


def lines(phase: int, count: int, timestamp: int) -> list[bytes]:
    first = phase * 1_000
    return [b"%d\tkey-%d\t%d\tof phase %d" % (timestamp, number % KEYS, number, phase) for number in range(first, first + count)]


@pytest.mark.parametrize("client", CLIENTS)
def test_idempotent_producers_go_on(client, own_broker, own_table, clients, tmp_path):
    """Behind a cleaning, a kill, and a start without the snapshots of producers: the log itself has to know them."""
    table, now = own_table("going-on", 1, segment_ms=SEGMENT_MS), int(time.time() * 1000)
    folders = []
    for turn in range(PHASES):
        folders.append(tmp_path / f"turn-{turn}")
        folders[-1].mkdir()
        written = lines(2 * turn, RECORDS, now + 3 * turn * SEGMENT_MS)
        (folders[-1] / "0.tsv").write_bytes(b"\n".join(written) + b"\n")
    producer = Producer(clients, client, own_broker.bootstrap, table.topic, "zstd", folders, tmp_path / "producer.log")
    try:
        for turn in range(PHASES):
            producer.await_written(table.written)
            before = max(table.written.records[0])
            # Somebody else updates every key, so that nothing of this producer's is left.
            table.write([(0, line) for line in lines(2 * turn + 1, KEYS, now + (3 * turn + 1) * SEGMENT_MS)])
            table.roll(now + (3 * turn + 2) * SEGMENT_MS + 1)
            cleaned = table.await_cleaned()
            (reading,) = clients.read(own_broker.bootstrap, table.topic, by=(client,), isolations=("read_committed",))
            assert assert_compacted(table.written, reading / table.topic, cleaned) == KEYS + min(turn, 1) + 1
            left = [offset for offset, line in parsed(reading / table.topic / "0.tsv") if key_of(line) != b"filler"]
            assert min(left) > before
            if turn == 1:
                own_broker.kill()
                own_broker.start()
            elif turn == 2:
                own_broker.stop()
                snapshots = list(partition_folder(own_broker, table.topic, 0).glob("*.snapshot"))
                assert snapshots
                for snapshot in snapshots:
                    snapshot.unlink()
                own_broker.start()
            if turn + 1 < PHASES:
                producer.go_on()
    finally:
        producer.end()
