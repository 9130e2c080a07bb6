"""Records whose bytes follow from who sends them and their number, so that each byte that is read can be judged.

A batch of `label` holds the numbers from `first` on. Its records' bytes are a function of these, so a batch that was read
is either exactly one that was sent, or is not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import crc32c

HEADER = 61
TRANSACTIONAL, CONTROL = 1 << 4, 1 << 5
# Digits of a number in a value.
DIGITS = 10


def varint(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def value(label: str, number: int, width: int) -> bytes:
    """At least `width` bytes, that differ from number to number also behind the number itself."""
    head = b"%s:%0*d:" % (label.encode(), DIGITS, number)
    seed = crc32c.crc32c(head)
    pattern = struct.pack(">I", seed) + head
    return head + (pattern * (width // len(pattern) + 1))[: max(width - len(head), 0)]


@lru_cache(maxsize=4096)
def payload(label: str, first: int, count: int, width: int, key: bytes | None = None) -> bytes:
    """The records of a batch, as they are behind its header."""
    out = bytearray()
    for delta in range(count):
        data = value(label, first + delta, width)
        key_part = varint(-1) if key is None else varint(len(key)) + key
        record = b"\0" + varint(0) + varint(delta) + key_part + varint(len(data)) + data + varint(0)
        out += varint(len(record)) + record
    return bytes(out)


def batch(
    label: str, first: int, count: int, width: int, *, producer: tuple[int, int] = (-1, -1), sequence: int = -1,
    timestamp: int = 1_700_000_000_000, key: bytes | None = None,
) -> bytes:  # fmt: skip
    """A batch as a producer sends it: at offset 0, all records at one time, not compressed."""
    records = payload(label, first, count, width, key)
    checked = struct.pack(">hiqqqhii", 0, count - 1, timestamp, timestamp, *producer, sequence, count) + records
    rest = struct.pack(">ibI", -1, 2, crc32c.crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


class Damaged(Exception):
    """Bytes that are no sound batch."""


@dataclass(frozen=True)
class Batch:
    base: int
    count: int
    attributes: int
    timestamp: int
    producer: tuple[int, int]
    sequence: int
    records: bytes
    # Position in what was parsed, and length there.
    position: int
    size: int

    @property
    def end(self) -> int:
        return self.base + self.count

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL)

    def read(self) -> tuple[str, int]:
        """Who sent it, and its first number; fails if any byte of it is not as it was sent."""
        _length, at = _read_varint(self.records, 0)
        at += 1
        for _ in range(2):
            _, at = _read_varint(self.records, at)
        key_length, at = _read_varint(self.records, at)
        key = None if key_length < 0 else self.records[at : at + key_length]
        size, at = _read_varint(self.records, at + max(key_length, 0))
        first = self.records[at : at + size]
        label, number, _ = first.split(b":", 2)
        if payload(label.decode(), int(number), self.count, size, key) != self.records:
            raise Damaged(f"the batch at offset {self.base} is none that was sent: {first[:60]!r}")
        return label.decode(), int(number)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def parse(data: bytes) -> Iterator[Batch]:
    """The whole batches in what was fetched, each with its checksum verified. A fetch may end in the middle of one."""
    at = 0
    while at + 12 <= len(data):
        base, length = struct.unpack_from(">qi", data, at)
        end = at + 12 + length
        if length < HEADER - 12:
            raise Damaged(f"a batch of {length} bytes at offset {base}")
        if end > len(data):
            return
        _epoch, magic, crc = struct.unpack_from(">ibI", data, at + 12)
        if magic != 2 or crc32c.crc32c(data[at + 21 : end]) != crc:
            raise Damaged(f"checksum mismatch in the batch at offset {base}")
        attributes, last, _first_time, time, producer_id, epoch, sequence, _count = struct.unpack_from(">hiqqqhii", data, at + 21)
        yield Batch(base, last + 1, attributes, time, (producer_id, epoch), sequence, data[at + HEADER : end], at, end - at)
        at = end
