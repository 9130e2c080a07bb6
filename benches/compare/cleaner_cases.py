"""The cases of compaction: how fast the cleaner is and what it needs, what a producer feels of it, and the key index. The load is
`Storage.java`, a cleaning is in `compaction.py`."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time

from brokers import Broker, StorageLoader
from cases import ONE_BY_ONE, Block, Plan, _alone
from compaction import (
    AT_ONCE,
    INDEXED,
    KAFKA,
    SETTINGS,
    TABLE,
    Content,
    Control,
    MeasuredKafka,
    MeasuredTidelog,
    Way,
    clean,
    create,
    fill,
    set_off,
    wait_until_cleaned,
)
from figures import Noise, Row, Table, median, wait_for_quiet, warm_memory
from storage_cases import sized, wait_for_rest

_topics = itertools.count(1)


def content_note(content: Content) -> str:
    return (
        f"{content.records:,} records in one partition, keys of 12 B chosen at random from {content.keys:,}, values of {content.bytes} B, "
        "batches of 64 KiB, segments of 64 MiB; what the active segment holds is not cleaned."
    )


def cleaner(plan: Plan) -> Table:
    sizes, command = sized(plan, cleaner_records=6e6, cleaner_keys=1e6)
    noise = Noise()
    rows: list[Row] = []
    read_again: list[str] = []
    cleanable: list[str] = []
    loader = StorageLoader()
    ours, theirs = MeasuredTidelog(plan.directory, "page-cache"), MeasuredKafka(plan.directory, "page-cache")
    try:
        ours.start()
        theirs.start()
        for codec in ("none", "lz4"):
            content = Content(int(sizes["cleaner_records"]), int(sizes["cleaner_keys"]), codec=codec)
            verified: set[str] = set()

            def block(way: Way) -> Block:
                broker = theirs if way is KAFKA else ours
                topic = f"cleaned-{next(_topics)}"
                warm_memory(content.records * (content.bytes + 40))
                create(broker, topic, way)
                fill(loader, broker, topic, content)
                # The index keeps up with what is written, and the disk with what is dirty.
                wait_for_rest(broker, 1)
                with noise.watch(ours, theirs, loader):
                    found = clean(broker, topic)
                if way.name not in verified:
                    loader.run("verify", broker.bootstrap, topic, content.records, content.keys)
                    verified.add(way.name)
                broker.drop_topic(topic)
                time.sleep(1)
                return found

            # Kafka's JIT, and both programs' files.
            for way in (KAFKA, AT_ONCE):
                block(way)
            found: dict[str, list[Block]] = {}
            ways = (KAFKA, AT_ONCE, INDEXED, TABLE)
            for number in range(plan.pairs):
                for way in ways if number % 2 == 0 else ways[::-1]:
                    wait_for_quiet(plan.quiet_s)
                    found.setdefault(way.name, []).append(block(way))
            figures = lambda way, key: [one[key] for one in found[way.name]]  # noqa: E731
            name = "uncompressed" if codec == "none" else codec
            for way in (AT_ONCE, INDEXED, TABLE):
                what = f"{name}, {way.name}"
                rows += [
                    Row(f"{what}: by time until the checkpoint", "records/s", figures(way, "rate"), figures(KAFKA, "rate"), ratio_least=1.5),
                    Row(f"{what}: by the cleaner's own figures", "records/s", figures(way, "own_rate"), figures(KAFKA, "own_rate"), ratio_least=1.5),
                    Row(f"{what}: broker CPU per record", "us", figures(way, "us_per_record"), figures(KAFKA, "us_per_record")),
                ]  # fmt: skip
            again = ", ".join(f"{way.name} {median(figures(way, 'read_again')):.2f}" for way in ways)
            read_again.append(f"{name}: {again}")
            range_ends = ", ".join(f"{way.name} {median(figures(way, 'end')):,.0f}" for way in ways)
            cleanable.append(f"{name}: {range_ends}")
    finally:
        loader.close()
        ours.discard()
        theirs.discard()
    return Table(
        "cleaner", "Compacting the same log", "page-cache; what the cleaner writes is synced before it replaces anything", command, rows,
        [
            content_note(content),
            "The log is dirty as a whole: it is written with cleanup.policy=delete and altered to compact, and the time runs from the "
            "alteration until cleaner-offset-checkpoint says that all but the active segment is cleaned. `key index from nothing` has the keys "
            "indexed in that time as well; `built before` is a topic that was compacted from the beginning, so that its keys were indexed "
            "while it was written (key-index-cost says what that costs); `off` is the table in memory, as Kafka has it. "
            "log.cleaner.backoff.ms=100 in both. The cleaner's own figures: tidelog_cleaner_seconds_total, and the seconds in what Kafka's cleaner logs.",
            f"Records in the range: {'; '.join(cleanable)}. Records in segments that were rewritten over these: {'; '.join(read_again)}.",
            "The first log of each kind is read back: the latest record of each key must be there, and every record where it was written.",
            noise.note(),
        ],
    )  # fmt: skip


def cleaner_memory(plan: Plan) -> Table:
    sizes, command = sized(plan, cleaner_many_keys=1e7, cleaner_many_records=1.5e7)
    content = Content(int(sizes["cleaner_many_records"]), int(sizes["cleaner_many_keys"]), bytes=60)
    noise = Noise()
    found: dict[str, Block] = {}
    loader = StorageLoader()
    try:
        for kind, way in ((MeasuredTidelog, AT_ONCE), (MeasuredTidelog, TABLE), (MeasuredKafka, KAFKA)):
            with _alone(kind(plan.directory, "page-cache")) as broker:
                create(broker, "many-keys", way)
                warm_memory(content.records * (content.bytes + 40))
                fill(loader, broker, "many-keys", content)
                wait_for_rest(broker, 1)
                wait_for_quiet(plan.quiet_s)
                idle = broker.memory()["resident"]
                broker.forget_peak()
                with noise.watch(broker, loader):
                    now = clean(broker, "many-keys")
                memory = broker.memory()
                now |= {"idle": idle, "growth": memory["peak"] - idle, "after": memory["resident"]}
                checked = loader.run("verify", broker.bootstrap, "many-keys", content.records, content.keys)
                found[way.name] = now | {"keys": checked["keys"]}
    finally:
        loader.close()
    passes = ", ".join(f"{name} {one['read_again']:.2f}" for name, one in found.items())
    rows = []
    for way in (AT_ONCE, TABLE):
        t, k = found[way.name], found[KAFKA.name]
        one = lambda what, unit, key, **more: Row(f"{way.name}: {what}", unit, [t[key]], [k[key]], paired=False, **more)  # noqa: B023, E731
        rows += [
            one("resident memory before", "MiB", "idle"),
            one("highest while cleaning, above that", "MiB", "growth", target=128),
            one("resident memory after", "MiB", "after"),
            one("time", "s", "wall_s"),
            one("records per second", "records/s", "rate"),
            one("broker CPU", "s", "cpu_s"),
        ]
    return Table(
        "cleaner-memory", f"Compacting a log of {content.keys / 1e6:g} million keys in the default buffer of 128 MiB",
        "page-cache; what the cleaner writes is synced before it replaces anything", command, rows,
        [
            content_note(content) + f" {found[TABLE.name]['keys']:,.0f} keys occur.",
            f"One broker at a time. Records in segments that were rewritten over records in the range: {passes}. Kafka's table is part of its heap of 1 GiB, which grows "
            "with whatever else it does; its growth says little.",
            "Read back afterwards: the latest record of each key must be there.",
            noise.note(),
        ],
    )  # fmt: skip


def _read_trace(path, cut_us: float = 5e5) -> list[tuple[float, float]]:
    """When each record was due, in seconds since 1970, and its latency in us; without the first half second."""
    lines = [tuple(map(int, line.split())) for line in path.read_text().splitlines()]
    return [(due / 1e6, latency) for due, latency in lines if due >= lines[0][0] + cut_us]


def _quantile(values: list[float], which: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * which))]


def cleaner_produce(plan: Plan) -> Table:
    sizes, command = sized(plan, cleaner_records=6e6, cleaner_keys=1e6)
    content = Content(int(sizes["cleaner_records"]), int(sizes["cleaner_keys"]))
    noise = Noise()
    rate, size, topics = 500, 100, 2
    chunk_s = min(plan.seconds, 4)
    loader = StorageLoader()
    brokers = [MeasuredTidelog(plan.directory, "fsync"), MeasuredKafka(plan.directory, "fsync")]

    def traced(broker: Broker, seconds: float) -> list[tuple[float, float]]:
        path = broker.directory / "trace"
        loader.run("traced", broker.bootstrap, "bystander", rate, size, seconds, path, *ONE_BY_ONE)
        return _read_trace(path)

    def block(broker: Broker) -> Block:
        names = [f"big-{next(_topics)}" for _ in range(topics)]
        for name in names:
            create(broker, name, KAFKA if broker.name == "kafka" else AT_ONCE)
            fill(loader, broker, name, content)
        wait_for_rest(broker, 1)
        quiet = [latency for _ in range(2) for _, latency in traced(broker, chunk_s)]
        ends = [set_off(broker, name)[1] for name in names]
        began, span, failure = time.time(), [0.0], []

        def wait() -> None:
            try:
                for name, end in zip(names, ends):
                    wait_until_cleaned(broker, name, end)
            except Exception as error:  # noqa: BLE001
                failure.append(error)
            span[0] = time.time()

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        points: list[tuple[float, float]] = []
        while waiting.is_alive():
            points += traced(broker, chunk_s)
        if failure:
            raise RuntimeError(f"{broker.name}: {failure[0]}")
        busy = [latency for due, latency in points if began <= due <= span[0]]
        if len(busy) < 100:
            raise RuntimeError(f"{broker.name}: cleaned after {span[0] - began:.1f} s, too early to say anything: set BENCH_CLEANER_RECORDS higher")
        quiet += [latency for _ in range(2) for _, latency in traced(broker, chunk_s)]
        for name in names:
            broker.drop_topic(name)
        time.sleep(1)
        found = {"span": span[0] - began, "samples": len(busy)}
        for which, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p999")):
            found[f"quiet_{name}"], found[f"busy_{name}"] = _quantile(quiet, which), _quantile(busy, which)
            found[f"times_{name}"] = found[f"busy_{name}"] / found[f"quiet_{name}"]
        return found

    found: dict[str, list[Block]] = {}
    try:
        for broker in brokers:
            broker.start()
            broker.new_topic("bystander")
            loader.run("traced", broker.bootstrap, "bystander", 1000, size, 5, broker.directory / "trace", *ONE_BY_ONE)
        for number in range(plan.pairs):
            for broker in brokers if number % 2 == 0 else brokers[::-1]:
                wait_for_quiet(plan.quiet_s)
                with noise.watch(*brokers, loader):
                    found.setdefault(broker.name, []).append(block(broker))
    finally:
        loader.close()
        for broker in brokers:
            broker.discard()
    both = lambda what, unit, key, **more: Row(what, unit, *([one[key] for one in found[name]] for name in ("tidelog", "kafka")), **more)  # noqa: E731
    samples = "; ".join(f"{name} " + " ".join(f"{one['samples']:.0f}" for one in blocks) for name, blocks in found.items())
    return Table(
        "cleaner-produce", "What a producer feels of the cleaner", "fsync (Tidelog as shipped, Kafka with log.flush.interval.messages=1)", command,
        [
            both("latency p50, cleaner at rest", "us", "quiet_p50"),
            both("latency p50, cleaner at work", "us", "busy_p50"),
            both("latency p99, cleaner at rest", "us", "quiet_p99"),
            both("latency p99, cleaner at work", "us", "busy_p99"),
            both("p50 at work over at rest", "x", "times_p50"),
            both("p99 at work over at rest", "x", "times_p99", target=1.5),
            both("time of the cleaner's work", "s", "span"),
        ],
        [
            f"Java producer, {rate} messages a second of {size} B, {' '.join(ONE_BY_ONE)}, one partition, open loop, latency from the instant due. "
            f"{2 * chunk_s:g} s before and as long after the cleaning are `at rest`. The cleaner works on {topics} other topics, each: {content_note(content)}",
            f"Samples while it works, per block: {samples}.",
            "Client, broker and cleaner share the machine's cores.",
            noise.note(),
        ],
    )  # fmt: skip


def key_lookup(plan: Plan) -> Table:
    sizes, command = sized(plan, lookup_few_keys=1e6, lookup_many_keys=1e7, lookups=20_000)
    count = int(sizes["lookups"])
    noise = Noise()
    rows: list[Row] = []
    notes: list[str] = []
    loader = StorageLoader()
    chance = random.Random(7)
    try:
        for keys in (int(sizes["lookup_few_keys"]), int(sizes["lookup_many_keys"])):
            content = Content(keys * 3 // 2, keys, bytes=100)
            name = f"{keys / 1e6:g} million keys"
            scans = {}
            with _alone(MeasuredTidelog(plan.directory, "fsync")) as broker:
                create(broker, "table", INDEXED)
                fill(loader, broker, "table", content)
                wait_for_rest(broker, 1)
                clean(broker, "table")
                asked: list[tuple[int, int]] = []
                took: list[float] = []
                with Control(broker) as control, noise.watch(broker, loader):
                    for number in range(count + count // 5):
                        key = chance.randrange(keys)
                        begin = time.perf_counter()
                        status, body = control.get(f"/v1/topics/table/keys/key-{key:08d}")
                        end = time.perf_counter()
                        if status != 200:
                            raise RuntimeError(f"look-up of key-{key:08d}: {status} {body[:200]!r}")
                        found = json.loads(body)["found"]
                        asked.append((key, found["offset"] if found else -1))
                        # The first fifth warms up.
                        if number >= count // 5:
                            took.append((end - begin) * 1e6)
                answers = broker.directory / "answers"
                answers.write_text("".join(f"{key} {offset}\n" for key, offset in asked))
                loader.run("latest", answers, content.records, content.keys)
                memory = broker.memory()
                per_key = broker.index_bytes() / keys
                loader.run("verify", broker.bootstrap, "table", content.records, content.keys)
                scans["tidelog"] = loader.run("verify", broker.bootstrap, "table", content.records, content.keys)
            with _alone(MeasuredKafka(plan.directory, "page-cache")) as broker:
                create(broker, "table", KAFKA)
                fill(loader, broker, "table", content)
                wait_for_rest(broker, 1)
                clean(broker, "table")
                loader.run("verify", broker.bootstrap, "table", content.records, content.keys)
                scans["kafka"] = loader.run("verify", broker.bootstrap, "table", content.records, content.keys)
            rows += [
                Row(f"{name}: look-up p50", "us", [_quantile(took, 0.5)]),
                Row(f"{name}: look-up p99", "us", [_quantile(took, 0.99)], target=1000),
                Row(f"{name}: look-up p99.9", "us", [_quantile(took, 0.999)]),
                Row(f"{name}: a consumer reads the topic instead", "us", [scans["tidelog"]["seconds"] * 1e6], [scans["kafka"]["seconds"] * 1e6], paired=False),
            ]
            notes.append(
                f"{name}: {scans['tidelog']['records']:,.0f} records after compaction, index {per_key:.1f} B per key on disk, "
                f"resident memory of the broker {memory['resident']:.0f} MiB, highest {memory['peak']:.0f} MiB"
            )
    finally:
        loader.close()
    return Table(
        "key-lookup", "Latest value of a key", "fsync in Tidelog (what is not on disk yet is not looked up), nothing is written meanwhile", command, rows,
        [
            f"Keys at random, {count:,} look-ups one after the other over one connection to the control socket, after {count // 5:,} that warm up; "
            "log and index are in the page cache. The client is written in Python; its own part is in the figure. Each answer is checked: it must "
            "name the offset of the key's latest record, or none if the key was never written. Kafka has no look-up: a consumer reads the topic from "
            "its beginning to its end.",
            "; ".join(notes) + ".",
            noise.note(),
        ],
    )  # fmt: skip


def key_index_cost(plan: Plan) -> Table:
    sizes, command = sized(plan, cleaner_records=6e6, cleaner_keys=1e6)
    content = Content(int(sizes["cleaner_records"]), int(sizes["cleaner_keys"]))
    noise = Noise()
    found: dict[str, list[Block]] = {}
    loader = StorageLoader()
    ways = (INDEXED, Way("key index off", index=False, index_first=True))

    def block(way: Way) -> Block:
        # A broker of its own: what is on disk for the keys of one topic, and nothing that is left of another.
        with _alone(MeasuredTidelog(plan.directory, "fsync")) as broker:
            create(broker, "costs", way)
            warm_memory(content.records * (content.bytes + 40))
            wait_for_quiet(plan.quiet_s)
            with noise.watch(broker, loader):
                cpu = broker.cpu()
                done = fill(loader, broker, "costs", content)
                produced = broker.cpu() - cpu
                wait_for_rest(broker, 1)
                written = broker.cpu() - cpu
                resident, before = broker.memory()["resident"], broker.index_bytes()
                now = clean(broker, "costs")
            return {
                "fill_rate": done["records"] / done["seconds"], "produced_us": produced / content.records * 1e6,
                "written_us": written / content.records * 1e6, "clean_s": now["wall_s"], "clean_us": now["us_per_record"],
                "total_us": (written + now["cpu_s"]) / content.records * 1e6, "resident": resident,
                "before": before / content.keys, "after": broker.index_bytes() / content.keys,
            }  # fmt: skip

    try:
        for way in ways:
            block(way)
        for number in range(plan.pairs):
            for way in ways if number % 2 == 0 else ways[::-1]:
                found.setdefault(way.name, []).append(block(way))
    finally:
        loader.close()
    both = lambda what, unit, key: Row(what, unit, *([one[key] for one in found[way.name]] for way in ways))  # noqa: E731
    on = lambda what, key: Row(what, "B", [one[key] for one in found[INDEXED.name]])  # noqa: E731
    return Table(
        "key-index-cost", "What the key index costs and saves", "fsync", command,
        [
            both("producing: throughput, client on the same cores", "records/s", "fill_rate"),
            both("producing: broker CPU per record until the last answer", "us", "produced_us"),
            both("the same until the index is up to date", "us", "written_us"),
            both("resident memory then", "MiB", "resident"),
            both("cleaning: time", "s", "clean_s"),
            both("cleaning: broker CPU per record", "us", "clean_us"),
            both("producing and cleaning: broker CPU per record", "us", "total_us"),
            on("index on disk per key, before the cleaning", "before"),
            on("index on disk per key, after it", "after"),
        ],
        [
            f"One Tidelog at a time, each block with a broker of its own. {content_note(content)}",
            "The topic is compacted from the beginning, but its min.cleanable.dirty.ratio keeps the cleaner away until it is altered. "
            f"log.cleaner.backoff.ms={SETTINGS['log.cleaner.backoff.ms']}: the index follows in runs as long as the topic is written.",
            noise.note(),
        ],
        others=("index on", "tidelog.key.index.enable=false"),
    )  # fmt: skip


CASES = {
    "cleaner": cleaner,
    "cleaner-memory": cleaner_memory,
    "cleaner-produce": cleaner_produce,
    "key-lookup": key_lookup,
    "key-index-cost": key_index_cost,
}
# What keeps a case within some minutes.
PAIRS_AT_MOST = {"cleaner": 3, "cleaner-produce": 3, "key-index-cost": 3}
