"""A Kafka client as small as possible, for what a real one would blur: the moment a broker first answers, and topics
made without a client's own traffic. It speaks fixed old versions that both brokers serve, one request at a time."""

from __future__ import annotations

import socket
import struct
import time

CLIENT = b"\x00\x05bench"


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc32c_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _varint(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def batch(value: bytes) -> bytes:
    """A batch of one record without key, stamped now."""
    body = b"\0" + _varint(0) + _varint(0) + _varint(-1) + _varint(len(value)) + value + _varint(0)
    record = _varint(len(body)) + body
    now = int(time.time() * 1000)
    tail = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + record
    return struct.pack(">qiibI", 0, len(tail) + 9, -1, 2, crc32c(tail)) + tail


def metadata(topic: str) -> bytes:
    """Metadata v4: the topic is created when it is not there."""
    return struct.pack(">hhi", 3, 4, 1) + CLIENT + struct.pack(">i", 1) + _string(topic) + b"\x01"


def produce(topic: str, records: bytes, partitions=(0,), acks: int = -1) -> bytes:
    """Produce v7: `records` to each of `partitions`."""
    head = struct.pack(">hhi", 0, 7, 1) + CLIENT + struct.pack(">hhii", -1, acks, 30_000, 1) + _string(topic)
    each = [struct.pack(">ii", index, len(records)) + records for index in partitions]
    return head + struct.pack(">i", len(each)) + b"".join(each)


def create_topic(topic: str, partitions: int, configs: dict[str, str]) -> bytes:
    """CreateTopics v2."""
    head = struct.pack(">hhi", 19, 2, 1) + CLIENT + struct.pack(">i", 1) + _string(topic)
    shape = struct.pack(">ihii", partitions, 1, 0, len(configs))
    return head + shape + b"".join(_string(k) + _string(v) for k, v in configs.items()) + struct.pack(">i?", 60_000, False)


def delete_topic(topic: str) -> bytes:
    """DeleteTopics v1."""
    return struct.pack(">hhi", 20, 1, 1) + CLIENT + struct.pack(">i", 1) + _string(topic) + struct.pack(">i", 60_000)


def find_coordinator(group: str) -> bytes:
    """FindCoordinator v0: Kafka makes its offsets topic when this is first asked for."""
    return struct.pack(">hhi", 10, 0, 1) + CLIENT + _string(group)


def offset_fetch(group: str, topic: str, partitions) -> bytes:
    """OffsetFetch v5."""
    head = struct.pack(">hhi", 9, 5, 1) + CLIENT + _string(group) + struct.pack(">i", 1) + _string(topic)
    return head + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)


def list_groups() -> bytes:
    """ListGroups v1."""
    return struct.pack(">hhi", 16, 1, 1) + CLIENT


def every_topic() -> bytes:
    """Metadata v4 of all topics."""
    return struct.pack(">hhi", 3, 4, 1) + CLIENT + struct.pack(">i", -1) + b"\x00"


def list_offsets(topic: str, partitions, timestamp: int = -1) -> bytes:
    """ListOffsets v1: the end of each partition, or its beginning with timestamp -2."""
    head = struct.pack(">hhi", 2, 1, 1) + CLIENT + struct.pack(">ii", -1, 1) + _string(topic)
    return head + struct.pack(">i", len(partitions)) + b"".join(struct.pack(">iq", index, timestamp) for index in partitions)


def fetch(topic: str, partition: int, offset: int) -> bytes:
    """Fetch v4 of one partition, without waiting."""
    head = struct.pack(">hhi", 1, 4, 1) + CLIENT + struct.pack(">iiiib", -1, 0, 1, 1 << 20, 0)
    return head + struct.pack(">i", 1) + _string(topic) + struct.pack(">iiqi", 1, partition, offset, 1 << 20)


def alter_topic(topic: str, configs: dict[str, str]) -> bytes:
    """IncrementalAlterConfigs v0: sets `configs`."""
    head = struct.pack(">hhi", 44, 0, 1) + CLIENT + struct.pack(">ib", 1, 2) + _string(topic) + struct.pack(">i", len(configs))
    return head + b"".join(_string(k) + b"\x00" + _string(v) for k, v in configs.items()) + b"\x00"


class Connection:
    def __init__(self, port: int, timeout: float = 60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> bytes:
        """The response behind its correlation id."""
        self.socket.sendall(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", self._read(4))
        return self._read(length)[4:]

    def _read(self, length: int) -> bytes:
        parts = []
        while length:
            part = self.socket.recv(length)
            if not part:
                raise ConnectionResetError("the broker closed the connection")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def create(self, topic: str, partitions: int = 1, **configs: str) -> None:
        answer = self.ask(create_topic(topic, partitions, {key.replace("_", "."): value for key, value in configs.items()}))
        self._check(answer, 4 + 4 + 2 + len(topic), f"CreateTopics {topic}")

    def delete(self, topic: str) -> None:
        self._check(self.ask(delete_topic(topic)), 4 + 4 + 2 + len(topic), f"DeleteTopics {topic}")

    @staticmethod
    def _check(answer: bytes, at: int, what: str) -> None:
        (code,) = struct.unpack_from(">h", answer, at)
        if code:
            raise RuntimeError(f"{what}: error code {code}")

    def produced(self, topic: str, records: bytes, partitions=(0,), acks: int = -1) -> list[int]:
        """The error code of each partition."""
        answer = self.ask(produce(topic, records, partitions, acks))
        at = 4 + 2 + len(topic) + 4
        return [struct.unpack_from(">h", answer, at + 30 * place + 4)[0] for place in range(len(partitions))]

    def alter(self, topic: str, **configs: str) -> None:
        answer = self.ask(alter_topic(topic, {key.replace("_", "."): value for key, value in configs.items()}))
        self._check(answer, 4 + 4, f"IncrementalAlterConfigs {topic}")

    def end_offsets(self, topic: str, partitions) -> dict[int, int]:
        """The end offset of each partition that answers without an error."""
        answer = self.ask(list_offsets(topic, partitions))
        at, offsets = 4 + 2 + len(topic) + 4, {}
        for place in range(len(partitions)):
            index, code, _timestamp, offset = struct.unpack_from(">ihqq", answer, at + 22 * place)
            if code == 0:
                offsets[index] = offset
        return offsets

    def has_records(self, topic: str, partition: int, offset: int) -> bool:
        """Whether a fetch at `offset` answers records without an error."""
        answer = self.ask(fetch(topic, partition, offset))
        # Behind the throttle time, one topic and one partition's index.
        at = 4 + 4 + 2 + len(topic) + 4 + 4
        code, _high, _stable, aborted = struct.unpack_from(">hqqi", answer, at)
        (length,) = struct.unpack_from(">i", answer, at + 22 + 16 * max(aborted, 0))
        return code == 0 and length > 0

    def leaders(self) -> int:
        """How many partitions have a leader, over all topics that metadata lists."""
        answer, at = self.ask(every_topic()), 4

        def take(form: str):
            nonlocal at
            found = struct.unpack_from(form, answer, at)
            at += struct.calcsize(form)
            return found[0]

        def skip(size: int) -> None:
            nonlocal at
            at += size

        def skip_string() -> None:
            skip(max(take(">h"), 0))

        for _ in range(take(">i")):
            take(">i"), skip_string(), take(">i"), skip_string()
        skip_string(), take(">i")
        count = 0
        for _ in range(take(">i")):
            take(">h"), skip_string(), take(">?")
            for _ in range(take(">i")):
                code, _index, leader = take(">h"), take(">i"), take(">i")
                skip(4 * take(">i"))
                skip(4 * take(">i"))
                count += code == 0 and leader >= 0
        return count

    def committed(self, group: str, topic: str, partitions) -> list[int] | None:
        """The offset of each partition, -1 for none; nothing while the coordinator is not ready."""
        answer = self.ask(offset_fetch(group, topic, partitions))
        if struct.unpack_from(">h", answer, len(answer) - 2) != (0,):
            return None
        # Behind the throttle time, one topic's name and the number of partitions.
        at, offsets = 4 + 4 + 2 + len(topic) + 4, []
        for _ in partitions:
            index, offset, _epoch, length = struct.unpack_from(">iqih", answer, at)
            (code,) = struct.unpack_from(">h", answer, at + 18 + max(length, 0))
            if code:
                return None
            offsets.append(offset)
            at += 18 + max(length, 0) + 2
        return offsets

    def groups(self) -> int | None:
        """How many groups the broker lists; nothing while some of them are not loaded."""
        code, count = struct.unpack_from(">hi", self.ask(list_groups()), 4)
        return None if code else count


def first_offsets(port: int, group: str, topic: str, partitions, alive, deadline_s: float = 120, retry_s: float = 0.001):
    """The offsets of `group` when they were first answered, and when that was (time.monotonic)."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        try:
            with Connection(port) as connection:
                while time.monotonic() < until:
                    connection.ask(find_coordinator(group))
                    offsets = connection.committed(group, topic, partitions)
                    if offsets is not None:
                        return offsets, time.monotonic()
                    time.sleep(retry_s)
        except OSError:
            if not alive():
                raise RuntimeError("the broker exited") from None
            time.sleep(retry_s)
    raise TimeoutError(f"no offsets were answered within {deadline_s} s")


def retried(port: int, asked, alive, deadline_s: float = 300, retry_s: float = 0.001):
    """What `asked(connection)` gives when it is first true, over as many connections as it takes, and when that was
    (time.monotonic)."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        try:
            with Connection(port) as connection:
                while time.monotonic() < until:
                    if answer := asked(connection):
                        return answer, time.monotonic()
                    time.sleep(retry_s)
        except OSError:
            if not alive():
                raise RuntimeError("the broker exited") from None
            time.sleep(retry_s)
    raise TimeoutError(f"no answer within {deadline_s} s")


def first_acknowledged(port: int, topic: str, alive, deadline_s: float = 120, retry_s: float = 0.001) -> float:
    """When (time.monotonic) the first record was acknowledged with acks=all, by trying again every `retry_s`."""
    records = batch(b"first")
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        try:
            with Connection(port) as connection:
                # The topic's metadata is asked for as a producer would; that creates it.
                connection.ask(metadata(topic))
                while time.monotonic() < until:
                    if connection.produced(topic, records) == [0]:
                        return time.monotonic()
                    time.sleep(retry_s)
        except OSError:
            if not alive():
                raise RuntimeError("the broker exited") from None
            time.sleep(retry_s)
    raise TimeoutError(f"no record was acknowledged within {deadline_s} s")
