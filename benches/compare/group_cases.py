"""The cases of group coordinators. The load is `groups/main.rs`: frames, and as little else as possible."""

from __future__ import annotations

import itertools
import time

import wire
from brokers import Broker, GroupsLoader, Kafka, Tidelog
from cases import Block, Both, Plan, paired, row
from figures import Noise, Row, Table, disk_probe, median, wait_for_quiet

PROTOCOLS = ("classic", "consumer")
# Longer than a case lasts: members keep their place while the other broker has the load.
LONG_SESSIONS = {
    "group.consumer.max.session.timeout.ms": "1800000",
    "group.consumer.session.timeout.ms": "1200000",
}

_names = itertools.count(1)


def heartbeats(plan: Plan) -> Table:
    noise = Noise()
    groups, connections, interval_ms = 1000, 20, 300
    # At once as fast as it goes: more heartbeats than all blocks have, so that Kafka's JIT is done.
    warm_s, warm_blocks = 5, 3
    settings = {"group.initial.rebalance.delay.ms": "0", **LONG_SESSIONS}
    found: dict[str, tuple[list[Block], list[Block]]] = {}
    idle: dict[str, float] = {}
    warmed: list[str] = []
    with Both(plan, "page-cache", settings=settings, loader=GroupsLoader) as (loader, ours, theirs):
        for broker in (ours, theirs):
            broker.new_topic("beats")
        for protocol in PROTOCOLS:

            def block(broker: Broker, seconds: float = plan.seconds, interval: float = interval_ms) -> Block:
                cpu = broker.cpu()
                done = loader.run("beat", broker.port, protocol, seconds, interval)
                cpu = broker.cpu() - cpu
                return {"us_per_beat": cpu / done["beats"] * 1e6, "rate": done["beats"] / done["seconds"], **done}

            for broker in (ours, theirs):
                loader.run("members", broker.port, protocol, groups, connections, "beats")
                fast = [block(broker, warm_s, 0) for _ in range(warm_blocks)]
                block(broker, 3)
                warmed.append(f"{broker.name} {protocol} {fast[-1]['us_per_beat']:.3g} us at {fast[-1]['rate']:,.0f} a second")
            found[protocol] = paired(plan, noise, loader, ours, theirs, block)
        for broker in (ours, theirs):
            cpu = broker.cpu()
            time.sleep(5)
            idle[broker.name] = (broker.cpu() - cpu) / 5 * 1000
    rows = []
    for protocol, request in zip(PROTOCOLS, ("Heartbeat", "ConsumerGroupHeartbeat")):
        a, b = found[protocol]
        rows += [
            row(f"{protocol}: broker CPU per {request}", "us", "us_per_beat", a, b, ratio_target=0.40),
            row(f"{protocol}: rate reached", "heartbeats/s", "rate", a, b),
            row(f"{protocol}: latency p50, from the instant due", "us", "p50_us", a, b),
            row(f"{protocol}: latency p99", "us", "p99_us", a, b),
        ]
    return Table(
        "group-heartbeats", f"{groups:,} groups of one member each, heartbeating", "does not matter: nothing is written", plan.command, rows,
        [
            f"A heartbeat of each member every {interval_ms} ms, evenly spread, over {connections} connections with one in flight each; "
            f"{plan.seconds:g} s a block. The figure includes what the broker does when idle "
            f"(with the same members: Tidelog {idle['tidelog']:.2f}, Kafka {idle['kafka']:.2f} CPU ms/s).",
            f"Warm-up: {warm_blocks} x {warm_s} s of heartbeats as fast as they are answered. The last of them: {'; '.join(warmed)}.",
            noise.note(),
        ],
    )  # fmt: skip


def rebalance(plan: Plan) -> Table:
    noise = Noise()
    members, partitions, interval_ms, session_ms = 100, 1000, 50, 3000
    settings = {
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": str(session_ms),
        "group.consumer.min.session.timeout.ms": str(session_ms),
        "group.consumer.session.timeout.ms": str(session_ms),
        "group.consumer.min.heartbeat.interval.ms": str(interval_ms),
        "group.consumer.heartbeat.interval.ms": str(interval_ms),
        # Kafka gathers changes for a second by default; Tidelog does not.
        "group.consumer.assignment.interval.ms": "0",
    }
    warm_blocks = 4
    found: dict[str, tuple[list[Block], list[Block]]] = {}
    with Both(plan, "page-cache", settings=settings, loader=GroupsLoader) as (loader, ours, theirs):
        for broker in (ours, theirs):
            # No record goes there: that it is known is enough.
            with broker.connect() as connection:
                connection.create("balanced", partitions)
        for protocol in PROTOCOLS:

            def block(broker: Broker) -> Block:
                cpu = broker.cpu()
                group = f"{protocol}-{next(_names)}"
                done = loader.run("balance", broker.port, protocol, group, "balanced", partitions, members, interval_ms, session_ms)
                return {"cpu_s": broker.cpu() - cpu, **done}

            for broker in (ours, theirs):
                for _ in range(warm_blocks):
                    block(broker)
            found[protocol] = paired(plan, noise, loader, ours, theirs, block)
    rows = []
    for protocol in PROTOCOLS:
        a, b = found[protocol]
        rows += [
            row(f"{protocol}: first join of {members}", "ms", "joined_ms", a, b, ratio_target=1.0),
            row(f"{protocol}: one member more", "ms", "added_ms", a, b, ratio_target=1.0),
            row(f"{protocol}: it leaves, from the answer to it", "ms", "left_ms", a, b),
            row(f"{protocol}: one member killed, from the end of its session", "ms", "killed_ms", a, b, ratio_target=1.0),
            row(f"{protocol}: broker CPU of the whole block", "CPU-s", "cpu_s", a, b),
        ]
    return Table(
        "group-rebalance", f"One group of {members} members and {partitions:,} partitions: time to stable", "page-cache (no fsync in either)",
        plan.command, rows,
        [
            "Stable: all members are told one generation (or member epoch), own every partition exactly once and, within one, equally many; "
            "the last such change counts, if nothing moves for 400 ms after it.",
            f"Raw members, each with a connection of its own that was open before; heartbeats every {interval_ms} ms in both protocols, and "
            "at once where a client would not wait (to join again; to report what it owns). Members give partitions up at once. "
            "Classic: eager, the leader's assignment takes no time. Consumer: the broker's first assignor, uniform.",
            "The classic first join has two outcomes in both brokers: a first member that finishes a generation alone, before the others "
            "are there, hears of them with its next heartbeat only, and all wait for it. The faster broker sees that more often.",
            "In each block one member more comes, at different phases of the others' heartbeats, and leaves again, six times: their mean.",
            f"Both: session timeout {session_ms:,} ms, group.initial.rebalance.delay.ms=0, group.consumer.assignment.interval.ms=0 (Kafka's "
            "default gathers changes for 1,000 ms; Tidelog has no such pause). A killed member's connection closes without LeaveGroup; its "
            "time counts from its last answered heartbeat and a session timeout later.",
            f"Warm-up: {warm_blocks} blocks each.",
            noise.note(),
        ],
    )  # fmt: skip


def commits(plan: Plan) -> Table:
    noise = Noise()
    partitions = 10
    seconds = min(plan.seconds, 4)
    shapes = (("one connection, one by one", 1, 1), ("one connection, 32 in flight", 1, 32), ("64 connections, one by one each", 64, 1))
    rows: list[Row] = []
    probes: list[float] = []
    for durability in ("fsync", "page-cache"):
        with Both(plan, durability, loader=GroupsLoader) as (loader, ours, theirs):
            for broker in (ours, theirs):
                broker.new_topic("committed", partitions)
            for name, connections, depth in shapes:

                def block(broker: Broker) -> Block:
                    if durability == "fsync":
                        probes.append(disk_probe(plan.directory))
                    cpu = broker.cpu()
                    # The same groups again: a store that only grows would weigh on later blocks.
                    group = f"commits-{connections}-{depth}"
                    done = loader.run("commit", broker.port, group, "committed", partitions, connections, depth, seconds)
                    cpu = broker.cpu() - cpu
                    return {"rate": done["commits"] / done["seconds"], "us_per_commit": cpu / done["commits"] * 1e6, **done}

                for broker in (ours, theirs):
                    for _ in range(3):
                        block(broker)
                a, b = paired(plan, noise, loader, ours, theirs, block)
                rows += [
                    row(f"{durability}: {name}", "commits/s", "rate", a, b, ratio_least=2.0),
                    row(f"{durability}: {name}, broker CPU per commit", "us", "us_per_commit", a, b),
                    row(f"{durability}: {name}, latency p99", "us", "p99_us", a, b),
                ]
    return Table(
        "offset-commits", f"Commits of {partitions} offsets", "in each row: fsync, or page-cache, in both brokers", plan.command, rows,
        [
            f"OffsetCommit of {partitions} partitions of one topic, a group per connection and no membership, as fast as answered for {seconds:g} s "
            "a block; at its end the last offset is fetched and compared. Kafka works on one request of a connection at a time, so what is in "
            "flight there waits in the socket. One thread of the client serves 16 connections in turn, which its latencies include.",
            "fsync: log.flush.interval.messages=1, which holds for Kafka's offsets topic as well. page-cache: never flushed by count.",
            f"Disk probe (append 4 KiB, fdatasync) before the fsync blocks: median {median(probes):.2f} ms, {min(probes):.2f} to {max(probes):.2f}.",
            "Warm-up: 3 blocks each.",
            noise.note(),
        ],
    )  # fmt: skip


def _first_offsets_ms(broker: Broker, group: str, partitions: range, expected: int, groups: int) -> tuple[float, float]:
    """Milliseconds from exec to the first OffsetFetch answered, and until all groups are listed."""
    begin = time.monotonic()
    broker.spawn()
    offsets, at = wire.first_offsets(broker.port, group, "stored", partitions, broker.alive)
    if offsets != [expected] * len(partitions):
        raise RuntimeError(f"{broker.name} answers {offsets}, not {expected} everywhere")
    with broker.connect() as connection:
        while (count := connection.groups()) != groups:
            if time.monotonic() > begin + 120:
                raise TimeoutError(f"{broker.name} lists {count} groups, not {groups}")
            time.sleep(0.001)
    return (at - begin) * 1000, (time.monotonic() - begin) * 1000


def start(plan: Plan) -> Table:
    groups, partitions, records = 10_000, 10, 20
    noise = Noise()
    kinds = ("empty", "killed", "stopped")
    first: dict[str, dict[str, list[float]]] = {"tidelog": {}, "kafka": {}}
    listed: dict[str, dict[str, list[float]]] = {"tidelog": {}, "kafka": {}}
    resident: dict[str, list[float]] = {"tidelog": [], "kafka": []}

    def note(broker: Broker, kind: str, count: int) -> None:
        wait_for_quiet(plan.quiet_s)
        expected = (groups - 1) % records + 1 if count else -1
        with noise.watch():
            took = _first_offsets_ms(broker, f"stored-{groups - 1}", range(partitions), expected, count)
        for figures, value in zip((first, listed), took):
            figures[broker.name].setdefault(kind, []).append(value)

    loader = GroupsLoader()
    try:
        for kind, times in ((Tidelog, plan.starts), (Kafka, 3)):
            for _ in range(times):
                broker = kind(plan.directory, "as-shipped")
                try:
                    broker.prepare()
                    note(broker, "empty", 0)
                finally:
                    broker.discard()
            broker = kind(plan.directory, "as-shipped")
            try:
                broker.start()
                broker.new_topic("stored", partitions)
                with broker.connect() as connection:
                    for _ in range(records):
                        connection.produced("stored", wire.batch(b"x"), range(partitions))
                # Offsets within the log: Tidelog moves those beyond its end back after a crash.
                loader.run("fill", broker.port, "stored", "stored", partitions, groups, records)
                # What went before does not count for how the first of these starts.
                for number in range(2 * times):
                    (broker.kill if number % 2 == 0 else broker.stop)()
                    note(broker, "killed" if number % 2 == 0 else "stopped", groups)
                resident[broker.name].append(broker.memory()["resident"])
            finally:
                broker.discard()
    finally:
        loader.close()
    t, k = first["tidelog"], first["kafka"]
    empty = median(t["empty"])
    more = {kind: [median(t[kind]) - empty] for kind in kinds[1:]}
    more["listed"] = [median(listed["tidelog"]["killed"]) - empty]
    return Table(
        "group-start", f"Start with the offsets of {groups:,} groups, {partitions} each", "each as shipped (Tidelog fsync, Kafka page-cache)",
        plan.command,
        [
            Row("exec to the first OffsetFetch answered, empty directory", "ms", t["empty"], k["empty"], paired=False),
            Row("with the offsets, after kill -9", "ms", t["killed"], k["killed"], paired=False),
            Row("with the offsets, after SIGTERM", "ms", t["stopped"], k["stopped"], paired=False),
            Row("more than empty, after kill -9", "ms", more["killed"], target=1000),
            Row("more than empty, after SIGTERM", "ms", more["stopped"], target=1000),
            Row("until ListGroups names them all, after kill -9", "ms", listed["tidelog"]["killed"], listed["kafka"]["killed"], paired=False),
            Row("more than the first OffsetFetch when empty", "ms", more["listed"], target=1000),
            Row("resident then", "MiB", resident["tidelog"], resident["kafka"], paired=False),
        ],
        [
            "A raw client connects every 1 ms from the moment of exec, asks for the group's coordinator and fetches the ten offsets of the "
            "last group until they are answered, then compares them. On an empty directory Kafka makes its offsets topic meanwhile; with an "
            "older one it loads the topic's partitions one after another, and this group's may be among the first.",
            "The page cache is as the earlier process left it. Kills and orderly stops take turns on one directory.",
            noise.note(),
        ],
    )  # fmt: skip


CASES = {
    "group-heartbeats": heartbeats,
    "group-rebalance": rebalance,
    "offset-commits": commits,
    "group-start": start,
}
