"""Kafka's LogCompactionTester: it writes records of a limited set of keys while the broker cleans, reads what is left, and
exits with 0 if that has the same last value for each key.

The topic is its own, with the broker's settings for what it does not name. At the end it waits for 20 s without a record, so
all codecs are under way at a time.

It takes the first poll() without a record for the end. Kafka's consumer returns from poll() at once and with nothing when its position
has moved over records that are gone: when a segment's last batch lost its last records, and exactly `max.poll.records` had been
handed out before it comes to that. One segment in 500 is like that, of whichever broker. A run in which the tool did not wait
for its 20 s read a part of the topic, says nothing, and is made again.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from compaction.cleaner import PATIENCE, base_offsets, checkpoint, partition_folder
from conftest import CODECS, NOT_OURS, Broker

TOOL = "org.apache.kafka.tools.LogCompactionTester"
MESSAGES = int(os.environ.get("COMPACTION_MESSAGES", 250_000))
# Of the updates, and how many updates a key gets.
DELETES_PERCENT, DUPLICATES = 10, 5
# Apache Kafka takes ten seconds to start, and what a producer has to send is given up after 120.
KILLS, SLEEP_S = (2, 45) if NOT_OURS else (10, 5)
KILL_MESSAGES = 2 * MESSAGES
# Seconds that the tool waits for a record.
TOOLS_PATIENCE = 20
ATTEMPTS = 3


class Tester:
    """A running tool, whose output is read as it comes."""

    # Its name is not for pytest.
    __test__ = False

    def __init__(self, java, bootstrap: str, codec: str, messages: int, sleep_s: int, directory: Path):
        command = java(
            TOOL, "--bootstrap-server", bootstrap, "--messages", messages, "--compression-type", codec,
            "--percent-deletes", DELETES_PERCENT, "--duplicates", DUPLICATES, "--sleep", sleep_s,
        )  # fmt: skip
        # Its files and those of its `sort` are gone with the scenario.
        command.insert(1, f"-Djava.io.tmpdir={directory}")
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
        )
        self.printed = ""
        # When the tool began to read the topic, and when it was done.
        self._began = self._done = 0.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.printed += line
            if line.startswith("Consuming messages"):
                self._began = time.monotonic()
            elif "rows of data produced" in line:
                self._done = time.monotonic()

    def has_printed(self, text: str) -> bool:
        return text in self.printed

    @property
    def topic(self) -> str:
        return re.search(r"to topics (\S+)", self.printed)[1]

    def end_status(self) -> int:
        status = self.process.wait(timeout=150)
        self._reader.join(timeout=10)
        return status

    def read_a_part(self) -> bool:
        """Whether the run is over, and failed after a reading that was given up without waiting."""
        return self.end_status() != 0 and 0 < self._began < self._done < self._began + TOOLS_PATIENCE

    def assert_passes(self, messages: int) -> int:
        """Returns how many records the tool was left to read."""
        status = self.end_status()
        assert status == 0, f"exited with {status}\n{self.printed[-3000:]}"
        assert "Data verification is completed" in self.printed, self.printed
        assert re.search(r"Validated \d+ values, 0 mismatches", self.printed), self.printed
        produced, consumed = map(int, re.search(r"(\d+) rows of data produced, (\d+) rows of data consumed", self.printed).groups())
        assert produced == messages
        return consumed

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def assert_was_cleaned(broker: Broker, topic: str, messages: int, consumed: int) -> None:
    """Everything but the segment that is written to becomes clean, and the tool met some of that."""
    folder, deadline = partition_folder(broker, topic, 0), time.monotonic() + PATIENCE
    assert (active := base_offsets(folder)[-1]) > 0, f"{topic} has one segment"
    while (reached := checkpoint(broker, topic, 0) or 0) < active:
        assert time.monotonic() < deadline, f"{topic} is cleaned to {reached}, not to {active}\n{broker.tail()}"
        time.sleep(0.1)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "unused", "enable.partition.eof": True, "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    left, at_end = 0, False
    while not at_end:
        batch = consumer.consume(10_000, timeout=0.5)
        at_end = any(message.error() for message in batch)
        left += sum(not message.error() for message in batch)
    consumer.close()
    print(f"{topic}: {messages} written, {consumed} read by the tool, {left} left when all was clean")
    # One in five is the last of its key, and that is all there is but in the last segment.
    assert left <= messages / DUPLICATES + (messages - active) and consumed < messages
    assert left < 0.7 * messages


@pytest.fixture(scope="module")
def testers(java, broker, tmp_path_factory):
    """A tool for each codec, all at work."""
    running = {codec: Tester(java, broker.bootstrap, codec, MESSAGES, 3, tmp_path_factory.mktemp(f"tester-{codec}")) for codec in CODECS}
    yield running
    for tester in running.values():
        tester.end()


def with_kills(broker: Broker, tester: Tester, chance: random.Random) -> None:
    """Kills the broker each time a segment was closed and there is something to clean, and starts it at once."""
    deadline, kills = time.monotonic() + 120, 0
    while not tester.has_printed("Logging produce requests"):
        assert time.monotonic() < deadline and tester.process.poll() is None, tester.printed
        time.sleep(0.02)
    folder, active = partition_folder(broker, tester.topic, 0), 0
    # A broker that is away while the tool reads would end its reading; what was written is still being cleaned before that.
    while kills < KILLS and not tester.has_printed("Consuming messages"):
        assert tester.process.poll() is None, tester.printed
        if (now_active := base_offsets(folder)[-1]) > active or tester.has_printed("Sleeping for"):
            active = now_active
            time.sleep(chance.uniform(0, 0.15))
            broker.kill()
            broker.start()
            kills += 1
        time.sleep(0.01)
    assert kills == KILLS


def test_the_broker_is_killed_while_it_cleans(java, own_broker, testers, tmp_path):
    """Of a broker of its own, while the other tools wait for more to read."""
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    chance = random.Random(seed)
    for attempt in range(ATTEMPTS):
        (tmp_path / f"{attempt}").mkdir()
        tester = Tester(java, own_broker.bootstrap, "none", KILL_MESSAGES, SLEEP_S, tmp_path / f"{attempt}")
        try:
            with_kills(own_broker, tester, chance)
            if attempt + 1 < ATTEMPTS and tester.read_a_part():
                print(f"made again: {tester.printed}")
                continue
            consumed = tester.assert_passes(KILL_MESSAGES)
            return assert_was_cleaned(own_broker, tester.topic, KILL_MESSAGES, consumed)
        finally:
            tester.end()


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec(codec, testers, java, broker, tmp_path):
    tester = testers[codec]
    for attempt in range(1, ATTEMPTS):
        if tester.read_a_part():
            print(f"made again: {tester.printed}")
            (tmp_path / f"{attempt}").mkdir()
            tester = testers[f"{codec}-{attempt}"] = Tester(java, broker.bootstrap, codec, MESSAGES, 3, tmp_path / f"{attempt}")
    consumed = tester.assert_passes(MESSAGES)
    assert_was_cleaned(broker, tester.topic, MESSAGES, consumed)
