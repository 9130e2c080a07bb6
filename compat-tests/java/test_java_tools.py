"""Kafka's own command-line programs: console clients, topics, configs, offsets, and the log dump."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

import flights
from conftest import CODECS, HERE, assert_read_back, run

TOOLS = "org.apache.kafka.tools"
CONFIG_COMMAND = "kafka.admin.ConfigCommand"


@pytest.fixture
def tool(java, broker):
    """A function that runs a tool against the broker and returns what it printed."""

    def call(name: str, *arguments, **options) -> str:
        return run(java(name, "--bootstrap-server", broker.bootstrap, *arguments), **options)

    return call


def console_read(tool, topic: str, data: flights.DataSet, target) -> None:
    """ConsoleConsumer on each partition; its lines are rewritten to the form the data set is in."""
    for partition in range(flights.PARTITIONS):
        raw = target / f"{partition}.raw"
        tool(
            f"{TOOLS}.consumer.ConsoleConsumer", "--topic", topic, "--partition", partition, "--offset", "earliest",
            "--max-messages", data.counts[partition], "--timeout-ms", 30_000,
            *(word for name in ("key", "timestamp", "offset") for word in ("--formatter-property", f"print.{name}=true")),
            stdout=raw,
        )  # fmt: skip
        with open(raw, "rb") as lines, open(target / f"{partition}.tsv", "wb") as rewritten:
            for line in lines:
                timestamp, offset, rest = line.split(b"\t", 2)
                assert timestamp.startswith(b"CreateTime:") and offset.startswith(b"Offset:"), line
                rewritten.write(b"%s\t%s\t%s" % (offset[7:], timestamp[11:], rest))


@pytest.mark.parametrize("codec", CODECS)
def test_console_producer_and_consumer(codec, tool, new_topic, small_set, tmp_path):
    topic = new_topic(f"console-{codec}")
    # The producer's own partitioner has to pick the partitions that the data set was laid out with.
    typed = tmp_path / "typed"
    with open(typed, "wb") as file:
        for partition in range(flights.PARTITIONS):
            for line in (small_set.input / f"{partition}.tsv").read_bytes().splitlines(keepends=True):
                file.write(line.split(b"\t", 1)[1])
    before = int(time.time() * 1000)
    tool(
        f"{TOOLS}.ConsoleProducer", "--topic", topic, "--compression-codec", codec,
        "--reader-property", "parse.key=true", "--reader-property", "key.separator=\t",
        "--command-property", "acks=all", stdin=typed,
    )  # fmt: skip
    after = int(time.time() * 1000)
    console_read(tool, topic, small_set, tmp_path)
    assert_read_back(small_set, tmp_path, timestamps=(before, after))


def test_console_consumer_reads_all_flights(tool, java, broker, new_topic, full_set, tmp_path):
    """With the timestamps that Kafka's producer gave them; GetOffsetShell agrees about where they end."""
    topic = new_topic("console-full")
    run(java(HERE / "java" / "Flights.java", "write", broker.bootstrap, topic, "gzip", full_set.input), timeout=300)
    console_read(tool, topic, full_set, tmp_path)
    assert_read_back(full_set, tmp_path)
    latest = tool(f"{TOOLS}.GetOffsetShell", "--topic", topic).split()
    assert latest == [f"{topic}:{partition}:{count}" for partition, count in enumerate(full_set.counts)]
    earliest = tool(f"{TOOLS}.GetOffsetShell", "--topic", topic, "--time", "earliest").split()
    assert earliest == [f"{topic}:{partition}:0" for partition in range(flights.PARTITIONS)]


def test_offsets_by_timestamp(tool, java, broker, new_topic, small_set):
    """The earliest record at or after a time, which in unsorted data is not where a search by halves lands."""
    topic = new_topic("offsets-by-time")
    run(java(HERE / "java" / "Flights.java", "write", broker.bootstrap, topic, "lz4", small_set.input))
    stamps = [
        [int(line.split(b"\t", 1)[0]) for line in (small_set.input / f"{p}.tsv").read_bytes().splitlines()]
        for p in range(flights.PARTITIONS)
    ]
    everything = sorted(stamp for partition in stamps for stamp in partition)
    for asked in (everything[0], everything[len(everything) // 3], everything[-1], everything[-1] + 1):
        found = dict(
            line.rsplit(":", 2)[1:] for line in tool(f"{TOOLS}.GetOffsetShell", "--topic", topic, "--time", asked).split()
        )
        for partition, own in enumerate(stamps):
            expected = next((str(offset) for offset, stamp in enumerate(own) if stamp >= asked), None)
            # A partition without such a record is left out, or printed without an offset.
            assert (found.get(str(partition)) or None) == expected, f"partition {partition} at {asked}: {found}"


def test_topic_command(tool):
    topic = f"topic-command-{time.time_ns()}"
    command = f"{TOOLS}.TopicCommand"
    assert f"Created topic {topic}." in tool(
        command, "--create", "--topic", topic, "--partitions", 3, "--config", "retention.ms=86400000"
    )
    assert topic in tool(command, "--list").split()
    described = tool(command, "--describe", "--topic", topic)
    assert re.search(r"PartitionCount: 3\b", described) and "retention.ms=86400000" in described, described
    tool(command, "--alter", "--topic", topic, "--partitions", 5)
    assert re.search(r"PartitionCount: 5\b", tool(command, "--describe", "--topic", topic))
    tool(command, "--delete", "--topic", topic)
    assert topic not in tool(command, "--list").split()


def test_creating_a_topic_twice_is_refused(java, broker, new_topic):
    topic = new_topic("twice")
    line = java(f"{TOOLS}.TopicCommand", "--bootstrap-server", broker.bootstrap, "--create", "--topic", topic)
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "TopicExistsException" in done.stdout + done.stderr


def test_config_command(tool, new_topic):
    """A number, a size and a list are set, shown with where they come from, and taken back."""
    topic = new_topic("config-command")
    entity = ("--entity-type", "topics", "--entity-name", topic)
    wanted = ("retention.ms=7200000", "max.message.bytes=65536", "cleanup.policy=delete")
    tool(CONFIG_COMMAND, *entity, "--alter", "--add-config", ",".join(wanted))
    described = tool(CONFIG_COMMAND, *entity, "--describe")
    for setting in wanted:
        assert re.search(rf"{re.escape(setting)} .*DYNAMIC_TOPIC_CONFIG:{re.escape(setting)}", described), described
    everything = tool(CONFIG_COMMAND, *entity, "--describe", "--all")
    # A key that nobody set is listed with its default and where that comes from.
    assert re.search(r"segment\.bytes=1073741824 .*DEFAULT_CONFIG", everything), everything
    tool(CONFIG_COMMAND, *entity, "--alter", "--delete-config", "retention.ms,cleanup.policy")
    described = tool(CONFIG_COMMAND, *entity, "--describe")
    assert "retention.ms" not in described and "cleanup.policy" not in described, described
    assert "max.message.bytes=65536" in described, described


def test_api_versions(tool):
    printed = tool(f"{TOOLS}.BrokerApiVersionsCommand")
    for api in ("Produce(0)", "Fetch(1)", "ListOffsets(2)", "Metadata(3)", "ApiVersions(18)", "InitProducerId(22)"):
        line = next((line for line in printed.splitlines() if line.strip().startswith(f"{api}:")), None)
        assert line and "UNSUPPORTED" not in line and "usable:" in line, f"{api}: {line}"


def sections(printed: str) -> dict[str, str]:
    """What DumpLogSegments printed, by file."""
    parts = re.split(r"^Dumping (.+)$", printed, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def test_log_dump(java, own_broker, small_set):
    """The files on disk are Kafka's: its DumpLogSegments walks every batch and record, and finds the indexes sound.

    The broker is stopped first, as for a move to another broker: while Kafka itself runs, the index of the segment
    that it writes to is padded with zeros and does not pass.
    """
    interval = 512
    settings = {"retention.ms": "-1", "segment.bytes": "1048576", "index.interval.bytes": str(interval)}
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    for codec in CODECS:
        name = f"dump-{codec}"
        admin.create_topics([NewTopic(name, flights.PARTITIONS, 1, config=settings)])[name].result(60)
        run(java(HERE / "java" / "Flights.java", "write", own_broker.bootstrap, name, codec, small_set.input))
    own_broker.stop()

    dump = f"{TOOLS}.DumpLogSegments"
    for codec in CODECS:
        folders = [own_broker.log_dir / f"dump-{codec}-{partition}" for partition in range(flights.PARTITIONS)]
        logs = {folder: sorted(folder.glob("*.log")) for folder in folders}
        every_log = ",".join(str(log) for found in logs.values() for log in found)
        dumped = sections(run(java(dump, "--deep-iteration", "--files", every_log)))
        for partition, folder in enumerate(folders):
            offset, records = 0, []
            for log in logs[folder]:
                assert log.name == f"{offset:020}.log"
                text = dumped[str(log)]
                pattern = r"^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .* compresscodec: (\w+) .* isvalid: (\w+)$"
                for first, last, count, used, valid in re.findall(pattern, text, re.M):
                    assert (int(first), used, valid) == (offset, codec, "true"), f"{log}: {first}"
                    assert int(last) == offset + int(count) - 1
                    offset = int(last) + 1
                records += map(int, re.findall(r"^\| offset: (\d+) ", text, re.M))
            assert records == list(range(small_set.counts[partition])), f"{folder}: {len(records)} records"

        indexes = [log.with_suffix(end) for found in logs.values() for log in found for end in (".index", ".timeindex")]
        every_index = ",".join(map(str, indexes))
        checked = run(java(dump, "--index-sanity-check", "--files", every_index))
        # Without that flag each entry is looked up in its log, and what does not fit is printed.
        walked = run(java(dump, "--files", every_index))
        for index in indexes:
            # How the producer filled its batches decides whether the last segment has a batch far enough behind its first
            # to be worth an entry. Where none is, an index without entries is the right one.
            starts = map(int, re.findall(r" position: (\d+) CreateTime: ", dumped[str(index.with_suffix(".log"))]))
            is_bare = index.suffix == ".index" and max(starts) <= interval
            verdict = f"{index} is empty." if is_bare else f"{index} passed sanity check."
            assert verdict in checked, checked
        for complaint in ("Mismatches in", "Found timestamp mismatch", "Found out of order timestamp", "not found in"):
            assert complaint not in walked, walked
        # Segments are 1 MiB and entries 512 bytes apart: an index without an entry would prove nothing.
        assert len(re.findall(r"^offset: \d+ position: \d+$", walked, re.M)) >= 10
        assert len(re.findall(r"^timestamp: \d+ offset: \d+$", walked, re.M)) >= 5
