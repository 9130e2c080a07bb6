"""kcat's command lines (librdkafka 2.0.2 in Debian 12: an older generation than confluent-kafka brings)."""

from __future__ import annotations

from pathlib import Path

import flights
from conftest import run


def kcat_read(bootstrap: str, topic: str, target: Path) -> None:
    """Reads each partition from its beginning to its end into `target`/P.tsv."""
    for partition in range(flights.PARTITIONS):
        run(
            ["kcat", "-C", "-q", "-b", bootstrap, "-t", topic, "-p", partition, "-o", "beginning", "-e",
             "-X", "check.crcs=true", "-f", "%o\t%T\t%k\t%s\n"],
            stdout=target / f"{partition}.tsv",
        )  # fmt: skip


def kcat_write(bootstrap: str, topic: str, codec: str, source: Path) -> None:
    """Sends each partition's records. kcat cannot set timestamps, so that column is cut off."""
    for partition in range(flights.PARTITIONS):
        lines = (source / f"{partition}.tsv").read_bytes().splitlines(keepends=True)
        stripped = source.parent / f"kcat-{partition}.tsv"
        stripped.write_bytes(b"".join(line.split(b"\t", 1)[1] for line in lines))
        run(
            ["kcat", "-P", "-b", bootstrap, "-t", topic, "-p", partition, "-K", "\t", "-z", codec,
             "-X", "acks=all", "-X", "enable.idempotence=true", "-X", "linger.ms=20"],
            stdin=stripped,
        )  # fmt: skip
