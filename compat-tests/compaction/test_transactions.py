"""Transactions in a compacted topic: readers at either isolation level see the last committed record of each key.

Aborted records go with the cleaning, and so do the control records in time; what is open is left alone, and shields what is
behind it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka import Producer as Plain

import conftest as root
from compaction.cleaner import PATIENCE, checkpoint, partition_folder
from conftest import HERE
from transactions.ledger import READ_COMMITTED, READ_UNCOMMITTED, Ledger
from transactions.programs import Program
from transactions.test_transactions_command import COMMAND, node_id, table as rows_of
from transactions.writer import Writer

# Flights of 24 days, in so many times less time, beginning now: brokers take what is up to an hour ahead, and forget no producer.
# The ends of transactions have the time of the clock, and are always behind.
FASTER = 1_000
AHEAD_MS = 24 * 86_400_000 // FASTER
SEGMENT_MS = 86_400_000 // FASTER
PARTITION = 0
# Of the 5,820 offsets that come before the transaction that stays open.
CLEANED_AT_LEAST = 4_000


class CompactedLedger(Ledger):
    """A ledger of a topic that is compacted up to some offset in its only partition."""

    cleaned_to = 0

    def visible(self, partition: int, isolation: str) -> list[tuple[int, bytes]]:
        last = {line.split(b"\t")[1]: offset for offset, line in self._committed(partition, self.cleaned_to)}
        left = set(last.values())
        return [
            entry
            for entry in super().visible(partition, READ_COMMITTED if isolation == READ_COMMITTED else READ_UNCOMMITTED)
            if entry[0] >= self.cleaned_to or entry[0] in left
        ]

    def _committed(self, partition: int, below: int) -> list[tuple[int, bytes]]:
        return [
            (offset, line)
            for offset, line, transaction in self.records[partition]
            if offset < below and (transaction is None or transaction.committed)
        ]

    def assert_shields(self, got: dict[int, bytes], isolation: str) -> None:
        """While a transaction is open: whatever was cleaned, each key has its last committed record, and nothing is foreign."""
        everything = {offset: line for offset, line, _ in self.records[PARTITION]}
        assert all(everything[offset] == line for offset, line in got.items())
        stable = self.stable(PARTITION)
        assert got.keys() >= {offset for offset in everything if offset >= stable} or isolation == READ_COMMITTED
        assert max(got) < stable or isolation == READ_UNCOMMITTED
        last = {line.split(b"\t")[1]: offset for offset, line in self._committed(PARTITION, stable)}
        missing = [offset for offset in last.values() if offset not in got]
        assert not missing, f"{len(missing)} last committed records are missing below {stable}, first {missing[:5]}"


@pytest.fixture
def quick_lines(small_table, tmp_path) -> Path:
    """Flights by aircraft for a transactional program, which knows no headers, in little time."""
    rows = [line.split(b"\t") for line in (small_table / "0.tsv").read_bytes().splitlines()]
    rows = [(int(row[0]), row[1], row[3]) for row in rows if len(row) == 4]
    first, now = min(row[0] for row in rows), int(time.time() * 1000)
    file = tmp_path / "flights.tsv"
    file.write_bytes(b"".join(b"%d\t%s\t%s\n" % (now + (row[0] - first) // FASTER, row[1], row[2]) for row in rows))
    return file


@pytest.fixture
def program(java_class, own_broker, tmp_path):
    commands = {"confluent-kafka": [sys.executable, HERE / "confluent-kafka" / "transactional.py"], "java": java_class("Transactions")}
    made = []

    def start(client: str) -> Program:
        made.append(Program(client, [*commands[client], own_broker.bootstrap], tmp_path / f"{client}-{len(made)}.log"))
        return made[-1]

    yield start
    for each in made:
        each.end()


def all_of(bootstrap: str, topic: str, isolation: str) -> dict[int, bytes]:
    """What there is to read, however much that is."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "unused", "enable.partition.eof": True, "isolation.level": isolation,
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, PARTITION, OFFSET_BEGINNING)])
    found = {}
    while (message := consumer.poll(30)) and not message.error():
        found[message.offset()] = b"%d\t%s\t%s" % (message.timestamp()[1], message.key(), message.value())
    assert message and message.error().code() == KafkaError._PARTITION_EOF, message and message.error()
    consumer.close()
    return found


def producers_of(tool, topic: str) -> list[dict[str, str]]:
    return sorted(rows_of(tool(COMMAND, "describe-producers", "--topic", topic, "--partition", PARTITION)), key=str)


# Java speaks the second protocol of transactions, librdkafka the first.
@pytest.mark.parametrize(("client", "from_the_start"), [("java", False), ("confluent-kafka", True)])
def test_transactions(client, from_the_start, own_broker, own_table, program, quick_lines, java_class, tmp_path):
    """Over many segments; cleaned at the end in one go, or from the start while transactions are open."""
    policy = "compact" if from_the_start else "delete"
    table = own_table("transactions", 1, segment_ms=SEGMENT_MS, cleanup_policy=policy, delete_retention_ms=0)
    topic, ledger = table.topic, CompactedLedger(1)
    writer = Writer(program(client), own_broker.bootstrap, topic, ledger, [quick_lines])
    reader = program("java" if client == "confluent-kafka" else "confluent-kafka")
    readings, rolls, began = 0, 0, int(time.time() * 1000)

    def read(isolation: str) -> Path:
        nonlocal readings
        readings += 1
        folder = tmp_path / f"read-{readings}"
        folder.mkdir()
        reader("read", topic, 1, isolation, ledger.count(isolation), folder)
        return folder

    def assert_read() -> None:
        for isolation in (READ_COMMITTED, READ_UNCOMMITTED):
            wrong = ledger.differences(isolation, read(isolation))
            assert not wrong, f"{isolation}: {wrong}"

    def roll() -> None:
        nonlocal rolls
        rolls += 1
        line = b"%d\tfiller\t%d" % (began + AHEAD_MS + 2 * rolls * SEGMENT_MS, rolls)
        timestamp, key, value = line.split(b"\t")
        plain, failures = Plain({"bootstrap.servers": own_broker.bootstrap, "acks": "all"}), []
        plain.produce(topic, value, key, 0, timestamp=int(timestamp), on_delivery=lambda error, _: error and failures.append(error))
        assert plain.flush(30) == 0 and not failures
        ledger.send(None, 0, [line])

    for name in "abc":
        # None runs out of time here.
        writer.init(name, 600_000)
    writer.begin("a")
    writer.begin("b")
    for round in range(6):
        writer.send("a", {0: 200})
        writer.send("b", {0: 200})
        writer.begin("c")
        writer.send("c", {0: 150})
        writer.end("c", commit=round % 2 == 0)
    writer.end("a", commit=False)
    writer.send("b", {0: 100})
    writer.end("b", commit=True)
    for round in range(6):
        for name, commit in (("a", round % 3 != 0), ("c", round % 2 == 0)):
            writer.begin(name)
            writer.send(name, {0: 200})
            writer.end(name, commit=commit)
    # One stays open over several segments that others fill.
    writer.begin("a")
    writer.send("a", {0: 300})
    writer.begin("b")
    writer.send("b", {0: 900})
    writer.end("b", commit=True)
    folder = partition_folder(own_broker, topic, 0)
    # What is cleaned is put together into fewer segments.
    assert len(list(folder.glob("*.log"))) > (1 if from_the_start else 8)
    with root.tools_of(own_broker.bootstrap, java_class("Tools"), tmp_path / "tools.log") as tool:
        before = producers_of(tool, topic)
        assert len(before) == 3 and sum(row["CurrentTransactionStartOffset"] != "None" for row in before) == 1
        if not from_the_start:
            assert_read()
            table.alter(cleanup_policy="compact")
        # All that is decided and in closed segments can be cleaned; how far that is within a segment is the broker's.
        deadline = time.monotonic() + PATIENCE
        while (checkpoint(own_broker, topic, PARTITION) or 0) < CLEANED_AT_LEAST:
            assert time.monotonic() < deadline, f"cleaned to {checkpoint(own_broker, topic, PARTITION)}"
            time.sleep(0.05)
        for isolation in (READ_COMMITTED, READ_UNCOMMITTED):
            ledger.assert_shields(all_of(own_broker.bootstrap, topic, isolation), isolation)
        assert producers_of(tool, topic) == before

        writer.end("a", commit=True)
        roll()
        (ledger.cleaned_to,) = table.await_cleaned()
        assert len(ledger.visible(0, READ_UNCOMMITTED)) < 3_000
        assert_read()
        # Nobody is forgotten, though most of their records are gone.
        ended = producers_of(tool, topic)
        assert [row["ProducerId"] for row in ended if row["ProducerId"] in {row["ProducerId"] for row in before}] == [
            row["ProducerId"] for row in before
        ]
        assert {row["CurrentTransactionStartOffset"] for row in ended} == {"None"}
        broker_id = node_id(own_broker.bootstrap)
        assert topic not in tool(COMMAND, "find-hanging", "--broker-id", broker_id, "--max-transaction-timeout", 0)

    own_broker.kill()
    own_broker.start()
    # The one from before has leader epochs that are over by now.
    writer.admin = table.admin()
    assert_read()
    with root.tools_of(own_broker.bootstrap, java_class("Tools"), tmp_path / "tools.log") as tool:
        assert producers_of(tool, topic) == ended
    # The control records that were dated then may go now; transactions are what they were, and go on.
    writer.begin("b")
    writer.send("b", {0: 300})
    writer.end("b", commit=False)
    writer.begin("a")
    writer.send("a", {0: 300})
    writer.end("a", commit=True)
    roll()
    (ledger.cleaned_to,) = table.await_cleaned()
    assert_read()
