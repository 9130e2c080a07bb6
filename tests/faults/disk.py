"""A file system of its own for a broker: small enough to fill, and one whose power can be cut.

It is ext4 in an image file on a loop device. That needs root and a kernel that mounts it; `Disk.missing` says what is not
there.
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
from pathlib import Path

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

    @staticmethod
    def missing() -> str | None:
        """Why there can be no such disk here, as far as can be told beforehand."""
        if os.geteuid() != 0:
            return "mounting a file system needs root"
        absent = [name for name in ("mkfs.ext4", "mount", "umount") if not shutil.which(name)]
        return f"{' and '.join(absent)} not found" if absent else None

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
                time.sleep(0.02)

    def remount(self, mode: str) -> None:
        """`ro` or `rw`, with everything that has files open on it."""
        _run("mount", "-o", f"remount,{mode}", self.path)

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


def freeze(process: subprocess.Popen) -> None:
    """Returns when every thread of a process has stopped, or waits in the kernel for the disk and will stop behind it.

    A machine without power sends nothing. A process that ran on for a moment might, because a sync that meets the shutdown
    half-way can report success: so it is stopped first, with its system calls under way.
    """
    process.send_signal(signal.SIGSTOP)
    threads, deadline = Path(f"/proc/{process.pid}/task"), time.monotonic() + 10
    while True:
        # The state follows the name, which is in parentheses and may have any character in it.
        states = {(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads.iterdir()}
        if states <= {"T", "D"}:
            return
        assert time.monotonic() < deadline, f"the threads do not stop: {states}"
