"""Packages of the clients, fetched once and kept outside the checkout. Standard library only: the benchmarks under
`benches/compare` use it as well."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
import socket
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("TIDELOG_COMPAT_HOME", Path.home() / ".cache" / "tidelog-compat"))

# Below the range from which the kernel picks ports for outgoing connections, so that no client's own socket can
# sit on the broker's port while it restarts.
PORTS = itertools.count(21000 + os.getpid() % 4000)


def free_port() -> int:
    for port in PORTS:
        if port >= 32000:
            raise RuntimeError("no free port below 32000")
        with socket.socket() as probe, socket.socket() as next_probe:
            try:
                probe.bind(("127.0.0.1", port))
                # Apache Kafka's controller takes the next one.
                next_probe.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        next(PORTS)
        return port
    raise AssertionError("unreachable")


def kept(name: str, sources: list[Path], install) -> Path:
    """A folder under HOME with what `install(folder)` put there, made once per content of `sources`."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = HOME / f"{name}-{digest}"
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            (folder / ".complete").touch()
    return folder


def jars(name: str, pom: Path, *more: Path) -> Path:
    """A folder with the jars that a pom depends on in `libs`, and copies of `more` files."""

    def install(folder: Path) -> None:
        shutil.copy(pom, folder)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'libs'}"]
        subprocess.run(command, cwd=folder, timeout=900, check=True, stdin=subprocess.DEVNULL)
        for file in more:
            shutil.copy(file, folder)

    return kept(name, [pom, *more], install)


def kafka_jars() -> Path:
    """The folder with Apache Kafka's jars (broker, clients and tools) in `libs`, and a logging configuration."""
    return jars("java", HERE / "java" / "pom.xml", HERE / "java" / "log4j2.xml")
