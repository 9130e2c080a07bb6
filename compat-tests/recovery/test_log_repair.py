"""A disk that gave back other bytes than it was given: `tidelog log verify` says where, `tidelog log repair` saves the rest."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from conftest import HERE, NOT_OURS

pytestmark = pytest.mark.skipif(NOT_OURS, reason="the command is Tidelog's own")


def log(broker, *words) -> tuple[int, dict, str]:
    program = os.environ.get("TIDELOG_BIN", HERE.parent / "bin" / "tidelog")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    command = [str(program), "log", words[0], "--data", str(broker.log_dir), "--json", *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean, stdin=subprocess.DEVNULL)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def values(broker, topic: str, isolation: str = "read_committed") -> list[tuple[int, bytes]]:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    consumer = Consumer({
        "bootstrap.servers": broker.bootstrap, "group.id": "reader", "enable.partition.eof": True, "enable.auto.commit": False,
        "isolation.level": isolation, "check.crcs": True,
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found = []
    while True:
        message = consumer.poll(30)
        assert message is not None, "no answer"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            consumer.close()
            return found
        found.append((message.offset(), message.value()))


def test_what_is_sound_is_served_after_a_repair(own_broker):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    broker = own_broker
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    config = {"segment.bytes": "1048576", "retention.ms": "-1"}
    admin.create_topics([NewTopic("t", 1, 1, config=config)], operation_timeout=30)["t"].result(60)
    writer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "w", "linger.ms": 5, "batch.size": 20000})
    writer.init_transactions(30)
    for number in range(30):
        writer.begin_transaction()
        for record in range(80):
            writer.produce("t", value=f"{number} {record} ".encode() * 100)
        writer.abort_transaction(30) if number % 5 == 4 else writer.commit_transaction(30)
    before = values(broker, "t")
    code, _, told = log(broker, "verify")
    assert code == 2 and "stop it first" in told
    assert broker.stop() == 0

    code, seen, _ = log(broker, "verify")
    assert code == 0 and seen["sound"] and seen["findings"] == [] and seen["segments"] >= 2
    assert (broker.log_dir / ".kafka_cleanshutdown").exists(), "to look changes nothing"

    first = sorted((broker.log_dir / "t-0").glob("*.log"))[0]
    whole = bytearray(first.read_bytes())
    at = len(whole) // 2
    whole[at : at + 3] = b"\xff\x00\xff"
    first.write_bytes(whole)
    for index in (broker.log_dir / "t-0").glob("*.txnindex"):
        index.unlink()
    code, seen, _ = log(broker, "verify", "--topic", "t", "--partition", "0")
    assert code == 1
    damage = [found for found in seen["findings"] if found["severity"] == "damage"]
    lost = next(found for found in damage if found["file"].endswith(".log"))
    assert lost["position"] <= at and lost["first_offset"] <= lost["last_offset"]
    code, planned, _ = log(broker, "repair")
    assert code == 1 and planned["findings"] == seen["findings"] and first.read_bytes() == whole

    code, done, _ = log(broker, "repair", "--yes")
    assert code == 0 and done["repaired"] and len(done["kept"]) == 1
    code, seen, _ = log(broker, "verify")
    assert code == 0, seen
    assert not (broker.log_dir / ".kafka_cleanshutdown").exists(), "the next start verifies"
    broker.start()
    gone = range(lost["first_offset"], lost["last_offset"] + 1)
    assert values(broker, "t") == [(offset, value) for offset, value in before if offset not in gone]
    writer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "w"})
    writer.init_transactions(30)
    writer.begin_transaction()
    writer.produce("t", value=b"after")
    writer.commit_transaction(30)
    assert values(broker, "t")[-1][1] == b"after"
    assert broker.stop() == 0
    assert log(broker, "verify")[0] == 0
