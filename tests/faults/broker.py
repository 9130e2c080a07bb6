"""A broker process that things are done to."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from packages import free_port

from faults.disk import Disk, freeze
from faults.wire import Client

HERE = Path(__file__).resolve().parent
PROGRAM = Path(os.environ.get("TIDELOG_BIN", HERE.parents[1] / "bin" / "tidelog"))


class Ended(AssertionError):
    """The broker exited though it should be there."""


@dataclass
class Broker:
    """Its data is in `data`, or on `disk`; what it logs is in `directory`, which no fault reaches."""

    directory: Path
    disk: Disk | None = None
    settings: dict = field(default_factory=dict)
    # What the program is run by: strace with its arguments, prlimit.
    prefix: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)
    # A file that may not grow is then an error of the write, and not the end of the process.
    ignore_file_size_signal: bool = False
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def data(self) -> Path:
        return (self.disk.path if self.disk else self.directory) / "data"

    @property
    def log(self) -> Path:
        return self.directory / "broker.log"

    def command(self) -> list[str]:
        overrides = {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "log.dirs": self.data,
            "tidelog.metrics.listener": f"127.0.0.1:{self.metrics_port}",
            "auto.create.topics.enable": "false",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
            # The disks here are small.
            "log.segment.delete.delay.ms": 1000,
            **self.settings,
        }
        words = [*self.prefix, PROGRAM, "serve", *itertools.chain(*(("--override", f"{k}={v}") for k, v in overrides.items()))]
        return [str(word) for word in words]

    def spawn(self) -> None:
        """Starts the process, and does not wait."""
        assert PROGRAM.exists(), f"{PROGRAM} does not exist: run `make build`, or set TIDELOG_BIN"
        # The program reads KAFKA_* variables as settings; what this machine happens to have there is none of them.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=inherited | self.environment,
                # With a program in front of it, a signal must reach both; and none of them the tests.
                start_new_session=True,
                # Python itself ignores SIGXFSZ; otherwise the default is put back.
                restore_signals=not self.ignore_file_size_signal,
            )  # fmt: skip

    def start(self, patience: float = 60) -> None:
        """Starts the process and returns when it answers a request."""
        self.spawn()
        self.await_answer(patience)

    def await_answer(self, patience: float = 60) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Ended(f"the broker exited with {self.process.returncode}\n{self.tail()}")
            try:
                with Client(self.port, timeout=10) as client:
                    client.topics()
                    return
            except OSError:
                time.sleep(0.01)
        raise Ended(f"the broker did not answer within {patience} s\n{self.tail()}")

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def pid(self) -> int:
        """Of the broker itself, also where another program runs it."""
        if not self.prefix:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else self.process.pid

    def kill(self) -> None:
        """SIGKILL: no handler of the broker's runs."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def stop(self, patience: float = 30) -> int:
        """SIGTERM, as a supervisor stops it; returns the exit status."""
        os.kill(self.pid(), signal.SIGTERM)
        return self.process.wait(timeout=patience)

    def lose_power(self, flag: int) -> None:
        """The power goes while the broker runs, and comes back; the broker does not."""
        freeze(self.process)
        self.disk.cut_power(flag)
        self.kill()
        self.disk.restore_power()

    def tail(self) -> str:
        text = self.log.read_bytes() if self.log.exists() else b""
        return text[-4000:].decode(errors="replace")

    def log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def logged_since(self, position: int) -> str:
        return self.log.read_bytes()[position:].decode(errors="replace")

    def client(self, timeout: float = 30) -> Client:
        return Client(self.port, timeout)

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return {name: float(number) for name, number in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}

    def partition(self, topic: str, index: int = 0) -> Path:
        return self.data / f"{topic}-{index}"

    def remove(self) -> None:
        """Ends the process, and its files are gone."""
        if self.is_running():
            self.kill()
        if self.disk:
            self.disk.unmount()
            self.disk.image.unlink(missing_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)
