"""A file system of its own for a broker: small enough to fill, and one whose power can be cut.

It is ext4 in an image file on a loop device. That needs root and a kernel that mounts it; where either is missing, the
scenarios are skipped and say why.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import Broker

# FS_IOC_SHUTDOWN of the kernel's include/uapi/linux/fs.h (ext4 took it from XFS), and what may be asked of it.
SHUTDOWN = 0x8004587D
# Metadata that is in memory is written to the journal first: the file system knows of files whose data is gone.
FLUSH_JOURNAL = 1
# All that was not synced is gone.
FLUSH_NOTHING = 2
# That of a disk of ordinary size; a small one would get smaller blocks.
BLOCK = 4096


def _run(*command) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise OSError(f"{command[0]} exited with {done.returncode}: {(done.stdout + done.stderr).strip()}")


class Disk:
    """An ext4 file system in `directory`/disk.img, mounted at `directory`/disk."""

    def __init__(self, directory: Path, megabytes: int):
        self.image = directory / "disk.img"
        self.path = directory / "disk"
        self.path.mkdir(parents=True)
        with open(self.image, "wb") as file:
            file.truncate(megabytes << 20)
        # Nothing is kept back for root, whom the broker runs as here: full is full.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-b", BLOCK, self.image)
        self.mounted = False
        self.mount()

    def mount(self) -> None:
        # The loop device goes away by itself with the last user of it.
        _run("mount", "-t", "ext4", "-o", "loop", self.image, self.path)
        self.mounted = True

    def unmount(self) -> None:
        # The process that was killed a moment ago may hold a file for a moment longer.
        deadline = time.monotonic() + 20
        while self.mounted:
            try:
                _run("umount", self.path)
                self.mounted = False
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def cut_power(self, flag: int) -> None:
        """Nothing reaches the disk from here on; what was synced is on it."""
        mount_point = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(mount_point, SHUTDOWN, struct.pack("I", flag))
        finally:
            os.close(mount_point)

    def restore_power(self) -> None:
        """Mounts what is on the disk, as a machine does that starts again."""
        self.unmount()
        self.mount()

    def reserve(self, name: str, megabytes: int) -> Path:
        """A file that takes up room until it is removed."""
        path = self.path / name
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, megabytes << 20)
        return path

    def fill(self, name: str) -> Path:
        """A file that takes up all the room there is, to the last block."""
        path = self.path / name
        with open(path, "wb", buffering=0) as file:
            for piece in (1 << 20, BLOCK):
                try:
                    while True:
                        file.write(bytes(piece))
                        os.fsync(file.fileno())
                except OSError as full:
                    if full.errno != errno.ENOSPC:
                        raise
        return path

    def free_bytes(self) -> int:
        room = os.statvfs(self.path)
        return room.f_bavail * room.f_frsize


@dataclass
class BrokerOnDisk(Broker):
    """A broker whose data is on a disk of its own; its log of what it does is not."""

    disk: Disk = field(kw_only=True)

    @property
    def log_dir(self) -> Path:
        return self.disk.path / "data"

    def admin(self):
        """A new client: what an old one knows of before a restart is not asked for."""
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.bootstrap})

    def create(self, topic: str, partitions: int, **config) -> None:
        from confluent_kafka.admin import NewTopic

        admin = self.admin()
        admin.create_topics([NewTopic(topic, partitions, 1, config=config)], operation_timeout=30)[topic].result(60)

    def lose_power(self, flag: int) -> None:
        """The power goes while the broker runs.

        The process is stopped first, with its system calls under way. A machine without power sends nothing; a
        process that ran on for a moment might, because a sync that meets the shutdown half-way can report success.
        """
        self._freeze()
        self.disk.cut_power(flag)
        self.kill()
        self.disk.restore_power()

    def _freeze(self) -> None:
        """Returns when every thread has stopped, or waits in the kernel for the disk and will stop behind it."""
        self.process.send_signal(signal.SIGSTOP)
        threads, deadline = Path(f"/proc/{self.process.pid}/task"), time.monotonic() + 10
        while True:
            # The state follows the name, which is in parentheses and may have any character in it.
            states = {(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads.iterdir()}
            if states <= {"T", "D"}:
                return
            assert time.monotonic() < deadline, f"the broker's threads do not stop: {states}"


def broker_on_disk(directory: Path, megabytes: int, settings: dict | None = None):
    """Generator for a fixture: a running broker on a new disk, and everything gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    if missing := [name for name in ("mkfs.ext4", "mount", "umount") if not shutil.which(name)]:
        pytest.skip(f"{' and '.join(missing)} not found")
    try:
        disk = Disk(directory, megabytes)
    except OSError as refused:
        pytest.skip(f"no ext4 on a loop device here: {refused}")
    broker = BrokerOnDisk(directory / "broker", disk=disk, settings=settings or {})
    try:
        broker.start()
        yield broker
    finally:
        if broker.process and broker.process.poll() is None:
            broker.kill()
        disk.unmount()
        disk.image.unlink()
