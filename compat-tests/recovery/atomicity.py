"""A transactional load whose broker dies, and what is there afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from conftest import HERE, NOT_OURS
from recovery.history import read_all
from recovery.raw_commits import fetch
from transactions.judge import State, atomic, outcomes

PARTITIONS, EACH, GROUP = 4, 2, "load"
PATIENCE = 90
# Seconds in which what is decided has to become visible. Apache Kafka answers again before it has finished the transactions
# that it had begun to end; Tidelog finishes them first.
FINISHING = 20 if NOT_OURS else 0


class TransactionalLoad:
    """A running `transactional_load.py`."""

    def __init__(self, directory: Path, port: int, topic: str, protocol: int):
        self._port, self._topic = port, topic
        self._journal, self._stop = directory / f"{topic}.journal", directory / f"{topic}.stop"
        self._log = directory / f"{topic}.load.log"
        self.forget()
        self._command = [
            sys.executable, HERE / "recovery" / "transactional_load.py", port, topic, PARTITIONS, GROUP, EACH, protocol,
            self._journal, self._stop,
        ]  # fmt: skip
        self.start()

    def forget(self) -> None:
        """Has everything read anew."""
        # What was read so far, and must not change.
        self._records: dict[int, list[tuple[int, int]]] = {partition: [] for partition in range(PARTITIONS)}

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        with open(self._log, "a") as log:
            self.process = subprocess.Popen([str(word) for word in self._command], stderr=log, stdin=subprocess.DEVNULL, env=environment)

    def kill(self) -> None:
        """With what it had under way. What a broker that was started again shows, it then has from before."""
        self.process.kill()
        self.process.wait()

    def told(self) -> str:
        return self._log.read_text()[-2000:]

    def outcomes(self) -> list[str]:
        return outcomes(self._journal.read_text() if self._journal.exists() else "")

    def wait_for(self, more: int, context: str) -> None:
        """Returns when so many more transactions have ended."""
        wanted, deadline = self._ended() + more, time.monotonic() + PATIENCE
        while self._ended() < wanted:
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < deadline, f"no progress before {context}\n{self.told()}"
            time.sleep(0.002)

    def _ended(self) -> int:
        return self._journal.read_bytes().count(b"ed ") if self._journal.exists() else 0

    def finish(self) -> None:
        self._stop.touch()
        assert self.process.wait(timeout=PATIENCE) == 0, self.told()

    def look(self) -> State:
        """What is there now. What was read before is not read again; it must go on from there."""
        since = {partition: records[-1][0] + 1 if records else 0 for partition, records in self._records.items()}
        for partition, records in read_all(f"127.0.0.1:{self._port}", self._topic, PARTITIONS, since=since).items():
            self._records[partition] += records
        committed = fetch(self._port, GROUP, PATIENCE)
        numbers = {partition: [number for _, number in records] for partition, records in self._records.items()}
        return State(numbers, {p: committed[self._topic, p] for p in range(PARTITIONS) if (self._topic, p) in committed})

    def assert_atomic(self, context: str, tail) -> State:
        """Every transaction is whole or absent, as far as anybody knows which."""
        deadline = time.monotonic() + FINISHING
        while True:
            state = self.look()
            wrong = atomic(self.outcomes(), state, EACH)
            if not wrong:
                return state
            assert time.monotonic() < deadline, "\n".join([context, *wrong[:10], self.told(), tail()])
            time.sleep(0.1)


@contextmanager
def transactional_load(directory: Path, port: int, topic: str, protocol: int):
    running = TransactionalLoad(directory, port, topic, protocol)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()
