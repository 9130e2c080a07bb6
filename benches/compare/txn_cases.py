"""The cases of exactly once: transactions beside Kafka's, and what idempotence and read_committed cost in Tidelog itself.
The load is `Transactions.java`."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace

from brokers import Broker, Loader, Tidelog, TransactionsLoader
from cases import GB, ONE_BY_ONE, RECORD, THROUGHPUT, Block, Both, Plan, _alone, paired, row, warm_up
from figures import Noise, Row, Table, disk_probe, median, warm_memory

PARTITIONS = 3
SIZE = 100
# More than a block gets through.
MANY = 10**9


@dataclass(frozen=True)
class Shape:
    """One way to run transactions. `copies`: records come from a topic, and its offsets go into the transaction."""

    name: str
    records: int
    producers: int = 1
    copies: bool = False


SHAPES = (
    Shape("1 record", 1),
    Shape("10 records", 10),
    Shape("100 records", 100),
    Shape("8 producers, 10 records", 10, producers=8),
    Shape("10 records consumed, with offsets", 10, copies=True),
)

_topics = itertools.count(1)


def _transactions_block(loader: Loader, shape: Shape, seconds: float):
    """Transactions one after the other, on topics that all blocks of a shape share."""

    def block(broker: Broker) -> Block:
        cpu = broker.cpu()
        if shape.copies:
            done = loader.run("copy", broker.bootstrap, "source", "copies", "copier", shape.records, seconds)
        else:
            done = loader.run("transact", broker.bootstrap, "txn", shape.producers, shape.records, SIZE, seconds, MANY, 0)
        cpu = broker.cpu() - cpu
        return {"rate": done["transactions"] / done["seconds"], "us_per_txn": cpu / done["transactions"] * 1e6, **done}

    return block


def _transactions(plan: Plan, case: str, title: str, durability: str, told: str, settings: dict[str, str] | None = None) -> Table:
    noise = Noise()
    seconds = min(plan.seconds, 2)
    rows: list[Row] = []
    probes: list[float] = []
    parts: list[str] = []
    settings = {"group.initial.rebalance.delay.ms": "0", **(settings or {})}
    with Both(plan, durability, settings=settings, loader=TransactionsLoader) as (loader, ours, theirs):
        for broker in (ours, theirs):
            for topic in ("txn", "source", "copies"):
                broker.new_topic(topic, PARTITIONS)
            loader.run("fill", broker.bootstrap, "source", 200_000, SIZE)
        # The shape that runs most transactions in a second teaches Kafka's JIT most.
        eager = _transactions_block(loader, SHAPES[3], seconds)
        warmed = warm_up(replace(plan, warm_up_least=3, warm_up_most=6), eager, "us_per_txn", ours, theirs)
        for shape in SHAPES:
            block = _transactions_block(loader, shape, seconds)

            def probed(broker: Broker, block=block) -> Block:
                if durability == "fsync":
                    probes.append(disk_probe(plan.directory))
                return block(broker)

            for broker in (ours, theirs):
                block(broker)
            a, b = paired(plan, noise, loader, ours, theirs, probed)
            if "end_p50_us" in a[0]:
                for broker, blocks in ((ours, a), (theirs, b)):
                    flush, end = (median([one[key] for one in blocks]) for key in ("flush_p50_us", "end_p50_us"))
                    parts.append(f"{shape.name}: {broker.name} {flush:.0f} + {end:.0f}")
            rows += [
                row(f"{shape.name}: rate", "transactions/s", "rate", a, b, ratio_least=1.5),
                row(f"{shape.name}: commit p50", "us", "commit_p50_us", a, b),
                row(f"{shape.name}: commit p99", "us", "commit_p99_us", a, b, ratio_target=0.7),
                row(f"{shape.name}: broker CPU per transaction", "us", "us_per_txn", a, b),
            ]
    notes = [
        f"Java producers with their defaults and a transactional.id, transactions one after the other, records of {SIZE} B to {PARTITIONS} "
        f"partitions in turn; {seconds:g} s a block, the first 10 transactions of each producer not timed. A commit is flush() and "
        "commitTransaction(): the former sends the records and waits for the answers, the latter ends the transaction. At the end of a "
        "block the last stable offsets must be those of all records and markers, and the group's offsets those of the last transaction.",
        "Consumed: a member of a group with isolation.level=read_committed polls the records, sendOffsetsToTransaction() comes before the "
        "commit, with the records on their way, and is not part of its time; commitTransaction() alone is the commit.",
        f"Parts of a commit, flush() + commitTransaction(), medians of p50 in us: {'; '.join(parts)}.",
        f"{told} {warmed}",
    ]  # fmt: skip
    if probes:
        spread = f"median {median(probes):.2f} ms, {min(probes):.2f} to {max(probes):.2f}"
        notes.append(f"Disk probe (append 4 KiB, fdatasync) before the blocks: {spread}.")
    return Table(case, title, f"{durability} in both brokers", plan.command, rows, [*notes, noise.note()])


def transactions(plan: Plan) -> Table:
    return _transactions(
        plan, "transactions", "Transactions, on disk before they are answered", "fsync",
        "Tidelog as shipped; Kafka with log.flush.interval.messages=1, which holds for its topics of transactions and offsets as well. What "
        "`transactions-cached` says of Kafka's wait between transactions holds here too.",
    )  # fmt: skip


def transactions_cached(plan: Plan) -> Table:
    return _transactions(
        plan, "transactions-cached", "Transactions in the page cache", "page-cache",
        "Kafka's default: nothing is flushed by count, neither records nor the state of transactions. Kafka answers a commit before the "
        "markers are written, and lets the first records of the next transaction wait add.partitions.to.txn.retry.backoff.ms (20 by "
        "default) when they come before; `transactions-tuned` takes that wait away.",
    )  # fmt: skip


def transactions_tuned(plan: Plan) -> Table:
    return _transactions(
        plan, "transactions-tuned", "Transactions in the page cache, Kafka's wait between them at its least", "page-cache",
        "As `transactions-cached`, with add.partitions.to.txn.retry.backoff.ms=1 (20 by default), which Tidelog has no use for.",
        {"add.partitions.to.txn.retry.backoff.ms": "1"},
    )  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One of two ways to use the same broker."""

    name: str
    settings: tuple[str, ...]


def idempotence(plan: Plan) -> Table:
    noise = Noise()
    with _alone(Tidelog(plan.directory, "page-cache")) as broker:
        loader = Loader()
        try:
            ways = [Way("on", ("enable.idempotence=true",)), Way("off", ("enable.idempotence=false",))]
            found = {}
            for shape, settings, size, gigabytes, seconds in (
                ("batches", THROUGHPUT, RECORD, plan.gigabytes, 600.0),
                ("each", ONE_BY_ONE, SIZE, plan.gigabytes, min(plan.seconds, 2)),
            ):

                def block(way: Way) -> Block:
                    # A topic of its own, which is gone afterwards: no block finds another one's dirty pages.
                    topic = f"idempotence-{next(_topics)}"
                    broker.new_topic(topic, plan.partitions)
                    if shape == "batches":
                        warm_memory(int(gigabytes * 1.2 * GB))
                    cpu = broker.cpu()
                    done = loader.run("produce", broker.bootstrap, topic, int(gigabytes * GB / size), size, seconds, *settings, *way.settings)
                    cpu = broker.cpu() - cpu
                    broker.drop_topic(topic)
                    time.sleep(0.5)
                    return {
                        "cpu_per_gb": cpu / done["bytes"] * GB, "mb_per_s": done["bytes"] / done["seconds"] / 1e6,
                        "us_per_record": cpu / done["records"] * 1e6, "records_per_s": done["records"] / done["seconds"],
                    }  # fmt: skip

                for way in ways * 2:
                    block(way)
                found[shape] = paired(plan, noise, loader, *ways, block, brokers=(broker,))
        finally:
            loader.close()
    (a, b), (c, d) = found["batches"], found["each"]
    return Table(
        "idempotence", "What idempotence costs", "page-cache", plan.command,
        [
            row("batches of 64 KiB: throughput", "MB/s", "mb_per_s", a, b, ratio_least=0.98),
            row("batches of 64 KiB: broker CPU per GB", "CPU-s/GB", "cpu_per_gb", a, b, ratio_target=1.02),
            row("a request for each record: throughput", "records/s", "records_per_s", c, d),
            row("a request for each record: broker CPU per record", "us", "us_per_record", c, d),
        ],
        [
            f"One Tidelog, Java producer, {plan.partitions} partition(s). Batches: {' '.join(THROUGHPUT)}, 1 KiB records, {plan.gigabytes:g} GB a "
            f"block. A request for each record: {SIZE} B, {' '.join(ONE_BY_ONE)}, {min(plan.seconds, 2):g} s a block, as fast as answered. "
            "Where the client is what limits, the throughput tells of its own work as well.",
            noise.note(),
        ],
        others=("enable.idempotence=true", "=false"),
    )  # fmt: skip


def read_committed(plan: Plan) -> Table:
    noise = Noise()
    # What a transaction has: records and their bytes; how many transactions make the log, with a plan of 1 GB; how often a block
    # reads it.
    logs = (
        ("100 records of 1 KiB", 100, RECORD, int(plan.gigabytes * 8_000), 2),
        ("10 records of 100 B", 10, SIZE, int(plan.gigabytes * 50_000), 8),
    )
    rows: list[Row] = []
    notes: list[str] = []
    with _alone(Tidelog(plan.directory, "page-cache")) as broker:
        loader = TransactionsLoader()
        try:
            ways = [Way("committed", ("isolation.level=read_committed",)), Way("uncommitted", ("isolation.level=read_uncommitted",))]
            for number, (name, records, size, transactions, rounds) in enumerate(logs):
                topic = f"log-{number}"
                with broker.connect() as connection:
                    connection.create(topic, PARTITIONS)
                warm_memory(int(records * size * transactions * 1.2))
                written = loader.run("transact", broker.bootstrap, topic, 4, records, size, 60, transactions, 10)
                expected = {"committed": written["committed_records"], "uncommitted": written["committed_records"] + written["aborted_records"]}
                # Of the whole log: who leaves the aborted tenth out has been through it as well.
                log_bytes = expected["uncommitted"] * size

                def block(way: Way) -> Block:
                    cpu = broker.cpu()
                    done = loader.run("read", broker.bootstrap, topic, rounds, *way.settings)
                    cpu = broker.cpu() - cpu
                    if done["records"] != expected[way.name]:
                        raise RuntimeError(f"{way.name}: {done['records']:.0f} records instead of {expected[way.name]:.0f}")
                    return {"cpu_per_gb": cpu / (log_bytes * rounds) * GB, "mb_per_s": log_bytes / done["seconds"] / 1e6}

                for way in ways * 2:
                    block(way)
                a, b = paired(plan, noise, loader, *ways, block, brokers=(broker,))
                rows += [
                    row(f"{name}: rate through the log", "MB/s", "mb_per_s", a, b, ratio_least=0.97),
                    row(f"{name}: broker CPU per GB of it", "CPU-s/GB", "cpu_per_gb", a, b, ratio_target=1.03),
                ]
                committed, aborted = (written[key] / records for key in ("committed_records", "aborted_records"))
                notes.append(
                    f"{name}: {committed:,.0f} transactions committed, {aborted:,.0f} aborted, {log_bytes / GB:.2f} GB of values, "
                    f"read {rounds} times a block"
                )
        finally:
            loader.close()
    return Table(
        "read-committed", "What read_committed costs", "does not matter: nothing is written", plan.command, rows,
        [
            f"One Tidelog, Java consumer with its defaults, assign() and seekToBeginning(), {PARTITIONS} partitions, the whole log. "
            f"Written by 4 producers at once, each tenth transaction aborted. {'; '.join(notes)}.",
            "Both ways go through all bytes of the log; the client of read_committed drops aborted batches instead of decoding them, which "
            "is to its advantage. How many records come is checked.",
            noise.note(),
        ],
        others=("read_committed", "read_uncommitted"),
    )  # fmt: skip


CASES = {
    "transactions": transactions,
    "transactions-cached": transactions_cached,
    "transactions-tuned": transactions_tuned,
    "idempotence": idempotence,
    "read-committed": read_committed,
}
# What keeps a case below three minutes.
PAIRS_AT_MOST = {"transactions": 3, "transactions-cached": 3, "transactions-tuned": 3}
