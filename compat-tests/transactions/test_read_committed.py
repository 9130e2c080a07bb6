"""Each client writes transactions, and each reads exactly what was committed, at its offset, and no further than it may."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from conftest import Broker
from transactions.conftest import CLIENTS
from transactions.ledger import READ_COMMITTED, READ_UNCOMMITTED, Ledger
from transactions.writer import Writer, end_offsets

PARTITIONS = 4
# Clients whose programs tell where a partition ends at either isolation level.
TELL_ENDS = ("java", "java-older", "confluent-kafka", "franz-go")


@pytest.fixture
def assert_ends(broker, readers):
    """A function that asks where the partitions end, at both isolation levels, by whoever can ask."""

    def check(ledger: Ledger, topic: str) -> None:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        for isolation in (READ_COMMITTED, READ_UNCOMMITTED):
            assert end_offsets(admin, topic, ledger.partitions, isolation) == ledger.end_offsets(isolation), isolation
            for reader in (each for each in readers if each.client in TELL_ENDS):
                answer = reader("ends", topic, ledger.partitions, isolation)
                assert list(map(int, answer.split())) == ledger.end_offsets(isolation), f"{reader.client} at {isolation}"

    return check


@pytest.mark.parametrize("client", CLIENTS)
def test_commits_and_aborts(client, broker, program, new_topic, lines, assert_read, assert_ends):
    """Two producers whose transactions interleave in the partitions; then one stays open, and holds readers back."""
    topic, ledger = new_topic(f"transactions-{client}"), Ledger(PARTITIONS)
    writer = Writer(program(client), broker.bootstrap, topic, ledger, lines)
    writer.init("a")
    writer.init("b")
    writer.begin("a")
    writer.send("a", {0: 100, 1: 50})
    writer.begin("b")
    writer.send("b", {0: 30, 2: 100})
    writer.send("a", {0: 7})
    writer.end("a", commit=True)
    writer.begin("a")
    writer.send("a", {1: 70, 3: 10, 0: 5})
    writer.end("b", commit=False)
    writer.send("a", {1: 1})
    writer.end("a", commit=False)
    writer.begin("b")
    writer.send("b", {partition: 20 for partition in range(PARTITIONS)})
    writer.end("b", commit=True)
    # What is committed behind the first record of an open transaction is not shown, in that partition only.
    writer.begin("a")
    writer.send("a", {0: 20, 2: 1})
    writer.begin("b")
    writer.send("b", {0: 25, 1: 25})
    writer.end("b", commit=True)
    assert_ends(ledger, topic)
    assert_read(ledger, topic)
    writer.end("a", commit=True)
    assert ledger.end_offsets(READ_COMMITTED) == ledger.end_offsets(READ_UNCOMMITTED)
    assert_ends(ledger, topic)
    assert_read(ledger, topic)


@pytest.mark.parametrize("client", ["java", "confluent-kafka"])
def test_transactions_across_segments(client, broker, program, new_topic, lines, assert_read):
    """Transactions of many batches in segments of a mebibyte: a range of aborted records begins in an earlier file."""
    topic, ledger = new_topic(f"segments-{client}", partitions=1, config={"segment.bytes": str(1 << 20)}), Ledger(1)
    # The longest of the files.
    longest = max(lines, key=lambda file: file.stat().st_size)
    writer = Writer(program(client), broker.bootstrap, topic, ledger, [longest])
    for name in "abc":
        writer.init(name)
    writer.begin("a")
    writer.begin("b")
    for round in range(4):
        writer.send("a", {0: 400})
        writer.send("b", {0: 400})
        writer.begin("c")
        writer.send("c", {0: 300})
        writer.end("c", commit=round % 2 == 0)
    writer.end("a", commit=False)
    writer.send("b", {0: 300})
    writer.end("b", commit=True)
    writer.begin("c")
    writer.send("c", {0: 100})
    if isinstance(broker, Broker):
        assert len(list((broker.log_dir / f"{topic}-0").glob("*.log"))) > 1
    assert_read(ledger, topic)
    writer.end("c", commit=False)
    assert_read(ledger, topic, READ_COMMITTED)
