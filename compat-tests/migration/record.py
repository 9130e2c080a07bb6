"""Records the data directory that `tests/it/migration` imports: `python -m migration.record ARCHIVE` in this folder's parent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from migration import source
from packages import kafka_jars


def java(what: str, *arguments) -> list:
    libs = kafka_jars()
    return ["java", "-Xmx512m", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={libs / 'log4j2.xml'}", "-cp", f"{libs / 'libs'}/*", what, *arguments]


def main(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        kafka = source.ApacheKafka(Path(home) / "kafka", java=java)
        kafka.start()
        try:
            source.fill(kafka.bootstrap, kafka.log_dir)
            expected = {isolation: source.records(kafka.bootstrap, isolation) for isolation in (source.COMMITTED, source.UNCOMMITTED)}
            told = {"records": {of: {at: [list(map(str, row[:2])) for row in rows] for at, rows in read.items()} for of, read in expected.items()}}
            told |= {"configs": source.configs(kafka.bootstrap), "ids": source.topic_ids(kafka.bootstrap)}
        finally:
            kafka.stop()
        assert (kafka.log_dir / ".kafka_cleanshutdown").exists()
        if len(sys.argv) > 2:
            shutil.copytree(kafka.log_dir, sys.argv[2])
        subprocess.run(["tar", "-cJSf", archive, "-C", kafka.directory, "data"], check=True)
        Path(f"{archive}.json").write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
