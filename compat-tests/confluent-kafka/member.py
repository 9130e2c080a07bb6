"""confluent-kafka (librdkafka) as a member of a group, until the file JOURNAL.stop appears.

    member.py BOOTSTRAP GROUP TOPIC STYLE JOURNAL [INSTANCE]

STYLE is `eager`, `cooperative`, `consumer` (KIP-848), `regex` or `consumer-regex`. With INSTANCE the member is static.
AUTO_OFFSET_RESET in the environment says what to do without a committed offset, `earliest` by default.
"""

import os
import re
import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from groups.writer import Journal

# What a rebalance or the broker's death does to a request under way. What is still this member's after it is committed
# then.
OVERTAKEN = {
    KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.STALE_MEMBER_EPOCH, KafkaError._ASSIGNMENT_LOST,
    KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._WAIT_COORD, KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}  # fmt: skip


def main(bootstrap: str, group: str, topic: str, style: str, path: str, instance: str | None = None) -> None:
    journal = Journal(path)
    config = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": os.environ.get("AUTO_OFFSET_RESET", "earliest"),
        "topic.metadata.refresh.interval.ms": 1000,
        "max.poll.interval.ms": 60_000,
        "reconnect.backoff.max.ms": 500,
    }
    if style.startswith("consumer"):
        config["group.protocol"] = "consumer"
    else:
        config |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
        config["partition.assignment.strategy"] = "cooperative-sticky" if style == "cooperative" else "range"
    if instance:
        config["group.instance.id"] = instance

    def number(partition) -> int:
        """Partitions of another topic that a pattern matched count from 100."""
        return partition.partition + (0 if partition.topic == topic else 100)

    def commit(offsets: dict[int, int]) -> None:
        if not offsets:
            return
        journal.committing(offsets)
        try:
            done = consumer.commit(
                offsets=[
                    TopicPartition(topic + ("-late" if partition >= 100 else ""), partition % 100, offset)
                    for partition, offset in offsets.items()
                ],
                asynchronous=False,
            )
        except KafkaException as refused:
            if refused.args[0].code() not in OVERTAKEN:
                raise
            return
        for entry in done:
            if entry.error and entry.error.code() not in OVERTAKEN:
                raise KafkaException(entry.error)
        journal.committed({number(entry): entry.offset for entry in done if not entry.error})

    def assigned(_, partitions) -> None:
        journal.assigned(map(number, partitions))

    def revoked(_, partitions) -> None:
        numbers = {number(partition) for partition in partitions}
        commit({partition: offset for partition, offset in journal.pending.items() if partition in numbers})
        journal.gone("revoked", numbers)

    def lost(_, partitions) -> None:
        journal.gone("lost", map(number, partitions))

    consumer = Consumer(config)
    subject = f"^{re.escape(topic)}(-late)?$" if style.endswith("regex") else topic
    consumer.subscribe([subject], on_assign=assigned, on_revoke=revoked, on_lost=lost)
    unsaved = 0
    while not journal.told_to_stop():
        # One by one: a batch can hold records of partitions that were revoked while it was gathered.
        message = consumer.poll(0.1)
        if message is not None and message.error():
            # The client tries again by itself.
            if message.error().code() not in OVERTAKEN:
                raise KafkaException(message.error())
        elif message is not None:
            partition = message.partition() + (0 if message.topic() == topic else 100)
            journal.handled(partition, message.offset())
            unsaved += 1
        if message is None or unsaved == 50:
            commit(dict(journal.pending))
            unsaved = 0
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
