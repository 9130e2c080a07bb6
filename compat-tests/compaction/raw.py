"""An idempotent producer over a socket of our own: it sends a batch again when it is asked to, which no library does unasked."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

import crc32c

from transactions.raw import INIT_PRODUCER_ID, NO_TAGS, PRODUCE, SECOND, Answer, RawProducer, array, signed, string, unsigned

NOBODY = b"\0"


def batch(producer_id: int, epoch: int, sequence: int, timestamp: int, rows: list[tuple[bytes, bytes]]) -> bytes:
    """A record batch of keys and values, of no transaction."""
    records = b""
    for number, (key, value) in enumerate(rows):
        record = b"\0" + signed(0) + signed(number) + signed(len(key)) + key + signed(len(value)) + value + signed(0)
        records += signed(len(record)) + record
    checked = struct.pack(">hiqqqhii", 0, len(rows) - 1, timestamp, timestamp, producer_id, epoch, sequence, len(rows)) + records
    # Leader epoch unknown, magic 2, checksum of all that follows it.
    rest = struct.pack(">ibI", -1, 2, crc32c.crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


@dataclass
class Idempotent(RawProducer):
    """A producer of one topic's first partition, without a transactional id."""

    @classmethod
    def of(cls, port: int, topic: str) -> Idempotent:
        return cls(port, topic, "", SECOND)

    def init(self) -> None:
        found: list[int] = []

        def codes(answer: Answer) -> set[int]:
            _, code, *found[:] = answer.take("i"), answer.take("h"), answer.take("q"), answer.take("h")
            return {code}

        self._until_done(INIT_PRODUCER_ID, NOBODY + struct.pack(">iqh", 60_000, -1, -1), codes)
        self.producer_id, self.epoch = found

    def send(self, sequence: int, rows: list[tuple[bytes, bytes]]) -> int:
        """The offset of the batch; `Refused` with the error code that it was answered with."""
        data = batch(self.producer_id, self.epoch, sequence, int(time.time() * 1000), rows)
        part = struct.pack(">i", 0) + unsigned(len(data) + 1) + data + NO_TAGS
        offsets: list[int] = []

        def codes(answer: Answer) -> set[int]:
            # One topic with one partition; what comes behind the offset is not of interest.
            answer.length(), answer.text(), answer.length(), answer.take("i")
            code = answer.take("h")
            offsets.append(answer.take("q"))
            return {code}

        self._until_done(PRODUCE, NOBODY + struct.pack(">hi", -1, 30_000) + array([string(self.topic) + array([part]) + NO_TAGS]), codes)
        return offsets[-1]
