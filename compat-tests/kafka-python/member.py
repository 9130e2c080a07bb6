"""kafka-python as a member of a group, until the file JOURNAL.stop appears.

    member.py BOOTSTRAP GROUP TOPIC STYLE JOURNAL

STYLE is `eager` or `cooperative`.
"""

import sys

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import CommitFailedError, RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from groups.writer import Journal

# A rebalance that ends just after a poll has timed out is lost to this client (3.0.12): it waits for ever.
POLL_MS = 1000
ASSIGNORS = {"eager": RangePartitionAssignor, "cooperative": CooperativeStickyAssignor}


def main(bootstrap: str, group: str, topic: str, style: str, path: str) -> None:
    journal = Journal(path)

    def commit(offsets: dict[int, int]) -> None:
        if not offsets:
            return
        journal.committing(offsets)
        try:
            consumer.commit({TopicPartition(topic, p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()})
        except (CommitFailedError, RebalanceInProgressError) as overtaken:
            # What is still this member's after the rebalance is committed then.
            print(overtaken, file=sys.stderr)
            return
        journal.committed(offsets)

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned) -> None:
            journal.assigned(entry.partition for entry in assigned)

        def on_partitions_revoked(self, revoked) -> None:
            numbers = {entry.partition for entry in revoked}
            commit({partition: offset for partition, offset in journal.pending.items() if partition in numbers})
            journal.gone("revoked", numbers)

        def on_partitions_lost(self, lost) -> None:
            journal.gone("lost", [entry.partition for entry in lost])

    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=[ASSIGNORS[style]],
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        fetch_max_wait_ms=200,
        metadata_max_age_ms=1000,
        max_poll_interval_ms=60_000,
    )
    consumer.subscribe([topic], listener=Listener())
    while not journal.told_to_stop():
        for partition, records in consumer.poll(timeout_ms=POLL_MS, max_records=50).items():
            for record in records:
                journal.handled(partition.partition, record.offset)
        commit(dict(journal.pending))
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
