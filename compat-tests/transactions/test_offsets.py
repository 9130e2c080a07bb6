"""Offsets in transactions: nobody's until the transaction is committed, and never if it is aborted."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from transactions.conftest import CLIENTS
from transactions.ledger import Ledger
from transactions.writer import Writer

# Clients that put offsets into a transaction only from within a group; `test_copying.py` has them.
FROM_GROUPS_ALONE = ("franz-go", "krafka")
# Clients that keep a transaction's offsets to themselves until its end.
KEPT_UNTIL_THE_END = ("sarama",)
PARTITIONS = 2
NOTHING = -1001


@pytest.fixture
def committed(broker):
    """A function (group, topic) that gives each partition's offset, or its error, as a reader is told that waits for
    pending ones or one that does not."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})

    def ask(group: str, topic: str, *, stable: bool) -> list:
        wanted = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)], require_stable=stable)
        found = {entry.partition: entry for entry in asked[group].result(30).topic_partitions}
        told = [found[partition] for partition in range(PARTITIONS)]
        return [entry.error.code() if entry.error else entry.offset for entry in told]

    return ask


@pytest.mark.parametrize("client", [client for client in CLIENTS if client not in FROM_GROUPS_ALONE])
def test_offsets_come_with_the_commit(client, broker, program, new_topic, lines, committed):
    topic = new_topic(f"offsets-{client}", partitions=PARTITIONS)
    group, unstable = f"group-{topic}", KafkaError.UNSTABLE_OFFSET_COMMIT
    writer = Writer(program(client), broker.bootstrap, topic, Ledger(PARTITIONS), lines)
    writer.init("a")

    def transact(offset: int, *, commit: bool, before: list) -> None:
        writer.begin("a")
        writer.send("a", {0: 10, 1: 10})
        writer.program("offsets", "a", group, topic, 0, offset)
        pending = [unstable, before[1]] if client not in KEPT_UNTIL_THE_END else before
        assert committed(group, topic, stable=True) == pending
        assert committed(group, topic, stable=False) == before
        writer.end("a", commit=commit)

    transact(3, commit=False, before=[NOTHING, NOTHING])
    await_committed(committed, group, topic, [NOTHING, NOTHING])
    transact(5, commit=True, before=[NOTHING, NOTHING])
    await_committed(committed, group, topic, [5, NOTHING])
    transact(7, commit=False, before=[5, NOTHING])
    await_committed(committed, group, topic, [5, NOTHING])
    transact(8, commit=True, before=[5, NOTHING])
    await_committed(committed, group, topic, [8, NOTHING])


def await_committed(committed, group: str, topic: str, wanted: list) -> None:
    """An end may be answered before the group's coordinator has heard of it; until then readers that wait are told so."""
    deadline = time.monotonic() + 20
    while (told := committed(group, topic, stable=True)) != wanted:
        assert KafkaError.UNSTABLE_OFFSET_COMMIT in told and time.monotonic() < deadline, told
        time.sleep(0.01)
