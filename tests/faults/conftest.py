"""Fixtures: brokers that are removed afterwards, unless what was asserted of them failed.

Environment: TIDELOG_BIN is the program under test (default: ../../bin/tidelog), FAULTS_SEED repeats a run's moments,
FAULTS_CUTS says how many times a campaign cuts the power, or kills; FAULTS_ALL=1 tries every point of a sweep instead of
a sample.
"""

from __future__ import annotations

import os
import random
import shutil
import time
import zlib

import pytest

from faults.broker import Broker
from faults.disk import Disk

EVERY_POINT = os.environ.get("FAULTS_ALL") == "1"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.failed = report.failed


@pytest.fixture
def chance(request) -> random.Random:
    """Moments and places; the seed is printed with a failure."""
    seed = int(os.environ.get("FAULTS_SEED", time.time_ns() % 1_000_000))
    print(f"FAULTS_SEED={seed}")
    # Each test has its own, so that one may be repeated alone.
    return random.Random(seed ^ zlib.crc32(request.node.name.encode()))


@pytest.fixture
def make_broker(request, tmp_path):
    """A function that gives a broker that is not running yet; with `megabytes`, on a disk of its own."""
    made: list[Broker] = []

    def make(*, megabytes: int | None = None, **options) -> Broker:
        directory = tmp_path / f"broker-{len(made)}"
        disk = None
        if megabytes is not None:
            if missing := Disk.missing():
                pytest.skip(missing)
            try:
                disk = Disk(directory, megabytes)
            except OSError as refused:
                pytest.skip(f"no ext4 on a loop device here: {refused}")
        broker = Broker(directory, disk=disk, **options)
        made.append(broker)
        return broker

    yield make
    failed = getattr(request.node, "failed", True)
    for broker in made:
        if not failed:
            broker.remove()
            continue
        if broker.is_running():
            broker.kill()
        if broker.disk:
            broker.disk.unmount()
        print(f"kept: {broker.directory} (data, image and log of the broker)")
    if not failed:
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def broker(make_broker) -> Broker:
    """A running broker with its data in a folder."""
    made = make_broker()
    made.start()
    return made


def sample(chance: random.Random, points, count: int) -> list:
    """So many of the points, the first and the last among them; with FAULTS_ALL=1 all of them."""
    points = list(points)
    if EVERY_POINT or len(points) <= count:
        return points
    inner = chance.sample(range(1, len(points) - 1), count - 2)
    return [points[0], *(points[place] for place in sorted(inner)), points[-1]]
