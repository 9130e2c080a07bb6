"""Committed offsets by themselves: metadata, limits, commits from outside a group, topics that begin anew."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaAdminClient, KafkaConsumer
from kafka import TopicPartition as KafkaPythonPartition
from kafka.errors import OffsetMetadataTooLargeError
from kafka.structs import OffsetAndMetadata

from groups.members import PATIENCE

INTERNAL = "__consumer_offsets"


@pytest.fixture
def admin(broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


@pytest.fixture
def reader(broker):
    """The admin client that tells what is committed."""
    client = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    yield client
    client.close()


@pytest.fixture
def outsider(broker):
    """A function (group) that gives a consumer that assigns itself partitions and is no member of the group."""
    opened = []

    def consumer(group: str) -> Consumer:
        opened.append(Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False}))
        return opened[-1]

    yield consumer
    for each in opened:
        each.close()


def committed(admin: KafkaAdminClient, group: str) -> dict[tuple[str, int], tuple[int, str]]:
    """By kafka-python: librdkafka's binding reads metadata beyond its end, unless librdkafka wrote it."""
    found = admin.list_group_offsets(group)[group]
    # librdkafka adds a zero byte to what it is given.
    return {
        (where.topic, where.partition): (entry.offset, entry.metadata.rstrip("\0"))
        for where, entry in found.items() if entry.offset >= 0
    }  # fmt: skip


def test_a_commit_from_outside_a_group(admin, reader, outsider, new_topic):
    """Makes a group that has no members and no protocol; the offset and its metadata come back as they were given."""
    topic = new_topic("outside", partitions=3)
    group = f"group-{topic}"
    consumer = outsider(group)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.commit(offsets=[TopicPartition(topic, 0, 7, metadata="pr\u00fcfung \u2713")], asynchronous=False)
    consumer.commit(offsets=[TopicPartition(topic, 2, 0)], asynchronous=False)
    # Committed is what was said, not what is there: no record of this topic exists.
    known = consumer.committed([TopicPartition(topic, partition) for partition in range(3)], timeout=30)
    assert [(entry.offset, entry.metadata or "") for entry in known] == [(7, "pr\u00fcfung \u2713"), (-1001, ""), (0, "")]

    described = admin.describe_consumer_groups([group])[group].result(30)
    assert (described.state, described.members, described.is_simple_consumer_group) == (ConsumerGroupState.EMPTY, [], True)
    (listed,) = (entry for entry in admin.list_consumer_groups().result(30).valid if entry.group_id == group)
    assert listed.is_simple_consumer_group and listed.state == ConsumerGroupState.EMPTY

    # A later commit may go back.
    consumer.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
    assert {key: offset for key, (offset, _) in committed(reader, group).items()} == {(topic, 0): 3, (topic, 2): 0}


def test_partitions_that_do_not_exist(outsider, new_topic):
    topic = new_topic("unknown", partitions=1)
    consumer = outsider(f"group-{topic}")
    consumer.assign([TopicPartition(topic, 0)])
    for entry in (TopicPartition(topic, 9, 1), TopicPartition(f"{topic}-never", 0, 1)):
        with pytest.raises(Exception) as refused:
            consumer.commit(offsets=[entry], asynchronous=False)
        assert refused.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_metadata_has_a_limit(broker, reader, new_topic):
    """offset.metadata.max.bytes is 4,096 and counts characters; what else is in the request is committed all the same."""
    topic = new_topic("metadata", partitions=4)
    group = f"group-{topic}"
    # This client sends what it is given.
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=group, enable_auto_commit=False)
    partitions = [KafkaPythonPartition(topic, number) for number in range(4)]
    consumer.assign(partitions)
    fits, wide = "x" * 4096, "\u00e9" * 4096
    consumer.commit({partitions[0]: OffsetAndMetadata(1, fits, -1), partitions[1]: OffsetAndMetadata(2, wide, -1)})
    with pytest.raises(OffsetMetadataTooLargeError):
        consumer.commit({partitions[2]: OffsetAndMetadata(3, fits + "x", -1), partitions[3]: OffsetAndMetadata(4, "", -1)})
    consumer.close()
    assert committed(reader, group) == {(topic, 0): (1, fits), (topic, 1): (2, wide), (topic, 3): (4, "")}


def test_a_topic_that_is_made_again_begins_anew(admin, reader, outsider, new_topic):
    """An offset belongs to the topic it was committed for, not to its name."""
    topic, other = new_topic("made-again", partitions=2), new_topic("stays", partitions=1)
    group = f"group-{topic}"
    consumer = outsider(group)
    consumer.assign([TopicPartition(topic, 0)])
    entries = [TopicPartition(topic, 0, 5), TopicPartition(topic, 1, 6), TopicPartition(other, 0, 7)]
    consumer.commit(offsets=entries, asynchronous=False)
    admin.delete_topics([topic], operation_timeout=30)[topic].result(60)
    admin.create_topics([NewTopic(topic, 2, 1)], operation_timeout=30)[topic].result(60)
    # Apache Kafka's coordinator forgets the old topic's offsets after it answered the deletion.
    deadline = time.monotonic() + PATIENCE
    while (left := committed(reader, group)) != {(other, 0): (7, "")}:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_the_internal_topic(admin, broker, reader, outsider, new_topic, tool):
    """It is there once a coordinator was looked up, marked as internal, and nobody but the broker writes to it."""
    topic = new_topic("internal", partitions=1)
    consumer = outsider(f"group-{topic}")
    consumer.assign([TopicPartition(topic, 0)])
    consumer.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)

    marks = {entry["name"]: entry["is_internal"] for entry in reader.describe_topics([INTERNAL, topic])}
    assert marks == {INTERNAL: True, topic: False}
    assert INTERNAL in tool("org.apache.kafka.tools.TopicCommand", "--list").split()
    without = tool("org.apache.kafka.tools.TopicCommand", "--list", "--exclude-internal").split()
    assert topic in without and INTERNAL not in without

    before = committed(reader, f"group-{topic}")
    outcome: list = []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    for partition in admin.list_topics(INTERNAL, timeout=30).topics[INTERNAL].partitions:
        producer.produce(INTERNAL, b"\x00\x01", b"\x00\x02", partition, on_delivery=lambda error, _: outcome.append(error))
    assert producer.flush(30) == 0
    # INVALID_TOPIC_EXCEPTION
    assert outcome and {error and error.code() for error in outcome} == {KafkaError.TOPIC_EXCEPTION}
    assert committed(reader, f"group-{topic}") == before
