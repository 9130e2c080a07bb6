"""The cases. Each starts its own brokers, measures, and gives a table."""

from __future__ import annotations

import itertools
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import wire
from brokers import ROOT, Broker, Kafka, Loader, Tidelog
from figures import Noise, Row, Table, disk_probe, median, wait_for_quiet, warm_memory

GB = 1e9
RECORD = 1024
# As a producer tuned for throughput has them. acks=all and idempotence are the client's defaults.
THROUGHPUT = ("acks=all", "batch.size=65536", "linger.ms=10")
# No batch holds two records, and one partition takes one batch per request: each record is a request.
ONE_BY_ONE = ("acks=all", "batch.size=1", "linger.ms=0")


class Text(str):
    """A section that is text already."""

    def text(self) -> str:
        return str(self)


@dataclass
class Plan:
    """How much to do."""

    directory: Path
    command: str
    pairs: int = 8
    gigabytes: float = 1.0
    warm_up_least: int = 6
    warm_up_most: int = 12
    seconds: float = 8.0
    partitions: int = 1
    starts: int = 10
    quiet_s: float = 20.0


Block = dict[str, float]


def paired(plan: Plan, noise: Noise, loader: Loader, ours, theirs, block, brokers=()) -> tuple[list[Block], list[Block]]:
    """Blocks in the order A B B A A B B A: what drifts slowly weighs on both alike. What is compared are two brokers, or two
    ways to use the same `brokers`."""
    found: dict[object, list[Block]] = {ours: [], theirs: []}
    for number in range(plan.pairs):
        wait_for_quiet(plan.quiet_s)
        for one in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            with noise.watch(*(brokers or (ours, theirs)), loader):
                found[one].append(block(one))
    return found[ours], found[theirs]


def row(what: str, unit: str, key: str, ours: list[Block], theirs: list[Block], **more) -> Row:
    return Row(what, unit, [block[key] for block in ours], [block[key] for block in theirs], **more)


_topics = itertools.count(1)


def produce_block(plan: Plan, loader: Loader, gigabytes: float, seconds: float = 600):
    """Produces to a topic of its own, which is gone afterwards: no block finds another one's dirty pages."""

    def block(broker: Broker) -> Block:
        topic = f"produce-{next(_topics)}"
        broker.new_topic(topic, plan.partitions)
        warm_memory(int(gigabytes * 1.2 * GB))
        cpu = broker.cpu()
        done = loader.run("produce", broker.bootstrap, topic, int(gigabytes * GB / RECORD), RECORD, seconds, *THROUGHPUT)
        cpu = broker.cpu() - cpu
        broker.drop_topic(topic)
        time.sleep(1)
        return {"cpu_per_gb": cpu / done["bytes"] * GB, "mb_per_s": done["bytes"] / done["seconds"] / 1e6}

    return block


def fetch_block(loader: Loader, topic: str, rounds: int):
    def block(broker: Broker) -> Block:
        cpu = broker.cpu()
        done = loader.run("fetch", broker.bootstrap, topic, rounds)
        cpu = broker.cpu() - cpu
        return {"cpu_per_gb": cpu / done["bytes"] * GB, "mb_per_s": done["bytes"] / done["seconds"] / 1e6}

    return block


def paced_block(loader: Loader, topic: str, rate: int, size: int, seconds: float):
    def block(broker: Broker) -> Block:
        cpu = broker.cpu()
        done = loader.run("paced", broker.bootstrap, topic, rate, size, seconds, *ONE_BY_ONE)
        cpu = broker.cpu() - cpu
        return {
            "us_per_message": cpu / done["records"] * 1e6,
            "achieved": done["records"] / done["seconds"],
            "requests_per_message": done["requests"] / done["records"],
            **done,
        }

    return block


def fill(loader: Loader, broker: Broker, topic: str, gigabytes: float, partitions: int = 1) -> None:
    broker.new_topic(topic, partitions)
    loader.run("produce", broker.bootstrap, topic, int(gigabytes * GB / RECORD), RECORD, 600, *THROUGHPUT)


class Both:
    """Tidelog and Kafka alive at once; only one of them has load at a time."""

    def __init__(self, plan: Plan, durability: str, second=Kafka, settings: dict[str, str] | None = None, loader=Loader):
        self.ours = Tidelog(plan.directory, durability, "-a", settings)
        self.theirs = second(plan.directory, durability, "-b", settings)
        self.loader = loader()

    def __enter__(self):
        try:
            self.ours.start()
            self.theirs.start()
        except BaseException:
            self.__exit__()
            raise
        return self.loader, self.ours, self.theirs

    def __exit__(self, *_):
        self.loader.close()
        self.ours.discard()
        self.theirs.discard()


def warm_up(plan: Plan, block, key: str, *brokers: Broker) -> str:
    """Runs blocks until one costs a broker no less CPU than the one before, within a twentieth: then Kafka's JIT is done
    with this path. Tidelog needs none, and gets the same for its files and for the client's sake."""
    took = []
    for broker in brokers:
        last = block(broker)[key]
        for number in range(2, plan.warm_up_most + 1):
            before, last = last, block(broker)[key]
            if number >= plan.warm_up_least and last > before * 0.95:
                break
        took.append(f"{broker.name} {number}, the last at {last:.3g}")
    return "Warm-up blocks: " + "; ".join(took) + "."


def produce_cpu(plan: Plan) -> Table:
    noise = Noise()
    with Both(plan, "page-cache") as (loader, ours, theirs):
        block = produce_block(plan, loader, plan.gigabytes)
        warmed = warm_up(plan, block, "cpu_per_gb", ours, theirs)
        a, b = paired(plan, noise, loader, ours, theirs, block)
    return Table(
        "produce-cpu", "Producing 1 KiB records: the broker's CPU and the throughput", "page-cache (no fsync in either)", plan.command,
        [
            row("broker CPU per GB produced", "CPU-s/GB", "cpu_per_gb", a, b, ratio_target=0.40),
            row("throughput, client on the same cores", "MB/s", "mb_per_s", a, b),
        ],
        [
            f"Java producer, {' '.join(THROUGHPUT)}, idempotent, no compression, {plan.partitions} partition(s), "
            f"{plan.gigabytes:g} GB a block. {warmed}",
            noise.note(),
        ],
    )  # fmt: skip


def fetch_cpu(plan: Plan) -> Table:
    noise = Noise()
    rounds = 3
    with Both(plan, "page-cache") as (loader, ours, theirs):
        for broker in (ours, theirs):
            fill(loader, broker, "fetch", plan.gigabytes, plan.partitions)
        # A fetch carries a megabyte, so it takes many gigabytes until a JIT has seen enough of them.
        warmed = warm_up(plan, fetch_block(loader, "fetch", 6), "cpu_per_gb", ours, theirs)
        a, b = paired(plan, noise, loader, ours, theirs, fetch_block(loader, "fetch", rounds))
    return Table(
        "fetch-cpu", "Fetching 1 KiB records from the page cache", "does not matter: nothing is written", plan.command,
        [
            row("broker CPU per GB fetched", "CPU-s/GB", "cpu_per_gb", a, b, ratio_target=0.18),
            row("throughput, client on the same cores", "MB/s", "mb_per_s", a, b),
        ],
        [
            f"Java consumer with its defaults, assign() and seekToBeginning(), {plan.partitions} partition(s), "
            f"{plan.gigabytes * rounds:g} GB a block, written in batches of 64 KiB. {warmed}",
            noise.note(),
        ],
    )  # fmt: skip


def paced_cpu(plan: Plan) -> Table:
    noise = Noise()
    rate, size = 10_000, 100
    with Both(plan, "page-cache") as (loader, ours, theirs):
        for broker in (ours, theirs):
            broker.new_topic("paced")
        block = paced_block(loader, "paced", rate, size, plan.seconds)
        warmed = warm_up(plan, block, "us_per_message", ours, theirs)
        a, b = paired(plan, noise, loader, ours, theirs, block)
    return Table(
        "paced-cpu", f"Messages one by one, {rate:,} a second", "page-cache (no fsync in either)", plan.command,
        [
            row("broker CPU per message", "us", "us_per_message", a, b, ratio_target=0.50),
            row("rate reached", "messages/s", "achieved", a, b),
            row("latency p50, from the instant due", "us", "p50_us", a, b),
            row("latency p99", "us", "p99_us", a, b),
        ],
        [
            f"Java producer, {' '.join(ONE_BY_ONE)}, {size} B, one partition, open loop, {plan.seconds:g} s a block; "
            f"requests per message: {median([x['requests_per_message'] for x in a + b]):.3f}. {warmed}",
            "Where the rate was not reached the machine was full, and latencies are those of a queue.",
            noise.note(),
        ],
    )  # fmt: skip


def _alone(broker: Broker):
    class Alone:
        def __enter__(self):
            return broker.start()

        def __exit__(self, *_):
            broker.discard()

    return Alone()


def memory(plan: Plan) -> Table:
    gigabytes = 2 * plan.gigabytes
    found: dict[str, dict[str, list[float]]] = {}
    loader = Loader()
    try:
        for kind, runs in ((Tidelog, 3), (Kafka, 1)):
            figures = found.setdefault(kind.name, {})
            for _ in range(runs):
                with _alone(kind(plan.directory, "as-shipped")) as broker:
                    time.sleep(5)
                    now = {"idle": broker.memory()["resident"], "idle_cpu": -broker.cpu()}
                    begin = time.monotonic()
                    time.sleep(10)
                    now["idle_cpu"] = (now["idle_cpu"] + broker.cpu()) / (time.monotonic() - begin) * 1000
                    fill(loader, broker, "memory", gigabytes)
                    at_once = broker.memory()
                    now["loaded"], now["peak"], now["anonymous"] = at_once["resident"], at_once["peak"], at_once["anonymous"]
                    time.sleep(10)
                    now["later"] = broker.memory()["resident"]
                    for key, value in now.items():
                        figures.setdefault(key, []).append(value)
    finally:
        loader.close()
    t, k = found["tidelog"], found["kafka"]
    return Table(
        "memory", "Resident memory", "each as shipped (Tidelog fsync, Kafka page-cache): not a comparison of speed", plan.command,
        [
            Row("idle, 15 s after an empty start", "MiB", t["idle"], k["idle"], paired=False, target=20),
            Row(f"after {gigabytes:g} GB produced, at once", "MiB", t["loaded"], k["loaded"], paired=False, target=36),
            Row("of that anonymous", "MiB", t["anonymous"], k["anonymous"], paired=False),
            Row("the same, 10 s later", "MiB", t["later"], k["later"], paired=False),
            Row("highest ever (VmHWM)", "MiB", t["peak"], k["peak"], paired=False),
            Row("CPU while idle", "ms/s", t["idle_cpu"], k["idle_cpu"], paired=False),
        ],
        [
            "smaps_rollup of the process. Kafka's heap is 1 GiB (-Xms1G -Xmx1G), as its start script sets it; a smaller one can be set.",
            f"Java producer, {' '.join(THROUGHPUT)}, 1 KiB records, one partition.",
        ],
    )  # fmt: skip


def _first_ack_ms(broker: Broker, topic: str, retry_s: float) -> float:
    begin = time.monotonic()
    broker.spawn()
    return (wire.first_acknowledged(broker.port, topic, broker.alive, retry_s=retry_s) - begin) * 1000


def start(plan: Plan) -> Table:
    empty: dict[str, list[float]] = {"tidelog": [], "kafka": []}
    killed: dict[str, list[float]] = {"tidelog": [], "kafka": []}
    gigabytes = 3 * plan.gigabytes
    noise = Noise()
    for kind, times in ((Tidelog, plan.starts), (Kafka, 3)):
        for _ in range(times):
            broker = kind(plan.directory, "as-shipped")
            try:
                broker.prepare()
                wait_for_quiet(plan.quiet_s)
                with noise.watch():
                    empty[kind.name].append(_first_ack_ms(broker, "first", 0.001))
            finally:
                broker.discard()
    loader = Loader()
    try:
        for kind, times in ((Tidelog, 5), (Kafka, 2)):
            broker = kind(plan.directory, "as-shipped")
            try:
                for number in range(times):
                    broker.start()
                    if number == 0:
                        fill(loader, broker, "full", gigabytes)
                    else:
                        # Something that the last start has not seen.
                        loader.run("produce", broker.bootstrap, "full", int(0.5 * GB / RECORD), RECORD, 600, *THROUGHPUT)
                    broker.kill()
                    wait_for_quiet(plan.quiet_s)
                    with noise.watch():
                        killed[kind.name].append(_first_ack_ms(broker, "full", 0.001))
                    broker.kill()
            finally:
                broker.discard()
    finally:
        loader.close()
    return Table(
        "start", "From exec to the first acknowledged record", "each as shipped (Tidelog fsync, Kafka page-cache), acks=all", plan.command,
        [
            Row("empty directory", "ms", empty["tidelog"], empty["kafka"], paired=False, target=50),
            Row(f"after kill -9 with {gigabytes:g} GB and more, same topic", "ms", killed["tidelog"], killed["kafka"], paired=False, target=300),
        ],
        [
            "A raw client connects every 1 ms from the moment of exec, asks for the topic's metadata (which creates it) and "
            "produces one record until it is acknowledged. Kafka's directory was formatted before; that is not counted.",
            "After the kill the page cache is as the killed broker left it. The record goes to the topic that holds the data.",
        ],
    )  # fmt: skip


def partitions(plan: Plan) -> Table:
    count = 2000
    found: dict[str, dict[str, float]] = {}
    for kind in (Tidelog, Kafka):
        with _alone(kind(plan.directory, "as-shipped")) as broker, broker.connect() as connection:
            time.sleep(5)
            before = broker.memory()["resident"]
            begin = time.monotonic()
            connection.create("many", count)
            created = time.monotonic() - begin
            time.sleep(5)
            idle = broker.memory()["resident"]
            records = wire.batch(b"x" * 100)
            left = list(range(count))
            until = time.monotonic() + 120
            while left and time.monotonic() < until:
                codes = connection.produced("many", records, left)
                left = [index for index, code in zip(left, codes) if code]
            if left:
                raise TimeoutError(f"{len(left)} partitions take no records")
            time.sleep(5)
            used = broker.memory()["resident"]
            found[kind.name] = {
                "idle": (idle - before) * 1024 / count, "used": (used - before) * 1024 / count, "created": created * 1000 / count,
            }  # fmt: skip
    t, k = found["tidelog"], found["kafka"]
    return Table(
        "partitions", f"{count:,} partitions in one topic", "each as shipped (Tidelog fsync, Kafka page-cache)", plan.command,
        [
            Row("resident growth per partition, created and idle", "KiB", [t["idle"]], [k["idle"]], paired=False, target=20),
            Row("the same, after one record to each", "KiB", [t["used"]], [k["used"]], paired=False),
            Row("CreateTopics, per partition", "ms", [t["created"]], [k["created"]], paired=False),
        ],
        [
            "5 s after the answer. Kafka's figure moves with its garbage collector, and its CreateTopics answers before the "
            "directories are there; Tidelog's answers when they are durable.",
        ],
    )  # fmt: skip


def durable(plan: Plan) -> Table:
    noise = Noise()
    probes: list[float] = []
    rate, size = 1_000, 100
    with Both(plan, "fsync") as (loader, ours, theirs):
        produce = produce_block(plan, loader, plan.gigabytes, plan.seconds)
        for broker in (ours, theirs):
            broker.new_topic("paced")
        paced = paced_block(loader, "paced", rate, size, plan.seconds)
        # The disk, not the JIT, decides here: two blocks each will do.
        short = replace(plan, warm_up_least=2, warm_up_most=2)
        warm_up(short, produce, "cpu_per_gb", ours, theirs)
        warm_up(short, paced, "us_per_message", ours, theirs)

        def probed(block):
            def with_probe(broker: Broker) -> Block:
                probes.append(disk_probe(plan.directory))
                return block(broker)

            return with_probe

        a, b = paired(plan, noise, loader, ours, theirs, probed(produce))
        c, d = paired(plan, noise, loader, ours, theirs, probed(paced))
    return Table(
        "durable", "On disk before the answer", "fsync (Tidelog as shipped, Kafka with log.flush.interval.messages=1)", plan.command,
        [
            row("throughput, one producer", "MB/s", "mb_per_s", a, b),
            row("broker CPU per GB produced", "CPU-s/GB", "cpu_per_gb", a, b),
            row(f"latency p50 at {rate:,} messages/s one by one", "us", "p50_us", c, d),
            row("latency p99", "us", "p99_us", c, d),
            row("rate reached", "messages/s", "achieved", c, d),
            row("broker CPU per message", "us", "us_per_message", c, d),
        ],
        [
            f"Throughput: Java producer, {' '.join(THROUGHPUT)}, 1 KiB records, {plan.partitions} partition(s), at most {plan.seconds:g} s "
            f"or {plan.gigabytes:g} GB a block. Latency: {size} B, {' '.join(ONE_BY_ONE)}, one partition, from the instant due.",
            f"Disk probe (append 4 KiB, fdatasync) before the blocks: median {median(probes):.2f} ms, {min(probes):.2f} to {max(probes):.2f}.",
            noise.note(),
        ],
    )  # fmt: skip


def same(plan: Plan) -> Table:
    noise = Noise()
    rate, size = 10_000, 100
    with Both(plan, "page-cache", second=Tidelog) as (loader, ours, theirs):
        produce = produce_block(plan, loader, plan.gigabytes)
        short = replace(plan, warm_up_least=2, warm_up_most=2)
        warm_up(short, produce, "cpu_per_gb", ours, theirs)
        a, b = paired(plan, noise, loader, ours, theirs, produce)
        for broker in (ours, theirs):
            fill(loader, broker, "fetch", plan.gigabytes, plan.partitions)
            broker.new_topic("paced")
        fetch = fetch_block(loader, "fetch", 2)
        warm_up(short, fetch, "cpu_per_gb", ours, theirs)
        c, d = paired(plan, noise, loader, ours, theirs, fetch)
        paced = paced_block(loader, "paced", rate, size, plan.seconds)
        warm_up(short, paced, "us_per_message", ours, theirs)
        e, f = paired(plan, noise, loader, ours, theirs, paced)
    return Table(
        "same", "Resolution: Tidelog against itself", "page-cache", plan.command,
        [
            row("broker CPU per GB produced", "CPU-s/GB", "cpu_per_gb", a, b),
            row("produce throughput", "MB/s", "mb_per_s", a, b),
            row("broker CPU per GB fetched", "CPU-s/GB", "cpu_per_gb", c, d),
            row("fetch throughput", "MB/s", "mb_per_s", c, d),
            row("broker CPU per message", "us", "us_per_message", e, f),
            row("latency p50", "us", "p50_us", e, f),
            row("latency p99", "us", "p99_us", e, f),
        ],
        ["Two processes of the same program. A difference within these intervals is none.", noise.note()],
        others=("Tidelog", "Tidelog again"),
    )  # fmt: skip


def micro(plan: Plan) -> Text:
    """The Rust benches; `make env` says what cargo needs."""
    script = 'eval "$(make -s env)" && cargo bench --quiet'
    done = subprocess.run(["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return Text("\n".join([
        "### Parts of the produce path by themselves", "",
        "`micro`. Durability class: page-cache. Command: `cargo bench`. CPU time of the measuring thread.", "",
        "```", done.stdout.strip(), "```", "",
    ]))  # fmt: skip


CASES = {
    "micro": micro,
    "produce-cpu": produce_cpu,
    "fetch-cpu": fetch_cpu,
    "paced-cpu": paced_cpu,
    "memory": memory,
    "start": start,
    "partitions": partitions,
    "durable": durable,
    "same": same,
}
# Fewer pairs where a case is there for orientation and makes no claim.
PAIRS_AT_MOST = {"durable": 4, "same": 4}
