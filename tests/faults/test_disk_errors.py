"""A disk that says no, or yes without doing it: errors and lies of single system calls (rows 11 to 14)."""

from __future__ import annotations

import time

import pytest

from faults import records, strace
from faults.broker import Broker
from faults.disk import FLUSH_NOTHING
from faults.history import History, Violated
from faults.records import Damaged, parse
from faults.script import everything, until_open
from faults.wire import CORRUPT_MESSAGE, KAFKA_STORAGE_ERROR, Client, Produced, until

TOPIC, BESIDE = "hit", "beside"
WIDTH = 100


class Writer:
    """Sends one batch after the other to one partition, and keeps what it was told of each."""

    def __init__(self, client: Client, topic: str, partition: int = 0):
        self._client, self._topic, self._partition = client, topic, partition
        self.label = f"{topic}{partition}"
        self.next = 0
        self.acknowledged: dict[int, int] = {}
        self.refused: dict[int, int] = {}

    def data(self) -> bytes:
        return records.batch(self.label, self.next, 1, WIDTH)

    def send(self, client: Client | None = None) -> Produced:
        number, data = self.next, self.data()
        self.next += 1
        answer = (client or self._client).produce(self._topic, {self._partition: data}, timeout_ms=5_000)[self._partition]
        if answer.code:
            self.refused[number] = answer.code
        else:
            self.acknowledged[number] = answer.offset
        return answer

    def check(self, client: Client) -> None:
        """What was acknowledged is there, once; what else is there was sent."""
        there = {batch.base: batch.read()[1] for batch in everything(client, self._topic, self._partition)}
        for number, offset in self.acknowledged.items():
            assert there.get(offset) == number, f"{self.label}@{offset}: {number} was acknowledged, {there.get(offset)} is there"
        assert len(set(there.values())) == len(there) and all(number < self.next for number in there.values())


def log_of(broker: Broker, topic: str, partition: int = 0):
    return max(broker.partition(topic, partition).glob("*.log"))


@pytest.fixture
def running(broker):
    with broker.client() as client:
        client.create(TOPIC, 4)
        client.create(BESIDE, 1)
        assert client.produce(BESIDE, {0: records.batch("b", 0, 3, 10)})[0].code == 0
    return broker


@pytest.mark.parametrize("when", [1, 3])
def test_a_failed_fdatasync(when, running):
    """Its records are not acknowledged, nor is anything behind them: a second sync that succeeds proves nothing about pages
    that the kernel has given up. Other partitions go on; the next start finds out what is there."""
    with running.client() as client:
        writer, beside = Writer(client, TOPIC), Writer(client, BESIDE)
        for _ in range(3):
            assert writer.send().code == 0
        with strace.attached(running, f"fdatasync:error=EIO:when={when}", path=log_of(running, TOPIC)):
            answers = [writer.send().code for _ in range(when + 4)]
            assert answers == [0] * (when - 1) + [KAFKA_STORAGE_ERROR] * 5, f"{answers}\n{running.tail()}"
        # The disk is well again; that changes nothing before a restart.
        assert writer.send().code == KAFKA_STORAGE_ERROR
        beside.next = 3
        assert beside.send().code == 0
        shown = client.fetch(TOPIC, {0: 0})[0]
        assert shown.high_watermark == 3 + when - 1, "what was not synced is shown"
        writer.check(client)
    assert running.metrics()["tidelog_flush_failures_total"] >= 1
    assert "sync failed" in running.tail()
    running.kill()
    running.start()
    with running.client() as client:
        until_open(client, lambda: client.fetch(TOPIC, {0: 0})[0])
        writer.check(client)
        assert writer.send(client).code == 0


def test_a_failed_syncfs(running):
    """Many partitions that are synced together fail together."""
    with running.client() as client:
        writers = [Writer(client, TOPIC, partition) for partition in range(4)]
        assert all(writer.send().code == 0 for writer in writers)
        with strace.attached(running, "syncfs:error=EIO", "fdatasync:error=EIO"):
            data = {partition: writer.data() for partition, writer in enumerate(writers)}
            codes = {answer.code for answer in client.produce(TOPIC, data, timeout_ms=5_000).values()}
            assert codes == {KAFKA_STORAGE_ERROR}, f"{codes}\n{running.tail()}"
        for writer in writers:
            writer.next += 1
            assert writer.send().code == KAFKA_STORAGE_ERROR
        assert client.produce(BESIDE, {0: records.batch("b", 3, 1, 10)})[0].code == 0
    running.kill()
    running.start()
    with running.client() as client:
        for writer in writers:
            until_open(client, lambda: client.fetch(TOPIC, {0: 0, 1: 0, 2: 0, 3: 0})[0])
            writer.check(client)
            assert writer.send(client).code == 0


@pytest.mark.parametrize("call", ["pwritev", "openat"])
def test_no_room(call, running):
    """The producer may try again; readers read on; with room there, writing goes on by itself."""
    with running.client() as client:
        client.create("rolled", 1, {"segment.bytes": 1 << 20})
        writer = Writer(client, "rolled")
        assert writer.send().code == 0
        big = records.batch("big", 0, 1, 700_000)
        if call == "openat":
            # The next large one needs a new segment.
            assert client.produce("rolled", {0: big})[0].code == 0
        with strace.attached(running, f"{call}:error=ENOSPC"):
            if call == "openat":
                codes = [client.produce("rolled", {0: big})[0].code for _ in range(3)]
            else:
                codes = [writer.send().code for _ in range(3)]
            assert codes == [KAFKA_STORAGE_ERROR] * 3, f"{codes}\n{running.tail()}"
            assert client.fetch("rolled", {0: 0}, max_bytes=2000)[0].code == 0
        deadline = time.monotonic() + 20
        while (answer := writer.send()).code:
            assert answer.code == KAFKA_STORAGE_ERROR and time.monotonic() < deadline, f"{answer}\n{running.tail()}"
            time.sleep(0.1)
        for batch in everything(client, "rolled", 0):
            label, number = batch.read()
            assert label == "big" or number not in writer.refused, f"{number} was refused, and is there"
        assert all(offset < 100 for offset in writer.acknowledged.values())


def test_no_room_for_a_checkpoint(make_broker):
    """A rename that fails leaves the old file; what depends on it is as it was."""
    broker = make_broker(settings={"log.flush.offset.checkpoint.interval.ms": 200})
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1)
        writer = Writer(client, TOPIC)
        with strace.attached(broker, "rename:error=ENOSPC", "renameat:error=ENOSPC", "renameat2:error=ENOSPC"):
            for _ in range(5):
                assert writer.send().code == 0
            time.sleep(1)
            # DeleteRecords is acknowledged when the new start is written down.
            code, _ = client.delete_records(TOPIC, {0: 2})[0]
            assert code != 0, "DeleteRecords is acknowledged and cannot have been kept"
        code, start = client.delete_records(TOPIC, {0: 3})[0]
        assert (code, start) == (0, 3), broker.tail()
        assert writer.send().code == 0
    broker.kill()
    broker.start()
    with broker.client() as client:
        assert until_open(client, lambda: client.list_offsets(TOPIC, [0], -2)[0])[2] == 3
        there = [batch.base for batch in everything(client, TOPIC, 0)]
        assert there == [3, 4, 5], there


def test_a_segment_that_cannot_be_read(make_broker):
    """Only what is in it is an error, and only while it cannot be read."""
    broker = make_broker()
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1, {"segment.bytes": 1 << 20})
        client.create(BESIDE, 1)
        assert client.produce(BESIDE, {0: records.batch("b", 0, 3, 10)})[0].code == 0
        for number in range(12):
            assert client.produce(TOPIC, {0: records.batch("t", number, 1, 300_000)})[0].offset == number
    bases = sorted(int(path.stem) for path in broker.partition(TOPIC).glob("*.log"))
    assert len(bases) == 4, bases
    failing = broker.partition(TOPIC) / f"{bases[1]:020}.log"
    reads = [f"{call}:error=EIO" for call in ("pread64", "preadv", "read", "sendfile")]
    with strace.attached(broker, *reads, path=failing):
        for base in bases:
            try:
                with broker.client(timeout=10) as client:
                    answer = client.fetch(TOPIC, {0: base}, max_bytes=2 << 20)[0]
                    served = [batch.base for batch in parse(answer.data)] if answer.code == 0 else answer.code
            except OSError:
                # It had promised so many bytes already.
                served = "closed"
            if base == bases[1]:
                assert served in ("closed", KAFKA_STORAGE_ERROR, CORRUPT_MESSAGE), f"{base}: {served}"
            else:
                assert served and isinstance(served, list) and served[0] == base, f"{base}: {served}\n{broker.tail()}"
        with broker.client() as client:
            assert client.fetch(BESIDE, {0: 0})[0].code == 0
            assert client.produce(TOPIC, {0: records.batch("t", 12, 1, 100)})[0].code == 0, broker.tail()
    with broker.client() as client:
        assert [batch.read() for batch in everything(client, TOPIC, 0)] == [("t", number) for number in range(13)]


def test_interrupted_writes(running):
    """EINTR and EAGAIN say that nothing was written: it is tried again, and nobody hears of it."""
    with running.client() as client:
        writer = Writer(client, TOPIC)
        with strace.attached(running, "pwritev:error=EINTR:when=1+2", path=log_of(running, TOPIC)):
            assert [writer.send().code for _ in range(6)] == [0] * 6, running.tail()
        writer.check(client)


def test_a_write_that_was_not_done(running):
    """The disk says that it wrote a batch, and did not. That cannot be known when it is acknowledged; but the zeros in its
    place are never served, and neither its neighbours before it nor another partition suffer."""
    with running.client() as client:
        writer = Writer(client, TOPIC)
        for _ in range(3):
            assert writer.send().code == 0
        size = len(writer.data())
        with strace.attached(running, f"pwritev:retval={size}:when=1", path=log_of(running, TOPIC)):
            assert writer.send().code == 0
            for _ in range(2):
                assert writer.send().code == 0

        def look(client: Client) -> None:
            before = client.fetch(TOPIC, {0: 0}, max_bytes=3 * size)[0]
            # Where it has to step over the place to know where to end, the answer may be an error as a whole.
            is_refused = before.code in (CORRUPT_MESSAGE, KAFKA_STORAGE_ERROR)
            assert is_refused or [batch.read()[1] for batch in parse(before.data)] == [0, 1, 2], f"{before}\n{running.tail()}"
            try:
                lied = client.fetch(TOPIC, {0: 3})[0]
                assert lied.code in (CORRUPT_MESSAGE, KAFKA_STORAGE_ERROR) or not lied.data, f"{lied} {lied.data[:80]!r}"
            except Damaged:
                pytest.fail("zeros are served as a batch")
            assert client.fetch(BESIDE, {0: 0})[0].code == 0

        look(client)
    running.kill()
    running.start()
    with running.client() as client:
        until_open(client, lambda: client.fetch(TOPIC, {0: 0})[0])
        there = [batch.read()[1] for batch in everything(client, TOPIC, 0, since=0) if batch.base < 3]
        assert there == [0, 1, 2]
    assert "corrupt" in running.log.read_text()


def test_syncs_that_were_not_done(make_broker):
    """Then a power cut takes what was acknowledged. No broker can prevent that; the oracle notices, so it would notice a sync
    that the broker forgot. What is served afterwards is sound, and a beginning of the log."""
    broker = make_broker(megabytes=128)
    broker.start()
    with broker.client() as client:
        client.create(TOPIC, 1)
        history = History(TOPIC, 1)
        lies = [f"{call}:retval=0" for call in ("fdatasync", "fsync", "syncfs", "sync_file_range")]
        with strace.attached(broker, *lies):
            for number in range(20):
                answer = client.produce(TOPIC, {0: records.batch("p", number, 1, WIDTH)})[0]
                history.acknowledge(0, answer.offset, ("p", number, 1))
            # Nothing may be synced on the way out, either.
            broker.disk.cut_power(FLUSH_NOTHING)
            broker.kill()
    broker.disk.restore_power()
    broker.start()
    with broker.client() as client:
        there = [batch.read()[1] for batch in until(broker.port, lambda client: everything(client, TOPIC, 0))]
        assert there == list(range(len(there))) and len(there) < 20
        with pytest.raises(Violated, match="was acknowledged"):
            history.check(client)
        assert client.produce(TOPIC, {0: records.batch("p", 20, 1, WIDTH)})[0].code == 0
