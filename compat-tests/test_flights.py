"""Every writer with every codec, read back by every reader.

A writer sends the first 20,000 flights with each codec, and all 336,776 with one codec of its own. Each reader then
reads each of those topics, so that what one client's encoder made is decoded by all the others.
"""

from __future__ import annotations

import pytest

from conftest import CODECS, HERE, assert_read_back, run
from kcat.commands import kcat_read

# Writer: the codec it sends the full set with. Together they are all five.
FULL_SET_CODEC = {
    "confluent-kafka": "zstd",
    "kafka-python": "gzip",
    "java": "lz4",
    "franz-go": "snappy",
    "krafka": "none",
    "kafkajs": "gzip",
}
READERS = ("confluent-kafka", "kafka-python", "java", "franz-go", "krafka", "kcat")


@pytest.fixture(scope="session")
def command(request, broker):
    """A function (client, verb, topic, arguments) that gives the command line for a client's program."""

    def line(client: str, verb: str, topic: str, *arguments) -> list:
        words = (verb, broker.bootstrap, topic, *arguments)
        # Asked for here, not above, so that a run of one client fetches that client's packages only.
        if client in ("confluent-kafka", "kafka-python"):
            return request.getfixturevalue("python_client")(client, *words)
        if client == "java":
            return request.getfixturevalue("java")(HERE / "java" / "Flights.java", *words)
        if client == "kafkajs":
            return ["node", request.getfixturevalue("kafkajs") / "flights.js", *words]
        return [request.getfixturevalue({"franz-go": "franz_go", "krafka": "krafka"}[client]), *words]

    return line


@pytest.fixture(scope="session")
def written(command, new_topic):
    """A function (client, codec, data) that has the client write `data` once and gives the topic."""
    topics: dict[tuple, str] = {}

    def topic_of(client: str, codec: str, data) -> str:
        key = (client, codec, data.directory)
        if key not in topics:
            topic = new_topic(f"{client}-{codec}")
            run(command(client, "write", topic, codec, data.input), timeout=300)
            topics[key] = topic
        return topics[key]

    return topic_of


def read_with(client: str, command, broker, topic: str, target) -> None:
    if client == "kcat":
        kcat_read(broker.bootstrap, topic, target)
    else:
        run(command(client, "read", topic, target), timeout=300)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("writer", FULL_SET_CODEC)
def test_small_set(writer, codec, reader, written, command, broker, small_set, tmp_path):
    topic = written(writer, codec, small_set)
    read_with(reader, command, broker, topic, tmp_path)
    assert_read_back(small_set, tmp_path)


@pytest.mark.parametrize("writer", FULL_SET_CODEC)
def test_full_set(writer, written, command, broker, full_set, tmp_path):
    """All flights, written by one client and read back by itself and by an independent one."""
    topic = written(writer, FULL_SET_CODEC[writer], full_set)
    for reader in {writer if writer in READERS else "java", "franz-go" if writer != "franz-go" else "kcat"}:
        target = tmp_path / reader
        target.mkdir()
        read_with(reader, command, broker, topic, target)
        assert_read_back(full_set, target)
