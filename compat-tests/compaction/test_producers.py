"""Producers whose records were all superseded go on where they were, also after the broker was started again."""

from __future__ import annotations

import time

import pytest

from compaction.cleaner import partition_folder
from compaction.clients import CLIENTS, Producer
from compaction.oracle import assert_compacted, key_of, parsed
from compaction.raw import Idempotent
from transactions.raw import Refused

KEYS, RECORDS, PHASES = 10, 500, 4
SEGMENT_MS = 60_000
OUT_OF_ORDER_SEQUENCE_NUMBER = 45


def lines(phase: int, count: int, timestamp: int) -> list[bytes]:
    first = phase * 1_000
    return [b"%d\tkey-%d\t%d\tof phase %d" % (timestamp, number % KEYS, number, phase) for number in range(first, first + count)]


def forget_snapshots(table) -> None:
    snapshots = list(partition_folder(table.broker, table.topic, 0).glob("*.snapshot"))
    assert snapshots
    for snapshot in snapshots:
        snapshot.unlink()


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
                forget_snapshots(table)
                own_broker.start()
            if turn + 1 < PHASES:
                producer.go_on()
    finally:
        producer.end()


def test_a_repetition_is_known_behind_a_cleaning(own_broker, own_table):
    """The last batch of each producer is kept, if only as an empty one: what is sent again is not written again.

    Its sequence numbers are known while the broker runs, behind a kill, and when the log itself is all that there is to know
    them by.
    """
    table, now = own_table("repeated", 1, segment_ms=SEGMENT_MS), int(time.time() * 1000)
    producer = Idempotent.of(own_broker.port, table.topic)
    producer.init()
    rows = [[(b"key-%d" % (number % KEYS), b"of batch %d" % turn) for number in range(20)] for turn in range(3)]
    assert [producer.send(20 * turn, rows[turn]) for turn in range(3)] == [0, 20, 40]
    for turn, batch in enumerate(rows):
        for at, (key, value) in enumerate(batch):
            table.written.put(0, 20 * turn + at, b"%d\t%s\t%d\t%s" % (now, key, 20 * turn + at, value))
    # Every key is somebody else's then.
    table.write([(0, line) for line in lines(1, KEYS, now + SEGMENT_MS // 2)])
    table.roll(now + 3 * SEGMENT_MS)
    cleaned = table.await_cleaned()

    def assert_known() -> None:
        assert producer.send(40, rows[2]) == 40
        with pytest.raises(Refused) as refused:
            producer.send(100, rows[0])
        assert refused.value.code == OUT_OF_ORDER_SEQUENCE_NUMBER

    assert_known()
    own_broker.kill()
    producer.disconnect()
    own_broker.start()
    assert_known()
    # Apache Kafka reads a log for its producers only if it did not stop in order.
    own_broker.kill()
    producer.disconnect()
    forget_snapshots(table)
    own_broker.start()
    assert_known()
    # And it goes on where it was: nothing was written in between.
    assert cleaned == [60 + KEYS] and producer.send(60, rows[0]) == 60 + KEYS + 1
