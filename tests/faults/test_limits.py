"""What the system allows: read-only disks, open files, file sizes, and whose directory it is (rows 14, 15, 16 and 19)."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from faults import records
from faults.broker import Broker, Ended
from faults.disk import _run
from faults.script import everything, until_open
from faults.wire import KAFKA_STORAGE_ERROR, LATEST, Client, Refused, until

TOPIC = "limited"


def produce(client: Client, first: int, width: int = 100, topic: str = TOPIC) -> int:
    return client.produce(topic, {0: records.batch("w", first, 1, width)}, timeout_ms=5_000)[0].code


def numbers(client: Client, topic: str = TOPIC) -> list[int]:
    until_open(client, lambda: client.list_offsets(topic, [0], LATEST)[0])
    return [batch.read()[1] for batch in everything(client, topic, 0)]


def refusal(broker: Broker, *words: str) -> None:
    """It does not start, and says why."""
    position = broker.log_size()
    with pytest.raises(Ended):
        broker.start(patience=20)
    told = broker.logged_since(position)
    assert not broker.is_running() and broker.process.returncode not in (0, -6, -11, 101), f"{broker.process.returncode}\n{told}"
    assert "panicked" not in told and all(word in told for word in words), told


# Read-only.


def test_a_read_only_disk_at_start(make_broker):
    broker = make_broker(megabytes=96)
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1)
        assert produce(client, 0) == 0
    assert broker.stop() == 0
    broker.disk.remount("ro")
    refusal(broker, "ead-only")
    broker.disk.remount("rw")
    broker.start()
    with broker.client() as client:
        assert numbers(client) == [0]
        assert produce(client, 1) == 0


def test_a_disk_that_becomes_read_only(make_broker):
    """As ext4 makes it after an error of its own (errors=remount-ro): reads go on, and nothing is acknowledged."""
    broker = make_broker(megabytes=96)
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1)
        assert [produce(client, number) for number in range(3)] == [0] * 3
        _run("mount", "-o", "remount,abort", broker.disk.path)
        codes = [produce(client, number) for number in range(3, 6)]
        assert codes == [KAFKA_STORAGE_ERROR] * 3, f"{codes}\n{broker.tail()}"
        with pytest.raises(Refused) as refused:
            client.create("another", 1)
        assert refused.value.code == KAFKA_STORAGE_ERROR
        assert [batch.read()[1] for batch in everything(client, TOPIC, 0)] == [0, 1, 2]
        assert client.topics().keys() >= {TOPIC}
    broker.kill()
    broker.disk.restore_power()
    broker.start()
    with broker.client() as client:
        found = numbers(client)
        assert found[:3] == [0, 1, 2] and set(found) <= set(range(6)), found
        assert produce(client, 6) == 0


# Open files.


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_no_more_open_files(make_broker):
    """Whoever is connected goes on, also into new segments; nobody spins; and newcomers are served when others have left."""
    broker = make_broker(prefix=["prlimit", "--nofile=160:160"])
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1, {"segment.bytes": 1 << 20})
        client.create("idle", 20)
        assert produce(client, 0) == 0
        crowd = []
        try:
            for _ in range(200):
                crowd.append(Client(broker.port, timeout=2))
            time.sleep(0.5)
            limit = len(os.listdir(f"/proc/{broker.pid()}/fd"))
            assert limit >= 100, f"{limit} files are open"
            began = cpu_s(broker.pid())
            time.sleep(2)
            spent = cpu_s(broker.pid()) - began
            assert spent < 1, f"{spent} s of computing in two seconds of nothing\n{broker.tail()}"
            # Three segments.
            codes = [produce(client, number, 300_000) for number in range(1, 10)]
            assert codes == [0] * 9, f"{codes}\n{broker.tail()}"
            assert [batch.read()[1] for batch in everything(client, TOPIC, 0)] == list(range(10))
            assert len(list(broker.partition(TOPIC).glob("*.log"))) >= 3
            # Logs that are not open cannot all be opened; that is an error, and no end.
            client.produce("idle", {index: records.batch("i", index, 1, 10) for index in range(20)}, timeout_ms=5_000)
            assert produce(client, 10) == 0, broker.tail()
        finally:
            for one in crowd:
                one.close()
        until(broker.port, lambda newcomer: produce(newcomer, 11), patience=20)
    lines = broker.log.read_text().count("\n")
    assert lines < 500, f"the log has {lines} lines about it"


# File sizes: the kernel writes a part, and refuses the rest.


def test_a_write_that_is_cut_short(make_broker):
    """A true short write, in the middle of a batch: nothing of the batch is visible, and nothing before it suffers."""
    broker = make_broker(prefix=["prlimit", "--fsize=200000:unlimited"], ignore_file_size_signal=True)
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1)
        taken = []
        for number in range(60):
            code = produce(client, number, 7_000)
            if code:
                assert code == KAFKA_STORAGE_ERROR, f"{code}\n{broker.tail()}"
                break
            taken.append(number)
        assert 20 < len(taken) < 30
        assert [batch.read()[1] for batch in everything(client, TOPIC, 0)] == taken
        assert broker.is_running()
    broker.kill()
    broker.prefix = []
    broker.start()
    with broker.client() as client:
        assert numbers(client) == taken
        assert produce(client, 100) == 0


# Whose directory.


def test_two_brokers_on_one_directory(make_broker):
    broker = make_broker()
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1)
        second = make_broker()
        shutil.rmtree(second.data, ignore_errors=True)
        second.settings = {"log.dirs": broker.data}
        refusal(second, "in use")
        assert produce(client, 0) == 0 and numbers(client) == [0]
    broker.kill()
    # The lock went with the process.
    broker.start()
    with broker.client() as client:
        assert numbers(client) == [0]


@pytest.fixture
def stopped(make_broker):
    broker = make_broker()
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1)
        assert produce(client, 0) == 0
    assert broker.stop() == 0
    return broker


def assert_unharmed(broker: Broker) -> None:
    broker.start()
    with broker.client() as client:
        assert numbers(client) == [0]


def test_the_directory_of_another_node(stopped):
    stopped.settings = {"node.id": 7}
    refusal(stopped, "7")
    stopped.settings = {}
    assert_unharmed(stopped)


@pytest.mark.parametrize("what", ["cluster", "version"])
def test_the_directory_of_another_cluster_or_a_newer_version(what, stopped):
    properties = stopped.data / "meta.properties"
    kept = properties.read_text()
    changed = re.sub("version=1", "version=9", kept) if what == "version" else re.sub("cluster.id=.*", "cluster.id=AAAAAAAAAAAAAAAAAAAAAA", kept)
    assert changed != kept
    properties.write_text(changed)
    refusal(stopped, "version" if what == "version" else "cluster")
    properties.write_text(kept)
    assert_unharmed(stopped)


@pytest.mark.parametrize("name", ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint", f"{TOPIC}-0/partition.metadata"])
def test_a_file_of_a_newer_version(name, stopped):
    """It is not guessed at, and not overwritten: the broker refuses, or the partition."""
    path = stopped.data / name
    if not path.exists():
        path.write_text("0\n0\n")
    kept = path.read_text()
    newer = kept.replace("version: 0", "version: 9") if "version" in kept else "9" + kept[1:]
    path.write_text(newer)
    try:
        stopped.start(patience=20)
        with stopped.client() as client:
            code = until_open(client, lambda: client.list_offsets(TOPIC, [0], LATEST)[0])[0]
        assert code == KAFKA_STORAGE_ERROR, f"{code}\n{stopped.tail()}"
        stopped.kill()
    except Ended:
        pass
    assert name.rpartition("/")[2] in stopped.tail()
    assert path.read_text() == newer
    path.write_text(kept)
    assert_unharmed(stopped)
