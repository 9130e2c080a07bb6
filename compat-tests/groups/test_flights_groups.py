"""Each client as a group, in each way of being a member that it offers: members join, leave, and are killed.

20,000 flights go into a topic of six partitions while three members join one after another, one leaves in order, and
one is killed. Every record must be handled, in order in each partition, by one member at a time, and the committed
offsets must end where the logs end.
"""

from __future__ import annotations

import pytest

# Members that stay in the group when they leave in order, until their session is over (KIP-345).
STATIC = {"static", "consumer-static"}

MATRIX = [
    ("java", "eager"),
    ("java", "cooperative"),
    ("java", "static"),
    ("java", "regex"),
    ("java", "consumer"),
    ("java", "consumer-static"),
    ("java", "consumer-regex"),
    ("confluent-kafka", "eager"),
    ("confluent-kafka", "cooperative"),
    ("confluent-kafka", "consumer"),
    ("kcat", "eager"),
    ("franz-go", "cooperative"),
    ("franz-go", "consumer"),
    ("sarama", "eager"),
    ("sarama", "cooperative"),
    ("kafkajs", "eager"),
    ("aiokafka", "eager"),
    ("kafka-python", "eager"),
    ("kafka-python", "cooperative"),
    ("krafka", "cooperative"),
    ("krafka", "consumer"),
]


@pytest.mark.parametrize("client, style", MATRIX, ids=lambda word: word)
def test_members_come_and_go(client, style, new_group, feed):
    group = new_group(f"{client}-{style}", client)
    load = feed(group, 5)
    how, static = ({"static": "eager", "consumer-static": "consumer"}.get(style, style), style in STATIC)

    for name in ("first", "second", "third"):
        with load.step():
            group.start(name, how, *([name] if static else []))
            group.await_divided(f"the {name} member joined")
    if client == "kcat":
        # A signal makes it drop the record that it holds, whose offset it has stored, and commits: let it hold none.
        group.await_all_committed()
        group.leave("first")
    with load.step():
        if client != "kcat":
            group.leave("first")
        group.await_divided("the first member left")
    with load.step():
        group.members["second"].kill()
        group.await_divided("the second member was killed")
    load.assert_used_up()
    group.await_all_committed()
    group.finish()
    group.assert_sound(exact_times=client != "kcat")
