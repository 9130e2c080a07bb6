"""Faults at system calls, by strace: the process is killed at the n-th, or the n-th fails, lies or takes long.

strace counts for each thread on its own. The broker gets one worker thread, so what the workers do has one count; its
other threads have few calls each.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

ONE_WORKER = {"TOKIO_WORKER_THREADS": "1"}
# Whatever changes a file or a directory, or makes that durable. Opening is watched for its own sake.
CHANGES = (
    "write", "pwrite64", "pwritev", "writev", "fdatasync", "fsync", "syncfs", "sync_file_range", "ftruncate", "fallocate",
    "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "rmdir", "link", "linkat",
)  # fmt: skip


def required() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace not found")
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"nothing may be traced here: {tried.stderr.strip()}")


def counting(output: Path, calls) -> list[str]:
    """A prefix that writes down calls; see `counted`."""
    return ["strace", "-f", "-qq", "-o", str(output), "-e", f"trace={','.join(calls)}"]


def counted(output: Path) -> dict[str, int]:
    """The most calls of each kind that one thread made."""
    found = Counter()
    for line in output.read_text(errors="replace").splitlines():
        if begun := re.match(r"(\d+)\s+(\w+)\(", line):
            found[begun.groups()] += 1
    most: dict[str, int] = {}
    for (_, call), times in found.items():
        most[call] = max(most.get(call, 0), times)
    return most


def injecting(*faults: str, path: Path | None = None, follow: Path | None = None) -> list[str]:
    """A prefix with faults such as `fdatasync:error=EIO:when=3`. With `path`, only calls on that file count."""
    calls = ",".join(fault.split(":", 1)[0] for fault in faults)
    words = ["strace", "-f", "-qq", "-o", str(follow or "/dev/null"), "-e", f"trace={calls}", "-e", "signal=none"]
    if path is not None:
        words += ["-P", str(path)]
    for fault in faults:
        words += ["-e", f"inject={fault}"]
    return words


@contextmanager
def attached(broker, *faults: str, path: Path | None = None, patience: float = 20):
    """Faults such as `fdatasync:error=EIO:when=1` in a broker that runs, from here on and until the end of the block. With
    `path`, only in calls on that file."""
    required()
    calls = ",".join(fault.split(":", 1)[0] for fault in faults)
    words = ["strace", "-f", "-p", str(broker.pid()), "-o", "/dev/null", "-e", f"trace={calls}", "-e", "signal=none"]
    words += ["-P", str(path)] if path else []
    for fault in faults:
        words += ["-e", f"inject={fault}"]
    told = broker.directory / "strace.log"
    with open(told, "wb") as log:
        tracer = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + patience
        while b"attached" not in told.read_bytes():
            assert tracer.poll() is None and time.monotonic() < deadline, f"strace does not attach: {told.read_text()}"
            time.sleep(0.01)
        # It has said so of the first thread; the others follow at once.
        time.sleep(0.1)
        yield
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=60)
