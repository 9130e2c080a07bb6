"""A broker that cleans at once, the programs that write and read compacted topics, and flights as a table."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

import conftest as root
from compaction import flights_table
from compaction.cleaner import Table
from compaction.clients import Clients
from conftest import HERE, TRANSACTION_SETTINGS, run
from packages import kept

# What there is to clean is looked for ten times a second, and is little; old segments are deleted within seconds.
SETTINGS = {
    **TRANSACTION_SETTINGS,
    "log.cleaner.backoff.ms": 100,
    "log.cleaner.min.cleanable.ratio": 0.01,
    "log.segment.bytes": 1 << 20,
    # Of topics that programs make for themselves: what compresses well fills no segment.
    "log.roll.ms": 500,
    "log.retention.check.interval.ms": 500,
}

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """The broker that the scenarios of this folder share."""
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("how far a topic is cleaned is seen in the broker's files")
    with root.shared_broker(tmp_path_factory.mktemp("compaction-broker"), SETTINGS) as shared:
        yield shared


@pytest.fixture
def own_broker(tmp_path):
    """A running broker for one scenario, which may kill and start it again."""
    with root.running_broker(tmp_path / "broker", SETTINGS) as own:
        yield own


def table_maker(of):
    def create(label: str, partitions: int = 2, **config) -> Table:
        return Table(of, f"{label}-{os.getpid()}-{next(_numbers)}", partitions, **config)

    return create


@pytest.fixture(scope="session")
def new_table(broker):
    """A function (label, partitions, configuration) that makes a compacted topic on the shared broker."""
    return table_maker(broker)


@pytest.fixture
def own_table(own_broker):
    """The same on the scenario's own broker."""
    return table_maker(own_broker)


@pytest.fixture(scope="session")
def clients(java_class, tmp_path_factory) -> Clients:
    sources = [HERE / "franz-go" / name for name in ("go.mod", "go.sum", "table/main.go")]

    def install(folder: Path) -> None:
        run(["go", "build", "-o", folder / "table", "./table"], cwd=HERE / "franz-go", timeout=900)

    commands = {
        "confluent-kafka": [sys.executable, HERE / "confluent-kafka" / "table.py"],
        "franz-go": [kept("franz-go-table", sources, install) / "table"],
        "java": java_class("Table"),
    }
    return Clients(commands, tmp_path_factory.mktemp("readings"))


@pytest.fixture(scope="session")
def tool(java_class, broker, tmp_path_factory):
    """A function that runs one of Kafka's command-line tools against the broker; see `root.tools_of`."""
    with root.tools_of(broker.bootstrap, java_class("Tools"), tmp_path_factory.mktemp("tools") / "stderr") as call:
        yield call


@pytest.fixture(scope="session")
def small_table(small_set, tmp_path_factory) -> Path:
    """20,000 flights in two partitions."""
    folder = tmp_path_factory.mktemp("tables") / "small"
    flights_table.build(small_set, folder, 2)
    return folder


@pytest.fixture(scope="session")
def full_table(full_set, tmp_path_factory) -> Path:
    """All flights in four partitions."""
    folder = tmp_path_factory.mktemp("tables") / "full"
    flights_table.build(full_set, folder, 4)
    return folder
