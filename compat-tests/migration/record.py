"""Records the data directory that `tests/it/migration.rs` imports, and which offsets Kafka served from it.

In the folder above: `PYTHONPATH=. python -m migration.record ../tests/golden/kafka-4.3.1-data`
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from migration import source
from packages import kafka_jars


def java(what: str, *arguments) -> list:
    libs = kafka_jars()
    return ["java", "-Xmx512m", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={libs / 'log4j2.xml'}", "-cp", f"{libs / 'libs'}/*", what, *arguments]


def ranges(offsets: list[int]) -> str:
    """Ascending offsets as `first-last` of each run, separated by commas."""
    runs: list[list[int]] = []
    for offset in offsets:
        if runs and runs[-1][1] == offset - 1:
            runs[-1][1] = offset
        else:
            runs.append([offset, offset])
    return ",".join(f"{first}-{last}" for first, last in runs)


def lines(read: dict[str, dict[str, list[int]]]) -> str:
    return "".join(f"{isolation} {partition}: {ranges(offsets)}\n" for isolation, found in read.items() for partition, offsets in sorted(found.items()))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        kafka = source.ApacheKafka(Path(home) / "kafka", java=java)
        kafka.start()
        try:
            source.fill(kafka.bootstrap, kafka.log_dir)
            read = {isolation: source.records(kafka.bootstrap, isolation) for isolation in (source.COMMITTED, source.UNCOMMITTED)}
        finally:
            kafka.stop()
        assert (kafka.log_dir / ".kafka_cleanshutdown").exists()
        offsets = {isolation: {of: [row[0] for row in rows] for of, rows in found.items()} for isolation, found in read.items()}
        (folder / "expected.txt").write_text(lines(offsets))
        words = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--exclude=*-delete"]
        subprocess.run(["tar", *words, "-czf", folder / "data.tar.gz", "-C", kafka.directory, "data"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
