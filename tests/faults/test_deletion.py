"""Records and topics are deleted while they are read, and the broker dies in the middle (row 18)."""

from __future__ import annotations

import threading
import time

import pytest

from faults import records
from faults.broker import Broker
from faults.disk import FLUSH_JOURNAL, FLUSH_NOTHING
from faults.records import Damaged, parse
from faults.script import everything, until_open
from faults.wire import EARLIEST, OFFSET_OUT_OF_RANGE, Client, Refused, until

ROUNDS = 8
TOPIC = "renewed"


class Watcher(threading.Thread):
    """Reads the topic from its start, over and over; keeps what was never to be seen."""

    def __init__(self, port: int):
        super().__init__(daemon=True)
        self._port, self._over = port, threading.Event()
        # Records of topics that are gone, of whose deletion the broker has told.
        self.gone: set[str] = set()
        self.start_offset, self.failures, self.seen = 0, [], 0

    def forget_start(self) -> None:
        self.start_offset = 0

    def run(self) -> None:
        while not self._over.is_set():
            try:
                with Client(self._port, timeout=10) as client:
                    while not self._over.is_set():
                        self._look(client)
            except OSError:
                time.sleep(0.01)
            except (Damaged, AssertionError) as failure:
                self.failures.append(repr(failure))
                return

    def _look(self, client: Client) -> None:
        gone = set(self.gone)
        answer = client.fetch(TOPIC, {0: self.start_offset}, max_bytes=200_000)[0]
        if answer.code == OFFSET_OUT_OF_RANGE:
            code, _, start = client.list_offsets(TOPIC, [0], EARLIEST)[0]
            if code == 0:
                self.start_offset = start
        if answer.code:
            time.sleep(0.001)
            return
        for batch in parse(answer.data):
            label, _ = batch.read()
            self.seen += 1
            assert label not in gone, f"a record of {label} is read, whose topic is gone"

    def end(self) -> None:
        self._over.set()
        self.join(timeout=30)
        assert not self.failures, self.failures
        assert self.seen


def crash(broker: Broker, kind: str, chance) -> None:
    if kind == "power":
        broker.lose_power(chance.choice([FLUSH_JOURNAL, FLUSH_NOTHING]))
    else:
        broker.kill()


@pytest.mark.parametrize("kind", ["kill", "power"])
def test_a_topic_is_deleted_and_made_anew(kind, make_broker, chance):
    """Whatever was acknowledged of deletion and creation holds; nothing of an old topic is in the new one, in no reader's
    answer and in no file; and the room comes back."""
    broker = make_broker(megabytes=128) if kind == "power" else make_broker()
    broker.start()
    watcher = Watcher(broker.port)
    watcher.start()
    for number in range(ROUNDS):
        label = f"generation{number}"
        with broker.client() as client:
            client.create(TOPIC, 2, {"segment.bytes": 1 << 20})
            # Eight mebibytes each: a dozen generations would not fit beside each other.
            for batch in range(20):
                assert client.produce(TOPIC, {index: records.batch(label, batch, 1, 200_000) for index in range(2)})[0].code == 0
        deleting = threading.Thread(target=_delete, args=(broker.port, label, watcher))
        deleting.start()
        time.sleep(chance.uniform(0, 0.02))
        crash(broker, kind, chance)
        deleting.join(timeout=30)
        broker.start()
        with broker.client() as client:
            if TOPIC in client.topics():
                # Not deleted: then it is whole.
                assert label not in watcher.gone, f"{label} was deleted, and is there\n{broker.tail()}"
                for index in range(2):
                    until_open(client, lambda index=index: client.fetch(TOPIC, {index: 0})[index])
                    assert [batch.read() for batch in everything(client, TOPIC, index)] == [(label, batch) for batch in range(20)]
                client.delete(TOPIC)
            watcher.gone.add(label)
            watcher.forget_start()
    watcher.end()
    # What was set aside goes with the next start at the latest.
    broker.kill()
    broker.start()
    deadline = time.monotonic() + 20
    while leftovers := [path.name for path in broker.data.glob(f"{TOPIC}-*")]:
        assert time.monotonic() < deadline, f"{leftovers} stay\n{broker.tail()}"
        time.sleep(0.1)


def _delete(port: int, label: str, watcher: Watcher) -> None:
    try:
        with Client(port, timeout=10) as client:
            client.delete(TOPIC)
            watcher.gone.add(label)
    except (OSError, Refused):
        pass


@pytest.mark.parametrize("kind", ["kill", "power"])
def test_the_log_start_never_goes_back(kind, make_broker, chance):
    """DeleteRecords and retention by size, with readers on what goes, and a crash in the middle."""
    broker = make_broker(megabytes=256, settings={"log.retention.check.interval.ms": 100}) if kind == "power" else make_broker(
        settings={"log.retention.check.interval.ms": 100}
    )
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1, {"segment.bytes": 1 << 20, "retention.bytes": 4 << 20, "file.delete.delay.ms": 200})
    watcher = Watcher(broker.port)
    watcher.start()
    end = start = 0
    for _ in range(ROUNDS):
        with broker.client() as client:
            for _ in range(chance.randint(5, 25)):
                answer = client.produce(TOPIC, {0: records.batch("kept", end, 1, 200_000)})[0]
                assert (answer.code, answer.offset) == (0, end), f"{answer}\n{broker.tail()}"
                end += 1
            start = max(start, client.list_offsets(TOPIC, [0], EARLIEST)[0][2])
            code, told = client.delete_records(TOPIC, {0: chance.randint(start, end)})[0]
            assert code == 0 and told >= start
            start = told
            time.sleep(chance.uniform(0, 0.3))
        crash(broker, kind, chance)
        broker.start()
        with broker.client() as client:
            now = until_open(client, lambda: client.list_offsets(TOPIC, [0], EARLIEST)[0])[2]
            assert start <= now <= end, f"the log started at {start}, now at {now}; it ends at {end}\n{broker.tail()}"
            start = now
            there = [batch.base for batch in everything(client, TOPIC, 0)]
            assert there == list(range(start, end)), f"{there} instead of {start}..{end}\n{broker.tail()}"
    watcher.end()
    deadline = time.monotonic() + 20
    while (size := sum(path.stat().st_size for path in broker.partition(TOPIC).iterdir())) > (7 << 20):
        assert time.monotonic() < deadline, f"{size} bytes stay"
        time.sleep(0.1)
    assert until(broker.port, lambda client: client.produce(TOPIC, {0: records.batch("kept", end, 1, 10)})[0].offset) == end
