"""Tidelog and Apache Kafka as processes that can be started, measured and stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

import wire

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "compat-tests"))
from packages import free_port, kafka_jars, kept  # noqa: E402

NEVER = str(2**63 - 1)
TICKS = os.sysconf("SC_CLK_TCK")

# What each durability class means to the two brokers. Kafka's own default is page-cache, Tidelog's is fsync.
CLASSES = {
    "page-cache": {"log.flush.interval.messages": NEVER},
    "fsync": {"log.flush.interval.messages": "1"},
    "as-shipped": {},
}


def java_command(heap: list[str], *arguments) -> list[str]:
    jars = kafka_jars()
    logging = f"-Dlog4j2.configurationFile={jars / 'log4j2.xml'}"
    return ["java", *heap, logging, "-cp", f"{jars / 'libs'}/*", *map(str, arguments)]


class CpuMeter:
    """CPU seconds of a process. A control group of its own counts nanoseconds; /proc counts ticks of 10 ms."""

    def __init__(self, pid: int):
        self.pid = pid
        self.group = None
        for parent, counter in (("/sys/fs/cgroup/cpuacct", "cpuacct.usage"), ("/sys/fs/cgroup", "cpu.stat")):
            if not Path(parent, counter).exists():
                continue
            group = Path(parent, f"tidelog-bench-{pid}")
            try:
                group.mkdir()
                (group / "cgroup.procs").write_text(str(pid))
            except OSError:
                continue
            self.group, self.counter = group, group / counter
            return

    def seconds(self) -> float:
        if self.group is None:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / TICKS
        text = self.counter.read_text()
        return int(text.split()[1]) / 1e6 if text.startswith("usage_usec") else int(text) / 1e9

    def close(self) -> None:
        if self.group is not None:
            try:
                self.group.rmdir()
            except OSError:
                pass


class Broker:
    name = ""

    def __init__(self, directory: Path, durability: str = "page-cache", label: str = "", settings: dict[str, str] | None = None):
        self.directory = directory / f"{self.name}{label}-{uuid.uuid4().hex[:6]}"
        # What a case asks of both brokers alike.
        self.settings = CLASSES[durability] | (settings or {})
        self.port = free_port()
        self.process: subprocess.Popen | None = None
        self.meter: CpuMeter | None = None
        self.directory.mkdir(parents=True)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """What must be done to the directory before the first start."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def spawn(self) -> None:
        """Starts the process without waiting for anything."""
        # Both programs read KAFKA_* variables; what this machine happens to have there is no part of the comparison.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
        command = self.command()
        with open(self.directory / "broker.log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def start(self) -> Broker:
        """Starts the process and returns when it answers."""
        self.prepare()
        self.spawn()
        self.meter = CpuMeter(self.process.pid)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                with wire.Connection(self.port):
                    return self
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        told = self.tail()
        self.kill()
        raise RuntimeError(f"{self.name} did not start\n{told}")

    def launch(self) -> float:
        """Starts the process and returns at once, with the instant of the start (time.monotonic)."""
        begin = time.monotonic()
        self.spawn()
        self.meter = CpuMeter(self.process.pid)
        return begin

    def alive(self) -> bool:
        return self.process.poll() is None

    def cpu(self) -> float:
        return self.meter.seconds() if self.meter else 0.0

    def memory(self) -> dict[str, float]:
        """MiB resident now and at most so far."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return {
            "resident": int(re.search(r"^Rss:\s+(\d+)", rollup, re.M)[1]) / 1024,
            "anonymous": int(re.search(r"^Anonymous:\s+(\d+)", rollup, re.M)[1]) / 1024,
            "peak": int(re.search(r"^VmHWM:\s+(\d+)", status, re.M)[1]) / 1024,
        }

    def forget_peak(self) -> None:
        """The highest resident memory counts from now on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def connect(self) -> wire.Connection:
        return wire.Connection(self.port)

    def new_topic(self, topic: str, partitions: int = 1) -> None:
        with self.connect() as connection:
            connection.create(topic, partitions)
            # Creation is answered before a partition of Kafka's takes records.
            until = time.monotonic() + 30
            while any(connection.produced(topic, wire.batch(b"x"), range(partitions))):
                if time.monotonic() > until:
                    raise TimeoutError(f"{topic} takes no records")
                time.sleep(0.02)

    def drop_topic(self, topic: str) -> None:
        with self.connect() as connection:
            connection.delete(topic)

    def tail(self) -> str:
        return (self.directory / "broker.log").read_bytes()[-3000:].decode(errors="replace")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self, wait_s: float = 30) -> bool:
        """Whether the process ended by itself, that is cleanly."""
        return self._end(signal.SIGTERM, wait_s)

    def _end(self, how: int, wait_s: float = 30) -> bool:
        if self.process is None:
            return True
        in_time = True
        self.process.send_signal(how)
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            in_time = False
            self.process.kill()
            self.process.wait()
        if self.meter:
            self.meter.close()
        self.process = self.meter = None
        return in_time

    def discard(self) -> None:
        """Kills the process and removes its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Tidelog(Broker):
    name = "tidelog"
    program = Path(os.environ.get("TIDELOG_BIN", ROOT / "bin" / "tidelog"))

    def command(self) -> list[str]:
        settings = {
            "listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": str(self.directory / "data"),
            "tidelog.metrics.listener": "",
            **self.settings,
        }
        return [str(self.program), "serve", *(word for k, v in settings.items() for word in ("--override", f"{k}={v}"))]


class Kafka(Broker):
    name = "kafka"
    # What kafka-server-start.sh and kafka-run-class.sh give a broker when nothing is set.
    options = (
        "-Xmx1G -Xms1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
        "-XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true"
    ).split()

    def prepare(self) -> None:
        data = self.directory / "data"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "0",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.port + 1}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self.port + 1}",
            "log.dirs": str(data),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # A deleted topic leaves the disk at once, as with Tidelog, instead of a minute later within some later block.
            "log.segment.delete.delay.ms": "100",
            **self.settings,
        }
        (self.directory / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        if (data / "meta.properties").exists():
            return
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        format_it = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", self.directory / "server.properties", "--standalone"]
        done = subprocess.run(java_command(["-Xmx256m"], *format_it), capture_output=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"formatting failed\n{done.stderr.decode()}")

    def command(self) -> list[str]:
        return java_command(self.options, "kafka.Kafka", self.directory / "server.properties")


class Loader:
    """The Java load program, alive for all blocks of a case."""

    source = "Load.java"

    def __init__(self) -> None:
        command = self.command()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.meter = CpuMeter(self.process.pid)
        self._answer()

    def command(self) -> list[str]:
        options = ["-Xmx512m", "-Xms512m", "-XX:+UseSerialGC"]
        return java_command(options, Path(__file__).with_name(self.source))

    def _answer(self) -> str:
        line = self.process.stdout.readline()
        # The virtual machine's own warnings come the same way.
        while line and line.split(" ")[0].strip() not in ("ready", "done", "failed"):
            print(f"the load program: {line.strip()}", file=sys.stderr)
            line = self.process.stdout.readline()
        line = line.strip()
        if not line or line.startswith("failed"):
            raise RuntimeError(f"the load program: {line or 'it ended'}")
        return line

    def run(self, *words) -> dict[str, float]:
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return {key: float(value) for key, value in (pair.split("=") for pair in self._answer().split()[1:])}

    def cpu(self) -> float:
        return self.meter.seconds()

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.meter.close()


class TransactionsLoader(Loader):
    """Transactions with Kafka's Java client."""

    source = "Transactions.java"


class StorageLoader(Loader):
    """Load on storage with Kafka's Java client: many partitions, one record at a time, keys."""

    source = "Storage.java"


class GroupsLoader(Loader):
    """The load on group coordinators: `groups/main.rs`, compiled once per content."""

    def command(self) -> list[str]:
        sources = sorted(Path(__file__).with_name("groups").glob("*.rs"))

        def install(folder: Path) -> None:
            main = Path(__file__).with_name("groups") / "main.rs"
            subprocess.run(["rustc", "--edition", "2024", "-O", "-o", folder / "load", main], check=True, timeout=300)

        return [str(kept("bench-groups", sources, install) / "load")]
