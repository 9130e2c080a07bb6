"""confluent-kafka (librdkafka) with transactions; `transactions/programs.py` says what it obeys."""

import os
import sys
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from transactions.commands import Taken, obey, rows


class Transactions:
    def __init__(self, bootstrap: str):
        self._bootstrap = bootstrap
        self._producers: dict[str, Producer] = {}

    def producer(self, transactional_id: str, timeout: str) -> Producer:
        return Producer({
            "bootstrap.servers": self._bootstrap, "transactional.id": transactional_id,
            "transaction.timeout.ms": int(timeout), "linger.ms": 5, "reconnect.backoff.max.ms": 500,
        })  # fmt: skip

    def consumer(self, group: str, isolation: str, **more) -> Consumer:
        return Consumer({
            "bootstrap.servers": self._bootstrap, "group.id": group, "isolation.level": isolation,
            "enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100,
            "reconnect.backoff.max.ms": 500, **more,
        })  # fmt: skip

    def init(self, name: str, transactional_id: str, timeout: str) -> None:
        self._producers[name] = self.producer(transactional_id, timeout)
        self._producers[name].init_transactions(60)

    def begin(self, name: str) -> None:
        self._producers[name].begin_transaction()

    def send(self, name: str, topic: str, partition: str, file: str, first: str, count: str) -> None:
        producer, failures = self._producers[name], []
        for timestamp, key, value in rows(file, first, count):
            producer.produce(
                topic, value, key, int(partition), timestamp=timestamp,
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )  # fmt: skip
            producer.poll(0)
        producer.flush(60)
        if failures:
            raise KafkaException(failures[0])

    def offsets(self, name: str, group: str, topic: str, partition: str, offset: str) -> None:
        # A consumer that never joined: its metadata is that of somebody outside the group.
        outside = self.consumer(group, "read_committed")
        positions = [TopicPartition(topic, int(partition), int(offset))]
        self._producers[name].send_offsets_to_transaction(positions, outside.consumer_group_metadata(), 60)
        outside.close()

    def commit(self, name: str) -> None:
        self._producers[name].commit_transaction(60)

    def abort(self, name: str) -> None:
        self._producers[name].abort_transaction(60)

    def read(self, topic: str, partitions: str, isolation: str, count: str, directory: str) -> None:
        consumer = self.consumer("unused", isolation, **{"check.crcs": True})
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(int(partitions))])
        taken = Taken(partitions, count, directory)
        while not taken.over():
            for message in consumer.consume(1_000, timeout=0.1):
                if message.error():
                    raise KafkaException(message.error())
                taken.add(message.partition(), message.offset(), message.timestamp()[1], message.key(), message.value())
        consumer.close()

    def ends(self, topic: str, partitions: str, isolation: str) -> str:
        consumer = self.consumer("unused", isolation)
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in range(int(partitions))]
        consumer.close()
        return " ".join(map(str, ends))

    def copy(self, group: str, source: str, target: str, transactional_id: str, size: str, stop: str) -> None:
        producer = self.producer(transactional_id, "60000")
        producer.init_transactions(60)
        consumer = self.consumer(group, "read_committed", **{"session.timeout.ms": 3000, "heartbeat.interval.ms": 500})
        consumer.subscribe([source])
        transactions = 0
        while not Path(stop).exists():
            try:
                messages = [message for message in consumer.consume(int(size), timeout=0.1) if not failed(message)]
            except KafkaException as away:
                print(f"no records: {away}", file=sys.stderr)
                continue
            if not messages:
                continue
            producer.begin_transaction()
            try:
                for message in messages:
                    producer.produce(target, message.value(), message.key(), message.partition())
                positions = [place for place in consumer.position(consumer.assignment()) if place.offset >= 0]
                producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), 60)
                transactions += 1
                if transactions % 3:
                    commit(producer)
                    continue
            except KafkaException as failure:
                if not failure.args[0].txn_requires_abort() and not failure.args[0].retriable():
                    raise
                print(f"a transaction is given up: {failure}", file=sys.stderr)
            abort(producer)
            rewind(consumer)
        consumer.close()


def failed(message) -> bool:
    """What the client reports of a broker that is away is for it to get over."""
    if message.error() and message.error().fatal():
        raise KafkaException(message.error())
    return message.error() is not None


def commit(producer: Producer) -> None:
    repeat(lambda: producer.commit_transaction(20))


def abort(producer: Producer) -> None:
    repeat(lambda: producer.abort_transaction(20))


def repeat(step) -> None:
    """A step that the client says may be tried again is; the broker may be away for a while."""
    while True:
        try:
            return step()
        except KafkaException as failure:
            if not failure.args[0].retriable():
                raise


def rewind(consumer: Consumer) -> None:
    """Goes back to what is committed."""

    def step() -> None:
        for place in consumer.committed(consumer.assignment(), timeout=20):
            consumer.seek(TopicPartition(place.topic, place.partition, place.offset if place.offset >= 0 else OFFSET_BEGINNING))

    repeat(step)


def name_of(failure: KafkaException) -> str:
    return failure.args[0].name()


def main(bootstrap: str, *words: str) -> None:
    program = Transactions(bootstrap)
    if words:
        program.copy(*words[1:])
    else:
        verbs = ("init", "begin", "send", "offsets", "commit", "abort", "read", "ends")
        obey({verb: getattr(program, verb) for verb in verbs}, (KafkaException,), name_of)
    # Producers are not closed: that would end their transactions.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
