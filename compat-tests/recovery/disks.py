"""A broker on a file system of its own: small enough to fill, and one whose power can be cut.

The disk is the fault harness's (`tests/faults/disk.py`). Where there can be none, the scenarios are skipped and say why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import Broker
from faults.disk import FLUSH_JOURNAL, FLUSH_NOTHING, Disk, freeze

__all__ = ["FLUSH_JOURNAL", "FLUSH_NOTHING", "BrokerOnDisk", "Disk", "broker_on_disk"]


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
        """The power goes while the broker runs."""
        freeze(self.process)
        self.disk.cut_power(flag)
        self.kill()
        self.disk.restore_power()


def broker_on_disk(directory: Path, megabytes: int, settings: dict | None = None):
    """Generator for a fixture: a running broker on a new disk, and everything gone afterwards."""
    if missing := Disk.missing():
        pytest.skip(missing)
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
