"""What is compacted and when: both policies at once, the two lags, and a policy that changes while the broker runs."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from compaction.cleaner import PATIENCE, Table, base_offsets, checkpoint, partition_folder
from compaction.oracle import assert_compacted, parsed
from conftest import NOT_OURS

HOUR_MS = 3_600_000
# Segments are closed by records that are a little later than now, which brokers take up to an hour.
SEGMENT_MS = 60_000
CONFIG_COMMAND = "kafka.admin.ConfigCommand"


def now_ms() -> int:
    return int(time.time() * 1000)


class Updates:
    """Updates of some keys, each newer than all before."""

    def __init__(self, table: Table, keys: int = 10):
        self._table, self._keys, self._number = table, keys, 0

    def write(self, count: int, timestamp: int, tombstones: bool = False) -> None:
        lines = []
        for _ in range(count):
            number, self._number = self._number, self._number + 1
            line = b"%d\tkey-%d\t%d" % (timestamp, number % self._keys, number)
            lines.append((0, line if tombstones else line + b"\tvalue %d" % number))
        self._table.write(lines)


def read(clients, table: Table):
    (folder,) = clients.read(table.broker.bootstrap, table.topic, by=("confluent-kafka",), isolations=("read_committed",))
    return folder / table.topic


def await_checkpoint(table: Table, offset: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (checkpoint(table.broker, table.topic, 0) or 0) < offset:
        assert time.monotonic() < deadline, f"cleaned to {checkpoint(table.broker, table.topic, 0)}\n{table.broker.tail()}"
        time.sleep(0.02)


def start_of(table: Table) -> int:
    consumer = Consumer({"bootstrap.servers": table.broker.bootstrap, "group.id": "unused"})
    start, _ = consumer.get_watermark_offsets(TopicPartition(table.topic, 0), timeout=30)
    consumer.close()
    return start


def await_start(table: Table, offset: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (start := start_of(table)) != offset:
        assert start < offset and time.monotonic() < deadline, f"the log starts at {start}, not at {offset}\n{table.broker.tail()}"
        time.sleep(0.1)


def pass_of_the_cleaner(new_table) -> None:
    """Returns when the cleaner has closed in on what became dirty only now: what it leaves alone, it leaves on purpose."""
    marker = new_table("marker", 1, segment_ms=SEGMENT_MS)
    Updates(marker).write(100, now_ms())
    marker.roll(now_ms() + 2 * SEGMENT_MS)
    marker.await_cleaned()


def test_both_policies_at_once(new_table, clients):
    """Segments that are too old go whole, with last records of keys in them; the rest is compacted."""
    table = new_table("both", 1, cleanup_policy="compact,delete", retention_ms=HOUR_MS, segment_ms=SEGMENT_MS)
    young, old = Updates(table), now_ms() - 2 * HOUR_MS
    table.write([(0, b"%d\tonly-once\t0\told" % old)])
    young.write(50, old)
    table.roll(now_ms())
    (start,) = table.ends()
    # A segment that is put together of old and young ones is as young as the youngest: the old one has to be alone.
    await_start(table, start)
    young.write(100, now_ms())
    table.roll(now_ms() + 2 * SEGMENT_MS)
    cleaned = table.await_cleaned()
    table.written.records[0] = {offset: line for offset, line in table.written.records[0].items() if offset >= start}
    # Ten keys and the two records that rolled.
    assert assert_compacted(table.written, read(clients, table), cleaned) == 12


def test_nothing_younger_than_min_compaction_lag_is_removed(new_table, clients):
    table = new_table("min-lag", 1, min_compaction_lag_ms=HOUR_MS, segment_ms=SEGMENT_MS)
    updates = Updates(table)
    updates.write(100, now_ms() - 2 * HOUR_MS)
    table.roll(now_ms())
    (young,) = table.ends()
    updates.write(100, now_ms())
    table.roll(now_ms() + 2 * SEGMENT_MS)
    await_checkpoint(table, young)
    pass_of_the_cleaner(new_table)
    # The old segment is compacted by itself, whatever came later.
    assert assert_compacted(table.written, read(clients, table), [young]) == 10 + 102
    assert checkpoint(table.broker, table.topic, 0) == young
    # As soon as it may be younger, it is compacted as well.
    table.alter(min_compaction_lag_ms=0)
    cleaned = table.await_cleaned()
    assert assert_compacted(table.written, read(clients, table), cleaned) == 12


def test_max_compaction_lag_overrules_the_dirty_ratio(new_table, clients):
    """Hardly anything is ever dirty enough here, but what has waited long enough is cleaned all the same."""
    lag = 2_000
    table = new_table("max-lag", 1, min_cleanable_dirty_ratio=1, max_compaction_lag_ms=lag, segment_ms=HOUR_MS)
    updates = Updates(table)
    updates.write(100, now_ms())
    assert len(base_offsets(partition_folder(table.broker, table.topic, 0))) == 1
    # A record that comes after the lag closes the segment, long before its own limit.
    time.sleep(lag / 1000 + 0.1)
    updates.write(1, now_ms())
    cleaned = table.await_cleaned()
    assert cleaned == [100]
    assert assert_compacted(table.written, read(clients, table), cleaned) == 11


@pytest.mark.skipif(NOT_OURS, reason="Apache Kafka closes a segment only when a record comes")
def test_a_topic_that_goes_quiet_is_compacted_after_max_compaction_lag(new_table, clients):
    table = new_table("quiet", 1, min_cleanable_dirty_ratio=1, max_compaction_lag_ms=1_500, segment_ms=HOUR_MS)
    updates, folder = Updates(table), partition_folder(table.broker, table.topic, 0)
    updates.write(100, now_ms())
    deadline = time.monotonic() + PATIENCE
    while base_offsets(folder)[-1] < 100:
        assert time.monotonic() < deadline, f"the segment is still open\n{table.broker.tail()}"
        time.sleep(0.05)
    cleaned = table.await_cleaned()
    assert cleaned == [100]
    # Java and librdkafka find the end of a partition whose last segment is empty.
    for reading in clients.read(table.broker.bootstrap, table.topic, by=("confluent-kafka", "java")):
        assert assert_compacted(table.written, reading / table.topic, cleaned) == 10
    # It goes on where it was.
    updates.write(5, now_ms())
    assert assert_compacted(table.written, read(clients, table), cleaned) == 15
    assert max(table.written.records[0]) == 104


def test_the_policy_changes_live(new_table, clients, tool):
    table = new_table("changing", 1, cleanup_policy="delete", segment_ms=SEGMENT_MS)
    updates, moment = Updates(table), now_ms()

    def policy(name: str) -> None:
        tool(CONFIG_COMMAND, "--alter", "--entity-type", "topics", "--entity-name", table.topic, "--add-config", f"cleanup.policy={name}")

    def offsets() -> list[int]:
        return [offset for offset, _ in parsed(read(clients, table) / "0.tsv")]

    updates.write(100, moment)
    table.roll(moment + 2 * SEGMENT_MS)
    pass_of_the_cleaner(new_table)
    assert offsets() == list(range(101))

    policy("compact")
    cleaned = table.await_cleaned()
    assert assert_compacted(table.written, read(clients, table), cleaned) == 11

    policy("delete")
    updates.write(100, moment + 3 * SEGMENT_MS)
    table.roll(moment + 5 * SEGMENT_MS)
    pass_of_the_cleaner(new_table)
    assert assert_compacted(table.written, read(clients, table), cleaned) == 10 + 102

    # What it kept for its keys goes with its segments.
    table.alter(retention_bytes=1)
    (last,) = table.ends()
    await_start(table, last)
    assert offsets() == [201]

    # And back: what came since is compacted.
    table.alter(retention_bytes=-1)
    policy("compact")
    updates.write(100, moment + 6 * SEGMENT_MS)
    table.roll(moment + 8 * SEGMENT_MS)
    table.written.records[0] = {offset: line for offset, line in table.written.records[0].items() if offset >= last}
    cleaned = table.await_cleaned()
    assert assert_compacted(table.written, read(clients, table), cleaned) == 12


def delete_records(table: Table, offset: int) -> None:
    admin, place = table.admin(), TopicPartition(table.topic, 0, offset)
    admin.delete_records([place])[place].result(60)


def test_records_of_a_compacted_topic_are_not_deleted_by_offset(new_table, clients):
    """Not while compaction is the only policy: Kafka calls that a violation of it."""
    table = new_table("untrimmed", 1)
    Updates(table).write(20, now_ms())
    with pytest.raises(KafkaException) as refused:
        delete_records(table, 10)
    assert refused.value.args[0].code() == KafkaError.POLICY_VIOLATION
    assert start_of(table) == 0 and assert_compacted(table.written, read(clients, table), [0]) == 20


def test_deleted_records_stay_deleted(new_table, clients):
    """DeleteRecords into the middle of a compacted log, whose segments are then compacted on."""
    table = new_table("trimmed", 1, cleanup_policy="compact,delete", segment_ms=SEGMENT_MS)
    updates, moment = Updates(table), now_ms()
    updates.write(100, moment)
    table.roll(moment + 2 * SEGMENT_MS)
    table.await_cleaned()
    # Five of the ten last records, 90 to 99, are below it.
    delete_records(table, 95)
    await_start(table, 95)
    table.written.records[0] = {offset: line for offset, line in table.written.records[0].items() if offset >= 95}
    assert assert_compacted(table.written, read(clients, table), [100]) == 6
    # Key 7 is updated; the rest of those that are left, are left.
    table.write([(0, b"%d\tkey-7\t200\tupdated" % (moment + 3 * SEGMENT_MS))])
    table.roll(moment + 5 * SEGMENT_MS)
    cleaned = table.await_cleaned()
    # Four old ones and the new one, and the two that rolled.
    assert assert_compacted(table.written, read(clients, table), cleaned) == 7
