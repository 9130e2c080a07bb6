"""Flights as a table: the last flight of each aircraft.

The key is the tail number. Some aircraft made hundreds of flights, some one; a flight whose aircraft is not known has a key of
its own. One record in forty is followed by a tombstone of its key, so that some keys end deleted and others come back.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from pathlib import Path

import flights

DAY_MS = 86_400_000
TAIL_NUMBER = re.compile(rb'"tailnum":"(\w+)"')


def build(data: flights.DataSet, folder: Path, partitions: int, *, tombstones: bool = True) -> None:
    """Lays out flights as `folder`/P.tsv for each partition P."""
    folder.mkdir(parents=True)
    rows = []
    for partition in range(flights.PARTITIONS):
        for line in (data.input / f"{partition}.tsv").read_bytes().split(b"\n")[:-1]:
            timestamp, _, value = line.split(b"\t", 2)
            rows.append((int(timestamp) // DAY_MS, timestamp, value))
    # Day after day, so that segments roll by time as well; within a day, times go back and forth.
    rows.sort(key=lambda row: row[0])
    lines, number = defaultdict(list), 0
    for at, (_, timestamp, value) in enumerate(rows):
        tail = TAIL_NUMBER.search(value)
        key = tail[1] if tail else b"unknown-%d" % at
        partition = (flights.murmur2(key) & 0x7FFFFFFF) % partitions
        lines[partition].append(b"%s\t%s\t%d\t%s\n" % (timestamp, key, number, value))
        number += 1
        if tombstones and zlib.crc32(b"%d" % at) % 40 == 0:
            lines[partition].append(b"%s\t%s\t%d\n" % (timestamp, key, number))
            number += 1
    for partition in range(partitions):
        (folder / f"{partition}.tsv").write_bytes(b"".join(lines[partition]))
