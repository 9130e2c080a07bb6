"""Clients' programs for compacted topics. Lines are those of `oracle.py`; the header is named `row`.

    PROGRAM write BOOTSTRAP TOPIC CODEC DIR...

writes DIR/P.tsv to partition P, as one idempotent producer, and the offset that each record was acknowledged at to
DIR/P.acks. Before each DIR but the first it prints `written` and waits for a line on standard input.

    PROGRAM read BOOTSTRAP ISOLATION DIR TOPIC...

reads each topic from the beginning of its partitions to where they ended when it began, into DIR/TOPIC/P.tsv.

    PROGRAM keyless BOOTSTRAP TOPIC

sends a record with a key, one without and one with a key to partition 0, one after the other, and prints for each `ok OFFSET` or
`error NAME`, with the client's own name of the error.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compaction.oracle import Written
from conftest import run

CLIENTS = ("confluent-kafka", "franz-go", "java")
ISOLATIONS = ("read_committed", "read_uncommitted")


class Clients:
    """The programs of all clients."""

    def __init__(self, commands: dict[str, list], directory: Path):
        self._commands, self._directory = commands, directory
        self._readings = 0

    def command(self, client: str, *words) -> list[str]:
        return [str(word) for word in [*self._commands[client], *words]]

    def write(self, client: str, bootstrap: str, topic: str, codec: str, folder: Path, written: Written) -> None:
        run(self.command(client, "write", bootstrap, topic, codec, folder), timeout=300)
        written.take(folder)

    def read(self, bootstrap: str, *topics: str, by=CLIENTS, isolations=ISOLATIONS) -> list[Path]:
        """Has all clients read topics at each isolation level; gives the folders, each with one per topic."""
        self._readings += 1
        jobs = [
            (client, isolation, self._directory / f"{self._readings}-{client}-{isolation}") for client in by for isolation in isolations
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda job: run(self.command(job[0], "read", bootstrap, job[1], job[2], *topics), timeout=300), jobs))
        return [folder for _, _, folder in jobs]

    def keyless(self, client: str, bootstrap: str, topic: str) -> list[str]:
        return run(self.command(client, "keyless", bootstrap, topic)).splitlines()


class Producer:
    """A program that writes folder after folder with one producer, and waits in between."""

    def __init__(self, clients: Clients, client: str, bootstrap: str, topic: str, codec: str, folders: list[Path], log: Path):
        self._log, self._folders = log, list(folders)
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(
                clients.command(client, "write", bootstrap, topic, codec, *folders),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8",
            )  # fmt: skip

    def await_written(self, written: Written) -> None:
        """Returns when the folder that it is at is acknowledged."""
        folder = self._folders.pop(0)
        if self._folders:
            line = self.process.stdout.readline()
            assert line == "written\n", f"{line!r} instead\n{self._log.read_text()[-3000:]}"
        else:
            assert self.process.wait(timeout=120) == 0, self._log.read_text()[-3000:]
        written.take(folder)

    def go_on(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
