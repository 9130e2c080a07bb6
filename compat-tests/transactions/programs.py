"""Clients' transactional programs as processes: told what to do, line by line, or copying on their own.

    PROGRAM BOOTSTRAP

obeys commands on standard input, one a line, words separated by blanks, and answers each with one line on standard
output: `ok`, perhaps with a value, or `error NAME what the client said`, with the client's own name of the error. NAME at
a command's start is the suite's name for one of the program's producers.

    init NAME TRANSACTIONAL_ID TIMEOUT_MS         makes the producer and has its coordinator know it
    begin NAME
    send NAME TOPIC PARTITION FILE FIRST COUNT    COUNT lines of FILE from line FIRST on (`timestamp TAB key TAB value`);
                                                  answered when each is acknowledged
    offsets NAME GROUP TOPIC PARTITION OFFSET     an offset in the transaction, from outside the group
    commit NAME
    abort NAME
    read TOPIC PARTITIONS ISOLATION COUNT DIR     reads all partitions from their beginning into DIR/P.tsv
                                                  (`offset TAB timestamp TAB key TAB value`), until COUNT records are read
                                                  and none came after them for a moment, or for 30 s
    ends TOPIC PARTITIONS ISOLATION               the end of each partition, as ListOffsets has it

When standard input ends, the program does, without closing a producer: transactions stay as they are.

    PROGRAM BOOTSTRAP copy GROUP INPUT OUTPUT TRANSACTIONAL_ID SIZE STOP

copies as a member of GROUP, each record to the partition with its number, with the offsets in the transaction, at most
about SIZE records in one. Each third transaction is aborted and its records are read again. Ends in order when STOP exists.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from conftest import HERE

# How long a command may take. Never what a scenario measures.
PATIENCE = 90


class Refused(Exception):
    """A program's answer `error NAME ...`."""

    def __init__(self, name: str, said: str):
        super().__init__(f"{name}: {said}")
        self.name = name


class Program:
    """A running program that obeys commands."""

    def __init__(self, client: str, command: list, log: Path):
        self.client, self.log = client, log
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                encoding="utf-8", env={**os.environ, "PYTHONPATH": str(HERE)},
            )  # fmt: skip
        self._answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self._answers.put(line.rstrip("\n"))
        self._answers.put(None)

    def tell(self, *words) -> None:
        """Gives a command whose answer is fetched later."""
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pytest.fail(f"{self.client} had ended with {self.process.wait()}\n{self.told()}")

    def answer(self, *, patience: float = PATIENCE) -> str:
        try:
            line = self._answers.get(timeout=patience)
        except queue.Empty:
            pytest.fail(f"{self.client} did not answer within {patience} s\n{self.told()}")
        assert line is not None, f"{self.client} ended with {self.process.wait()}\n{self.told()}"
        kind, _, rest = line.partition(" ")
        if kind == "ok":
            return rest
        assert kind == "error", f"{self.client} answered {line!r}\n{self.told()}"
        name, _, said = rest.partition(" ")
        raise Refused(name, said)

    def __call__(self, *words, patience: float = PATIENCE) -> str:
        self.tell(*words)
        return self.answer(patience=patience)

    def told(self) -> str:
        return f"{self.client}: {self.log.read_text(errors='replace')[-3000:]}"

    def stop(self) -> None:
        """SIGSTOP: the process does nothing, and nobody is told."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """The end of its commands; it has nothing more to do."""
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()


class Copier:
    """A copying process that is killed and started again."""

    def __init__(self, name: str, command: list, directory: Path):
        self.name, self.command = name, command
        self.log = directory / f"{name}.log"
        self.process: subprocess.Popen | None = None
        # Exit statuses of runs that nobody killed.
        self.statuses: list[int] = []

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in self.command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(HERE)},
            )  # fmt: skip

    def ended(self) -> bool:
        """Whether a run is over that nobody killed; notes its status once."""
        if self.process is None or self.process.poll() is None:
            return False
        self.statuses.append(self.process.returncode)
        self.process = None
        return True

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def told(self) -> str:
        return f"{self.name}: {self.log.read_text(errors='replace')[-2000:]}"
