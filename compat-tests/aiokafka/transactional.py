"""aiokafka with transactions; `transactions/programs.py` says what it obeys."""

import asyncio
import os
import sys
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError, ProducerFenced

from transactions.commands import Taken, obey, rows


class Transactions:
    def __init__(self, bootstrap: str):
        self._bootstrap = bootstrap
        self._producers: dict[str, AIOKafkaProducer] = {}

    def producer(self, transactional_id: str, timeout: str) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, transactional_id=transactional_id,
            transaction_timeout_ms=int(timeout), linger_ms=5,
        )  # fmt: skip

    def consumer(self, isolation: str, **more) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, isolation_level=isolation, enable_auto_commit=False,
            auto_offset_reset="earliest", fetch_max_wait_ms=100, **more,
        )  # fmt: skip

    async def init(self, name: str, transactional_id: str, timeout: str) -> None:
        self._producers[name] = self.producer(transactional_id, timeout)
        await self._producers[name].start()

    async def begin(self, name: str) -> None:
        await self._producers[name].begin_transaction()

    async def send(self, name: str, topic: str, partition: str, file: str, first: str, count: str) -> None:
        producer = self._producers[name]
        sent = [
            await producer.send(topic, value, key, partition=int(partition), timestamp_ms=timestamp)
            for timestamp, key, value in rows(file, first, count)
        ]
        await asyncio.gather(*sent)

    async def offsets(self, name: str, group: str, topic: str, partition: str, offset: str) -> None:
        positions = {TopicPartition(topic, int(partition)): int(offset)}
        await self._producers[name].send_offsets_to_transaction(positions, group)

    async def commit(self, name: str) -> None:
        await self._producers[name].commit_transaction()

    async def abort(self, name: str) -> None:
        await self._producers[name].abort_transaction()

    async def read(self, topic: str, partitions: str, isolation: str, count: str, directory: str) -> None:
        consumer = self.consumer(isolation)
        await consumer.start()
        consumer.assign([TopicPartition(topic, partition) for partition in range(int(partitions))])
        await consumer.seek_to_beginning()
        taken = Taken(partitions, count, directory)
        while not taken.over():
            for place, records in (await consumer.getmany(timeout_ms=100, max_records=1_000)).items():
                for record in records:
                    taken.add(place.partition, record.offset, record.timestamp, record.key, record.value)
        await consumer.stop()

    async def copy(self, group: str, source: str, target: str, transactional_id: str, size: str, stop: str) -> None:
        producer = self.producer(transactional_id, "60000")
        await producer.start()
        held: set[TopicPartition] = set()
        # The client puts offsets into a transaction without saying which member of the group it is, so nobody fences
        # it: no rebalance may come between records and the end of their transaction.
        handling = asyncio.Lock()

        class Listener(ConsumerRebalanceListener):
            async def on_partitions_revoked(self, revoked) -> None:
                async with handling:
                    held.clear()

            async def on_partitions_assigned(self, assigned) -> None:
                async with handling:
                    held.update(assigned)

        consumer = self.consumer(
            "read_committed", group_id=group, session_timeout_ms=3000, heartbeat_interval_ms=500,
            partition_assignment_strategy=[RangePartitionAssignor],
        )  # fmt: skip
        consumer.subscribe([source], listener=Listener())
        await consumer.start()
        transactions = 0
        while not Path(stop).exists():
            fetched = await consumer.getmany(timeout_ms=100, max_records=int(size))
            async with handling:
                # Fetched before a rebalance that took the lock first.
                fetched = {place: records for place, records in fetched.items() if place in held}
                if not fetched:
                    continue
                await producer.begin_transaction()
                try:
                    sent = [
                        await producer.send(target, record.value, record.key, partition=place.partition)
                        for place, records in fetched.items()
                        for record in records
                    ]
                    await asyncio.gather(*sent)
                    positions = {place: records[-1].offset + 1 for place, records in fetched.items()}
                    await producer.send_offsets_to_transaction(positions, group)
                    transactions += 1
                    if transactions % 3:
                        await producer.commit_transaction()
                        continue
                except ProducerFenced:
                    raise
                except KafkaError as failure:
                    print(f"a transaction is given up: {failure!r}", file=sys.stderr)
                await producer.abort_transaction()
                for place in held:
                    consumer.seek(place, await consumer.committed(place) or 0)
        await consumer.stop()


def main(bootstrap: str, *words: str) -> None:
    loop = asyncio.new_event_loop()
    program = Transactions(bootstrap)

    def action(verb: str):
        step = getattr(program, verb)
        return lambda *rest: loop.run_until_complete(step(*rest))

    if words:
        action("copy")(*words[1:])
    else:
        verbs = ("init", "begin", "send", "offsets", "commit", "abort", "read")
        obey({verb: action(verb) for verb in verbs}, (KafkaError,), lambda failure: type(failure).__name__)
    # Producers are not closed: that would end their transactions.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
