"""Static members (KIP-345): a restart within the session disturbs nobody, and an instance id belongs to one at a time."""

from __future__ import annotations

import pytest

from groups.members import PARTITIONS

CLIENTS = ("java", "confluent-kafka")


@pytest.mark.parametrize("style", ["eager", "consumer"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_restart_disturbs_nobody(client, style, new_group, feed):
    """Either of two members restarts, so once the one that leads a group of the classic protocol."""
    group = new_group(f"restart-{client}-{style}", client)
    load = feed(group, 4)
    with load.step():
        group.start("a", style, "instance-a")
        group.await_divided("the first member joined")
    with load.step():
        group.start("b", style, "instance-b")
        group.await_divided("the second member joined")

    for restarted, other in (("a", "b"), ("b", "a-again")):
        share = group.members[restarted].owned()
        undisturbed = changes(group.members[other])
        with load.step():
            group.leave(restarted)
            again = group.start(f"{restarted}-again", style, f"instance-{restarted}")
            group.await_divided(f"{restarted} restarted")
        assert again.owned() == share
        assert changes(group.members[other]) == undisturbed, f"{other} went through a rebalance"
    load.assert_used_up()
    group.await_all_committed()
    group.finish()
    group.assert_sound()


def changes(member) -> list:
    """What ever changed in a member's ownership: in a rebalance of an eager group, everything does."""
    return [event for event in member.events() if event.kind in ("assigned", "revoked", "lost")]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_older_of_two_is_fenced(client, new_group, feed):
    """In the classic protocol the newer one takes over; nothing that the older one does afterwards counts."""
    group = new_group(f"fenced-{client}", client)
    load = feed(group, 2)
    with load.step():
        older = group.start("older", "eager", "the-instance")
        group.await_divided("the older one joined")
    with load.step():
        newer = group.start("newer", "eager", "the-instance")
        group.await_that(lambda: newer.owned() == set(range(PARTITIONS)), "the newer one has everything")
        older.await_failure({"java": "FencedInstanceIdException", "confluent-kafka": "FENCED_INSTANCE_ID"}[client])
    group.await_all_committed()
    taken = next(event.time for event in newer.events() if event.kind == "assigned")
    asked = {}
    for event in older.events():
        if event.kind == "committing":
            asked[event.partition] = event.time
        elif event.kind == "committed":
            assert asked[event.partition] < taken, f"{event.partition}@{event.offset} was acknowledged to a fenced member"
    group.finish()


@pytest.mark.parametrize("client", CLIENTS)
def test_the_newer_of_two_is_refused(client, new_group, feed):
    """In the protocol of KIP-848 an instance id has to be released before another member can have it."""
    group = new_group(f"unreleased-{client}", client)
    load = feed(group, 2)
    with load.step():
        older = group.start("older", "consumer", "the-instance")
        group.await_divided("the older one joined")
    with load.step():
        newer = group.start("newer", "consumer", "the-instance")
        newer.await_failure({"java": "UnreleasedInstanceIdException", "confluent-kafka": "instance ID is still used"}[client])
    assert older.owned() == set(range(PARTITIONS)) and not changes(newer)
    group.await_all_committed()
    group.finish()
    group.assert_sound()
