"""What was written to a topic, what must be left of it once it is compacted, and whether what was read is that.

A record is a line, `timestamp TAB key TAB header TAB value`, or without the last column if its value is null: a tombstone.
The header's value is the number of the record: among the records of one key in one partition, a later one has a higher
number. What a reader gets has the offset in a column before these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

KEPT, GONE, EITHER = "kept", "gone", "either"


def key_of(line: bytes) -> bytes:
    return line.split(b"\t", 2)[1]


def is_tombstone(line: bytes) -> bool:
    return line.count(b"\t") == 2


def number_of(line: bytes) -> int:
    return int(line.split(b"\t", 3)[2])


def parsed(path: Path) -> list[tuple[int, bytes]]:
    """The offsets and lines of a file that a reader wrote."""
    rows = (row.split(b"\t", 1) for row in path.read_bytes().split(b"\n")[:-1])
    return [(int(offset), line) for offset, line in rows]


@dataclass
class Written:
    """All records of a topic by partition and offset, as they were acknowledged."""

    partitions: int
    records: list[dict[int, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self.records = [{} for _ in range(self.partitions)]

    def put(self, partition: int, offset: int, line: bytes) -> None:
        before = self.records[partition].setdefault(offset, line)
        assert before is line, f"two records were acknowledged at {partition}@{offset}: {before[:80]!r} and {line[:80]!r}"

    def take(self, folder: Path) -> None:
        """What a client's program wrote out of a folder, at the offsets that it was told."""
        for file in sorted(folder.glob("*.tsv")):
            lines = file.read_bytes().split(b"\n")[:-1]
            offsets = list(map(int, file.with_suffix(".acks").read_text().split()))
            assert len(lines) == len(offsets), f"{file}: {len(lines)} records and {len(offsets)} acknowledgements"
            for offset, line in zip(offsets, lines):
                self.put(int(file.stem), offset, line)

    def until(self, ends: list[int]) -> Written:
        """What was there when the partitions ended at these offsets."""
        earlier = Written(self.partitions)
        for partition, end in enumerate(ends):
            earlier.records[partition] = {offset: line for offset, line in self.records[partition].items() if offset < end}
        return earlier

    def last(self, partition: int, below: int | None = None) -> dict[bytes, int]:
        """The offset of each key's last record, of those below an offset."""
        found: dict[bytes, int] = {}
        for offset in sorted(self.records[partition]):
            if below is None or offset < below:
                found[key_of(self.records[partition][offset])] = offset
        return found

    def table(self, partition: int) -> dict[bytes, bytes]:
        """The last record of each key that is not deleted."""
        records = self.records[partition]
        return {key: records[at] for key, at in self.last(partition).items() if not is_tombstone(records[at])}

    def offsets(self, partition: int, cleaned_to: int, tombstones: str = KEPT) -> set[int]:
        """The offsets that are left when everything below `cleaned_to` is compacted by what is below it."""
        records = self.records[partition]
        survivors = {
            offset for offset in self.last(partition, cleaned_to).values() if tombstones != GONE or not is_tombstone(records[offset])
        }
        return survivors | {offset for offset in records if offset >= cleaned_to}


def flaws(written: Written, partition: int, rows: list[tuple[int, bytes]]) -> list[str]:
    """What is wrong with a reading at any time, cleaned or not; and with the table that it adds up to."""
    found: list[str] = []
    records, before, newest, table = written.records[partition], -1, {}, {}
    for offset, line in rows:
        key, number = key_of(line), number_of(line)
        if offset <= before:
            found.append(f"{partition}@{offset} came after {before}")
        if records.get(offset) != line:
            found.append(f"{partition}@{offset} is {line[:120]!r} instead of {records.get(offset, b'nothing')[:120]!r}")
        if number <= newest.get(key, -1):
            found.append(f"{partition}@{offset}: number {number} of {key!r} came after {newest[key]}")
        before, newest[key] = offset, number
        if is_tombstone(line):
            table.pop(key, None)
        else:
            table[key] = line
    wanted = written.table(partition)
    for key in wanted.keys() | table.keys():
        if wanted.get(key) != table.get(key):
            found.append(f"{partition}: {key!r} ends as {table.get(key, b'nothing')[:120]!r} instead of {wanted.get(key, b'nothing')[:120]!r}")
    return found


def differences(
    written: Written, partition: int, rows: list[tuple[int, bytes]], cleaned_to: int, tombstones: str = KEPT
) -> list[str]:
    """Beyond that: what is there though it should be gone, and what is gone though it should be there."""
    found = flaws(written, partition, rows)
    got = {offset for offset, _ in rows}
    most = written.offsets(partition, cleaned_to)
    least = most if tombstones == KEPT else written.offsets(partition, cleaned_to, GONE)
    most = least if tombstones == GONE else most
    if extra := sorted(got - most):
        lines = [written.records[partition].get(offset, b"nothing")[:80] for offset in extra[:3]]
        found.append(f"{partition}: {len(extra)} records should be gone below {cleaned_to}, at {extra[:3]}: {lines}")
    if missing := sorted(least - got):
        lines = [written.records[partition][offset][:80] for offset in missing[:3]]
        found.append(f"{partition}: {len(missing)} records are missing, cleaned to {cleaned_to}, at {missing[:3]}: {lines}")
    return found


def assert_compacted(written: Written, folder: Path, cleaned_to: list[int], tombstones: str = KEPT) -> int:
    """A reader's files hold what they must; returns how many records that were."""
    found, count = [], 0
    for partition in range(written.partitions):
        rows = parsed(folder / f"{partition}.tsv")
        count += len(rows)
        found += differences(written, partition, rows, cleaned_to[partition], tombstones)
    assert not found, f"{folder}: {len(found)} flaws\n" + "\n".join(found[:10])
    return count


def assert_sound(written: Written, folder: Path) -> None:
    """A reader's files hold nothing wrong, however much of the topic was cleaned."""
    found = [flaw for partition in range(written.partitions) for flaw in flaws(written, partition, parsed(folder / f"{partition}.tsv"))]
    assert not found, f"{folder}: {len(found)} flaws\n" + "\n".join(found[:10])
