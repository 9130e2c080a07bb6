"""`tidelog key get` says of each key what the topic says: its last record, while updates come in and after restarts."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from compaction.cleaner import DAY_MS, PATIENCE, Table
from compaction.oracle import is_tombstone, key_of, number_of
from compaction.test_flights_table import own_copy
from compaction.updates import updates
from conftest import HERE, NOT_OURS, Broker

FOUND, NOT_FOUND, FAILED = 0, 1, 2
SAMPLES = 60


def program() -> Path:
    return Path(os.environ.get("TIDELOG_BIN", HERE.parent / "bin" / "tidelog"))


@pytest.fixture(autouse=True)
def command_is_there():
    if NOT_OURS:
        pytest.skip("the command is Tidelog's own")
    if subprocess.run([program(), "key", "--help"], capture_output=True, timeout=30).returncode:
        pytest.skip("this program has no such command")


def get(broker: Broker, topic: str, key: str, *words: str) -> tuple[int, bytes, str]:
    command = [program(), "key", "get", topic, key, "--data", broker.log_dir, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


def assert_agrees(table: Table, key: bytes, partition: int, offset: int | None) -> None:
    """The record at the offset is what is known of the key; without one, the key is not there."""
    name = key.decode()
    status, printed, told = get(table.broker, table.topic, name)
    as_json_status, as_json, _ = get(table.broker, table.topic, key.hex(), "--json", "--key-encoding", "hex")
    assert status == as_json_status, (name, status, as_json_status, told)
    line = None if offset is None else table.written.records[partition][offset]
    if line is None or is_tombstone(line):
        assert status == NOT_FOUND and printed == b"", (name, status, printed[:200], told)
        return
    timestamp, _, header, value = line.split(b"\t", 3)
    assert status == FOUND and printed == value + b"\n", (name, status, printed[:200], told)
    assert json.loads(as_json) == {
        "topic": table.topic, "partition": partition, "offset": offset, "timestamp": int(timestamp), "value": value.decode(),
        "headers": [{"key": "row", "value": header.decode()}],
    }  # fmt: skip


def assert_all_agree(table: Table, chance: random.Random) -> None:
    last = {key: (partition, offset) for partition in range(table.partitions) for key, offset in table.written.last(partition).items()}
    deleted = [key for key, (partition, offset) in last.items() if is_tombstone(table.written.records[partition][offset])]
    assert deleted
    for key in [*chance.sample(sorted(last), SAMPLES), *chance.sample(deleted, min(10, len(deleted)))]:
        assert_agrees(table, key, *last[key])
    assert_agrees(table, b"no such key", 0, None)


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    return random.Random(seed)


def test_flights_and_restarts(own_broker, own_table, clients, small_table, chance, tmp_path):
    table = own_table("keys", 2, segment_ms=DAY_MS, delete_retention_ms=0)
    clients.write("java", own_broker.bootstrap, table.topic, "zstd", own_copy(small_table, tmp_path / "input"), table.written)
    # At once, whether the index has caught up or not; then with everything cleaned, and tombstones gone.
    assert_all_agree(table, chance)
    table.roll()
    table.await_emptied()
    assert_all_agree(table, chance)
    for stop in (own_broker.stop, own_broker.kill):
        stop()
        status, printed, told = get(own_broker, table.topic, "N14228")
        assert status == FAILED and printed == b"" and "start the broker" in told, (status, printed, told)
        own_broker.start()
        assert_all_agree(table, chance)
    # What was lost of the index is made again.
    own_broker.stop()
    index = own_broker.log_dir / "key-index"
    assert index.is_dir()
    subprocess.run(["rm", "-r", index], check=True)
    own_broker.start()
    assert_all_agree(table, chance)


def test_while_updates_come_in(own_broker, own_table, chance, tmp_path):
    """What is asked for is at least as new as the last update that was acknowledged before, and no newer than what was sent."""
    table = own_table("busy", 2, segment_ms=DAY_MS, delete_retention_ms=0)
    answers = []
    with updates(tmp_path, own_broker.bootstrap, table.topic, 2) as load:
        load.wait_for(2_000, "the first question")
        started = time.monotonic()
        while time.monotonic() - started < 5:
            before = load.count()
            key = b"key-%d" % chance.randrange(100)
            partition = chance.randrange(2)
            status, printed, told = get(own_broker, table.topic, key.decode(), "--json", "--partition", str(partition))
            answers.append((before, key, partition, status, printed, told))
        load.finish()
    promised = load.promised()
    for partition, offset, line in promised:
        table.written.put(partition, offset, line)
    assert len(answers) > 10
    for before, key, partition, status, printed, told in answers:
        assert status in (FOUND, NOT_FOUND), (key, status, told)
        known = [number_of(line) for of, _, line in promised[:before] if of == partition and key_of(line) == key]
        found = json.loads(printed)
        if found is None:
            # No record at all, or a tombstone that is gone: then that was the last.
            assert not known or is_tombstone(line_of(table, partition, key, known[-1])) or deleted_later(table, partition, key, known[-1])
            continue
        line = table.written.records[partition][found["offset"]]
        assert key_of(line) == key and (found["value"] is None) == is_tombstone(line) == (status == NOT_FOUND), (key, found, line[:80])
        assert not known or number_of(line) >= known[-1], f"{key!r}: {number_of(line)} after {known[-1]} was acknowledged"


def line_of(table: Table, partition: int, key: bytes, number: int) -> bytes:
    return next(line for line in table.written.records[partition].values() if number_of(line) == number and key_of(line) == key)


def deleted_later(table: Table, partition: int, key: bytes, number: int) -> bool:
    return any(
        key_of(line) == key and number_of(line) > number and is_tombstone(line) for line in table.written.records[partition].values()
    )


def test_what_cannot_be_told(own_broker, own_table, tmp_path):
    plain = own_table("plain", 1, cleanup_policy="delete")
    off = own_table("off", 1, **{"tidelog.key.index.enable": "false"})
    off.write([(0, b"1000\tkey\t0\tvalue")])
    for topic, words, complaint in (
        ("missing", (), "there is no topic"),
        (plain.topic, (), plain.topic),
        (off.topic, (), "the key index is off"),
        (off.topic, ("--key-encoding", "hex"), "hexadecimal"),
    ):
        status, printed, told = get(own_broker, topic, "key", *words)
        assert status == FAILED and printed == b"" and complaint in told, (topic, status, printed, told)
    # A switch that is turned on later is enough.
    off.alter(**{"tidelog.key.index.enable": "true"})
    deadline = time.monotonic() + PATIENCE
    while get(own_broker, off.topic, "key")[:2] != (FOUND, b"value\n"):
        assert time.monotonic() < deadline, get(own_broker, off.topic, "key")
        time.sleep(0.1)
