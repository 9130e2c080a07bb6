"""The loop of a transactional program that is written in Python; `transactions/programs.py` says what it obeys."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def rows(file: str, first: str, count: str) -> list[tuple[int, bytes, bytes]]:
    """Timestamp, key and value of some lines of a file."""
    with open(file, "rb") as lines:
        picked = itertools.islice(lines, int(first), int(first) + int(count))
        return [(int(stamp), key, value) for stamp, key, value in (line.rstrip(b"\n").split(b"\t", 2) for line in picked)]


class Taken:
    """What a reader gets, in a file per partition, and when it has enough."""

    def __init__(self, partitions: str, count: str, directory: str):
        self._files = [open(Path(directory) / f"{partition}.tsv", "wb") for partition in range(int(partitions))]
        self._missing = int(count)
        self._deadline = time.monotonic() + 30
        self._enough: float | None = None

    def add(self, partition: int, offset: int, timestamp: int, key: bytes, value: bytes) -> None:
        self._files[partition].write(b"%d\t%d\t%s\t%s\n" % (offset, timestamp, key, value))
        self._missing -= 1

    def over(self) -> bool:
        """Everything that was announced is there and nothing came after it for a moment, or it takes too long."""
        now = time.monotonic()
        if self._missing <= 0 and self._enough is None:
            self._enough = now + 0.3
        done = now > min(self._deadline, self._enough or self._deadline)
        if done:
            for file in self._files:
                file.close()
        return done


def answer_of(done: Callable[[], object], failures: tuple, name_of: Callable[[Exception], str]) -> str:
    """The line that answers a command."""
    try:
        return f"ok {done() or ''}".strip()
    except failures as failure:
        return f"error {name_of(failure)} {failure}".replace("\n", " ")


def obey(actions: dict[str, Callable], failures: tuple, name_of: Callable[[Exception], str], lines: Iterable[str] = sys.stdin) -> None:
    """Answers commands until there are no more. Another exception than `failures` is a mistake and ends the program."""
    for line in lines:
        verb, *words = line.split()
        print(answer_of(lambda: actions[verb](*words), failures, name_of), flush=True)
