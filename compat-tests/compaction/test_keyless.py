"""A record without a key has no place in a compacted topic: INVALID_RECORD, told in each client's own words.

Each client sends a record with a key, one without and one with a key, each in a batch of its own: the refused one takes
nothing with it.
"""

from __future__ import annotations

import asyncio
import subprocess

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from compaction.clients import CLIENTS
from conftest import run

NAMES = {"confluent-kafka": "INVALID_RECORD", "franz-go": "INVALID_RECORD", "java": "InvalidRecordException"}
KEYS = (b"first", None, b"last")


def kept(clients, table) -> list[tuple[int, bytes]]:
    """Offsets and keys of what is there."""
    consumer = Consumer({"bootstrap.servers": table.broker.bootstrap, "group.id": "unused", "enable.partition.eof": True})
    consumer.assign([TopicPartition(table.topic, 0, OFFSET_BEGINNING)])
    found = []
    while (message := consumer.poll(30)) and not message.error():
        found.append((message.offset(), message.key()))
    consumer.close()
    assert message and message.error().code() == KafkaError._PARTITION_EOF, message and message.error()
    return found


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
@pytest.mark.parametrize("client", CLIENTS)
def test_idempotent_producers(client, policy, clients, new_table):
    table = new_table(f"keyless-{client}", 1, cleanup_policy=policy)
    assert clients.keyless(client, table.broker.bootstrap, table.topic) == ["ok 0", f"error {NAMES[client]}", "ok 1"]
    assert kept(clients, table) == [(0, b"first"), (1, b"last")]


def test_a_plain_producer(clients, new_table):
    table, outcome = new_table("keyless-plain", 1), []
    producer = Producer({"bootstrap.servers": table.broker.bootstrap, "acks": "all"})
    for key in KEYS:
        producer.produce(table.topic, b"value", key, 0, on_delivery=lambda error, _: outcome.append(error and error.code()))
        assert producer.flush(30) == 0
    assert outcome == [None, KafkaError.INVALID_RECORD, None]
    assert kept(clients, table) == [(0, b"first"), (1, b"last")]


def test_one_without_a_key_takes_its_batch_with_it(clients, new_table):
    """A batch is taken whole or not at all; the next one is not concerned."""
    table, outcome = new_table("keyless-batch", 1), []
    producer = Producer({"bootstrap.servers": table.broker.bootstrap, "acks": "all", "linger.ms": 1_000})
    for key in (b"a", None, b"b"):
        producer.produce(table.topic, b"value", key, 0, on_delivery=lambda error, _: outcome.append(error and error.code()))
    assert producer.flush(30) == 0
    assert outcome == [KafkaError.INVALID_RECORD] * 3
    producer.produce(table.topic, b"value", b"c", 0, on_delivery=lambda error, _: outcome.append(error and error.code()))
    assert producer.flush(30) == 0 and outcome[3] is None
    assert kept(clients, table) == [(0, b"c")]


def test_kafka_python(clients, new_table):
    from kafka import KafkaProducer
    from kafka.errors import KafkaError as Refused

    table, outcome = new_table("keyless-kafka-python", 1), []
    # As an idempotent producer it does not get over a batch that was refused.
    producer = KafkaProducer(bootstrap_servers=table.broker.bootstrap, acks="all", enable_idempotence=False)
    for key in KEYS:
        try:
            outcome.append(producer.send(table.topic, b"value", key, partition=0).get(timeout=30).offset)
        except Refused as refused:
            outcome.append(type(refused).__name__)
    producer.close()
    assert outcome == [0, "InvalidRecordError", 1]
    assert kept(clients, table) == [(0, b"first"), (1, b"last")]


def test_aiokafka(clients, new_table):
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError as Refused

    table, outcome = new_table("keyless-aiokafka", 1), []

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=table.broker.bootstrap, acks="all")
        await producer.start()
        for key in KEYS:
            try:
                outcome.append((await producer.send_and_wait(table.topic, b"value", key, partition=0)).offset)
            except Refused as refused:
                outcome.append(type(refused).__name__)
        await producer.stop()

    asyncio.run(send())
    # This client knows no name for the code.
    assert outcome == [0, "UnknownError", 1]
    assert kept(clients, table) == [(0, b"first"), (1, b"last")]


def test_kcat(clients, new_table):
    table = new_table("keyless-kcat", 1)
    produce = ["kcat", "-P", "-b", table.broker.bootstrap, "-t", table.topic, "-p", "0", "-X", "acks=all"]
    run(["bash", "-c", "printf 'first:value' | \"$@\" -K :", "kcat", *produce])
    done = subprocess.run(produce, input=b"value", capture_output=True, timeout=60)
    assert b"Broker failed to validate record" in done.stderr, done.stderr
    run(["bash", "-c", "printf 'last:value' | \"$@\" -K :", "kcat", *produce])
    assert kept(clients, table) == [(0, b"first"), (1, b"last")]


def test_kafkajs(clients, new_table, kafkajs):
    table = new_table("keyless-kafkajs", 1)
    script = """
        const { Kafka, logLevel } = require("kafkajs");
        const [bootstrap, topic] = process.argv.slice(1);
        (async () => {
          const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 0 } });
          const producer = kafka.producer();
          await producer.connect();
          for (const key of ["first", null, "last"]) {
            try {
              const [told] = await producer.send({ topic, acks: -1, messages: [{ key, value: "value", partition: 0 }] });
              console.log(`ok ${told.baseOffset}`);
            } catch (failure) {
              console.log(`error ${failure.code}`);
            }
          }
          await producer.disconnect();
        })();
    """
    told = run(["node", "-e", script, table.broker.bootstrap, table.topic], cwd=kafkajs).splitlines()
    # Neither does this one.
    assert told[0] == "ok 0" and told[1].startswith("error") and told[2] == "ok 1", told
    assert kept(clients, table) == [(0, b"first"), (1, b"last")]
