"""A data directory with one of every kind of file, what is in it, and what a broker answers about it.

It is made once per kind of stop and copied for each damage.
"""

from __future__ import annotations

import shutil
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from recovery.raw_commits import commit, fetch
from transactions.raw import SECOND, RawProducer

from faults import records
from faults.broker import Broker
from faults.records import Batch, parse
from faults.script import everything, until_open
from faults.wire import EARLIEST, LATEST, Client, Refused

TOPIC, BESIDE, TRANSACTIONS = "damaged", "beside", "transactions"
START = 1_700_000_000_000
# As many batches as make three segments of a mebibyte: small ones, and a few that span many pages.
BATCHES, WIDTH, WIDE = 700, 600, 45_000
LABEL = "d"
MAX_TIMESTAMP = -3


def _is_wide(number: int) -> bool:
    return number % 60 == 59


def _batch(number: int, producer: tuple[int, int]) -> bytes:
    width = WIDE if _is_wide(number) else WIDTH
    return records.batch(LABEL, number * 3, 3, width, producer=producer, sequence=number * 3, timestamp=START + number * 1000)


@dataclass
class Stored:
    """A data directory at rest."""

    directory: Path
    producer: tuple[int, int] = (-1, -1)
    # Every batch of TOPIC-0 in order, with its position in its segment's file.
    batches: list[tuple[Path, Batch]] = field(default_factory=list)
    answers: dict = field(default_factory=dict)
    # Copies of the derived files as they were earlier: a stale one is put back in place of the newest.
    earlier: dict[str, bytes] = field(default_factory=dict)

    def copy_to(self, data: Path) -> None:
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self.directory, data, ignore=shutil.ignore_patterns("control.sock"))

    def files(self, pattern: str) -> list[Path]:
        """Relative to the directory, in order."""
        return sorted(path.relative_to(self.directory) for path in self.directory.glob(pattern) if path.is_file())


def fill(broker: Broker, stored: Stored) -> None:
    with broker.client() as client:
        client.create(TOPIC, 1, {"segment.bytes": 1 << 20, "retention.ms": -1})
        client.create(BESIDE, 2, {"retention.ms": -1})
        client.create(TRANSACTIONS, 1, {"retention.ms": -1, "segment.bytes": 1 << 20})
        stored.producer = client.init_producer()
        for number in range(BATCHES):
            answer = client.produce(TOPIC, {0: _batch(number, stored.producer)})[0]
            assert (answer.code, answer.offset) == (0, number * 3), answer
            if number == BATCHES // 2:
                stored.earlier = _derived(broker.partition(TOPIC))
            if number % 100 == 0:
                client.produce(BESIDE, {index: records.batch("b", number, 5, 100) for index in range(2)})
    transactional = RawProducer(broker.port, TRANSACTIONS, "dataset", SECOND)
    transactional.init()
    # Aborted ones in several segments.
    for number in range(12):
        transactional.produce({0: [b"%d" % number] * 2})
        if number % 4 == 1:
            with broker.client() as client:
                client.produce(TRANSACTIONS, {0: records.batch("filler", number, 1, 400_000)})
        transactional.end(commit=number % 3 != 0)
    commit(broker.port, "group", TOPIC, 1, 1234, 30)


def _derived(directory: Path) -> dict[str, bytes]:
    """The newest file of each kind beside the segments."""
    found = {}
    for pattern in ("*.index", "*.timeindex", "*.snapshot", "leader-epoch-checkpoint"):
        for path in sorted(directory.glob(pattern)):
            found[path.suffix or path.name] = path.read_bytes()
    return found


def read_batches(data: Path) -> list[tuple[Path, Batch]]:
    found = []
    for path in sorted((data / f"{TOPIC}-0").glob("*.log")):
        found += [(path.relative_to(data), batch) for batch in parse(path.read_bytes())]
    return found


def ask(client: Client, port: int, stored: Stored) -> dict:
    """Every answer that depends on what is stored, one by one; an error is an answer, too."""
    answers = {"topics": {topic: len(codes) for topic, codes in client.topics().items() if not topic.startswith("__")}}
    if "topics" in stored.answers and answers["topics"] != stored.answers["topics"]:
        # There is nothing to ask about.
        return answers
    for topic, partition in ((TOPIC, 0), (BESIDE, 0), (BESIDE, 1), (TRANSACTIONS, 0)):
        name = f"{topic}-{partition}"
        for committed in (False, True):
            answers[f"{name} records, committed={committed}"] = _or_code(
                lambda topic=topic, partition=partition, committed=committed: [
                    (batch.base, batch.count, batch.records) for batch in everything(client, topic, partition, committed=committed)
                ]
            )
        for when in (EARLIEST, LATEST, MAX_TIMESTAMP, *(START + step * 1000 for step in (0, 1, 350, BATCHES - 2, BATCHES))):
            answers[f"{name} offset of {when}"] = until_open(
                client, lambda topic=topic, partition=partition, when=when: client.list_offsets(topic, [partition], when)[partition]
            )
    # From the middle of every part of the log, which is where indexes are used.
    answers["starts"] = [
        _or_code(lambda at=at: next((batch.base, batch.records) for batch in parse(client.fetch(TOPIC, {0: at}, max_bytes=1)[0].data)))
        for at in range(1, BATCHES * 3, 97)
    ]
    answers["committed"] = fetch(port, "group", 30)
    return answers


def ask_again(client: Client, stored: Stored) -> list:
    """What the producer hears that sends its last two batches once more, and then the next. Writes."""
    return [client.produce(TOPIC, {0: _batch(number, stored.producer)})[0] for number in (BATCHES - 2, BATCHES - 1, BATCHES)]


def _or_code(what):
    try:
        return what()
    except Refused as refused:
        return f"error {refused.code}"
    except (StopIteration, struct.error):
        return "nothing"


def difference(wanted: dict, found: dict) -> str | None:
    for name, answer in wanted.items():
        if found.get(name) != answer:
            return f"{name}: {_short(found.get(name))} instead of {_short(answer)}"
    return None


def _short(answer) -> str:
    if isinstance(answer, list):
        return f"{len(answer)} entries"
    return str(answer)[:200]


def store(broker: Broker, *, orderly: bool) -> Stored:
    """Fills a broker that is not running, stops it, and keeps what it leaves. After an unorderly stop everything up to
    the end is below the recovery point: it is known to have been synced."""
    stored = Stored(broker.directory / "stored")
    broker.settings = {**broker.settings, "log.flush.offset.checkpoint.interval.ms": 300}
    broker.start()
    fill(broker, stored)
    with broker.client() as client:
        stored.answers = ask(client, broker.port, stored)
    if orderly:
        assert broker.stop() == 0, broker.tail()
    else:
        _await_recovery_point(broker)
        broker.kill()
    shutil.move(broker.data, stored.directory)
    stored.batches = read_batches(stored.directory)
    assert len({path for path, _ in stored.batches}) >= 3, "there are not enough segments"
    return stored


def _await_recovery_point(broker: Broker) -> None:
    checkpoint, deadline = broker.data / "recovery-point-offset-checkpoint", time.monotonic() + 20
    while not checkpoint.exists() or f"{TOPIC} 0 {BATCHES * 3}" not in checkpoint.read_text():
        assert time.monotonic() < deadline, "no recovery point was written"
        time.sleep(0.05)
