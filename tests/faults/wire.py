"""A Kafka client that only asks and reads: an answer that was read is an acknowledgement, and nothing else is.

A library retries, merges and times out on its own. Versions without tagged fields are spoken, the oldest of which Apache
Kafka 4 serves as well.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# Key and version of each request.
PRODUCE, FETCH, LIST_OFFSETS, METADATA = (0, 7), (1, 11), (2, 4), (3, 4)
CREATE_TOPICS, DELETE_TOPICS, DELETE_RECORDS, INIT_PRODUCER_ID = (19, 2), (20, 1), (21, 0), (22, 1)

NONE, OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_TOPIC = 0, 1, 2, 3
NOT_LEADER, REQUEST_TIMED_OUT = 6, 7
OUT_OF_ORDER_SEQUENCE, KAFKA_STORAGE_ERROR, UNKNOWN_PRODUCER_ID = 45, 56, 59
# UNKNOWN_TOPIC_OR_PARTITION and NOT_LEADER_OR_FOLLOWER of a partition that is being opened, COORDINATOR_LOAD_IN_PROGRESS,
# COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS: a broker that has just started.
NOT_YET = {UNKNOWN_TOPIC, NOT_LEADER, 14, 15, 16, 51}
EARLIEST, LATEST = -2, -1


class Refused(Exception):
    """The broker answered with an error."""

    def __init__(self, what: str, code: int):
        super().__init__(f"{what}: error code {code}")
        self.code = code


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


class Answer:
    """Reads what was answered, field by field."""

    def __init__(self, body: bytes):
        self.body, self.at = body, 0

    def take(self, form: str):
        """One value, or as many as the form asks for."""
        values = struct.unpack_from(">" + form, self.body, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def text(self) -> str:
        size = max(self.take("h"), 0)
        self.at += size
        return self.body[self.at - size : self.at].decode()

    def data(self) -> bytes:
        size = max(self.take("i"), 0)
        self.at += size
        return self.body[self.at - size : self.at]


@dataclass(frozen=True)
class Produced:
    """What was answered for one partition."""

    code: int
    offset: int


@dataclass(frozen=True)
class Fetched:
    """What was answered for one partition."""

    code: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    aborted: list[tuple[int, int]] = field(repr=False)
    data: bytes = field(repr=False)


class Client:
    """One connection. A lost one is an OSError."""

    def __init__(self, port: int, timeout: float = 30):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, api: tuple[int, int], body: bytes) -> int:
        """Sends a request without waiting; answers come in the order of requests."""
        self._number += 1
        request = struct.pack(">hhi", *api, self._number) + string("faults") + body
        self._socket.sendall(struct.pack(">i", len(request)) + request)
        return self._number

    def receive(self, number: int) -> Answer:
        (length,) = struct.unpack(">i", self._exactly(4))
        answer = Answer(self._exactly(length))
        found = answer.take("i")
        assert found == number, f"the answer to request {found} came for {number}"
        return answer

    def ask(self, api: tuple[int, int], body: bytes) -> Answer:
        return self.receive(self.send(api, body))

    def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = self._socket.recv(size)
            if not piece:
                raise ConnectionResetError("the broker closed the connection")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    # Records.

    def send_produce(self, topic: str, batches: dict[int, bytes], acks: int = -1, timeout_ms: int = 30_000) -> int:
        body = struct.pack(">hhii", -1, acks, timeout_ms, 1) + string(topic) + struct.pack(">i", len(batches))
        body += b"".join(struct.pack(">ii", partition, len(data)) + data for partition, data in batches.items())
        return self.send(PRODUCE, body)

    def receive_produced(self, number: int) -> dict[int, Produced]:
        answer = self.receive(number)
        found = {}
        for _ in range(answer.take("i")):
            answer.text()
            for _ in range(answer.take("i")):
                partition, code, offset, _time, _start = answer.take("ihqqq")
                found[partition] = Produced(code, offset)
        return found

    def produce(self, topic: str, batches: dict[int, bytes], **options) -> dict[int, Produced]:
        return self.receive_produced(self.send_produce(topic, batches, **options))

    def fetch(
        self, topic: str, offsets: dict[int, int], *, committed: bool = False, max_bytes: int = 1 << 20, wait_ms: int = 0
    ) -> dict[int, Fetched]:
        """At read_uncommitted unless `committed`; without a session."""
        body = struct.pack(">iiiibii", -1, wait_ms, 1, 64 << 20, committed, 0, -1)
        body += struct.pack(">i", 1) + string(topic) + struct.pack(">i", len(offsets))
        body += b"".join(struct.pack(">iiqqi", partition, -1, at, -1, max_bytes) for partition, at in offsets.items())
        body += struct.pack(">i", 0) + string("")
        answer = self.ask(FETCH, body)
        _throttle, code, _session = answer.take("ihi")
        if code:
            raise Refused("Fetch", code)
        found = {}
        for _ in range(answer.take("i")):
            answer.text()
            for _ in range(answer.take("i")):
                partition, code, high, stable, start = answer.take("ihqqq")
                aborted = [answer.take("qq") for _ in range(max(answer.take("i"), 0))]
                answer.take("i")
                found[partition] = Fetched(code, high, stable, start, aborted, answer.data())
        return found

    def list_offsets(self, topic: str, partitions, timestamp: int) -> dict[int, tuple[int, int, int]]:
        """Error code, timestamp and offset of each partition."""
        body = struct.pack(">ibi", -1, 0, 1) + string(topic) + struct.pack(">i", len(partitions))
        body += b"".join(struct.pack(">iiq", partition, -1, timestamp) for partition in partitions)
        answer = self.ask(LIST_OFFSETS, body)
        answer.take("ii"), answer.text()
        found = {}
        for _ in range(answer.take("i")):
            partition, code, time_of, offset, _epoch = answer.take("ihqqi")
            found[partition] = (code, time_of, offset)
        return found

    def init_producer(self) -> tuple[int, int]:
        """A new producer id and its epoch."""
        answer = self.ask(INIT_PRODUCER_ID, struct.pack(">hi", -1, 60_000))
        _throttle, code, producer_id, epoch = answer.take("ihqh")
        if code:
            raise Refused("InitProducerId", code)
        return producer_id, epoch

    # Topics.

    def topics(self) -> dict[str, list[int]]:
        """The error code of each partition, in order, by topic."""
        answer = self.ask(METADATA, struct.pack(">i?", -1, False))
        answer.take("i")
        for _ in range(answer.take("i")):
            answer.take("i"), answer.text(), answer.take("i"), answer.text()
        answer.text(), answer.take("i")
        found = {}
        for _ in range(answer.take("i")):
            answer.take("h")
            name = answer.text()
            answer.take("b")
            codes = {}
            for _ in range(answer.take("i")):
                code, index, _leader = answer.take("hii")
                for _ in range(2):
                    replicas = answer.take("i")
                    answer.take(f"{replicas}i")
                codes[index] = code
            found[name] = [codes[index] for index in sorted(codes)]
        return found

    def create(self, topic: str, partitions: int, configs: dict[str, object] | None = None) -> None:
        configs = configs or {}
        body = struct.pack(">i", 1) + string(topic) + struct.pack(">ihii", partitions, 1, 0, len(configs))
        body += b"".join(string(key) + string(str(value)) for key, value in configs.items()) + struct.pack(">i?", 30_000, False)
        answer = self.ask(CREATE_TOPICS, body)
        answer.take("ii"), answer.text()
        if code := answer.take("h"):
            raise Refused(f"CreateTopics {topic}", code)

    def delete(self, topic: str) -> None:
        answer = self.ask(DELETE_TOPICS, struct.pack(">i", 1) + string(topic) + struct.pack(">i", 30_000))
        answer.take("ii"), answer.text()
        if code := answer.take("h"):
            raise Refused(f"DeleteTopics {topic}", code)

    def delete_records(self, topic: str, offsets: dict[int, int]) -> dict[int, tuple[int, int]]:
        """Error code and log start of each partition."""
        body = struct.pack(">i", 1) + string(topic) + struct.pack(">i", len(offsets))
        body += b"".join(struct.pack(">iq", partition, offset) for partition, offset in offsets.items())
        answer = self.ask(DELETE_RECORDS, body + struct.pack(">i", 30_000))
        answer.take("ii"), answer.text()
        found = {}
        for _ in range(answer.take("i")):
            partition, start, code = answer.take("iqh")
            found[partition] = (code, start)
        return found


def until(port: int, what: Callable[[Client], object], *, patience: float = 30, alive=lambda: True, retry=frozenset(NOT_YET)):
    """Repeats `what` over new connections until it is done: a broker that has just started may not be there yet.

    `what` gets a client; an OSError, or a Refused with one of the codes in `retry`, means that it is tried again.
    """
    deadline, last = time.monotonic() + patience, None
    while time.monotonic() < deadline and alive():
        try:
            with Client(port) as client:
                return what(client)
        except OSError as failure:
            last = failure
        except Refused as failure:
            if failure.code not in retry:
                raise
            last = failure
        time.sleep(0.005)
    raise AssertionError(f"not done within {patience} s: {last!r}")
