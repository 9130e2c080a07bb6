"""What a topic must hold: every record at its offset, and the control record that each transaction leaves behind.

A scenario tells the ledger what its programs did, in the order in which it was acknowledged. The ledger then knows what
a reader at either isolation level gets, byte for byte, and where its partitions end.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

READ_COMMITTED, READ_UNCOMMITTED = "read_committed", "read_uncommitted"


@dataclass
class Transaction:
    # First offset of the transaction in each of its partitions.
    first: dict[int, int] = field(default_factory=dict)
    committed: bool | None = None


@dataclass
class Ledger:
    partitions: int
    # Per partition: offset, line as it was sent, and whose it is (None: no transaction's).
    records: list[list[tuple[int, bytes, Transaction | None]]] = field(init=False)
    ends: list[int] = field(init=False)
    open: dict[str, Transaction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.records = [[] for _ in range(self.partitions)]
        self.ends = [0] * self.partitions

    def begin(self, name: str) -> None:
        assert name not in self.open, name
        self.open[name] = Transaction()

    def send(self, name: str | None, partition: int, lines: list[bytes]) -> None:
        transaction = self.open[name] if name is not None else None
        if transaction is not None and lines:
            transaction.first.setdefault(partition, self.ends[partition])
        for line in lines:
            self.records[partition].append((self.ends[partition], line, transaction))
            self.ends[partition] += 1

    def end(self, name: str, *, commit: bool) -> None:
        transaction = self.open.pop(name)
        transaction.committed = commit
        for partition in transaction.first:
            # The control record takes an offset of its own.
            self.ends[partition] += 1

    def stable(self, partition: int) -> int:
        """The last stable offset: nothing at or above it is shown at read_committed."""
        return min((t.first[partition] for t in self.open.values() if partition in t.first), default=self.ends[partition])

    def end_offsets(self, isolation: str) -> list[int]:
        if isolation == READ_UNCOMMITTED:
            return list(self.ends)
        return [self.stable(partition) for partition in range(self.partitions)]

    def visible(self, partition: int, isolation: str) -> list[tuple[int, bytes]]:
        if isolation == READ_UNCOMMITTED:
            return [(offset, line) for offset, line, _ in self.records[partition]]
        stable = self.stable(partition)
        return [
            (offset, line)
            for offset, line, transaction in self.records[partition]
            if offset < stable and (transaction is None or transaction.committed)
        ]

    def count(self, isolation: str) -> int:
        return sum(len(self.visible(partition, isolation)) for partition in range(self.partitions))

    def differences(self, isolation: str, directory: Path) -> list[str]:
        """What is wrong in the files that a reader wrote, one line per partition."""
        found = []
        for partition in range(self.partitions):
            wanted = [b"%d\t%s" % entry for entry in self.visible(partition, isolation)]
            file = directory / f"{partition}.tsv"
            got = file.read_bytes().splitlines() if file.exists() else None
            if got is None:
                found.append(f"partition {partition}: nothing was written")
            elif got != wanted:
                pairs = enumerate(itertools.zip_longest(wanted, got, fillvalue=b"nothing"))
                at, (want, have) = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
                found.append(
                    f"partition {partition}: {len(got)} records instead of {len(wanted)}; "
                    f"number {at} is {have[:80]!r} instead of {want[:80]!r}"
                )
        return found
