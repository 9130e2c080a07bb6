"""The broker is killed while groups rebalance, and right after it acknowledged commits.

No acknowledged commit is lost, the groups of both protocols form again, and nobody begins anew: members have
`auto.offset.reset=error`, so that a partition without its committed offset ends them.
"""

from __future__ import annotations

import os
import random
import sys
import time

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import GROUP_SETTINGS, HERE, running_broker
from groups.journal import read_events
from groups.members import PARTITIONS, PATIENCE, Feed, Group, flight_rows
from recovery.raw_commits import Committer, fetch

KILLS = 10
STYLES = ("cooperative", "consumer")


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
        style: Group(
            group_broker.bootstrap, f"group-{style}", topic, tmp_path / style,
            lambda *words: [sys.executable, HERE / "confluent-kafka" / "member.py", *words],
            environment={"AUTO_OFFSET_RESET": "error"},
        )
        for style in STYLES
    }  # fmt: skip
    try:
        for style, group in made.items():
            group.set_offsets(0)
            group.start("a", style)
            group.start("b", style)
        for group in made.values():
            group.await_divided("both joined")
        yield made
    finally:
        for group in made.values():
            group.abandon()


def promised(group: Group) -> dict[int, int]:
    """The greatest offset of each partition that the broker has acknowledged to a member."""
    found: dict[int, int] = {}
    for member in group.members.values():
        for event in read_events(member.journal):
            if event.kind == "committed":
                found[event.partition] = max(event.offset, found.get(event.partition, 0))
    return found


def kill_and_start(broker, groups: dict[str, Group], committer: Committer) -> None:
    """SIGKILL and restart; what was acknowledged before is there after."""
    broker.kill()
    kept = {group.name: promised(group) for group in groups.values()}
    kept[committer.group] = dict.fromkeys(range(PARTITIONS), committer.acknowledged)
    broker.start()
    for name, offsets in kept.items():
        now = {partition: offset for (_, partition), offset in fetch(broker.port, name, PATIENCE).items()}
        lost = {partition: (offset, now.get(partition)) for partition, offset in offsets.items() if now.get(partition, -1) < offset}
        assert not lost, f"{name}: acknowledged and then found: {lost}"
        # Nothing is there that was never sent.
        assert name != committer.group or max(now.values()) <= committer.sent
    for group in groups.values():
        group.connect_anew()


def finish(groups: dict[str, Group], load: Feed) -> None:
    load.assert_used_up()
    for group in groups.values():
        group.await_divided("the last kill")
        group.await_all_committed()
        group.finish()
        group.assert_sound()


def seeded() -> random.Random:
    seed = int(os.environ.get("COMPAT_SEED", time.time_ns() % 1_000_000))
    print(f"COMPAT_SEED={seed}")
    return random.Random(seed)


def test_killed_in_the_middle_of_a_rebalance(group_broker, groups, small_set):
    """A third member joins or leaves a group, and the broker dies while the group is not stable."""
    chance, topic = seeded(), groups[STYLES[0]].topic
    load = Feed(group_broker.bootstrap, topic, flight_rows(small_set), KILLS)
    with Committer(group_broker.port, "outside", topic, PARTITIONS) as committer:
        for number in range(KILLS):
            style = STYLES[number % len(STYLES)]
            group = groups[style]
            with load.step():
                committer.await_more(1, PATIENCE)
                third = next((member for member in group.running() if member.name.startswith("third")), None)
                if third is None:
                    group.start(f"third-{number}", style)
                else:
                    third.ask_to_leave()
                await_unstable(group)
                time.sleep(chance.uniform(0, 0.1))
                kill_and_start(group_broker, groups, committer)
                if third is not None:
                    third.await_exit()
                for each in groups.values():
                    each.await_divided(f"kill {number + 1}")
    finish(groups, load)


def await_unstable(group: Group) -> None:
    deadline = time.monotonic() + PATIENCE
    while group.admin.describe_consumer_groups([group.name])[group.name].result(30).state == ConsumerGroupState.STABLE:
        assert time.monotonic() < deadline, f"{group.name} did not rebalance"


def test_killed_right_after_commits(group_broker, groups, small_set):
    topic = groups[STYLES[0]].topic
    chance = seeded()
    load = Feed(group_broker.bootstrap, topic, flight_rows(small_set), KILLS)
    with Committer(group_broker.port, "outside", topic, PARTITIONS) as committer:
        for number in range(KILLS):
            with load.step():
                before = {style: promised(group) for style, group in groups.items()}
                for style, group in groups.items():
                    group.await_that(lambda: promised(group) != before[style], f"commits go on before kill {number + 1}")
                committer.await_more(chance.randint(1, 50), PATIENCE)
                kill_and_start(group_broker, groups, committer)
                for each in groups.values():
                    each.await_divided(f"kill {number + 1}")
        # The outsider's commits got through as well, in the end.
        committer.await_more(1, PATIENCE)
    finish(groups, load)
