"""The broker is killed under load, over and over: what it acknowledged is there, once, in order."""

from __future__ import annotations

import os
import random
import time

from recovery.history import assert_complete, load, read_all

KILLS = 10
PARTITIONS = 4


def test_ten_kills_under_load(own_broker, tmp_path):
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = "killed"
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(60)
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    chance = random.Random(seed)

    with load(tmp_path, own_broker.bootstrap, topic, PARTITIONS) as running:
        for number in range(KILLS):
            running.wait_for(2_000, f"kill {number + 1}")
            time.sleep(chance.uniform(0, 0.5))
            own_broker.kill()
            own_broker.start()
        running.finish()

    found, promised = read_all(own_broker.bootstrap, topic, PARTITIONS), running.promised()
    assert len(promised) >= KILLS * 2_000
    assert_complete(found, promised)


def test_a_clean_stop_and_start_keeps_everything(own_broker, tmp_path):
    """SIGTERM ends the process with status 0; topic, records and the producer's sequence survive."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    topic = "stopped"
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(60)
    producer = Producer({
        "bootstrap.servers": own_broker.bootstrap, "acks": "all", "enable.idempotence": True,
        "reconnect.backoff.max.ms": 500,
    })  # fmt: skip
    for half in range(2):
        for number in range(half * 5_000, (half + 1) * 5_000):
            producer.produce(topic, str(number).encode(), partition=number % PARTITIONS)
        assert producer.flush(60) == 0
        if half == 0:
            # Apache Kafka's script ends with 143, the status of a JVM that SIGTERM stopped.
            assert own_broker.stop() in (0, 143)
            own_broker.start()
    found = read_all(own_broker.bootstrap, topic, PARTITIONS)
    for partition, records in found.items():
        assert records == [(offset, partition + PARTITIONS * offset) for offset in range(2_500)], f"partition {partition}"
