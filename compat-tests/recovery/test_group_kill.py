"""The broker is killed while groups rebalance, and right after it acknowledged commits.

No acknowledged commit is lost, the groups of both protocols form again, and nobody begins anew: members have
`auto.offset.reset=error`, so that a partition without its committed offset ends them.
"""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import GROUP_SETTINGS, HERE, running_broker
from groups.journal import read_events
from groups.members import PARTITIONS, PATIENCE, Feed, Group, flight_rows
from recovery.raw_commits import Committer, commit, fetch, fill

KILLS = 10
# Offsets that may be committed: some hundreds a second.
RECORDS_TO_COMMIT = 100_000
STYLES = ("cooperative", "consumer")


@dataclass
class KilledGroup(Group):
    """Asks about offsets over connections of its own: librdkafka's admin client loses requests when a coordinator dies."""

    port: int = 0

    def committed(self) -> dict[int, int]:
        found = fetch(self.port, self.name, PATIENCE)
        return {partition: offset for (topic, partition), offset in found.items() if topic == self.topic}

    def ends(self) -> dict[int, int]:
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused"})
        ends = {p: consumer.get_watermark_offsets(TopicPartition(self.topic, p), timeout=PATIENCE)[1] for p in range(PARTITIONS)}
        consumer.close()
        return ends


@pytest.fixture
def group_broker(tmp_path):
    with running_broker(tmp_path / "broker", GROUP_SETTINGS) as own:
        yield own


@pytest.fixture
def groups(group_broker, tmp_path):
    """A group of two members in each protocol, both on one topic, at offset 0 of each partition."""
    admin = AdminClient({"bootstrap.servers": group_broker.bootstrap})
    topic = "killed"
    admin.create_topics([NewTopic(topic, PARTITIONS, 1, config={"retention.ms": "-1"})], operation_timeout=30)[topic].result(60)
    made = {
        style: KilledGroup(
            group_broker.bootstrap, f"group-{style}", topic, tmp_path / style,
            lambda *words: [sys.executable, HERE / "confluent-kafka" / "member.py", *words],
            environment={"AUTO_OFFSET_RESET": "error"}, port=group_broker.port,
        )
        for style in STYLES
    }  # fmt: skip
    try:
        for style, group in made.items():
            commit(group_broker.port, group.name, topic, PARTITIONS, 0, PATIENCE)
            group.start("a", style)
            group.start("b", style)
        for group in made.values():
            group.await_divided("both joined")
        yield made
    finally:
        for group in made.values():
            group.abandon()


@pytest.fixture
def committer(group_broker):
    """Commits for a group without members, within a topic of its own."""
    admin = AdminClient({"bootstrap.servers": group_broker.bootstrap})
    admin.create_topics([NewTopic("outside", PARTITIONS, 1)], operation_timeout=30)["outside"].result(60)
    fill(group_broker.bootstrap, "outside", PARTITIONS, RECORDS_TO_COMMIT)
    with Committer(group_broker.port, "outside", "outside", PARTITIONS) as running:
        yield running
    assert running.sent < RECORDS_TO_COMMIT


def promised(group: Group) -> dict[int, int]:
    """The greatest offset of each partition that the broker has acknowledged to a member."""
    found: dict[int, int] = {}
    for member in group.members.values():
        for event in read_events(member.journal):
            if event.kind == "committed":
                found[event.partition] = max(event.offset, found.get(event.partition, 0))
    return found


def start_and_look(broker, groups: dict[str, Group], committer: Committer) -> None:
    """Starts the killed broker; what was acknowledged before is there after."""
    kept = {group.name: promised(group) for group in groups.values()}
    kept[committer.group] = dict.fromkeys(range(PARTITIONS), committer.acknowledged)
    with committer.silent():
        broker.start()
        found = fetch(broker.port, committer.group, PATIENCE)
    for name, offsets in kept.items():
        # Members go on by themselves, and may have committed more by now.
        known = found if name == committer.group else fetch(broker.port, name, PATIENCE)
        now = {partition: offset for (_, partition), offset in known.items()}
        lost = {p: (offset, now.get(p)) for p, offset in offsets.items() if now.get(p, -1) < offset}
        assert not lost, f"{name}: acknowledged and then found: {lost}"
        # Nothing is there that was never sent.
        assert name != committer.group or max(now.values()) <= committer.sent


def finish(groups: dict[str, Group], load: Feed) -> None:
    load.assert_used_up()
    for group in groups.values():
        group.await_divided("the last kill")
        group.await_all_committed()
        group.finish()
        group.assert_sound(broker_died=True)


def seeded() -> random.Random:
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    return random.Random(seed)


def test_killed_in_the_middle_of_a_rebalance(group_broker, groups, committer, small_set):
    """A third member joins or leaves a group, and the broker dies when the first partition came or went."""
    chance, topic = seeded(), groups[STYLES[0]].topic
    load = Feed(group_broker.bootstrap, topic, flight_rows(small_set), KILLS)
    caught = 0
    for number in range(KILLS):
        style = STYLES[number % len(STYLES)]
        group = groups[style]
        with load.step():
            committer.await_more(1, PATIENCE)
            before = changes(group)
            third = next((member for member in group.running() if member.name.startswith("third")), None)
            if third is None:
                group.start(f"third-{number}", style)
            else:
                third.ask_to_leave()
            group.await_that(lambda: changes(group) > before or gone(third), f"the group rebalances before kill {number + 1}")
            time.sleep(chance.uniform(0, 0.1))
            group_broker.kill()
            caught += not settled([member for member in group.running() if member is not third])
            start_and_look(group_broker, groups, committer)
            if third is not None:
                third.await_exit()
            for each in groups.values():
                each.await_divided(f"kill {number + 1}")
    # With a fast broker, a rebalance may now and then be over first.
    assert caught >= KILLS // 2, f"only {caught} of {KILLS} kills were in the middle of a rebalance"
    finish(groups, load)


def settled(members: list) -> bool:
    """Whether the partitions are with these members, and each of them has some."""
    shares = [member.owned() for member in members]
    return sorted(partition for share in shares for partition in share) == list(range(PARTITIONS)) and all(shares)


def gone(member) -> bool:
    return member is not None and member.process.poll() is not None


def changes(group: Group) -> int:
    """How often a partition came to a member or went from one."""
    events = (event for member in group.members.values() for event in read_events(member.journal))
    return sum(event.kind in ("assigned", "revoked", "lost") for event in events)


def test_killed_right_after_commits(group_broker, groups, committer, small_set):
    topic = groups[STYLES[0]].topic
    chance = seeded()
    load = Feed(group_broker.bootstrap, topic, flight_rows(small_set), KILLS)
    for number in range(KILLS):
        with load.step():
            before = {style: promised(group) for style, group in groups.items()}
            for style, group in groups.items():
                group.await_that(lambda: promised(group) != before[style], f"commits go on before kill {number + 1}")
            committer.await_more(chance.randint(1, 50), PATIENCE)
            group_broker.kill()
            start_and_look(group_broker, groups, committer)
            for each in groups.values():
                each.await_divided(f"kill {number + 1}")
    # The outsider's commits got through as well, in the end.
    committer.await_more(1, PATIENCE)
    finish(groups, load)
