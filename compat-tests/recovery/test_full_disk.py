"""A full disk: producers are told to try again, readers read on, and once there is room writing goes on by itself."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from conftest import NOT_OURS
from recovery.disks import BrokerOnDisk, broker_on_disk
from recovery.history import assert_kept, read_all

pytestmark = pytest.mark.skipif(NOT_OURS, reason="another broker may stop when its disk is full, as Apache Kafka does")

PARTITIONS = 2
MEGABYTES = 64
# Digits of a value.
WIDTH = 4_000


@pytest.fixture
def broker(tmp_path):
    yield from broker_on_disk(tmp_path, MEGABYTES)


# Files of deleted segments go at once: room is what this is about.
AT_ONCE = {"file.delete.delay.ms": "0"}


class Writer:
    """Sends numbers to a topic and keeps what was acknowledged and what was refused."""

    def __init__(self, broker: BrokerOnDisk, topic: str, first: int = 0, **settings):
        from confluent_kafka import Producer

        self.topic, self.next = topic, first
        self.acknowledged: list[tuple[int, int, int]] = []
        self.refused: dict[int, object] = {}
        self.producer = Producer({
            "bootstrap.servers": broker.bootstrap, "acks": "all", "linger.ms": 5, "batch.num.messages": 20,
            "message.timeout.ms": 120_000, "retry.backoff.max.ms": 500, "reconnect.backoff.max.ms": 500, **settings,
        })  # fmt: skip

    def send(self, count: int) -> None:
        for number in range(self.next, self.next + count):
            value = b"%0*d" % (WIDTH, number)
            self.producer.produce(self.topic, value, partition=number % PARTITIONS, on_delivery=self._delivered)
        self.next += count

    def _delivered(self, error, message) -> None:
        number = int(message.value())
        if error is None:
            self.acknowledged.append((message.partition(), message.offset(), number))
        else:
            self.refused[number] = error

    def settle(self, seconds: float) -> int:
        """Waits for answers; returns how many records have none."""
        return self.producer.flush(seconds)


def fill(broker: BrokerOnDisk, topic: str, *, to_the_last_block: bool = True) -> Writer:
    """Writes until nothing more is taken. The writer does not try again, so it hears why.

    The broker leaves a reserve for deletions and for its next start; another program takes that, too, unless told not to.
    """
    writer = Writer(broker, topic, retries=0)
    deadline = time.monotonic() + 120
    while True:
        before = len(writer.acknowledged)
        writer.send(100)
        assert writer.settle(30) == 0, f"no answer while the disk fills\n{broker.tail()}"
        if len(writer.acknowledged) == before:
            break
        assert time.monotonic() < deadline, f"the disk does not fill: {broker.disk.free_bytes()} bytes are free"
    # Clients that may try again do so on this error; that they succeed then is seen later.
    codes = Counter(error.name() for error in writer.refused.values())
    assert set(codes) == {"KAFKA_STORAGE_ERROR"}, f"{codes}\n{broker.tail()}"
    assert len(writer.acknowledged) > 1_000
    assert broker.disk.free_bytes() > 2 << 20, "records took the reserve"
    if to_the_last_block:
        broker.disk.fill("last-blocks")
    return writer


def assert_readable(broker: BrokerOnDisk, *writers: Writer) -> None:
    """What was acknowledged is there; what else is there was sent, and sits between without a gap."""
    topic = writers[0].topic
    found = read_all(broker.bootstrap, topic, PARTITIONS, width=WIDTH)
    promised = [entry for writer in writers for entry in writer.acknowledged]
    assert_kept(found, promised)
    # A refusal is final: nothing of such a batch may turn up.
    refused = {number for writer in writers for number in writer.refused}
    returned = [number for records in found.values() for _, number in records if number in refused]
    assert not returned, f"{len(returned)} refused records are there, first {returned[:5]}"
    assert sum(map(len, found.values())) == len(promised)


# One segment that grows until it cannot, and segments that are begun when there is no room for another.
SEGMENTS = pytest.mark.parametrize("segment_bytes", [1 << 30, 1 << 20], ids=["one-segment", "small-segments"])


@SEGMENTS
def test_writing_goes_on_when_there_is_room_again(segment_bytes, broker):
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import NewTopic

    filler = broker.disk.reserve("filler", 16)
    broker.create("filled", PARTITIONS, **AT_ONCE, **{"segment.bytes": str(segment_bytes)})
    refused = fill(broker, "filled")
    assert_readable(broker, refused)

    # Another client waits for room, as clients do that were not told otherwise.
    patient = Writer(broker, "filled", first=refused.next)
    patient.send(200)
    assert patient.settle(3) == 200, f"{patient.acknowledged[:3]} {patient.refused}"
    # Everything else is answered, too: with what there is, or with an error, but in time.
    admin = broker.admin()
    assert set(admin.list_topics(timeout=10).topics) == {"filled"}
    begun = time.monotonic()
    try:
        admin.create_topics([NewTopic("no-room", 50, 1)])["no-room"].result(30)
        pytest.fail("a topic was created on a disk without room")
    except KafkaException as error:
        assert error.args[0].name() == "KAFKA_STORAGE_ERROR", error
    assert time.monotonic() - begun < 15
    assert set(admin.list_topics(timeout=10).topics) == {"filled"}
    assert_readable(broker, refused)
    assert not patient.acknowledged and not patient.refused

    filler.unlink()
    (broker.disk.path / "last-blocks").unlink()
    left = patient.settle(60)
    assert left == 0 and len(patient.acknowledged) == 200, f"{left} {patient.refused}\n{broker.tail()}"
    broker.create("room", 2)
    more = Writer(broker, "filled", first=patient.next)
    more.send(200)
    assert more.settle(30) == 0 and not more.refused, more.refused
    assert_readable(broker, refused, patient, more)


# A setting that may be long, and that one node has no use for.
LONG_SETTING = "leader.replication.throttled.replicas"


def change(broker: BrokerOnDisk, topic: str, mark: int) -> None:
    """Gives the topic a setting of some 15 kB that ends with the mark."""
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    value = ",".join(f"{number}:0" for number in range(2_000)) + f",0:{mark}"
    entry = ConfigEntry(LONG_SETTING, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource("topic", topic, incremental_configs=[entry])
    admin = broker.admin()
    admin.incremental_alter_configs([resource])[resource].result(30)


def exhaust_state_store(broker: BrokerOnDisk, topic: str) -> int:
    """Changes settings until that is refused; returns the last mark that was taken."""
    from confluent_kafka import KafkaException

    # The state store has room of its own reserved, a mebibyte or so.
    for mark in range(1, 1_000):
        try:
            change(broker, topic, mark)
        except KafkaException as error:
            assert error.args[0].name() == "KAFKA_STORAGE_ERROR", error
            return mark - 1
    pytest.fail("the state store grows without room")


def mark_of(broker: BrokerOnDisk, topic: str) -> int:
    from confluent_kafka.admin import ConfigResource

    resource, admin = ConfigResource("topic", topic), broker.admin()
    return int(admin.describe_configs([resource])[resource].result(30)[LONG_SETTING].value.rpartition(":")[2])


def test_settings_on_a_full_disk(broker):
    """They are in the state store, which needs room like anything else: what it took stays, and it goes on by itself."""
    from confluent_kafka import KafkaException

    filler = broker.disk.reserve("filler", 8)
    broker.create("filled", PARTITIONS, **AT_ONCE)
    refused = fill(broker, "filled")
    taken = exhaust_state_store(broker, "filled")
    assert taken and mark_of(broker, "filled") == taken
    assert_readable(broker, refused)

    filler.unlink()
    (broker.disk.path / "last-blocks").unlink()
    deadline = time.monotonic() + 60
    while True:
        try:
            change(broker, "filled", 1_000)
            break
        except KafkaException as error:
            assert error.args[0].name() == "KAFKA_STORAGE_ERROR", error
            assert time.monotonic() < deadline, f"settings stay refused though there is room\n{broker.tail()}"
            time.sleep(0.5)
    broker.create("another", PARTITIONS)
    broker.kill()
    broker.start()
    assert mark_of(broker, "filled") == 1_000
    assert_readable(broker, refused)


@pytest.mark.parametrize("to_the_last_block", [False, True], ids=["by-records", "to-the-last-block"])
def test_deleting_a_topic_makes_room(to_the_last_block, broker):
    """The way out that an operator has without a shell."""
    broker.create("ballast", 1, **AT_ONCE)
    ballast = Writer(broker, "ballast")
    for _ in range(2_000):
        ballast.producer.produce("ballast", bytes(WIDTH), partition=0)
    assert ballast.settle(60) == 0
    broker.create("filled", PARTITIONS, **AT_ONCE)
    refused = fill(broker, "filled", to_the_last_block=to_the_last_block)
    patient = Writer(broker, "filled", first=refused.next)
    patient.send(200)
    assert patient.settle(2) == 200

    admin = broker.admin()
    admin.delete_topics(["ballast"], operation_timeout=30)["ballast"].result(60)
    left = patient.settle(60)
    assert left == 0 and len(patient.acknowledged) == 200, f"{left} {patient.refused}\n{broker.tail()}"
    assert_readable(broker, refused, patient)


@pytest.fixture
def broker_with_retention(tmp_path):
    # Late enough that the disk is full by then.
    yield from broker_on_disk(tmp_path, MEGABYTES, {"log.retention.check.interval.ms": 15_000})


@pytest.mark.parametrize("setting", ["retention.bytes=4194304", "retention.ms=1000"])
def test_retention_makes_room(setting, broker_with_retention):
    """Old segments go although nothing can be written: some of them, or all, when their time has come."""
    broker = broker_with_retention
    key, value = setting.split("=")
    broker.create("kept", PARTITIONS, **AT_ONCE)
    broker.create("old", 1, **AT_ONCE, **{"segment.bytes": str(1 << 20), key: value})
    old = Writer(broker, "old")
    for _ in range(3_000):
        old.producer.produce("old", bytes(WIDTH), partition=0)
    assert old.settle(60) == 0
    refused = fill(broker, "kept")
    patient = Writer(broker, "kept", first=refused.next)
    patient.send(200)
    assert patient.settle(1) == 200
    left = patient.settle(25)
    assert left == 0 and len(patient.acknowledged) == 200, f"{left} {patient.refused}\n{broker.tail()}"
    assert_readable(broker, refused, patient)


@SEGMENTS
def test_a_restart_on_a_full_disk(segment_bytes, broker):
    """Killed while its records fill the disk, the broker starts and everything is readable; with room, writing goes on."""
    filler = broker.disk.reserve("filler", 8)
    broker.create("filled", PARTITIONS, **AT_ONCE, **{"segment.bytes": str(segment_bytes)})
    refused = fill(broker, "filled", to_the_last_block=False)
    broker.kill()
    broker.start()
    assert_readable(broker, refused)
    patient = Writer(broker, "filled", first=refused.next)
    # A start may free some room of the state store's, so a few of these may be taken at once.
    patient.send(200)
    patient.settle(2)
    filler.unlink()
    left = patient.settle(60)
    assert left == 0 and len(patient.acknowledged) == 200, f"{left} {patient.refused}\n{broker.tail()}"
    assert_readable(broker, refused, patient)


def test_data_outlives_a_restart_that_needs_room(broker):
    """Should the broker not start without room, it starts with it, and nothing is missing."""
    broker.create("filled", PARTITIONS, **AT_ONCE)
    filler = broker.disk.reserve("filler", 8)
    refused = fill(broker, "filled")
    broker.kill()
    filler.unlink()
    (broker.disk.path / "last-blocks").unlink()
    broker.start()
    assert_readable(broker, refused)
