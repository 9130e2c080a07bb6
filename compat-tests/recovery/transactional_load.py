"""A producer that makes one transaction after the other until it is told to stop.

    transactional_load.py PORT TOPIC PARTITIONS GROUP EACH PROTOCOL JOURNAL STOP_FILE

Transaction N, counted from 0, writes EACH records with the number N to every partition, and N + 1 as the offset of GROUP in
every partition. Each fifth is aborted. PROTOCOL is that of transactions, 1 or 2. JOURNAL gets a line `begun N` before, and
`committed N` or `aborted N` once the broker has said so; a transaction whose end nobody knows gets no other line. The lines
go straight to the kernel, which keeps them when this process is killed; another that is started with its journal goes on
counting.
"""

import itertools
import os
import sys
import time
from pathlib import Path

from transactions.raw import FIRST, SECOND, RawProducer, Refused


class Load:
    def __init__(self, producer: RawProducer, partitions: int, group: str, each: int):
        self._producer, self._partitions, self._group, self._each = producer, partitions, group, each

    def init(self) -> None:
        """Returns when the broker is there and knows the producer; whatever was open before is ended then."""
        while True:
            try:
                return self._producer.init()
            except OSError:
                time.sleep(0.01)

    def transact(self, number: int) -> str | None:
        """How the transaction ended, or nothing if that was not told."""
        commit = number % 5 != 4
        try:
            if self._producer.protocol is FIRST:
                self._producer.add_partitions(list(range(self._partitions)))
            self._producer.produce({partition: [b"%d" % number] * self._each for partition in range(self._partitions)})
            self._producer.commit_offsets(self._group, dict.fromkeys(range(self._partitions), number + 1))
            while True:
                try:
                    self._producer.end(commit=commit)
                    return "committed" if commit else "aborted"
                except OSError:
                    # Perhaps it was heard, perhaps not: it is said again, and means the same.
                    time.sleep(0.01)
        except (OSError, Refused) as failure:
            print(f"{number} is given up: {failure!r}", file=sys.stderr)
            self.init()
            return None


def main(port: int, topic: str, partitions: int, group: str, each: int, protocol: str, journal: str, stop: Path) -> None:
    file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with open(journal, "rb") as lines:
        first = sum(line.startswith(b"begun ") for line in lines)
    load = Load(RawProducer(port, topic, "load", SECOND if protocol == "2" else FIRST), partitions, group, each)
    load.init()
    for number in itertools.count(first):
        if stop.exists():
            return
        os.write(file, b"begun %d\n" % number)
        ended = load.transact(number)
        if ended:
            os.write(file, f"{ended} {number}\n".encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), sys.argv[6], sys.argv[7], Path(sys.argv[8]))
