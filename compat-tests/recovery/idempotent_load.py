"""An idempotent librdkafka producer with acks=all that writes until it is told to stop.

    idempotent_load.py BOOTSTRAP TOPIC PARTITIONS ACKNOWLEDGED_FILE STOP_FILE [WIDTH]

The value of each record is a number that no other record has, in at least WIDTH digits. One line
`partition offset number` is added to ACKNOWLEDGED_FILE per acknowledgement. When STOP_FILE appears, what is under way
is flushed. A record that failed, or a fatal error of the producer, is an exit status of 1: brokers die here, but they
come back in time.
"""

import itertools
import sys
from pathlib import Path

from confluent_kafka import Producer


def main(bootstrap: str, topic: str, partitions: int, acknowledged: Path, stop: Path, width: int) -> None:
    failures: list[str] = []
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 5,
        "batch.num.messages": 100,
        "queue.buffering.max.messages": 20_000,
        "message.timeout.ms": 300_000,
        "reconnect.backoff.max.ms": 500,
        "retry.backoff.max.ms": 500,
        "error_cb": lambda error: failures.append(str(error)) if error.fatal() else None,
    })  # fmt: skip
    with open(acknowledged, "w", buffering=1024 * 64) as log:

        def delivered(error, message) -> None:
            if error is not None:
                failures.append(str(error))
            else:
                log.write(f"{message.partition()} {message.offset()} {int(message.value())}\n")

        for number in itertools.count():
            if number % 100 == 0:
                producer.poll(0.002)
                log.flush()
                if failures or stop.exists():
                    break
            while True:
                try:
                    producer.produce(topic, b"%0*d" % (width, number), partition=number % partitions, on_delivery=delivered)
                    break
                except BufferError:
                    # A full queue while the broker is down: wait for room, unless there is no hope left.
                    producer.poll(0.1)
                    if failures:
                        break
        # After a failure nothing is worth waiting for.
        left = producer.flush(0 if failures else 120)
    if failures or left:
        sys.exit(f"{left} records unsent, {len(failures)} failures: {failures[:3]}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]), int((sys.argv[6:] or [0])[0]))
