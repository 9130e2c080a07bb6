"""A group moves from the classic protocol to the one of KIP-848 and back, one member at a time, under load."""

from __future__ import annotations

import time

from confluent_kafka import ConsumerGroupType

from groups.members import PATIENCE

# Back is not where it began: what a group was before does not matter.
THERE, BACK = "consumer", "cooperative"


def group_type(group) -> ConsumerGroupType:
    return group.admin.describe_consumer_groups([group.name])[group.name].result(30).type


def await_type(group, wanted: ConsumerGroupType) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := group_type(group)) != wanted:
        assert time.monotonic() < deadline, f"the group is {found}"
        time.sleep(0.1)


def test_java_there_and_back(new_group, feed):
    group = new_group("migration", "java")
    load = feed(group, 5)
    with load.step():
        group.start("a0", "eager")
        group.start("b0", "eager")
        group.await_divided("both joined")
    assert group_type(group) == ConsumerGroupType.CLASSIC

    step = 0
    for style, half, done in (
        (THERE, ConsumerGroupType.CONSUMER, ConsumerGroupType.CONSUMER),
        # The group is of the newer type for as long as one of its members is.
        (BACK, ConsumerGroupType.CONSUMER, ConsumerGroupType.CLASSIC),
    ):
        step += 1
        for name, then in (("a", half), ("b", done)):
            # First one more, then one less: members of both protocols share the partitions meanwhile.
            with load.step():
                group.start(f"{name}{step}", style)
                group.await_divided(f"{name}{step} joined")
                group.leave(f"{name}{step - 1}")
                group.await_divided(f"{name}{step - 1} left")
            await_type(group, then)
    load.assert_used_up()
    group.await_all_committed()
    group.finish()
    group.assert_sound()
