"""Fixtures: a broker, topics, the data set, and each client's toolchain.

Environment:

* TIDELOG_BIN: the program under test (default: ../bin/tidelog).
* TIDELOG_COMPAT_HOME: where clients' packages are kept (default: ~/.cache/tidelog-compat).
* COMPAT_BROKER: a command with {port} and {dir} in it that runs some other broker in the foreground. The whole
  suite can be tried on Apache Kafka with it: what fails there is not asked of Tidelog.
* KAFKA_BOOTSTRAP: use a broker that runs already. Scenarios that stop the broker are skipped.
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import flights
from packages import HOME, free_port, kafka_jars, kept

HERE = Path(__file__).resolve().parent
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

# Another broker is under test, or may be: what is asked of Tidelog alone is skipped.
NOT_OURS = any(name in os.environ for name in ("COMPAT_BROKER", "KAFKA_BOOTSTRAP"))

# Groups that notice within seconds what takes them the better part of a minute by default. Heartbeats stay well below a
# session, so that a machine that is busy for a moment does not cost a member its place.
GROUP_SETTINGS = {
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 500,
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 6000,
}


# Transactions whose time is over are looked for each half second instead of each ten.
TRANSACTION_SETTINGS = {**GROUP_SETTINGS, "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500}


def run(command: list, *, timeout: float = 180, stdin: Path | None = None, stdout: Path | None = None, cwd=None, env=None) -> str:
    """Runs a client program to its end and returns what it printed; fails the test with its output if it failed."""
    with open(stdin or os.devnull, "rb") as source:
        sink = open(stdout, "wb") if stdout else subprocess.PIPE
        try:
            done = subprocess.run(
                [str(part) for part in command], stdin=source, stdout=sink, stderr=subprocess.PIPE,
                timeout=timeout, cwd=cwd, env={**os.environ, **(env or {})},
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            told = (late.stderr or b"").decode(errors="replace")[-4000:]
            pytest.fail(f"{shlex.join(map(str, command))}\nwas not done after {timeout} s\n{told}")
        finally:
            if stdout:
                sink.close()
    printed = b"" if stdout else done.stdout
    if done.returncode:
        told = (printed + b"\n" + done.stderr).decode(errors="replace")[-6000:]
        pytest.fail(f"{shlex.join(map(str, command))}\nexited with {done.returncode}\n{told}")
    return printed.decode(errors="replace")


@dataclass
class Broker:
    """A broker process with its own data directory, on a port that survives restarts."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None
    # Beyond the ones every scenario needs; another broker than ours does not get them.
    settings: dict = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log_dir(self) -> Path:
        return self.directory / "data"

    @property
    def log_file(self) -> Path:
        return self.directory / "broker.log"

    def command(self) -> list[str]:
        other = os.environ.get("COMPAT_BROKER")
        if other:
            return [part.format(port=self.port, dir=self.log_dir) for part in shlex.split(other)]
        program = Path(os.environ.get("TIDELOG_BIN", HERE.parent / "bin" / "tidelog"))
        if not program.exists():
            pytest.fail(f"{program} does not exist: run `make build`, or set TIDELOG_BIN")
        overrides = {
            "listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": self.log_dir,
            "tidelog.metrics.listener": "",
            **self.settings,
        }
        return [str(program), "serve", *itertools.chain(*(("--override", f"{k}={v}") for k, v in overrides.items()))]

    def start(self) -> None:
        """Starts the process and returns when it accepts connections."""
        self.directory.mkdir(parents=True, exist_ok=True)
        # The program reads KAFKA_* variables as settings; what this machine happens to have there is none of them.
        inherited = os.environ.items()
        if "COMPAT_BROKER" not in os.environ:
            inherited = ((name, value) for name, value in inherited if not name.startswith("KAFKA_"))
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(inherited)
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"the broker exited with {self.process.returncode}\n{self.tail()}")
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail(f"the broker did not listen on {self.bootstrap} within 60 s\n{self.tail()}")

    def kill(self) -> None:
        """SIGKILL: no handler of the broker's runs."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, as a supervisor stops it; returns the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the broker was still running 30 s after SIGTERM\n{self.tail()}")

    def tail(self) -> str:
        text = self.log_file.read_bytes() if self.log_file.exists() else b""
        return text[-4000:].decode(errors="replace")


class ExternalBroker:
    """A broker that somebody else started and that this suite leaves running."""

    def __init__(self, bootstrap: str):
        self.bootstrap = bootstrap


@contextmanager
def shared_broker(directory: Path, settings: dict | None = None):
    """A broker that many scenarios share and none of them stops: the one named from outside, or one of our own."""
    address = os.environ.get("KAFKA_BOOTSTRAP")
    if address:
        yield ExternalBroker(address)
        return
    own = Broker(directory, settings=settings or {})
    own.start()
    yield own
    died = own.process.poll()
    if died is not None:
        pytest.fail(f"the broker had exited with {died} before the scenarios were over\n{own.tail()}")
    own.stop()
    shutil.rmtree(own.log_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """The broker that all scenarios share, except those that stop it."""
    with shared_broker(tmp_path_factory.mktemp("broker")) as shared:
        yield shared


@contextmanager
def running_broker(directory: Path, settings: dict | None = None):
    """A running broker for one scenario, which may kill and start it again."""
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("a broker that this suite did not start is not killed")
    own = Broker(directory, settings=settings or {})
    own.start()
    yield own
    if own.process.poll() is None:
        own.kill()
    shutil.rmtree(own.log_dir, ignore_errors=True)


@pytest.fixture
def own_broker(tmp_path):
    """A running broker for one scenario, which may kill and start it again."""
    with running_broker(tmp_path / "broker") as own:
        yield own


_numbers = itertools.count(1)


def topic_maker(bootstrap: str):
    """A function that creates a topic with a name of its own, without retention by time, and returns the name."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})

    def create(label: str, partitions: int = flights.PARTITIONS, config: dict | None = None) -> str:
        name = f"{label}-{os.getpid()}-{next(_numbers)}"
        # Flights of 2013 are older than any retention by time, and would rightly be deleted at its next check.
        settings = {"retention.ms": "-1", **(config or {})}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings)
        admin.create_topics([topic], operation_timeout=30)[name].result(60)
        return name

    return create


@pytest.fixture(scope="session")
def new_topic(broker):
    """A function that creates a topic on the shared broker and returns its name; see `topic_maker`."""
    return topic_maker(broker.bootstrap)


@pytest.fixture(scope="session")
def full_set(tmp_path_factory) -> flights.DataSet:
    """All 336,776 flights."""
    return flights.build(tmp_path_factory.mktemp("flights") / "full", flights.FULL)


@pytest.fixture(scope="session")
def small_set(tmp_path_factory) -> flights.DataSet:
    """The first 20,000 flights."""
    return flights.build(tmp_path_factory.mktemp("flights") / "small", flights.SLICE)


def assert_read_back(data: flights.DataSet, actual: Path, *, timestamps: tuple[int, int] | None = None) -> None:
    """Every record of `data`, byte for byte, in order and at the offset it must have, and nothing else."""
    differences = [
        found
        for partition in range(flights.PARTITIONS)
        if (found := flights.difference(data.expected / f"{partition}.tsv", actual / f"{partition}.tsv", timestamps=timestamps))
    ]
    assert not differences, "\n".join(differences)


@pytest.fixture(scope="session")
def kafka_libs() -> Path:
    """The jars of Apache Kafka's clients and tools."""
    return kafka_jars()


@pytest.fixture(scope="session")
def java(kafka_libs):
    """A function that gives the command line for a class, or for a source file of ours."""

    def command(what: str | Path, *arguments) -> list:
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={kafka_libs / 'log4j2.xml'}"]
        return ["java", *options, "-cp", f"{kafka_libs / 'libs'}/*", what, *arguments]

    return command


@pytest.fixture(scope="session")
def java_class(java, kafka_libs):
    """A function (name) that gives the command line for a program of ours, compiled once.

    A JVM that compiles its source first takes twice as long to start, and some scenarios start many. `libs` names
    another folder of jars than that of Kafka's clients and tools, under the name that the compiled program is kept by.
    """

    def command(name: str, libs: Path = kafka_libs / "libs", variant: str = "", pom: str = "pom.xml") -> list:
        sources = [HERE / "java" / file for file in (f"{name}.java", pom)]

        def install(folder: Path) -> None:
            run(["javac", "-cp", f"{libs}/*", "-d", folder, sources[0]])

        folder = kept(f"java-{name.lower()}{variant}", sources, install)
        line = java(name)
        line[line.index("-cp") + 1] = f"{folder}:{libs}/*"
        return line

    return command


@contextmanager
def tools_of(bootstrap: str, command: list, log: Path):
    """A function that runs one of Kafka's command-line tools and returns what it printed.

    With `fails`, the tool has to end with a failure; otherwise with success. All of them run in one JVM, whose `command`
    is that of the program Tools.
    """
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8"
        )

    def call(name: str, *arguments, fails: bool = False) -> str:
        words = [name, "--bootstrap-server", bootstrap, *map(str, arguments)]
        process.stdin.write("\t".join(words) + "\n")
        process.stdin.flush()
        printed = ""
        for line in process.stdout:
            if line.startswith("\0"):
                status = int(line[1:])
                assert (status != 0) == fails, f"{' '.join(words)}\nended with {status}\n{printed}"
                return printed
            printed += line
        pytest.fail(f"{' '.join(words)}\nended the JVM\n{printed}\n{log.read_text()}")

    yield call
    process.stdin.close()
    process.wait(timeout=30)


@pytest.fixture(scope="session")
def kafkajs() -> Path:
    """The program's folder with its node_modules."""
    sources = [HERE / "kafkajs" / name for name in ("package.json", "package-lock.json", "flights.js", "member.js")]

    def install(folder: Path) -> None:
        for source in sources:
            shutil.copy(source, folder)
        run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, timeout=600)

    return kept("kafkajs", sources, install)


@pytest.fixture(scope="session")
def franz_go() -> Path:
    """The program, compiled."""
    sources = [HERE / "franz-go" / name for name in ("go.mod", "go.sum", "main.go")]

    def install(folder: Path) -> None:
        run(["go", "build", "-o", folder / "flights", "."], cwd=HERE / "franz-go", timeout=900)

    return kept("franz-go", sources, install) / "flights"


@pytest.fixture(scope="session")
def krafka() -> Path:
    """The program, compiled."""
    sources = [HERE / "krafka" / name for name in ("Cargo.toml", "Cargo.lock", "src/main.rs", "src/bin/member.rs", "src/bin/transactions.rs")]

    def install(folder: Path) -> None:
        # Built in a cache of its own: the broker's target folder has other features and its own lock.
        target = HOME / "krafka-target"
        environment = {"CARGO_TARGET_DIR": str(target)}
        manifest = HERE / "krafka" / "Cargo.toml"
        run(["cargo", "build", "--release", "--locked", "--manifest-path", manifest], timeout=1800, env=environment)
        for program in ("flights", "member", "transactions"):
            shutil.copy(target / "release" / program, folder)

    return kept("krafka", sources, install) / "flights"


@pytest.fixture(scope="session")
def python_client():
    """A function that gives the command line for one of the Python programs."""
    return lambda name, *arguments: [sys.executable, HERE / name / "flights_client.py", *arguments]
