"""Damage in the records themselves: at the end, where a crash leaves it, and in the middle, where nothing may (rows 6 and 7)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import sample
from faults import records
from faults.broker import Broker
from faults.dataset import BATCHES, BESIDE, TOPIC, Stored, store
from faults.history import Violated
from faults.records import HEADER, Batch, Damaged, parse
from faults.script import until_open
from faults.wire import CORRUPT_MESSAGE, EARLIEST, KAFKA_STORAGE_ERROR, LATEST, Client

FLIPS, CUTS = 50, 20
METRIC = "tidelog_storage_corrupt_ranges_total"
# A damaged length or offset may hide what follows it up to the next entry of the index.
INDEX_INTERVAL = 4096
# Position in a batch of the leader epoch, which no checksum covers, in Kafka's format.
LEADER_EPOCH = range(12, 16)
# Of what says where the batch is and where it ends.
FRAME = {*range(0, 12), 16}


@dataclass
class Walk:
    """What a reader gets of a partition that reads on behind each error."""

    # Base offset to records, and the offsets at which an error was answered.
    read: dict[int, bytes]
    refused: dict[int, int]


@dataclass
class Damage:
    """A flipped bit."""

    path: Path
    batch: Batch
    place: int

    def __str__(self) -> str:
        return f"byte {self.place} of the batch of {self.batch.size} bytes at offset {self.batch.base}"

    def hides(self, path: Path, other: Batch) -> bool:
        """Whether a batch may be unreadable because of it."""
        behind = other.position - self.batch.position
        reach = self.batch.size + INDEX_INTERVAL if self.place in FRAME else 1
        return path == self.path and 0 <= behind < reach


def walk(client: Client, topic: str, end: int) -> Walk:
    found, at = Walk({}, {}), 0
    while at < end:
        answer = until_open(client, lambda: client.fetch(topic, {0: at}, max_bytes=1 << 20)[0])
        if answer.code:
            found.refused[at] = answer.code
            at += 1
            continue
        # A batch that a fetch from its middle gives again is the same.
        batches = list(parse(answer.data))
        if not batches or batches[-1].end <= at:
            raise Violated(f"{topic}@{at}: nothing, and no error")
        for batch in batches:
            if found.read.setdefault(batch.base, batch.records) != batch.records:
                raise Violated(f"{topic}@{batch.base}: two answers")
        at = batches[-1].end
    return found


def judge(stored: Stored, damages: list[Damage], found: Walk) -> list[str]:
    """Only what was damaged may be missing, and nothing else may be there."""
    wrong = []
    wanted = {batch.base: (path, batch) for path, batch in stored.batches}
    for base, data in found.read.items():
        if base not in wanted or wanted[base][1].records != data:
            wrong.append(f"a batch at {base} is served that was never written")
    for base, (path, batch) in wanted.items():
        if base not in found.read and not any(damage.hides(path, batch) for damage in damages):
            wrong.append(f"the batch at {base} is not readable, though nothing is wrong with it")
            break
    for damage in damages:
        if damage.batch.base in found.read and damage.place not in LEADER_EPOCH:
            wrong.append(f"{damage} is served")
    if codes := set(found.refused.values()) - {CORRUPT_MESSAGE}:
        wrong.append(f"errors {codes} are answered")
    return wrong


def flip(path: Path, position: int, bit: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def assert_beside(broker: Broker, client: Client) -> None:
    """Other partitions are untouched: they are read, and written."""
    answer = client.fetch(BESIDE, {0: 0, 1: 0})
    assert all(found.code == 0 and len(list(parse(found.data))) == 7 for found in answer.values()), broker.tail()
    assert client.produce(BESIDE, {0: records.batch("b", 9000, 1, 10)})[0].code == 0


@pytest.mark.parametrize("orderly", [True, False], ids=["orderly", "killed"])
def test_flipped_bits(orderly, make_broker, chance):
    """In records that were synced long ago. A fetch of them is an error that says so; never are they served, never are they
    cut off, and their neighbours are there as ever."""
    stored = store(make_broker(), orderly=orderly)
    # Every byte of a header is tried, and bytes of records.
    places = sample(chance, [*range(HEADER), *[HEADER + chance.randrange(500) for _ in range(30)]], FLIPS)
    chance.shuffle(places)
    # Many at once, in batches so far from each other that the damages have nothing to do with each other.
    far = [entry for number, entry in enumerate(stored.batches) if number % 12 == 5]
    wrong = []
    for first in range(0, len(places), len(far) // 2):
        group = places[first : first + len(far) // 2]
        damages = [Damage(path, batch, place) for (path, batch), place in zip(chance.sample(far, len(group)), group, strict=True)]
        wrong += _with(make_broker(), stored, damages, chance)
    if wrong:
        raise Violated(f"{len(places)} flips:\n" + "\n".join(wrong))


def _with(broker: Broker, stored: Stored, damages: list[Damage], chance: random.Random) -> list[str]:
    """What a broker does wrong whose log is damaged so."""
    stored.copy_to(broker.data)
    for damage in damages:
        flip(broker.data / damage.path, damage.batch.position + damage.place, chance.randrange(8))
    try:
        broker.start()
        with broker.client() as client:
            if client.fetch(TOPIC, {0: 0})[0].code == KAFKA_STORAGE_ERROR and "its partition is offline" in broker.log.read_text():
                # Opening met the damage, and says where. Nothing was cut; the others are there.
                assert_beside(broker, client)
                return []
            found = walk(client, TOPIC, BATCHES * 3)
            wrong = judge(stored, damages, found)
            ends = [client.list_offsets(TOPIC, [0], when)[0] for when in (EARLIEST, LATEST)]
            if [(code, offset) for code, _, offset in ends] != [(0, 0), (0, BATCHES * 3)]:
                wrong.append(f"the log is said to be {ends}")
            assert_beside(broker, client)
        if found.refused and not (f"{TOPIC}-0" in broker.log.read_text() and broker.metrics().get(METRIC)):
            wrong.append(f"neither a line of the log nor {METRIC} tells of it")
    except (AssertionError, Damaged, OSError) as failure:
        wrong = [f"{failure!r}"[:500]]
    finally:
        broker.remove()
    return [f"{why} (one of {', '.join(map(str, damages[:3]))}…)" for why in wrong]


@pytest.mark.parametrize("what", ["zeroed block", "cut file", "doubled block"])
@pytest.mark.parametrize("orderly", [True, False], ids=["orderly", "killed"])
def test_a_torn_middle(what, orderly, make_broker, chance):
    """A lost block of a sealed segment, or a lost end of it: no later segment goes with it."""
    stored = store(make_broker(), orderly=orderly)
    broker = make_broker()
    stored.copy_to(broker.data)
    path = broker.data / stored.batches[0][0]
    size = path.stat().st_size
    block = chance.randrange(4, size // 4096 - 4) * 4096
    content = bytearray(path.read_bytes())
    if what == "zeroed block":
        content[block : block + 4096] = bytes(4096)
        torn = range(block, block + 4096)
    elif what == "doubled block":
        content[block : block + 4096] = content[block - 4096 : block]
        torn = range(block, block + 4096)
    else:
        del content[block:]
        torn = range(block, size)
    path.write_bytes(content)
    broker.start()
    with broker.client() as client:
        found = walk(client, TOPIC, BATCHES * 3)
        assert_beside(broker, client)
        assert client.list_offsets(TOPIC, [0], LATEST)[0] == (0, -1, BATCHES * 3), broker.tail()
    for base, data in found.read.items():
        assert any(batch.base == base and batch.records == data for _, batch in stored.batches), f"{base} was never written"
    for of, batch in stored.batches:
        # Behind a batch whose frame is gone, the index says where the next ones are.
        near = of == stored.batches[0][0] and batch.position < torn.stop + INDEX_INTERVAL and batch.position + batch.size > torn.start
        assert near or batch.base in found.read, f"the batch at {batch.base} is not readable; {len(found.read)} are\n{broker.tail()}"
    assert set(found.refused.values()) == {CORRUPT_MESSAGE}


def test_a_torn_tail(make_broker, chance):
    """The last batch is cut at every byte, as by a crash before it was acknowledged. It goes, and nothing else."""
    broker = make_broker()
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1)
        producer = client.init_producer()
        batches = [records.batch("t", number, 1, 60, producer=producer, sequence=number) for number in range(5)]
        for number, data in enumerate(batches):
            assert client.produce(TOPIC, {0: data})[0].offset == number
    broker.kill()
    log = next(broker.partition(TOPIC).glob("*.log"))
    whole = log.read_bytes()
    last = len(batches[4])
    for cut in sample(chance, range(last + 1), CUTS):
        log.write_bytes(whole[: len(whole) - cut])
        position = broker.log_size()
        broker.start()
        kept = 5 if cut == 0 else 4
        with broker.client() as client:
            end = until_open(client, lambda: client.list_offsets(TOPIC, [0], LATEST)[0])
            assert end == (0, -1, kept), f"{cut} bytes cut: {end}\n{broker.tail()}"
            found = list(parse(client.fetch(TOPIC, {0: 0})[0].data))
            assert [(batch.base, *batch.read()) for batch in found] == [(number, "t", number) for number in range(kept)]
            # What was lost is sent again and goes where it was; what was not is a repeat.
            assert client.produce(TOPIC, {0: batches[3]})[0].offset == 3
            assert client.produce(TOPIC, {0: batches[4]})[0].offset == 4
        broker.kill()
        assert (log.stat().st_size, "panicked" in broker.logged_since(position)) == (len(whole), False), broker.tail()
        whole = log.read_bytes()
