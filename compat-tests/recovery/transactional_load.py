"""A transactional librdkafka producer that makes one transaction after the other until it is told to stop.

    transactional_load.py BOOTSTRAP TOPIC PARTITIONS GROUP EACH JOURNAL STOP_FILE

Transaction N, counted from 0, writes EACH records with the number N to every partition, and N + 1 as the offset of GROUP in
every partition. Each fifth is aborted. JOURNAL gets a line `begun N` before, and `committed N` or `aborted N` once the
broker has said so; a transaction whose end nobody knows gets no other line. The lines go straight to the kernel, which
keeps them when this process is killed; another that is started with its journal goes on counting.
"""

import itertools
import os
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition


def make_producer(bootstrap: str) -> Producer:
    """A producer whose coordinator knows it; whatever its predecessor left open is ended."""
    while True:
        producer = Producer({
            "bootstrap.servers": bootstrap, "transactional.id": "load", "transaction.timeout.ms": 60_000,
            "linger.ms": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20,
            "log_level": 0,
        })  # fmt: skip
        try:
            repeat(lambda: producer.init_transactions(20))
            return producer
        except KafkaException as failure:
            print(f"not initialized: {failure}", file=sys.stderr)
            time.sleep(0.1)


def repeat(step) -> None:
    """A step that the client says may be tried again is; brokers die here, but they come back in time."""
    while True:
        try:
            return step()
        except KafkaException as failure:
            if not failure.args[0].retriable():
                raise


def main(bootstrap: str, topic: str, partitions: int, group: str, each: int, journal: str, stop: Path) -> None:
    file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    # Never a member of the group.
    outside = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0}).consumer_group_metadata()
    producer = make_producer(bootstrap)
    with open(journal, "rb") as lines:
        first = sum(line.startswith(b"begun ") for line in lines)
    for number in itertools.count(first):
        if stop.exists():
            return
        os.write(file, b"begun %d\n" % number)
        try:
            committed = transact(producer, topic, partitions, outside, each, number)
        except KafkaException as failure:
            print(f"{number}: {failure}", file=sys.stderr)
            producer = make_producer(bootstrap)
        else:
            os.write(file, b"%s %d\n" % (b"committed" if committed else b"aborted", number))


def transact(producer: Producer, topic: str, partitions: int, outside, each: int, number: int) -> bool:
    """Whether the transaction was committed; if not, it was aborted."""
    producer.begin_transaction()
    try:
        for partition in range(partitions):
            for _ in range(each):
                producer.produce(topic, b"%d" % number, partition=partition)
        offsets = [TopicPartition(topic, partition, number + 1) for partition in range(partitions)]
        repeat(lambda: producer.send_offsets_to_transaction(offsets, outside, 20))
        if number % 5 != 4:
            repeat(lambda: producer.commit_transaction(20))
            return True
    except KafkaException as failure:
        if not failure.args[0].txn_requires_abort():
            raise
        print(f"{number} is given up: {failure}", file=sys.stderr)
    repeat(lambda: producer.abort_transaction(20))
    return False


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), sys.argv[6], Path(sys.argv[7]))
