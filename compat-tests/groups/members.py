"""Members of a group as processes: started, told to leave, killed, and judged together."""

from __future__ import annotations

import functools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

import flights
from conftest import HERE
from groups.journal import Event, judge, owned_now, read_events

PARTITIONS = 6
# How long a member may take for something that has no limit of its own. Never what a scenario measures.
PATIENCE = 60


def flight_rows(data: flights.DataSet) -> list[tuple[int, bytes, bytes]]:
    """Timestamp, key and value of each flight."""
    rows = []
    for partition in range(flights.PARTITIONS):
        for line in (data.input / f"{partition}.tsv").read_bytes().splitlines():
            timestamp, key, value = line.split(b"\t", 2)
            rows.append((int(timestamp), key, value))
    return rows


@dataclass
class Member:
    """One process with its journal."""

    name: str
    command: list
    directory: Path
    environment: dict = field(default_factory=dict)
    process: subprocess.Popen | None = None
    ended: int = 0

    @property
    def journal(self) -> Path:
        return self.directory / f"{self.name}.journal"

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(HERE), **self.environment}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in self.command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def events(self) -> list[Event]:
        return read_events(self.journal)

    def owned(self) -> set[int]:
        return owned_now(self.events())

    def told(self) -> str:
        return f"{self.name}: {self.log.read_text(errors='replace')[-3000:]}"

    def ask_to_leave(self) -> None:
        """Has the member close its consumer; `await_exit` waits for it."""
        Path(f"{self.journal}.stop").touch()

    def await_exit(self) -> None:
        assert self._status() == 0, self.told()

    def await_failure(self, reason: str) -> None:
        """Waits until the member has given up, and has said this as its reason."""
        assert self._status() != 0 and reason in self.log.read_text(errors="replace"), self.told()

    def _status(self) -> int:
        try:
            status = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} was to end and did not\n{self.told()}")
        self.ended = time.monotonic_ns()
        return status

    def kill(self) -> None:
        """SIGKILL: the group learns of it by the session timeout alone."""
        self.process.kill()
        self.process.wait()
        self.ended = time.monotonic_ns()


@dataclass
class Group:
    """A group on one topic of PARTITIONS partitions, and everybody who ever was a member of it."""

    bootstrap: str
    name: str
    topic: str
    directory: Path
    # (style, journal, instance or nothing) to a command line.
    command: Callable[..., list]
    kind: type[Member] = Member
    # Beyond the suite's own, for the members.
    environment: dict = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)

    @functools.cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def start(self, name: str, style: str, *instance: str) -> Member:
        self.directory.mkdir(exist_ok=True)
        journal = self.directory / f"{name}.journal"
        line = self.command(self.bootstrap, self.name, self.topic, style, journal, *instance)
        member = self.members[name] = self.kind(name, line, self.directory, self.environment)
        member.start()
        return member

    def leave(self, name: str) -> None:
        """Has a member close its consumer, and waits until it did."""
        self.members[name].ask_to_leave()
        self.members[name].await_exit()

    def running(self) -> list[Member]:
        return [member for member in self.members.values() if not member.ended]

    def await_that(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            for member in self.running():
                status = member.process.poll()
                assert status is None or Path(f"{member.journal}.stop").exists(), f"exit {status} of {member.told()}"
            if time.monotonic() > deadline:
                owned = {member.name: sorted(member.owned()) for member in self.running()}
                told = "\n".join(member.told() for member in self.running())
                state = f"owned now: {owned}\nlog ends {self.ends()}\ncommitted {self.committed()}"
                pytest.fail(f"not within {PATIENCE} s: {what}\n{state}\n{told}")
            time.sleep(0.05)

    def shares(self) -> list[set[int]]:
        return [member.owned() for member in self.running()]

    def divided(self) -> bool:
        """Each partition is with one of the running members, and no member has more of them than it should."""
        shares = self.shares()
        return sorted(p for share in shares for p in share) == list(range(PARTITIONS)) and all(
            len(share) == PARTITIONS // len(shares) for share in shares
        )

    def await_divided(self, what: str) -> None:
        self.await_that(self.divided, f"the partitions are divided evenly after {what}")

    def ends(self) -> dict[int, int]:
        """The log end of each partition."""
        asked = {TopicPartition(self.topic, partition): OffsetSpec.latest() for partition in range(PARTITIONS)}
        return {partition.partition: found.result(30).offset for partition, found in self.admin.list_offsets(asked).items()}

    def committed(self) -> dict[int, int]:
        """What the broker says is committed, without partitions that have nothing."""
        (answer,) = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self.name)]).values()
        return {
            entry.partition: entry.offset
            for entry in answer.result(30).topic_partitions
            if entry.topic == self.topic and entry.offset >= 0
        }

    def set_offsets(self, offset: int) -> None:
        """Commits an offset for each partition, as an administrator of a group without members does."""
        wanted = [TopicPartition(self.topic, partition, offset) for partition in range(PARTITIONS)]

        def done() -> bool:
            answer = self.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(self.name, wanted)])[self.name]
            errors = {entry.error.code() for entry in answer.result(30).topic_partitions if entry.error}
            # The first use of a coordinator makes the topic that Apache Kafka keeps offsets in.
            assert errors <= {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}, errors
            return not errors

        self.await_that(done, f"offset {offset} is committed")

    def await_all_committed(self) -> None:
        self.await_that(lambda: self.committed() == self.ends(), "everything is committed")

    def finish(self) -> None:
        """Everybody who is left leaves in order."""
        for member in self.running():
            member.ask_to_leave()
        for member in self.running():
            member.await_exit()

    def assert_sound(self, **rules) -> None:
        """Every record was handled, in order, nobody shared a partition, and what is committed is the log's end."""
        ends = self.ends()
        assert self.committed() == ends
        journals = {name: (member.events(), member.ended) for name, member in self.members.items()}
        wrong = judge(journals, ends, **rules)
        assert not wrong, "\n".join(wrong[:20])

    def abandon(self) -> None:
        """After a failure, nobody is left behind."""
        for member in self.running():
            if member.process.poll() is None:
                member.kill()


class Feed:
    """Writes flights to a group's topic, so that there is load in each step of a scenario.

    A step gets a portion of the records. While the step lasts, a fortieth of what is left of the portion is written every
    50 ms, so that records keep coming in however long it takes; the rest follows at its end.
    """

    def __init__(self, bootstrap: str, topic: str, rows: list[tuple[int, bytes, bytes]], steps: int):
        self._producer = Producer({
            "bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 5,
            "message.timeout.ms": 120_000, "reconnect.backoff.max.ms": 500,
        })  # fmt: skip
        self._topic = topic
        size = -(-len(rows) // steps)
        self._portions = [rows[start : start + size] for start in range(0, len(rows), size)]
        self._sent = 0
        self._failures: list[str] = []

    def _send(self, rows: list) -> None:
        for timestamp, key, value in rows:
            # One partition after the other, so that all of them are under load.
            self._producer.produce(
                self._topic, value, key, self._sent % PARTITIONS, timestamp=timestamp, on_delivery=self._delivered
            )
            self._sent += 1
        self._producer.poll(0)

    def _delivered(self, error, _) -> None:
        if error is not None:
            self._failures.append(str(error))

    def step(self) -> _Step:
        """Use as `with feed.step(): …`."""
        return _Step(self, self._portions.pop(0))

    def flush(self) -> None:
        assert self._producer.flush(120) == 0 and not self._failures, self._failures[:3]

    def assert_used_up(self) -> None:
        assert not self._portions, f"{len(self._portions)} portions were never written"


class _Step:
    def __init__(self, feed: Feed, rows: list):
        self._feed, self._rows, self._over = feed, rows, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        left = self._rows
        while not self._over.wait(0.05):
            now = -(-len(left) // 40)
            self._feed._send(left[:now])
            left = left[now:]
        self._feed._send(left)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *failure) -> None:
        self._over.set()
        self._thread.join()
        if failure[0] is None:
            self._feed.flush()
