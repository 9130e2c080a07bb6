"""The cases of what is on disk: acknowledged after fsync, recovered after a kill, started with many partitions. The load is
`Storage.java`. What compaction does is in `cleaner_cases.py`."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import wire
from brokers import Broker, Kafka, StorageLoader, Tidelog
from cases import GB, ONE_BY_ONE, RECORD, THROUGHPUT, Block, Both, Plan, paired, row
from figures import Noise, Row, Table, wait_for_quiet, warm_memory

FSYNC = "fsync (Tidelog as shipped, Kafka with log.flush.interval.messages=1)"


def sized(plan: Plan, **defaults: float) -> tuple[dict[str, float], str]:
    """Sizes that BENCH_… variables may change, and the command with those that were changed."""
    names = {name: f"BENCH_{name.upper()}" for name in defaults}
    found = {name: float(os.environ.get(names[name], default)) for name, default in defaults.items()}
    changed = [f"{names[name]}={found[name]:g}" for name in defaults if found[name] != defaults[name]]
    return found, " ".join([*changed, plan.command])


@dataclass(frozen=True)
class Shape:
    """How records are produced in `fsync-produce`."""

    name: str
    settings: tuple[str, ...]
    producers: int
    size: int


SHAPES = (
    Shape("defaults", ("acks=all",), 1, RECORD),
    Shape("batches of 64 KiB", THROUGHPUT, 1, RECORD),
    # A buffer that is full soon: sixteen threads that fill theirs would take the machine from the broker.
    Shape("16 producers, a request for each record", (*ONE_BY_ONE, "buffer.memory=262144"), 16, 100),
)
ACTIVE = (1, 16, 64, 256)


def wait_for_rest(broker: Broker, least_s: float = 0.3, most_s: float = 60) -> None:
    """Returns when the broker has done nothing but tick for `least_s`."""
    until = time.monotonic() + most_s
    while time.monotonic() < until:
        before, begin = broker.cpu(), time.monotonic()
        time.sleep(least_s)
        if (broker.cpu() - before) / (time.monotonic() - begin) < 0.05:
            return


def fsync_produce(plan: Plan) -> Table:
    noise = Noise()
    seconds = min(plan.seconds, 3)
    rows: list[Row] = []
    with Both(plan, "fsync", loader=StorageLoader) as (loader, ours, theirs):
        for shape in SHAPES:
            for active in ACTIVE:
                topic = f"active-{active}"
                most = int(plan.gigabytes * GB)

                def block(broker: Broker, length: float = seconds) -> Block:
                    warm_memory(int(most * 0.6))
                    cpu = broker.cpu()
                    done = loader.run(
                        "spread", broker.bootstrap, topic, shape.producers, active, shape.size, length, most, *shape.settings
                    )  # fmt: skip
                    cpu = broker.cpu() - cpu
                    # What was under way when the load ended belongs to no block.
                    wait_for_rest(broker)
                    return {
                        "mb_per_s": done["bytes"] / done["seconds"] / 1e6, "rate": done["records"] / done["seconds"],
                        "cpu_per_gb": cpu / done["total"] * GB, "us_per_record": cpu / done["total"] * shape.size * 1e6,
                    }  # fmt: skip

                for broker in (ours, theirs):
                    broker.new_topic(topic, active)
                    block(broker, 1.5)
                a, b = paired(plan, noise, loader, ours, theirs, block)
                what = f"{shape.name}, {active} partition{'s' if active > 1 else ''}"
                if shape.size == RECORD:
                    rows.append(row(f"{what}: throughput", "MB/s", "mb_per_s", a, b, ratio_least=3))
                    rows.append(row(f"{what}: broker CPU per GB", "CPU-s/GB", "cpu_per_gb", a, b))
                else:
                    rows.append(row(f"{what}: throughput", "records/s", "rate", a, b, ratio_least=3))
                    rows.append(row(f"{what}: broker CPU per record", "us", "us_per_record", a, b))
                for broker in (ours, theirs):
                    broker.drop_topic(topic)
    return Table(
        "fsync-produce", "Acknowledged after fsync, by the number of active partitions", FSYNC, plan.command, rows,
        [
            f"Java producers, records to all partitions in turn. Defaults: acks=all, {RECORD} B records. Batches: {' '.join(THROUGHPUT)}, "
            f"the same records. A request for each record: 100 B, {' '.join(SHAPES[2].settings)}; a request still holds one record for each of "
            f"several partitions. {seconds:g} s a block or {plan.gigabytes:g} GB, counted from when the producers' buffers are full; CPU over "
            "all that was acknowledged.",
            noise.note(),
        ],
    )  # fmt: skip


def fsync_latency(plan: Plan) -> Table:
    noise = Noise()
    rate, size = 100, 100
    with Both(plan, "fsync", loader=StorageLoader) as (loader, ours, theirs):
        for broker in (ours, theirs):
            broker.new_topic("single")

        def block(broker: Broker, seconds: float = plan.seconds) -> Block:
            probe = broker.directory / "probe"
            done = loader.run("single", broker.bootstrap, "single", rate, size, seconds, probe, *ONE_BY_ONE)
            for quantile in ("p50", "p99", "p999"):
                done[f"times_{quantile}"] = done[f"ack_{quantile}_us"] / done[f"disk_{quantile}_us"]
            return done

        for broker in (ours, theirs):
            # Faster than measured, for the sake of Kafka's JIT: 5,000 requests.
            loader.run("traced", broker.bootstrap, "single", 1000, size, 5, broker.directory / "trace", *ONE_BY_ONE)
            block(broker, 3)
        a, b = paired(plan, noise, loader, ours, theirs, block)
    return Table(
        "fsync-latency", f"Acknowledged after fsync, {rate} messages a second one by one", FSYNC, plan.command,
        [
            row("latency p50", "us", "ack_p50_us", a, b),
            row("latency p99", "us", "ack_p99_us", a, b),
            row("latency p99.9", "us", "ack_p999_us", a, b),
            row("the disk's own append and fdatasync p50", "us", "disk_p50_us", a, b),
            row("the disk's own p99", "us", "disk_p99_us", a, b),
            row("latency p50 over the disk's p50", "x", "times_p50", a, b),
            row("latency p99 over the disk's p99", "x", "times_p99", a, b, target=2),
        ],
        [
            f"Java producer, {size} B, {' '.join(ONE_BY_ONE)}, one partition: each answer is awaited. Halfway to the next record the "
            f"same program appends {size + 70} B to a file beside the broker's and calls fdatasync: what the disk itself takes, at the same "
            f"time. {plan.seconds:g} s a block.",
            noise.note(),
        ],
    )  # fmt: skip


class Trickle:
    """A little load from a raw client, one record after the other to all partitions in turn, until the broker is gone."""

    def __init__(self, broker: Broker, topic: str, partitions: int, rate: float = 300):
        self.acknowledged = [0] * partitions
        self.stopped = False
        self.failure: Exception | None = None
        self._broker, self._topic, self._rate = broker, topic, rate
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        records = wire.batch(b"x" * 100)
        try:
            with self._broker.connect() as connection:
                at = 0
                while not self.stopped:
                    partition = at % len(self.acknowledged)
                    if connection.produced(self._topic, records, (partition,)) == [0]:
                        self.acknowledged[partition] += 1
                    at += 1
                    time.sleep(1 / self._rate)
        except OSError:
            pass  # the kill
        except Exception as error:  # noqa: BLE001
            self.failure = error

    def end(self) -> list[int]:
        self.stopped = True
        self._thread.join(30)
        if self.failure:
            raise RuntimeError(f"load before the kill: {self.failure}")
        if not any(self.acknowledged):
            raise RuntimeError("load before the kill: nothing was acknowledged")
        return self.acknowledged


def forget_pages(directory: Path) -> None:
    """Takes the files' pages out of the page cache, as after a start of the machine."""
    for path in directory.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(file)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def serving(broker: Broker, begin: float, topics: dict[str, int]) -> tuple[dict[str, dict[int, int]], float, float]:
    """The end offsets of all partitions, and when the first and the last of them were answered, in ms from `begin`."""
    found: dict[str, dict[int, int]] = {topic: {} for topic in topics}
    first: list[float] = []

    def asked(connection: wire.Connection) -> bool:
        for topic, count in topics.items():
            left = [index for index in range(count) if index not in found[topic]]
            if left:
                found[topic] |= connection.end_offsets(topic, left)
            if found[topic] and not first:
                first.append(time.monotonic())
            if len(found[topic]) < count:
                return False
        return True

    _, last = wire.retried(broker.port, asked, broker.alive)
    return found, (first[0] - begin) * 1000, (last - begin) * 1000


def recovery(plan: Plan) -> Table:
    sizes, command = sized(plan, recovery_gb=10, recovery_partitions=200)
    gigabytes, count, topic = sizes["recovery_gb"], int(sizes["recovery_partitions"]), "recovered"
    noise = Noise()
    rounds = {"tidelog": ("at once", *["again"] * 3, *["cold"] * 2), "kafka": ("at once", "again", "cold")}
    found: dict[str, dict[str, list[float]]] = {}
    written: dict[str, str] = {}
    loader = StorageLoader()
    try:
        for kind in (Tidelog, Kafka):
            figures = found.setdefault(kind.name, {})
            broker = kind(plan.directory, "as-shipped")
            try:
                broker.start()
                broker.new_topic(topic, count)
                big = ("acks=all", "batch.size=524288", "linger.ms=100", "buffer.memory=134217728")
                done = loader.run("spread", broker.bootstrap, topic, 1, count, RECORD, 900, int(gigabytes * GB), *big)
                written[kind.name] = f"{kind.name} {done['bytes'] / done['seconds'] / 1e6:.0f} MB/s"
                for which in rounds[kind.name]:
                    wait_for_rest(broker)
                    ends, *_ = serving(broker, 0, {topic: count})
                    trickle = Trickle(broker, topic, count)
                    time.sleep(3)
                    broker.kill()
                    acknowledged = trickle.end()
                    if which == "cold":
                        forget_pages(broker.directory / "data")
                    wait_for_quiet(plan.quiet_s)
                    with noise.watch(broker):
                        begin = broker.launch()
                        after, first, last = serving(broker, begin, {topic: count})
                        with broker.connect() as connection:
                            for index, end in after[topic].items():
                                if not connection.has_records(topic, index, end - 1):
                                    raise RuntimeError(f"partition {index} has no record at {end - 1}")
                        read = (time.monotonic() - begin) * 1000
                    lost = [index for index in range(count) if after[topic][index] < ends[topic][index] + acknowledged[index]]
                    if lost:
                        raise RuntimeError(f"{kind.name}: acknowledged records are gone from partitions {lost}")
                    figures.setdefault(f"{which} first", []).append(first)
                    figures.setdefault(f"{which} last", []).append(last)
                    figures.setdefault(f"{which} read", []).append(read)
                    figures.setdefault("peak", []).append(broker.memory()["peak"])
            finally:
                broker.discard()
    finally:
        loader.close()
    t, k = found["tidelog"], found["kafka"]
    said = {"at once": "right after the data was written", "again": "later", "cold": "later, data not in the page cache"}
    rows = []
    for which, words in said.items():
        rows += [
            Row(f"{words}: first partition served", "ms", t[f"{which} first"], k[f"{which} first"], paired=False),
            Row(f"{words}: all {count} served", "ms", t[f"{which} last"], k[f"{which} last"], paired=False, target=2000),
            Row(f"{words}: the last record of each read", "ms", t[f"{which} read"], k[f"{which} read"], paired=False),
        ]
    rows.append(Row("highest resident memory", "MiB", t["peak"], k["peak"], paired=False))
    return Table(
        "recovery", f"Recovery after kill -9 with {gigabytes:g} GB in {count} partitions",
        "each as shipped (Tidelog fsync, Kafka page-cache)", command, rows,
        [
            f"From exec until ListOffsets answers for each partition, asked every millisecond, and until the last record of each was "
            f"fetched. Written in batches of up to 512 KiB of {RECORD} B records ({'; '.join(written.values())}). At the kill a raw "
            "client produces about 300 records a second with acks=all to all partitions in turn; all that was acknowledged must be there.",
            noise.note(),
        ],
    )  # fmt: skip


def clean_start(plan: Plan) -> Table:
    sizes, command = sized(plan, start_topics=100, start_partitions=100, start_kafka_topics=100)
    each = int(sizes["start_partitions"])
    counts = {"tidelog": int(sizes["start_topics"]), "kafka": int(sizes["start_kafka_topics"])}
    noise = Noise()
    found: dict[str, dict[str, list[float]]] = {}
    for kind, starts in ((Tidelog, 5), (Kafka, 2)):
        figures = found.setdefault(kind.name, {})
        topics = {f"many-{number}": each for number in range(counts[kind.name])}
        total = sum(topics.values())
        broker = kind(plan.directory, "as-shipped")
        try:
            broker.start()
            begin = time.monotonic()
            for topic in topics:
                broker.new_topic(topic, each)
            figures["created"] = [(time.monotonic() - begin) / total * 1000]
            for _ in range(starts):
                wait_for_rest(broker)
                begin = time.monotonic()
                if not broker.stop(300):
                    raise RuntimeError(f"{kind.name} did not stop")
                figures.setdefault("stopped", []).append((time.monotonic() - begin) * 1000)
                wait_for_quiet(plan.quiet_s)
                with noise.watch(broker):
                    begin = broker.launch()
                    _, at = wire.retried(broker.port, lambda connection: connection.leaders() == total, broker.alive)
                    figures.setdefault("metadata", []).append((at - begin) * 1000)
                    figures.setdefault("resident", []).append(broker.memory()["resident"])
                    *_, last = serving(broker, begin, topics)
                figures.setdefault("served", []).append(last)
                time.sleep(5)
                figures.setdefault("later", []).append(broker.memory()["resident"])
        finally:
            broker.discard()
    t, k = found["tidelog"], found["kafka"]
    total = counts["tidelog"] * each
    fewer = "" if counts["kafka"] == counts["tidelog"] else f"Kafka has {counts['kafka'] * each:,} partitions only. "
    return Table(
        "clean-start", f"Start after a clean stop with {total:,} partitions",
        "each as shipped (Tidelog fsync, Kafka page-cache)", command,
        [
            Row("exec to a Metadata answer with all leaders", "ms", t["metadata"], k["metadata"], paired=False, target=1000),
            Row("resident memory then", "MiB", t["resident"], k["resident"], paired=False, target=150),
            Row("exec to ListOffsets of every partition", "ms", t["served"], k["served"], paired=False),
            Row("resident memory 5 s after that", "MiB", t["later"], k["later"], paired=False, target=150),
            Row("clean stop", "ms", t["stopped"], k["stopped"], paired=False),
            Row("creation and one record, per partition", "ms", t["created"], k["created"], paired=False),
        ],
        [
            f"{fewer}Topics of {each} partitions with one record each. The metadata of all topics is asked for every millisecond from "
            "exec on; what the answer costs is part of the time.",
            noise.note(),
        ],
    )  # fmt: skip


CASES = {"fsync-produce": fsync_produce, "fsync-latency": fsync_latency, "recovery": recovery, "clean-start": clean_start}
PAIRS_AT_MOST = {"fsync-produce": 3}
