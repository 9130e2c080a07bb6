"""kafka-python with transactions; `transactions/programs.py` says what it obeys."""

import os
import sys
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, ProducerFencedError
from kafka.structs import OffsetAndMetadata

from transactions.commands import Taken, obey, rows


class Transactions:
    def __init__(self, bootstrap: str):
        self._bootstrap = bootstrap
        self._producers: dict[str, KafkaProducer] = {}

    def producer(self, transactional_id: str, timeout: str) -> KafkaProducer:
        return KafkaProducer(
            bootstrap_servers=self._bootstrap, transactional_id=transactional_id, transaction_timeout_ms=int(timeout),
            linger_ms=5, reconnect_backoff_max_ms=500,
        )  # fmt: skip

    def consumer(self, isolation: str, **more) -> KafkaConsumer:
        return KafkaConsumer(
            bootstrap_servers=self._bootstrap, isolation_level=isolation, enable_auto_commit=False,
            auto_offset_reset="earliest", fetch_max_wait_ms=100, reconnect_backoff_max_ms=500, **more,
        )  # fmt: skip

    def init(self, name: str, transactional_id: str, timeout: str) -> None:
        self._producers[name] = self.producer(transactional_id, timeout)
        self._producers[name].init_transactions()

    def begin(self, name: str) -> None:
        self._producers[name].begin_transaction()

    def send(self, name: str, topic: str, partition: str, file: str, first: str, count: str) -> None:
        producer = self._producers[name]
        sent = [
            producer.send(topic, value, key, partition=int(partition), timestamp_ms=timestamp)
            for timestamp, key, value in rows(file, first, count)
        ]
        producer.flush()
        for each in sent:
            each.get(timeout=60)

    def offsets(self, name: str, group: str, topic: str, partition: str, offset: str) -> None:
        positions = {TopicPartition(topic, int(partition)): OffsetAndMetadata(int(offset), "", -1)}
        self._producers[name].send_offsets_to_transaction(positions, group)

    def commit(self, name: str) -> None:
        self._producers[name].commit_transaction()

    def abort(self, name: str) -> None:
        self._producers[name].abort_transaction()

    def read(self, topic: str, partitions: str, isolation: str, count: str, directory: str) -> None:
        consumer = self.consumer(isolation, group_id=None)
        consumer.assign([TopicPartition(topic, partition) for partition in range(int(partitions))])
        consumer.seek_to_beginning()
        taken = Taken(partitions, count, directory)
        while not taken.over():
            for place, records in consumer.poll(timeout_ms=100, max_records=1_000).items():
                for record in records:
                    taken.add(place.partition, record.offset, record.timestamp, record.key, record.value)
        consumer.close()

    def copy(self, group: str, source: str, target: str, transactional_id: str, size: str, stop: str) -> None:
        producer = self.producer(transactional_id, "60000")
        producer.init_transactions()
        consumer = self.consumer("read_committed", group_id=group, session_timeout_ms=3000, heartbeat_interval_ms=500)
        consumer.subscribe([source])
        transactions = 0
        while not Path(stop).exists():
            # A rebalance that ends just after a poll has timed out is lost to this client (3.0.12): it waits for ever.
            fetched = consumer.poll(timeout_ms=1000, max_records=int(size))
            if not fetched:
                continue
            producer.begin_transaction()
            try:
                for place, records in fetched.items():
                    for record in records:
                        producer.send(target, record.value, record.key, partition=place.partition)
                positions = {place: OffsetAndMetadata(records[-1].offset + 1, "", -1) for place, records in fetched.items()}
                producer.send_offsets_to_transaction(positions, consumer.group_metadata())
                transactions += 1
                if transactions % 3:
                    producer.commit_transaction()
                    continue
            except ProducerFencedError:
                raise
            except KafkaError as failure:
                print(f"a transaction is given up: {failure!r}", file=sys.stderr)
            producer.abort_transaction()
            for place in consumer.assignment():
                consumer.seek(place, consumer.committed(place) or 0)
        consumer.close()


def main(bootstrap: str, *words: str) -> None:
    program = Transactions(bootstrap)
    if words:
        program.copy(*words[1:])
    else:
        verbs = ("init", "begin", "send", "offsets", "commit", "abort", "read")
        obey({verb: getattr(program, verb) for verb in verbs}, (KafkaError,), lambda failure: type(failure).__name__)
    # Producers are not closed: that would end their transactions.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
