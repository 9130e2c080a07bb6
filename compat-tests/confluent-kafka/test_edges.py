"""What flights do not have: nulls, empty bytes, headers, large records, and limits that must hold."""

from __future__ import annotations

import os

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

import flights


def read_one_partition(bootstrap: str, topic: str, count: int) -> list:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    messages = consumer.consume(count, timeout=30)
    consumer.close()
    assert all(message.error() is None for message in messages)
    return messages


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_nulls_and_headers(codec, broker, new_topic):
    rows = [
        (None, b"no key", []),
        (b"tombstone", None, []),
        (b"", b"", [("empty", b""), ("null", None)]),
        (None, None, [("only", b"headers")]),
        (b"\x00\xff\n\t", bytes(range(256)), [("twice", b"1"), ("twice", b"2"), ("\u00fcml\u00e4ut", b"\xf0\x9f")]),
    ]
    topic = new_topic("nulls", partitions=1)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "compression.type": codec, "linger.ms": 50})
    for number, (key, value, headers) in enumerate(rows):
        producer.produce(topic, value, key, 0, timestamp=1_000_000_000_000 - number, headers=headers)
    assert producer.flush(30) == 0
    found = read_one_partition(broker.bootstrap, topic, len(rows))
    assert [(m.key(), m.value(), m.headers() or []) for m in found] == rows
    assert [m.timestamp()[1] for m in found] == [1_000_000_000_000 - number for number in range(len(rows))]


def test_a_record_just_under_the_limit_is_kept_and_one_above_is_refused(broker, new_topic):
    """max.message.bytes is 1,048,588 by default, batch header included."""
    topic = new_topic("large", partitions=1)
    outcome: list = []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "message.max.bytes": 4_000_000})
    fits = os.urandom(1_048_000)
    for value in (fits, os.urandom(1_048_589)):
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _: outcome.append(error and error.code()))
        assert producer.flush(30) == 0
    assert outcome == [None, KafkaError.MSG_SIZE_TOO_LARGE]
    (only,) = read_one_partition(broker.bootstrap, topic, 1)
    assert only.value() == fits


def test_log_append_time(broker, new_topic):
    """The broker's clock replaces the producer's timestamp, and the record says so."""
    import time

    from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

    topic = new_topic("append-time", partitions=1, config={"message.timestamp.type": "LogAppendTime"})
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    before = int(time.time() * 1000)
    producer.produce(topic, b"x", partition=0, timestamp=1)
    assert producer.flush(30) == 0
    (message,) = read_one_partition(broker.bootstrap, topic, 1)
    kind, stamp = message.timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert before <= stamp <= int(time.time() * 1000)


def test_all_topics_are_listed(broker, new_topic):
    """librdkafka leaves bytes behind this request that belong to no field; Kafka answers it all the same."""
    from confluent_kafka.admin import AdminClient

    topic = new_topic("listed")
    topics = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).topics
    assert topic in topics and len(topics[topic].partitions) == flights.PARTITIONS
