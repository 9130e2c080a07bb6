"""A subscription to a regular expression takes in a topic that is made later: found by the client in the classic
protocol, by the broker in the one of KIP-848."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from groups.members import PARTITIONS

MATRIX = [
    ("java", "regex"),
    ("java", "consumer-regex-quoted"),
    ("confluent-kafka", "regex"),
    ("confluent-kafka", "consumer-regex"),
]


@pytest.mark.parametrize("client, style", MATRIX, ids=lambda word: word)
def test_a_topic_made_later_is_taken_in(client, style, new_group):
    group = new_group(f"regex-{client}-{style}", client)
    member = group.start("only", style)
    group.await_divided("the member joined")
    # The pattern is TOPIC(-late)? from its beginning to its end.
    for suffix in ("-later", "-late"):
        topic = NewTopic(group.topic + suffix, 2, 1, config={"retention.ms": "-1"})
        group.admin.create_topics([topic], operation_timeout=30)[topic.topic].result(60)
    producer = Producer({"bootstrap.servers": group.bootstrap, "acks": "all"})
    for suffix in ("-later", "-late", ""):
        producer.produce(group.topic + suffix, b"x", partition=1)
    assert producer.flush(30) == 0
    # Members count partitions of a second topic from 100.
    everything = {*range(PARTITIONS), 100, 101}
    group.await_that(lambda: member.owned() == everything, "the later topic's partitions are the member's")
    wanted = {(1, 0), (101, 0)}

    def handled() -> set:
        return {(event.partition, event.offset) for event in member.events() if event.kind == "record"}

    group.await_that(lambda: handled() == wanted, "the records of both topics are handled")
    group.finish()
    assert handled() == wanted
