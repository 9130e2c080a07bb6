"""kcat: metadata, writing with each codec, reading, topics made on first use."""

from __future__ import annotations

import json
import time

import pytest

from conftest import CODECS, assert_read_back, run
from kcat.commands import kcat_read, kcat_write


def test_metadata_names_the_broker_and_the_topic(broker, new_topic):
    topic = new_topic("kcat-metadata")
    answer = json.loads(run(["kcat", "-L", "-J", "-b", broker.bootstrap, "-t", topic]))
    assert [entry["name"] for entry in answer["brokers"]] == [broker.bootstrap]
    (described,) = answer["topics"]
    assert described["topic"] == topic
    leader = answer["brokers"][0]["id"]
    assert [(p["partition"], p["leader"], p["isrs"]) for p in described["partitions"]] == [
        (number, leader, [{"id": leader}]) for number in range(4)
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_written_records_come_back(codec, broker, new_topic, small_set, tmp_path):
    topic = new_topic(f"kcat-{codec}")
    before = int(time.time() * 1000)
    kcat_write(broker.bootstrap, topic, codec, small_set.input)
    after = int(time.time() * 1000)
    kcat_read(broker.bootstrap, topic, tmp_path)
    assert_read_back(small_set, tmp_path, timestamps=(before, after))


def test_last_records_and_offset_queries(broker, new_topic, small_set):
    topic = new_topic("kcat-offsets")
    kcat_write(broker.bootstrap, topic, "lz4", small_set.input)
    count = small_set.counts[1]
    printed = run(["kcat", "-C", "-q", "-b", broker.bootstrap, "-t", topic, "-p", 1, "-o", "-3", "-e", "-f", "%o\n"])
    assert printed.split() == [str(count - 3), str(count - 2), str(count - 1)]
    assert run(["kcat", "-Q", "-b", broker.bootstrap, "-t", f"{topic}:1:-1"]).split()[-1] == str(count)
    assert run(["kcat", "-Q", "-b", broker.bootstrap, "-t", f"{topic}:1:-2"]).split()[-1] == "0"


def test_a_topic_is_made_on_first_use(broker, tmp_path):
    topic = f"kcat-auto-{time.time_ns()}"
    record = tmp_path / "record"
    record.write_text("key\thello\n")
    run(["kcat", "-P", "-b", broker.bootstrap, "-t", topic, "-K", "\t"], stdin=record)
    printed = run(["kcat", "-C", "-q", "-b", broker.bootstrap, "-t", topic, "-o", "beginning", "-e", "-f", "%o %k %s\n"])
    assert printed == "0 key hello\n"
