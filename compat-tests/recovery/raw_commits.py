"""OffsetCommit and OffsetFetch over a socket of our own.

A client library retries, merges and times out on its own; here an answer that was read is an acknowledgement, and
nothing else is.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import contextmanager

OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR = 8, 9, 10
# A version that Apache Kafka 4 serves; of OffsetFetch, the first that knows "all partitions".
VERSION = 2
# COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR: a broker that has just started.
NOT_YET = {14, 15, 16}


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _header(api: int, number: int) -> bytes:
    return struct.pack(">hhi", api, VERSION, number) + _string("raw-commits")


def _framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def _answer(connection: socket.socket) -> bytes:
    """The next response without its length, or nothing if the broker closed the connection before its end."""
    stream = connection.makefile("rb")
    size = stream.read(4)
    if len(size) < 4:
        return b""
    (length,) = struct.unpack(">i", size)
    answer = stream.read(length)
    return answer if len(answer) == length else b""


def request(number: int, group: str, topic: str, partitions: int, offset: int) -> bytes:
    """An OffsetCommit for all partitions, from outside the group: generation -1 and no member id."""
    body = _header(OFFSET_COMMIT, number)
    body += _string(group) + struct.pack(">i", -1) + _string("") + struct.pack(">q", -1)
    body += struct.pack(">i", 1) + _string(topic) + struct.pack(">i", partitions)
    for partition in range(partitions):
        body += struct.pack(">iqh", partition, offset, -1)
    return _framed(body)


def fill(bootstrap: str, topic: str, partitions: int, records: int) -> None:
    """Writes so many empty records to each partition: a commit beyond the end of its log may rightly be moved back to it
    after a crash."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 20})
    for number in range(records * partitions):
        while True:
            try:
                producer.produce(topic, b"", partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(120) == 0


def commit(port: int, group: str, topic: str, partitions: int, offset: int, patience: float) -> None:
    """One commit that is acknowledged; waits until the coordinator is there.

    It is looked up first, which is what makes Apache Kafka create the topic that it keeps offsets in.
    """
    deadline = time.monotonic() + patience
    while True:
        with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
            connection.sendall(_framed(_header(FIND_COORDINATOR, 0) + _string(group) + b"\0"))
            _answer(connection)
            connection.sendall(request(1, group, topic, partitions, offset))
            answer = _answer(connection)
        if not answer:
            raise ConnectionResetError("the broker closed the connection")
        codes = errors(answer, 1, topic, partitions)
        if codes == {0}:
            return
        assert codes <= NOT_YET and time.monotonic() < deadline, f"error codes {codes}"
        time.sleep(0.05)


def fetch(port: int, group: str, patience: float) -> dict[tuple[str, int], int]:
    """Every offset that is committed for a group, by topic and partition; waits until the coordinator is there."""
    deadline = time.monotonic() + patience
    while True:
        with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
            connection.sendall(_framed(_header(OFFSET_FETCH, 1) + _string(group) + struct.pack(">i", -1)))
            answer = _answer(connection)
        if not answer:
            raise ConnectionResetError("the broker closed the connection")
        # The error of the whole comes last.
        (code,) = struct.unpack(">h", answer[-2:])
        if code == 0:
            return _offsets(answer)
        assert code in NOT_YET and time.monotonic() < deadline, f"error code {code}"
        time.sleep(0.05)


def _offsets(answer: bytes) -> dict[tuple[str, int], int]:
    (topics,) = struct.unpack_from(">i", answer, 4)
    found, at = {}, 8
    for _ in range(topics):
        (length,) = struct.unpack_from(">h", answer, at)
        topic, at = answer[at + 2 : at + 2 + length].decode(), at + 2 + length
        (partitions,) = struct.unpack_from(">i", answer, at)
        at += 4
        for _ in range(partitions):
            partition, offset, metadata = struct.unpack_from(">iqh", answer, at)
            (code,) = struct.unpack_from(">h", answer, at + 14 + max(metadata, 0))
            assert code == 0, f"{topic}-{partition}: error code {code}"
            found[topic, partition] = offset
            at += 16 + max(metadata, 0)
    return found


def errors(answer: bytes, number: int, topic: str, partitions: int) -> set[int]:
    """The error codes in an answer, which must be for this request and name each partition once."""
    (correlation, topics, length) = struct.unpack_from(">iih", answer)
    assert (correlation, topics, answer[10 : 10 + length].decode()) == (number, 1, topic), answer
    (count,) = struct.unpack_from(">i", answer, 10 + length)
    entries = list(struct.iter_unpack(">ih", answer[14 + length :]))
    assert count == partitions and sorted(partition for partition, _ in entries) == list(range(partitions)), answer
    return {code for _, code in entries}


class Committer:
    """Commits until it is left, one request after the other and over reconnections, each with greater offsets.

    `sent` and `acknowledged` are the greatest offsets of their kind.
    """

    def __init__(self, port: int, group: str, topic: str, partitions: int):
        self.group = group
        self.sent = self.acknowledged = 0
        self._port, self._topic, self._partitions = port, topic, partitions
        self._changed, self._over = threading.Condition(), threading.Event()
        self._may_send = threading.Event()
        self._may_send.set()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
                        self._commit_over(connection)
                except OSError:
                    # The broker is away.
                    time.sleep(0.02)
        except BaseException as failure:
            self._failure = failure
            raise

    def _commit_over(self, connection: socket.socket) -> None:
        while not self._over.is_set():
            self._may_send.wait()
            if self._over.is_set():
                return
            self.sent += 1
            connection.sendall(request(self.sent, self.group, self._topic, self._partitions, self.sent))
            answer = _answer(connection)
            if not answer:
                # Whether this commit was applied is open; the next one is greater.
                return
            codes = errors(answer, self.sent, self._topic, self._partitions)
            if codes & NOT_YET:
                time.sleep(0.02)
                continue
            assert codes == {0}, f"error codes {codes}"
            with self._changed:
                self.acknowledged = self.sent
                self._changed.notify_all()
            # Some hundreds in a second are enough; a broker that reads all of them again should not be busy with that.
            time.sleep(0.003)

    @contextmanager
    def silent(self):
        """Sends nothing meanwhile: what a broker that was started again knows, it knows from before."""
        self._may_send.clear()
        try:
            yield
        finally:
            self._may_send.set()

    def await_more(self, count: int, patience: float) -> None:
        """Returns at the moment that so many more commits are acknowledged."""
        with self._changed:
            wanted = self.acknowledged + count
            done = self._changed.wait_for(lambda: self.acknowledged >= wanted, patience)
        assert done, f"no commit is acknowledged any more: {self._failure}"

    def __enter__(self) -> Committer:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._may_send.set()
        self._thread.join()
