"""A compacted log and its cleaner, as the cases of `cleaner_cases.py` need them: both brokers with figures of the cleaner,
one cleaning from beginning to end, look-ups of keys."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from brokers import Broker, Kafka, Loader, Tidelog, free_port
from cases import Block
from storage_cases import wait_for_rest

SEGMENT = str(64 << 20)
# What both brokers are asked for: to look at once for logs to clean, and to delete replaced segments soon.
SETTINGS = {
    "log.cleaner.backoff.ms": "100",
    "log.segment.delete.delay.ms": "100",
    "log.segment.bytes": SEGMENT,
}
# Full batches, so that both brokers get the same ones.
WRITER = ("acks=all", "batch.size=65536", "linger.ms=1000", "buffer.memory=67108864")


class MeasuredTidelog(Tidelog):
    """Tidelog whose cleaner tells what it did by its metrics."""

    def __init__(self, directory: Path, durability: str = "page-cache", label: str = "", settings: dict[str, str] | None = None):
        self.metrics_port = free_port()
        listener = {"tidelog.metrics.listener": f"127.0.0.1:{self.metrics_port}"}
        super().__init__(directory, durability, label, SETTINGS | listener | (settings or {}))

    def cleaned(self, _topic: str) -> Block:
        """What the cleaner did since the start, over all topics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
            text = answer.read().decode()

        def of(name: str) -> float:
            found = re.search(rf"^tidelog_cleaner_{name} (\S+)", text, re.M)
            if not found:
                raise RuntimeError(f"there is no metric tidelog_cleaner_{name}")
            return float(found[1])

        return {
            "records": of("read_records_total"), "kept": of("kept_records_total"), "seconds": of("seconds_total"),
            "indexed_bytes": of("indexed_bytes_total"),
        }  # fmt: skip

    def index_bytes(self) -> int:
        """What the key index takes on disk."""
        return sum(file.stat().st_blocks * 512 for file in (self.directory / "data" / "key-index").rglob("*") if file.is_file())


class MeasuredKafka(Kafka):
    """Kafka whose cleaner tells what it did in the broker's log."""

    def __init__(self, directory: Path, durability: str = "page-cache", label: str = "", settings: dict[str, str] | None = None):
        super().__init__(directory, durability, label, SETTINGS | (settings or {}))

    def command(self) -> list[str]:
        logging = self.directory / "log4j2.xml"
        logging.write_text(
            '<Configuration status="WARN"><Appenders><Console name="C" target="SYSTEM_OUT"><PatternLayout pattern="%p %m (%c)%n"/>'
            '</Console></Appenders><Loggers><Logger name="org.apache.kafka.storage.internals.log" level="INFO"/>'
            '<Root level="WARN"><AppenderRef ref="C"/></Root></Loggers></Configuration>'
        )
        flag = "-Dlog4j2.configurationFile="
        return [f"{flag}{logging}" if word.startswith(flag) else word for word in super().command()]

    def cleaned(self, topic: str) -> Block:
        """What the cleaner did with this topic."""
        text = (self.directory / "broker.log").read_text(errors="replace")
        number = lambda digits: float(digits.replace(",", ""))  # noqa: E731
        total = {"records": 0.0, "kept": 0.0, "seconds": 0.0, "indexed_bytes": 0.0}
        for part in text.split("Log cleaner thread")[1:]:
            # Behind the first line there are six more.
            told = "\n".join(part.split("\n")[:9])
            if not re.search(rf"cleaned log {re.escape(topic)}-\d+ ", told):
                continue
            total["seconds"] += number(re.search(r"processed in ([\d,.]+) seconds", told)[1])
            total["indexed_bytes"] += number(re.search(r"Indexed ([\d,.]+) MB", told)[1]) * 2**20
            total["records"] += number(re.search(r"Start size: [\d,.]+ MB \(([\d,]+) messages\)", told)[1])
            total["kept"] += number(re.search(r"End size: [\d,.]+ MB \(([\d,]+) messages\)", told)[1])
        return total


@dataclass(frozen=True)
class Way:
    """How a topic is made and gets dirty. With `index_first` its keys are indexed while it is written, as they are in a topic
    that was compacted from the beginning; else it turns into a compacted topic when all is written."""

    name: str
    index: bool = True
    index_first: bool = False


KAFKA = Way("Kafka")
AT_ONCE = Way("key index from nothing")
INDEXED = Way("key index built before", index_first=True)
TABLE = Way("key index off", index=False)


@dataclass(frozen=True)
class Content:
    """What a topic gets: records whose keys are chosen from `keys` at random."""

    records: int
    keys: int
    bytes: int = 120
    codec: str = "none"


def create(broker: Broker, topic: str, way: Way) -> None:
    configs = {"segment_bytes": SEGMENT, "cleanup_policy": "compact" if way.index_first else "delete"}
    # A ratio that is never above this.
    configs["min_cleanable_dirty_ratio"] = "1"
    if isinstance(broker, Tidelog):
        configs["tidelog_key_index_enable"] = str(way.index).lower()
    with broker.connect() as connection:
        connection.create(topic, **configs)


def fill(loader: Loader, broker: Broker, topic: str, content: Content, *settings: str) -> Block:
    return loader.run(
        "keyed", broker.bootstrap, topic, content.records, content.keys, content.bytes, *WRITER,
        f"compression.type={content.codec}", *settings,
    )  # fmt: skip


def set_off(broker: Broker, topic: str) -> tuple[float, int]:
    """Lets the cleaner have the topic: when (time.monotonic), and where it must get to, the base of the active segment."""
    # Kafka has the directory below its data directory as well.
    logs = [path.name for path in (broker.directory / "data" / f"{topic}-0").glob("*.log")]
    end = max(int(name.removesuffix(".log")) for name in logs)
    if end == 0:
        raise RuntimeError(f"{topic} has one segment only: nothing of it can be cleaned")
    with broker.connect() as connection:
        begin = time.monotonic()
        connection.alter(topic, cleanup_policy="compact", min_cleanable_dirty_ratio="0.0001")
    return begin, end


def cleaned_upto(broker: Broker, topic: str) -> int:
    """How far the topic's only partition is cleaned, from the checkpoint that both brokers write."""
    try:
        text = (broker.directory / "data" / "cleaner-offset-checkpoint").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{re.escape(topic)} 0 (\d+)$", text, re.M)
    return int(found[1]) if found else 0


def wait_until_cleaned(broker: Broker, topic: str, end: int, most_s: float = 900) -> float:
    """When (time.monotonic) the cleaner had got to `end`."""
    until = time.monotonic() + most_s
    while time.monotonic() < until:
        if cleaned_upto(broker, topic) >= end:
            return time.monotonic()
        if not broker.alive():
            raise RuntimeError(f"{broker.name} exited\n{broker.tail()}")
        time.sleep(0.01)
    raise TimeoutError(f"{broker.name}: {topic} is cleaned up to {cleaned_upto(broker, topic)} of {end} only")


def clean(broker: Broker, topic: str) -> Block:
    """One cleaning of a topic that was filled."""
    before, cpu = broker.cleaned(topic), broker.cpu()
    begin, end = set_off(broker, topic)
    done = wait_until_cleaned(broker, topic, end)
    wait_for_rest(broker)
    own = {key: value - before[key] for key, value in broker.cleaned(topic).items()}
    # A moment of rest costs next to nothing, so it may be part of the CPU.
    cpu = broker.cpu() - cpu
    if not own["seconds"]:
        raise RuntimeError(f"{broker.name} says nothing of what its cleaner did with {topic}")
    return {
        "end": end, "wall_s": done - begin, "rate": end / (done - begin), "own_rate": end / own["seconds"],
        "us_per_record": cpu / end * 1e6, "cpu_s": cpu, "indexed_mb": own["indexed_bytes"] / 2**20,
        "read_again": own["records"] / end, "kept": own["kept"],
    }  # fmt: skip


class Control:
    """Tidelog's control socket: HTTP, one connection."""

    def __init__(self, broker: Broker):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(broker.directory / "data" / "control.sock"))

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: control\r\n\r\n".encode())
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._more()
        length = int(re.search(rb"content-length: (\d+)", answer[:end], re.I)[1])
        while len(answer) < end + 4 + length:
            answer += self._more()
        return int(answer.split(b" ", 2)[1]), answer[end + 4 :]

    def _more(self) -> bytes:
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionResetError("the control socket was closed")
        return part
