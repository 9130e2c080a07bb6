"""aiokafka as a member of a group, until the file JOURNAL.stop appears.

    member.py BOOTSTRAP GROUP TOPIC eager JOURNAL
"""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError

from groups.writer import Journal


async def main(bootstrap: str, group: str, topic: str, style: str, path: str) -> None:
    if style != "eager":
        sys.exit(f"no such style: {style}")
    journal = Journal(path)
    held: set[int] = set()
    # Rebalances run in a task of the client's: none may come between records and their commit.
    handling = asyncio.Lock()

    async def commit() -> None:
        offsets = dict(journal.pending)
        if not offsets:
            return
        journal.committing(offsets)
        try:
            await consumer.commit({TopicPartition(topic, partition): offset for partition, offset in offsets.items()})
        except (CommitFailedError, IllegalStateError) as overtaken:
            # What is still this member's after the rebalance is committed then.
            print(overtaken, file=sys.stderr)
            return
        journal.committed(offsets)

    class Listener(ConsumerRebalanceListener):
        async def on_partitions_revoked(self, revoked) -> None:
            async with handling:
                await commit()
                journal.gone("revoked", [entry.partition for entry in revoked])
                held.clear()

        async def on_partitions_assigned(self, assigned) -> None:
            async with handling:
                held.update(entry.partition for entry in assigned)
                journal.assigned(held)

    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=[RangePartitionAssignor],
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        fetch_max_wait_ms=200,
        metadata_max_age_ms=1000,
        max_poll_interval_ms=60_000,
    )
    consumer.subscribe([topic], listener=Listener())
    await consumer.start()
    while not journal.told_to_stop():
        fetched = await consumer.getmany(timeout_ms=200, max_records=50)
        async with handling:
            for partition, records in fetched.items():
                # Fetched before a rebalance that took the lock first.
                if partition.partition not in held:
                    continue
                for record in records:
                    journal.handled(partition.partition, record.offset)
            await commit()
    # Stopping tells the listener nothing; until the client has left the group, the partitions are this member's.
    await consumer.stop()
    journal.gone("revoked", held)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
