"""The journal of a member that is written in Python; `groups/journal.py` says what the lines mean."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path


class Journal:
    def __init__(self, path: str):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._stop = Path(path + ".stop")
        # What was handled and whose commit was not acknowledged yet: partition and next offset.
        self.pending: dict[int, int] = {}

    def _write(self, rows: Iterable[str]) -> None:
        now = time.monotonic_ns()
        text = "".join(f"{now} {row}\n" for row in rows)
        # Straight to the kernel, which keeps it when this process is killed.
        if text:
            os.write(self._file, text.encode())

    def assigned(self, partitions: Iterable[int]) -> None:
        self._write(f"assigned {partition}" for partition in partitions)

    def gone(self, how: str, partitions: Iterable[int]) -> None:
        """The partitions were `revoked` or `lost`."""
        partitions = list(partitions)
        for partition in partitions:
            self.pending.pop(partition, None)
        self._write(f"{how} {partition}" for partition in partitions)

    def handled(self, partition: int, offset: int) -> None:
        self._write([f"record {partition} {offset}"])
        self.pending[partition] = offset + 1

    def committing(self, offsets: dict[int, int]) -> None:
        self._write(f"committing {partition} {offset}" for partition, offset in offsets.items())

    def committed(self, offsets: dict[int, int]) -> None:
        self._write(f"committed {partition} {offset}" for partition, offset in offsets.items())
        for partition, offset in offsets.items():
            if self.pending.get(partition) == offset:
                del self.pending[partition]

    def told_to_stop(self) -> bool:
        """Whether the suite wants the member to leave in order."""
        return self._stop.exists()
