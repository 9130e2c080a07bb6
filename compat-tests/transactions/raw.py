"""A transactional producer over a socket of our own, in either transaction protocol.

A client library retries, merges and times out on its own, and does nothing that is forbidden. Here a request is sent when it
is asked for, an answer that was read is an acknowledgement, and nothing else is.

Every version that is spoken is a flexible one (KIP-482): strings, arrays and records have their length plus one as a
variable-length number, and an (empty) list of tagged fields ends each structure.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field

import crc32c

PRODUCE, FIND_COORDINATOR, INIT_PRODUCER_ID = 0, 10, 22
ADD_PARTITIONS_TO_TXN, ADD_OFFSETS_TO_TXN, END_TXN, TXN_OFFSET_COMMIT = 24, 25, 26, 28
# What each protocol speaks: the first adds partitions and groups before it uses them, the second lets the broker do that.
FIRST = {PRODUCE: 11, END_TXN: 4, TXN_OFFSET_COMMIT: 4}
SECOND = {PRODUCE: 12, END_TXN: 5, TXN_OFFSET_COMMIT: 5}
OTHERS = {INIT_PRODUCER_ID: 4, ADD_PARTITIONS_TO_TXN: 3, ADD_OFFSETS_TO_TXN: 3, FIND_COORDINATOR: 3}
# UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE,
# NOT_COORDINATOR: a broker that has just started. CONCURRENT_TRANSACTIONS: the transaction before is still being ended.
NOT_YET = {3, 6, 14, 15, 16, 51}
# Attributes of a batch: bit 4 says that it belongs to a transaction.
TRANSACTIONAL = 1 << 4
NO_TAGS = b"\0"


class Refused(Exception):
    def __init__(self, api: int, code: int):
        super().__init__(f"request {api} was refused with {code}")
        self.code = code


def unsigned(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def signed(number: int) -> bytes:
    return unsigned((number << 1) ^ (number >> 63))


def string(text: str) -> bytes:
    return unsigned(len(text) + 1) + text.encode()


def array(items: list[bytes]) -> bytes:
    return unsigned(len(items) + 1) + b"".join(items)


class Answer:
    """Reads what was answered, field by field."""

    def __init__(self, body: bytes):
        self._body, self._at = body, 0

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from(">" + form, self._body, self._at)
        self._at += struct.calcsize(form)
        return value

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._body[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def length(self) -> int:
        """Of an array or a string; nothing counts as empty."""
        return max(self.unsigned() - 1, 0)

    def text(self) -> str:
        size = self.length()
        self._at += size
        return self._body[self._at - size : self._at].decode()

    def tags(self) -> None:
        for _ in range(self.unsigned()):
            self.unsigned()
            self._at += self.unsigned()


def batch(producer_id: int, epoch: int, sequence: int, timestamp: int, values: list[bytes]) -> bytes:
    """A record batch of a transaction."""
    records = b""
    for number, value in enumerate(values):
        record = b"\0" + signed(0) + signed(number) + signed(-1) + signed(len(value)) + value + signed(0)
        records += signed(len(record)) + record
    checked = struct.pack(
        ">hiqqqhii", TRANSACTIONAL, len(values) - 1, timestamp, timestamp, producer_id, epoch, sequence, len(values)
    ) + records  # fmt: skip
    # Leader epoch unknown, magic 2, checksum of all that follows it.
    rest = struct.pack(">ibI", -1, 2, crc32c.crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


@dataclass
class RawProducer:
    """A producer of one topic. A lost connection is an OSError; the next request makes a new one."""

    port: int
    topic: str
    transactional_id: str
    protocol: dict[int, int]
    timeout_ms: int = 60_000
    producer_id: int = -1
    epoch: int = -1
    sequences: dict[int, int] = field(default_factory=dict)
    _connection: socket.socket | None = None
    _number: int = 0

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def ask(self, api: int, body: bytes) -> Answer:
        """The answer to one request."""
        version = {**OTHERS, **self.protocol}[api]
        self._number += 1
        request = struct.pack(">hhi", api, version, self._number) + struct.pack(">h", 3) + b"raw" + NO_TAGS + body + NO_TAGS
        try:
            if self._connection is None:
                self._connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
                self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection.sendall(struct.pack(">i", len(request)) + request)
            (length,) = struct.unpack(">i", self._exactly(4))
            answer = Answer(self._exactly(length))
        except OSError:
            self.disconnect()
            raise
        assert answer.take("i") == self._number
        answer.tags()
        return answer

    def _exactly(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            piece = self._connection.recv(size - len(read))
            if not piece:
                raise ConnectionError("the broker closed the connection")
            read += piece
        return read

    def _until_done(self, api: int, body: bytes, codes) -> Answer:
        """Repeats a request while the broker is not ready for it; `codes` reads the error codes of its answer."""
        deadline = time.monotonic() + 60
        while True:
            answer = self.ask(api, body)
            found = codes(answer) - {0}
            if not found:
                return answer
            if not found <= NOT_YET or time.monotonic() > deadline:
                raise Refused(api, min(found - NOT_YET or found))
            time.sleep(0.005)

    def _who(self) -> bytes:
        return string(self.transactional_id) + struct.pack(">qh", self.producer_id, self.epoch)

    def _topic(self, partitions: list[bytes]) -> bytes:
        return array([string(self.topic) + array(partitions) + NO_TAGS])

    def init(self) -> None:
        """Becomes the producer of the transactional id; what its predecessor left open is ended."""
        # Whoever looks for a coordinator first makes the topic in which Apache Kafka keeps what they know.
        self.ask(FIND_COORDINATOR, string(self.transactional_id) + b"\1")
        # No producer id or epoch of before: this is a new producer.
        body = string(self.transactional_id) + struct.pack(">iqh", self.timeout_ms, -1, -1)
        found: list[int] = []

        def codes(answer: Answer) -> set[int]:
            _, code, *found[:] = answer.take("i"), answer.take("h"), answer.take("q"), answer.take("h")
            return {code}

        self._until_done(INIT_PRODUCER_ID, body, codes)
        self.producer_id, self.epoch = found
        self.sequences = {}

    def add_partitions(self, partitions: list[int]) -> None:
        body = self._who() + self._topic([struct.pack(">i", partition) for partition in partitions])
        self._until_done(ADD_PARTITIONS_TO_TXN, body, _topic_codes)

    def produce(self, values: dict[int, list[bytes]], timestamp: int | None = None) -> dict[int, int]:
        """One batch to each of some partitions; gives the offset of each batch's first record."""
        now = int(time.time() * 1000) if timestamp is None else timestamp
        parts = []
        for partition, records in values.items():
            data = batch(self.producer_id, self.epoch, self.sequences.get(partition, 0), now, records)
            parts.append(struct.pack(">i", partition) + unsigned(len(data) + 1) + data + NO_TAGS)
        offsets: dict[int, int] = {}

        def codes(answer: Answer) -> set[int]:
            found = set()
            for _ in range(answer.length()):
                answer.text()
                for _ in range(answer.length()):
                    partition, code, offset = answer.take("i"), answer.take("h"), answer.take("q")
                    # Append time and log start; then what was wrong with which record, and a message.
                    answer.take("q"), answer.take("q")
                    for _ in range(answer.length()):
                        answer.take("i"), answer.text(), answer.tags()
                    answer.text(), answer.tags()
                    found.add(code)
                    offsets[partition] = offset
                answer.tags()
            return found

        body = string(self.transactional_id) + struct.pack(">hi", -1, 30_000) + self._topic(parts)
        self._until_done(PRODUCE, body, codes)
        for partition, records in values.items():
            self.sequences[partition] = self.sequences.get(partition, 0) + len(records)
        return offsets

    def commit_offsets(self, group: str, offsets: dict[int, int]) -> None:
        """From outside the group: no generation, no member."""
        if self.protocol is FIRST:
            self._until_done(ADD_OFFSETS_TO_TXN, self._who() + string(group), lambda answer: {(answer.take("i"), answer.take("h"))[1]})
        self.ask(FIND_COORDINATOR, string(group) + b"\0")
        body = string(self.transactional_id) + string(group) + struct.pack(">qh", self.producer_id, self.epoch)
        body += struct.pack(">i", -1) + string("") + b"\0"
        # No leader epoch, no metadata.
        body += self._topic([struct.pack(">iqi", partition, offset, -1) + b"\0" + NO_TAGS for partition, offset in offsets.items()])
        self._until_done(TXN_OFFSET_COMMIT, body, _topic_codes)

    def end(self, *, commit: bool) -> None:
        """In the second protocol the producer goes on with another epoch, and counts its batches anew."""
        found: list[int] = []

        def codes(answer: Answer) -> set[int]:
            answer.take("i")
            code = answer.take("h")
            if self.protocol is SECOND:
                found[:] = [answer.take("q"), answer.take("h")]
            return {code}

        self._until_done(END_TXN, self._who() + struct.pack(">?", commit), codes)
        if self.protocol is SECOND:
            self.producer_id, self.epoch = found
            self.sequences = {}


def _topic_codes(answer: Answer) -> set[int]:
    """The error codes of an answer that has one for each partition."""
    found = set()
    answer.take("i")
    for _ in range(answer.length()):
        answer.text()
        for _ in range(answer.length()):
            answer.take("i")
            found.add(answer.take("h"))
            answer.tags()
        answer.tags()
    return found
