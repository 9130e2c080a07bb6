"""A transactional producer over a socket of our own, to do what no client library does: InitProducerId 1 and Produce 8."""

from __future__ import annotations

import socket
import struct

import crc32c

PRODUCE, INIT_PRODUCER_ID = 0, 22
# Attributes of a batch: bit 4 says that it belongs to a transaction.
TRANSACTIONAL = 1 << 4


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _ask(port: int, api: int, version: int, body: bytes) -> bytes:
    """The body of the answer to one request."""
    request = struct.pack(">hhi", api, version, 7) + _string("raw-transactions") + body
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, connection.makefile("rb") as stream:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", stream.read(4))
        answer = stream.read(length)
    assert struct.unpack_from(">i", answer) == (7,)
    return answer[4:]


def init_producer_id(port: int, transactional_id: str, timeout_ms: int) -> tuple[int, int, int]:
    """Error code, producer id and epoch."""
    answer = _ask(port, INIT_PRODUCER_ID, 1, _string(transactional_id) + struct.pack(">i", timeout_ms))
    _, code, producer_id, epoch = struct.unpack(">ihqh", answer)
    return code, producer_id, epoch


def _varint(number: int) -> bytes:
    zigzag, out = (number << 1) ^ (number >> 63), bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes(out) + bytes([zigzag])


def batch(producer_id: int, epoch: int, sequence: int, timestamp: int, values: list[bytes]) -> bytes:
    """A record batch of a transaction."""
    records = b""
    for number, value in enumerate(values):
        record = b"\0" + _varint(0) + _varint(number) + _varint(-1) + _varint(len(value)) + value + _varint(0)
        records += _varint(len(record)) + record
    checked = struct.pack(
        ">hiqqqhii", TRANSACTIONAL, len(values) - 1, timestamp, timestamp, producer_id, epoch, sequence, len(values)
    ) + records  # fmt: skip
    # Leader epoch unknown, magic 2, checksum of all that follows it.
    rest = struct.pack(">ibI", -1, 2, crc32c.crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


def produce(port: int, transactional_id: str, topic: str, partition: int, records: bytes) -> tuple[int, int]:
    """Error code and first offset. Nobody has told the coordinator that the partition is in the transaction."""
    body = _string(transactional_id) + struct.pack(">hi", -1, 30_000)
    body += struct.pack(">i", 1) + _string(topic) + struct.pack(">iii", 1, partition, len(records)) + records
    answer = _ask(port, PRODUCE, 8, body)
    # One topic with its name, one partition with its number.
    at = 4 + 2 + len(topic) + 4 + 4
    return struct.unpack_from(">hq", answer, at)
