"""Moving in: what Apache Kafka holds is what Tidelog serves after `tidelog import kafka`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from conftest import HERE, NOT_OURS, Broker, tools_of
from migration import source

pytestmark = pytest.mark.skipif(NOT_OURS, reason="data is moved into Tidelog, not into another broker")


def program() -> Path:
    return Path(os.environ.get("TIDELOG_BIN", HERE.parent / "bin" / "tidelog"))


def tidelog(*words) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    return subprocess.run([str(program()), *map(str, words)], capture_output=True, text=True, timeout=120, env=clean, stdin=subprocess.DEVNULL)


def described(printed: str) -> list[tuple]:
    """The rows of `kafka-consumer-groups --describe`: group, topic, partition and committed offset."""
    rows = [line.split() for line in printed.splitlines()]
    return sorted(tuple(row[:4]) for row in rows if len(row) >= 7 and row[0] != "GROUP")


def listed(printed: str) -> list[tuple]:
    rows = [line.split() for line in printed.splitlines()]
    return sorted((row[0], row[1].lower()) for row in rows if len(row) >= 2 and row[0] != "GROUP")


GROUPS = ("of-classic", "of-consumer", "by-hand", "in-transactions")
GROUP_COMMAND = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


def told_of_groups(bootstrap: str, java_class, log: Path) -> tuple[list, list]:
    with tools_of(bootstrap, java_class("Tools"), log) as tool:
        kinds = listed(tool(GROUP_COMMAND, "--list", "--type"))
        offsets = [row for group in GROUPS for row in described(tool(GROUP_COMMAND, "--describe", "--group", group, "--offsets"))]
    return [row for row in kinds if row[0] in GROUPS], offsets


@pytest.fixture(scope="module")
def kafka(tmp_path_factory, java, java_class):
    """A stopped Apache Kafka that was filled, and what was read from it."""
    broker = source.ApacheKafka(tmp_path_factory.mktemp("kafka") / "kafka", java=java)
    broker.start()
    try:
        source.fill(broker.bootstrap, broker.log_dir)
        expected = {isolation: source.records(broker.bootstrap, isolation) for isolation in (source.COMMITTED, source.UNCOMMITTED)}
        broker.told = expected, source.configs(broker.bootstrap), source.topic_ids(broker.bootstrap)
        broker.groups = told_of_groups(broker.bootstrap, java_class, broker.directory / "groups.log")
    finally:
        broker.stop()
    assert (broker.log_dir / ".kafka_cleanshutdown").exists(), broker.tail()
    return broker


def imported(kafka, directory: Path, *words) -> tuple[Broker, dict]:
    broker = Broker(directory, settings={"node.id": 1, "group.initial.rebalance.delay.ms": 0, "log.retention.check.interval.ms": 3600000})
    done = tidelog("import", "kafka", "--from", kafka.log_dir, "--data", broker.log_dir, "--json", *words)
    assert done.returncode == 0, done.stderr
    return broker, json.loads(done.stdout)


def without_refused(configs: dict, report: dict) -> dict:
    """The settings that are to be expected: those the report does not name."""
    kept = {topic: dict(own) for topic, own in configs.items()}
    for left in report["left_out"]:
        if found := re.fullmatch(r"(\S+)=(\S*) of topic (\S+)", left["what"]):
            key, value, topic = found.groups()
            assert kept[topic].pop(key) == value
            if key == "cleanup.policy":
                kept[topic][key] = ""
    return kept


@pytest.mark.parametrize("words", [(), ("--hard-link",)], ids=["copied", "linked"])
def test_everything_is_served_as_kafka_served_it(kafka, tmp_path, java_class, words):
    before = {path: path.read_bytes() for path in kafka.log_dir.rglob("*") if path.is_file()}
    broker, report = imported(kafka, tmp_path / "tidelog", *words)
    assert report["topics"] == len(source.TOPICS) + 1 and report["clean"] and not report["dry_run"]
    assert report["shared_bytes"] > 0 if words else report["shared_bytes"] == 0
    assert report["aborted_transactions"] == 1 and report["pending_offsets"] == 1
    broker.start()
    try:
        read, configs, ids = kafka.told
        assert source.topic_ids(broker.bootstrap) == ids
        assert source.configs(broker.bootstrap) == without_refused(configs, report)
        # The transaction that was open is aborted by the start: its records were never committed.
        deadline = time.monotonic() + 30
        while (found := source.records(broker.bootstrap, source.COMMITTED)) != read[source.COMMITTED] and time.monotonic() < deadline:
            time.sleep(0.5)
        assert found == read[source.COMMITTED]
        assert source.records(broker.bootstrap, source.UNCOMMITTED) == read[source.UNCOMMITTED]
        kinds, offsets = kafka.groups
        here = told_of_groups(broker.bootstrap, java_class, tmp_path / "groups.log")
        assert here == (kinds, [row for row in offsets if row[1] != "again"])
        _goes_on(broker.bootstrap)
    finally:
        broker.stop()
    # Kafka's own files are as they were.
    assert {path: path.read_bytes() for path in kafka.log_dir.rglob("*") if path.is_file()} == before
    verified = tidelog("log", "verify", "--data", broker.log_dir)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _goes_on(bootstrap: str) -> None:
    """Producers, transactions and groups go on where Kafka left them."""
    from confluent_kafka import Consumer, Producer

    for name in ("first", "left-open", "new"):
        writer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name})
        writer.init_transactions(30)
        writer.begin_transaction()
        writer.produce("transactional", partition=1, key=b"after", value=name.encode())
        writer.commit_transaction(30)
    for protocol in ("classic", "consumer"):
        member = Consumer({
            "bootstrap.servers": bootstrap, "group.id": f"of-{protocol}", "group.protocol": protocol, "auto.offset.reset": "error",
            "enable.auto.commit": False,
        })  # fmt: skip
        member.subscribe(["plain", "segments"])
        deadline = time.monotonic() + 60
        while not member.assignment() and time.monotonic() < deadline:
            member.poll(0.5)
        seen = [(message.topic(), message.offset()) for message in member.consume(50, 5) if not message.error()]
        assert len(member.assignment()) == 4 and seen
        member.close()


def test_a_dry_run_changes_nothing_and_says_the_same(kafka, tmp_path):
    _, would = imported(kafka, tmp_path / "a", "--dry-run")
    assert not (tmp_path / "a" / "data").exists()
    _, did = imported(kafka, tmp_path / "b")
    assert would | {"dry_run": False} == did


def test_what_must_not_be_imported_is_refused(kafka, tmp_path):
    def refused(*words) -> str:
        done = tidelog("import", "kafka", "--from", kafka.log_dir, "--data", tmp_path / "data", *words)
        assert done.returncode == 1 and not done.stdout
        return done.stderr

    mark = kafka.log_dir / ".kafka_cleanshutdown"
    content = mark.read_bytes()
    mark.unlink()
    try:
        assert "did not stop in order" in refused()
        broker, report = imported(kafka, tmp_path / "unclean", "--unclean")
        assert not report["clean"] and not (broker.log_dir / ".kafka_cleanshutdown").exists()
        broker.start()
        try:
            assert source.records(broker.bootstrap, source.UNCOMMITTED) == kafka.told[0][source.UNCOMMITTED]
        finally:
            broker.stop()
    finally:
        mark.write_bytes(content)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "something").touch()
    assert "the target must be new" in refused()
    (tmp_path / "data" / "something").unlink()
    kafka.start()
    try:
        assert "a broker is running on it" in refused()
    finally:
        kafka.stop()


def test_an_interrupted_import_is_begun_anew(kafka, tmp_path):
    broker = Broker(tmp_path / "tidelog", settings={"node.id": 1})
    broker.log_dir.mkdir(parents=True)
    (broker.log_dir / ".tidelog-import").touch()
    (broker.log_dir / "plain-0").mkdir()
    (broker.log_dir / "plain-0" / "00000000000000000000.log").write_bytes(b"half")
    started = tidelog("serve", "--override", f"log.dirs={broker.log_dir}", "--override", "listeners=PLAINTEXT://127.0.0.1:0")
    assert started.returncode == 1 and "half imported" in started.stderr
    again, report = imported(kafka, tmp_path / "tidelog")
    assert report["restarted"]
    again.start()
    try:
        assert source.records(again.bootstrap, source.UNCOMMITTED) == kafka.told[0][source.UNCOMMITTED]
    finally:
        again.stop()
