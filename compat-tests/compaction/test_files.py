"""The files of compacted topics are Kafka's: its dump tool reads them, and Apache Kafka goes on with them."""

from __future__ import annotations

import re
import shutil
import time

import pytest
from confluent_kafka import Producer

from compaction.cleaner import DAY_MS, Table, base_offsets, partition_folder
from compaction.conftest import SETTINGS, table_maker
from compaction.oracle import KEPT, assert_compacted
from compaction.reference import Kafka
from compaction.test_flights_table import own_copy
from conftest import run

DUMP = "org.apache.kafka.tools.DumpLogSegments"
COMPLAINTS = (
    "Mismatches in", "Found timestamp mismatch", "Found out of order timestamp", "not found in", "isvalid: false", "Exception",
    "corrupted", "Could not",
)  # fmt: skip


def sections(printed: str) -> dict[str, str]:
    """What the tool printed, by file."""
    parts = re.split(r"^Dumping (.+)$", printed, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def transactions(table: Table) -> None:
    """Some that are committed and some that are aborted, over two segments and in the one that is written to."""
    producer = Producer({"bootstrap.servers": table.broker.bootstrap, "transactional.id": f"of-{table.topic}"})
    producer.init_transactions(60)
    now = int(time.time() * 1000)
    for number in range(12):
        producer.begin_transaction()
        for record in range(30):
            producer.produce(table.topic, b"%d" % number, b"key-%d" % (record % 7), 0, timestamp=now + number * 20_000)
        if number % 3 == 1:
            producer.flush(60)
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)


@pytest.fixture
def cleaned(own_broker, clients, small_table, tmp_path):
    """Topics of a broker that was stopped then: one per client, and one with transactions; and how far they are cleaned."""
    create, tables = table_maker(own_broker), {}
    for client, codec in (("java", "gzip"), ("franz-go", "zstd"), ("confluent-kafka", "none")):
        table = create(f"files-{client}", segment_ms=DAY_MS, delete_retention_ms=DAY_MS, index_interval_bytes=512)
        clients.write(client, own_broker.bootstrap, table.topic, codec, own_copy(small_table, tmp_path / client), table.written)
        table.roll()
        tables[table] = table.await_cleaned()
    decided = create("files-transactions", 1, segment_ms=60_000, delete_retention_ms=DAY_MS)
    transactions(decided)
    tables[decided] = decided.await_cleaned()
    # Apache Kafka's script ends with 143, the status of a JVM that SIGTERM stopped.
    assert own_broker.stop() in (0, 143)
    return tables


def test_the_dump_tool_reads_all_files(cleaned, java):
    folders = {(table, number): partition_folder(table.broker, table.topic, number) for table in cleaned for number in range(table.partitions)}

    def files(end: str) -> list:
        return sorted(file for folder in folders.values() for file in folder.glob(f"*{end}"))

    def dump(end: str, *words) -> str:
        assert files(end), end
        printed = run(java(DUMP, *words, "--files", ",".join(map(str, files(end)))), timeout=300)
        for complaint in COMPLAINTS:
            assert complaint not in printed, f"{complaint}\n{printed[:3000]}"
        return printed

    dumped = sections(dump(".log", "--deep-iteration"))
    for (table, partition), folder in folders.items():
        found, batches = [], 0
        for base in base_offsets(folder):
            text = dumped[str(folder / f"{base:020}.log")]
            if base == base_offsets(folder)[0] and any(table.written.records):
                # Whatever was taken out of it, the first segment is that of the first offset.
                assert base == 0
            batches += len(re.findall(r"^baseOffset: \d+ .* isvalid: true$", text, re.M))
            found += map(int, re.findall(r"^\| offset: (\d+) ", text, re.M))
        assert batches and found == sorted(set(found))
        if any(table.written.records):
            assert set(found) == table.written.offsets(partition, cleaned[table][partition], KEPT), folder
        else:
            # 372 with the ends of transactions: in the cleaned part, each key is there once.
            assert len([offset for offset in found if offset < cleaned[table][partition]]) <= 7 + 12 < 200

    dump(".index", "--index-sanity-check")
    dump(".timeindex", "--index-sanity-check")
    # Without that flag each entry is looked up in its log, and what does not fit is printed.
    assert len(re.findall(r"^offset: \d+ position: \d+$", dump(".index"), re.M)) >= 10
    assert len(re.findall(r"^timestamp: \d+ offset: \d+$", dump(".timeindex"), re.M)) >= 5
    aborted = dump(".txnindex")
    assert re.search(r"version: 0 producerId: \d+ firstOffset: \d+ lastOffset: \d+ lastStableOffset: \d+", aborted), aborted
    assert "producerId:" in dump(".snapshot")


def test_apache_kafka_goes_on_with_the_files(cleaned, java, clients, tmp_path):
    """The partition folders are put in the place of empty ones of the same topic. It reads them, and compacts them further."""
    kafka = Kafka(tmp_path / "kafka", settings={**SETTINGS, "log.initial.task.delay.ms": 500}, java=java)
    try:
        kafka.start()
        moved = {}
        for table, ends in cleaned.items():
            if any(table.written.records):
                other = Table(kafka, table.topic, table.partitions, segment_ms=DAY_MS, delete_retention_ms=DAY_MS)
                other.written = table.written
                # What rolls next is later than what rolled before.
                other.fillers = table.fillers
                moved[other] = (table, ends)
        # Its clean stop leaves word that the files need no recovery: they are taken as they are.
        kafka.stop()
        for other, (table, _) in moved.items():
            for partition in range(table.partitions):
                target = partition_folder(kafka, other.topic, partition)
                for file in target.iterdir():
                    if file.name != "partition.metadata":
                        file.unlink()
                for file in partition_folder(table.broker, table.topic, partition).iterdir():
                    if re.search(r"\.(log|index|timeindex|txnindex|snapshot)$", file.name) or file.name == "leader-epoch-checkpoint":
                        shutil.copy(file, target)
        kafka.start()
        readings = clients.read(kafka.bootstrap, *(other.topic for other in moved))
        for other, (_, ends) in moved.items():
            for reading in readings:
                assert assert_compacted(other.written, reading / other.topic, ends) > 2_000
        for other in moved:
            other.roll()
            ends = other.await_cleaned()
            (reading,) = clients.read(kafka.bootstrap, other.topic, by=("confluent-kafka",), isolations=("read_committed",))
            assert assert_compacted(other.written, reading / other.topic, ends) > 2_000
    finally:
        if kafka.process and kafka.process.poll() is None:
            kafka.kill()
