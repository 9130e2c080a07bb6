"""Throughput, latency and the broker's own cost under Kafka's ProducerPerformance: `make bench`.

Client and broker share the machine, so records per second say as much about the client. The broker's CPU seconds
are the steadier figure. The same run on Apache Kafka: set COMPAT_BROKER (see conftest.py).
BENCH_RECORDS is how many records each case sends (default: 1,000,000).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import run

RECORDS = int(os.environ.get("BENCH_RECORDS", 1_000_000))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


@pytest.mark.parametrize("acks", ["1", "all"])
@pytest.mark.parametrize("size", [100, 1024])
@pytest.mark.parametrize("codec", ["none", "lz4"])
def bench_produce(acks, size, codec, own_broker, java):
    topic = "bench"
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(60)
    pid = own_broker.process.pid
    before = cpu_seconds(pid)
    printed = run(
        java("org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", own_broker.bootstrap, "--topic", topic,
             "--num-records", RECORDS, "--record-size", size, "--throughput", -1,
             "--command-property", f"acks={acks}", "--command-property", f"compression.type={codec}"),
        timeout=900,
    )  # fmt: skip
    used = cpu_seconds(pid) - before
    gigabytes = RECORDS * size / 1e9
    print(f"\nacks={acks} size={size} codec={codec}: {printed.strip().splitlines()[-1]}")
    print(
        f"  broker: {used:.2f} CPU s, {used / gigabytes:.2f} CPU s/GB, {used / RECORDS * 1e6:.2f} CPU s per million, "
        f"{resident_mib(pid):.0f} MiB resident"
    )
