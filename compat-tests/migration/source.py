"""Apache Kafka as the place that data moves in from: the broker, what is written to it, and what is read back.

Everything a migration has to carry over is made here once: all codecs, several segments, a log that was compacted,
transactions of every outcome, groups of both protocols, settings.
"""

from __future__ import annotations

import subprocess
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from conftest import CODECS, Broker

# Small enough that a directory of it can be packed, and the cleaner comes by within the scenario.
SETTINGS = {
    "offsets.topic.num.partitions": 3,
    "transaction.state.log.num.partitions": 2,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "log.cleaner.backoff.ms": 300,
    "log.cleaner.dedupe.buffer.size": 4194304,
    "metadata.log.max.record.bytes.between.snapshots": 3000,
}
COMMITTED, UNCOMMITTED = "read_committed", "read_uncommitted"
TOPICS = {
    "plain": (3, {"retention.ms": "-1"}),
    "segments": (1, {"retention.ms": "-1", "segment.bytes": "1048576", "max.message.bytes": "2000000"}),
    "compacted": (1, {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "500", "delete.retention.ms": "100"}),
    "transactional": (2, {"retention.ms": "-1"}),
    "trimmed": (1, {"retention.ms": "-1"}),
    "configured": (1, {"retention.ms": "86400000", "compression.type": "zstd", "message.timestamp.type": "LogAppendTime", "remote.log.copy.disable": "true"}),
}
# Long ago, so that nothing depends on when the scenario runs.
EPOCH_MS = 1_700_000_000_000


@dataclass
class ApacheKafka(Broker):
    """A single node of Apache Kafka in KRaft mode. `java` gives the command line of a class."""

    java: object = None
    options: dict = field(default_factory=dict)

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / "server.properties"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.port + 1}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self.port + 1}",
            "log.dirs": self.log_dir,
            **SETTINGS,
            **self.options,
        }
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        if not (self.log_dir / "meta.properties").exists():
            cluster = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "A")
            words = self.java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", file, "--standalone")
            subprocess.run([str(word) for word in words], check=True, timeout=120, stdin=subprocess.DEVNULL, capture_output=True)
        super().start()

    def command(self) -> list[str]:
        return [str(word) for word in self.java("kafka.Kafka", self.directory / "server.properties")]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=90)


def fill(bootstrap: str, log_dir: Path) -> None:
    """Writes everything, and waits until the cleaner has been at the compacted topic."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    for name, (partitions, config) in TOPICS.items():
        admin.create_topics([NewTopic(name, partitions, 1, config=config)], operation_timeout=30)[name].result(60)
    # A topic that is gone, and one that was made anew under its name: offsets of the former are nobody's.
    for name in ("gone", "again"):
        admin.create_topics([NewTopic(name, 1, 1)], operation_timeout=30)[name].result(60)
    for codec in CODECS:
        writer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 50})
        for number in range(40):
            headers = [("h", b"1"), ("h", None), ("ü", codec.encode())] if number % 3 == 0 else None
            writer.produce(
                "plain", partition=number % 3, key=None if number % 4 == 0 else f"k{number}".encode(),
                value=None if number % 7 == 0 else f"{codec} {number} ".encode() * 5, headers=headers, timestamp=EPOCH_MS + number * 10,
            )  # fmt: skip
        writer.flush()
    writer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "batch.size": 20000})
    for number in range(2600):
        writer.produce("segments", key=str(number % 10).encode(), value=b"segment " * 130, timestamp=EPOCH_MS + number)
        if number % 100 == 0:
            writer.flush()
    for number in range(20):
        writer.produce("trimmed", value=f"{number}".encode(), timestamp=EPOCH_MS)
        writer.produce("configured", value=f"{number}".encode())
        writer.produce("gone", value=b"x")
        writer.produce("again", value=b"x")
        writer.flush()
    _compacted(writer, log_dir)
    _transactions(bootstrap)
    _groups(bootstrap)
    from confluent_kafka import TopicPartition

    admin.delete_records([TopicPartition("trimmed", 0, 7)])
    for name in ("gone", "again"):
        admin.delete_topics([name], operation_timeout=30)[name].result(60)
    time.sleep(1)
    admin.create_topics([NewTopic("again", 1, 1)], operation_timeout=30)["again"].result(60)
    time.sleep(2)


def _compacted(writer, log_dir: Path) -> None:
    for round_ in range(6):
        for key in range(30):
            value = None if round_ == 4 and key % 5 == 0 else f"round {round_} of {key}".encode()
            writer.produce("compacted", key=f"key{key}".encode(), value=value, timestamp=int(time.time() * 1000))
        writer.flush()
        time.sleep(0.7)
    deadline = time.monotonic() + 60
    checkpoint = log_dir / "cleaner-offset-checkpoint"
    while time.monotonic() < deadline:
        if checkpoint.exists() and any(line.startswith("compacted 0 ") and int(line.split()[2]) >= 100 for line in checkpoint.read_text().splitlines()):
            return
        writer.produce("compacted", key=b"late", value=str(time.time()).encode())
        writer.flush()
        time.sleep(0.7)
    raise AssertionError("the cleaner did not come by")


def _transactions(bootstrap: str) -> None:
    from confluent_kafka import Consumer, Producer, TopicPartition

    def writer(name: str) -> Producer:
        made = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "linger.ms": 5})
        made.init_transactions(30)
        return made

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "in-transactions", "enable.auto.commit": False})
    consumer.assign([TopicPartition("plain", 0, 0), TopicPartition("plain", 1, 0)])
    consumer.poll(10)
    of = consumer.consumer_group_metadata()
    first, second = writer("first"), writer("second")
    for number, (of_writer, commits) in enumerate([(first, True), (second, False), (first, False), (second, True), (first, True)]):
        of_writer.begin_transaction()
        for record in range(8):
            of_writer.produce("transactional", partition=record % 2, key=f"{number}".encode(), value=f"{commits} {record}".encode(), timestamp=EPOCH_MS)
        of_writer.send_offsets_to_transaction([TopicPartition("plain", 0, 3 + number), TopicPartition("plain", 1, 1)], of, 30)
        of_writer.commit_transaction(30) if commits else of_writer.abort_transaction(30)
    # Two at a time, so that the end of one lies within the other; and one that nobody ends.
    first.begin_transaction(), second.begin_transaction()
    for record in range(4):
        first.produce("transactional", partition=0, value=f"outer {record}".encode(), timestamp=EPOCH_MS)
        first.flush()
        second.produce("transactional", partition=0, value=f"inner {record}".encode(), timestamp=EPOCH_MS)
        second.flush()
    second.abort_transaction(30)
    first.commit_transaction(30)
    left = writer("left-open")
    left.begin_transaction()
    left.produce("transactional", partition=1, value=b"nobody ends this", timestamp=EPOCH_MS)
    left.send_offsets_to_transaction([TopicPartition("plain", 2, 2)], of, 30)
    left.flush()
    _kept.append(left)
    consumer.close()


# A producer that is forgotten aborts its transaction.
_kept: list = []


def _groups(bootstrap: str) -> None:
    from confluent_kafka import Consumer, TopicPartition

    for protocol in ("classic", "consumer"):
        member = Consumer({
            "bootstrap.servers": bootstrap, "group.id": f"of-{protocol}", "group.protocol": protocol,
            "enable.auto.commit": False, "auto.offset.reset": "earliest",
        })  # fmt: skip
        member.subscribe(["plain", "segments"])
        seen, deadline = 0, time.monotonic() + 60
        while seen < 500 and time.monotonic() < deadline:
            seen += len(member.consume(100, 1))
        assert seen >= 500, "the group read nothing"
        member.commit(asynchronous=False)
        member.close()
    by_hand = Consumer({"bootstrap.servers": bootstrap, "group.id": "by-hand", "enable.auto.commit": False})
    commits = [TopicPartition("plain", 2, 5, metadata="mine"), TopicPartition("gone", 0, 5), TopicPartition("again", 0, 5)]
    by_hand.commit(offsets=commits, asynchronous=False)
    by_hand.commit(offsets=[TopicPartition("plain", 2, 6, metadata="mine again")], asynchronous=False)
    by_hand.close()


def records(bootstrap: str, isolation: str) -> dict[str, list[tuple]]:
    """Every record of every topic, by partition: offset, timestamp and its type, key, value, headers."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    read: dict[str, list[tuple]] = {}
    for topic, (partitions, _) in {**TOPICS, "again": (1, {})}.items():
        for partition in range(partitions):
            consumer = Consumer({
                "bootstrap.servers": bootstrap, "group.id": "nobody", "isolation.level": isolation, "enable.auto.commit": False,
                "enable.partition.eof": True, "check.crcs": True, "auto.offset.reset": "error",
            })  # fmt: skip
            low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
            found = read[f"{topic}-{partition} from {low}"] = []
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                message = consumer.poll(5)
                if message is None:
                    continue
                if message.error():
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                    break
                found.append((message.offset(), message.timestamp(), message.key(), message.value(), message.headers()))
            else:
                raise AssertionError(f"{topic}-{partition} has no end")
            consumer.close()
    return read


def configs(bootstrap: str) -> dict[str, dict[str, str]]:
    """The settings that each topic has of its own."""
    from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource

    admin = AdminClient({"bootstrap.servers": bootstrap})
    asked = admin.describe_configs([ConfigResource("TOPIC", name) for name in [*TOPICS, "again"]])
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {of.name: {key: entry.value for key, entry in told.result(30).items() if entry.source == own} for of, told in asked.items()}


def topic_ids(bootstrap: str) -> dict[str, str]:
    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap})
    told = admin.describe_topics(TopicCollection([*TOPICS, "again"]))
    return {name: str(of.result(30).topic_id) for name, of in told.items()}
