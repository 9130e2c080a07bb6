"""A load of updates: an idempotent librdkafka producer that updates and deletes keys until it is told to stop.

    updates.py BOOTSTRAP TOPIC PARTITIONS START_MS ACKNOWLEDGED_FILE STOP_FILE

Everything about a record follows from its number; see `update`. One line `partition offset number` is added to
ACKNOWLEDGED_FILE per acknowledgement. When STOP_FILE appears, what is under way is flushed. A record that failed, or a fatal
error of the producer, is an exit status of 1: brokers die here, but they come back in time.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

# Some keys get thousands of updates, most a few.
KEYS = 2_000
# Bytes of a value, so that segments of a mebibyte roll several times a second.
WIDTH = 800


def update(number: int, partitions: int, start_ms: int) -> tuple[int, bytes]:
    """Partition and line of a record; ten come each millisecond, so that its time is known as well."""
    chance = zlib.crc32(b"%d" % number)
    rank = chance % KEYS
    key = rank * rank // KEYS
    line = b"%d\tkey-%d\t%d" % (start_ms + number // 10, key, number)
    deletes = chance // KEYS % 10 == 0
    return number % partitions, line if deletes else line + b"\t" + b"%0*d" % (WIDTH, number)


class Updates:
    """A running load."""

    def __init__(self, directory: Path, bootstrap: str, topic: str, partitions: int):
        self.partitions, self.start_ms = partitions, int(time.time() * 1000)
        self.acknowledged, self.stop_file = directory / f"{topic}.acknowledged", directory / f"{topic}.stop"
        self.log = directory / f"{topic}.load.log"
        command = [sys.executable, Path(__file__), bootstrap, topic, str(partitions), str(self.start_ms), self.acknowledged, self.stop_file]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})

    def told(self) -> str:
        return self.log.read_text()[-3000:]

    def count(self) -> int:
        return self.acknowledged.read_bytes().count(b"\n") if self.acknowledged.exists() else 0

    def wait_for(self, more: int, context: str) -> None:
        """Returns when so many more records are acknowledged: a fault counts only while they are coming in."""
        wanted, deadline = self.count() + more, time.monotonic() + 120
        while self.count() < wanted:
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < deadline, f"no progress before {context}\n{self.told()}"
            time.sleep(0.02)

    def finish(self) -> None:
        """Has everything that was sent acknowledged; fails if anything was not."""
        self.stop_file.touch()
        assert self.process.wait(timeout=180) == 0, self.told()

    def promised(self) -> list[tuple[int, int, bytes]]:
        """Partition, offset and line of what was acknowledged."""
        entries = (map(int, line.split()) for line in self.acknowledged.read_text().splitlines())
        return [(partition, offset, update(number, self.partitions, self.start_ms)[1]) for partition, offset, number in entries]


@contextmanager
def updates(directory: Path, bootstrap: str, topic: str, partitions: int):
    running = Updates(directory, bootstrap, topic, partitions)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def main(bootstrap: str, topic: str, partitions: int, start_ms: int, acknowledged: Path, stop: Path) -> None:
    from confluent_kafka import Producer

    failures: list[str] = []
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 5,
        "batch.num.messages": 100,
        "queue.buffering.max.messages": 10_000,
        "message.timeout.ms": 300_000,
        "reconnect.backoff.max.ms": 500,
        "retry.backoff.max.ms": 500,
        "error_cb": lambda error: failures.append(str(error)) if error.fatal() else None,
    })  # fmt: skip
    with open(acknowledged, "w", buffering=1024 * 64) as log:
        for number in itertools.count():
            if number % 100 == 0:
                # Two or three thousand a second are enough: what counts is that they come while segments are rewritten.
                time.sleep(0.03)
                producer.poll(0)
                log.flush()
                if failures or stop.exists():
                    break

            def delivered(error, message, number=number) -> None:
                if error is not None:
                    failures.append(str(error))
                else:
                    log.write(f"{message.partition()} {message.offset()} {number}\n")

            partition, line = update(number, partitions, start_ms)
            timestamp, key, header, *value = line.split(b"\t")
            while not failures:
                try:
                    producer.produce(
                        topic, value[0] if value else None, key, partition,
                        timestamp=int(timestamp), headers=[("row", header)], on_delivery=delivered,
                    )  # fmt: skip
                    break
                except BufferError:
                    # A full queue while the broker is down: wait for room, unless there is no hope left.
                    producer.poll(0.1)
        # After a failure nothing is worth waiting for.
        left = producer.flush(0 if failures else 120)
    if failures or left:
        sys.exit(f"{left} records unsent, {len(failures)} failures: {failures[:3]}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]), Path(sys.argv[6]))
