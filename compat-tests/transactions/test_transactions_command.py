"""Kafka's TransactionsCommand: what it says of open transactions, and that it finds and ends one that hangs."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource

import conftest as root
from transactions.ledger import READ_COMMITTED, Ledger
from transactions.raw import FIRST, RawProducer
from transactions.writer import Writer, end_offsets

COMMAND = "org.apache.kafka.tools.TransactionsCommand"


def table(printed: str) -> list[dict[str, str]]:
    """The rows of a table that the tool printed, by the names of their columns."""
    lines = [line.split("\t") for line in printed.splitlines() if "\t" in line]
    head = [word.strip() for word in lines[0]]
    return [dict(zip(head, (word.strip() for word in line), strict=True)) for line in lines[1:]]


def node_id(bootstrap: str) -> int:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    return admin.describe_cluster().result(30).nodes[0].id


@pytest.mark.parametrize("client", ["java", "java-older"])
def test_open_transactions_are_told(client, broker, program, tool, new_topic, lines):
    topic, ledger = new_topic(f"told-{client}", partitions=2), Ledger(2)
    writer = Writer(program(client), broker.bootstrap, topic, ledger, lines)
    for name in ("open", "done"):
        writer.init(name, 45_000)
        writer.begin(name)
        writer.send(name, {0: 3, 1: 3} if name == "open" else {1: 2})
    writer.program("offsets", "open", f"group-{topic}", topic, 0, 3)
    writer.end("done", commit=True)
    an_open, done = f"{topic}-open", f"{topic}-done"

    def states(*filters) -> dict[str, str]:
        return {row["TransactionalId"]: row["TransactionState"] for row in table(tool(COMMAND, "list", *filters))}

    told = states()
    assert (told[an_open], told[done]) == ("Ongoing", "CompleteCommit")
    assert set(states("--transactional-id-pattern", f"{topic}-.*")) == {an_open, done}
    # Only what has been running for so long.
    assert an_open not in states("--duration-filter", 3_600_000)
    time.sleep(0.01)
    assert an_open in states("--duration-filter", 1)

    (described,) = table(tool(COMMAND, "describe", "--transactional-id", an_open))
    assert described["TransactionState"] == "Ongoing" and described["TransactionTimeoutMs"] == "45000"
    assert int(described["CoordinatorId"]) == node_id(broker.bootstrap) and int(described["ProducerEpoch"]) >= 0
    partitions = set(described["TopicPartitions"].split(","))
    assert {f"{topic}-0", f"{topic}-1"} <= partitions
    # The offsets' partition is in the transaction as well.
    assert any(name.startswith("__consumer_offsets-") for name in partitions) and len(partitions) == 3, partitions

    (producer,) = table(tool(COMMAND, "describe-producers", "--topic", topic, "--partition", 0))
    assert producer["ProducerId"] == described["ProducerId"] and producer["ProducerEpoch"] == described["ProducerEpoch"]
    assert (producer["CurrentTransactionStartOffset"], producer["LastSequence"]) == ("0", "2")
    rows = {row["ProducerId"]: row for row in table(tool(COMMAND, "describe-producers", "--topic", topic, "--partition", 1))}
    assert len(rows) == 2 and rows.pop(described["ProducerId"])["CurrentTransactionStartOffset"] == "0"
    assert rows.popitem()[1]["CurrentTransactionStartOffset"] == "None"

    # It is open, but its coordinator knows of it: it does not hang.
    broker_id = node_id(broker.bootstrap)
    found = tool(COMMAND, "find-hanging", "--broker-id", broker_id, "--max-transaction-timeout", 0)
    assert topic not in found, found

    writer.end("open", commit=False)
    (described,) = table(tool(COMMAND, "describe", "--transactional-id", an_open))
    assert described["TransactionState"] == "CompleteAbort" and described["TopicPartitions"] in ("", "None")


@pytest.fixture(scope="module")
def unverified(tmp_path_factory):
    """The address of a broker that does not ask a transaction's coordinator before it takes records."""
    settings = {**root.TRANSACTION_SETTINGS, "transaction.partition.verification.enable": "false"}
    with root.shared_broker(tmp_path_factory.mktemp("unverified"), settings) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        resource = ConfigResource(ConfigResource.Type.BROKER, str(node_id(broker.bootstrap)))
        if root.NOT_OURS:
            # Settings are ours alone; there it can be changed while the broker runs.
            change = ConfigEntry(
                "transaction.partition.verification.enable", "false",
                source=ConfigSource.DYNAMIC_BROKER_CONFIG, incremental_operation=AlterConfigOpType.SET,
            )  # fmt: skip
            resource.add_incremental_config(change)
            admin.incremental_alter_configs([resource])[resource].result(30)
        yield broker
        if root.NOT_OURS:
            change.incremental_operation = AlterConfigOpType.DELETE
            admin.incremental_alter_configs([resource])[resource].result(30)


def test_a_hanging_transaction_is_found_and_ended(unverified, java_class, tmp_path):
    """Records of a transaction that its coordinator knows nothing of hold readers back until somebody ends it by hand."""
    topic = root.topic_maker(unverified.bootstrap)("hanging", partitions=1)
    port, broker_id = int(unverified.bootstrap.rpartition(":")[2]), node_id(unverified.bootstrap)
    admin = AdminClient({"bootstrap.servers": unverified.bootstrap})
    producer = RawProducer(port, topic, topic, FIRST)
    producer.init()
    # Half an hour ago, longer than transactions may take. The coordinator is not told of the partition.
    assert producer.produce({0: [b"a", b"b"]}, int(time.time() * 1000) - 1_800_000) == {0: 0}
    producer_id = producer.producer_id
    assert end_offsets(admin, topic, 1, READ_COMMITTED) == [0]

    with root.tools_of(unverified.bootstrap, java_class("Tools"), tmp_path / "tools.log") as tool:
        (found,) = table(tool(COMMAND, "find-hanging", "--broker-id", broker_id, "--max-transaction-timeout", 15))
        assert (found["Topic"], found["Partition"], found["ProducerId"], found["StartOffset"]) == (topic, "0", str(producer_id), "0")
        (found,) = table(tool(COMMAND, "find-hanging", "--topic", topic, "--partition", 0, "--max-transaction-timeout", 15))
        tool(COMMAND, "abort", "--topic", topic, "--partition", 0, "--start-offset", 1, fails=True)
        tool(COMMAND, "abort", "--topic", topic, "--partition", 0, "--start-offset", found["StartOffset"])
        assert "\t" not in tool(COMMAND, "find-hanging", "--topic", topic, "--partition", 0).partition("\n")[2]
    # Two records and the control record that ended them.
    assert end_offsets(admin, topic, 1, READ_COMMITTED) == [3]
