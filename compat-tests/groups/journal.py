"""What the members of a group wrote down, and whether it adds up.

A member is a process that consumes a topic and appends one line per event to a journal of its own:

    NANOSECONDS EVENT PARTITION [OFFSET]

* `assigned P`: the partition is the member's from here on; written before its first record is handled,
* `record P O`: the record at offset O was handled,
* `committing P O`, `committed P O`: a commit of offset O goes out, and was acknowledged,
* `revoked P`, `lost P`: the partition is no longer the member's; written after its last record was handled and, if
  revoked, before the member lets go of it.

Time is CLOCK_MONOTONIC, which all processes of a machine share. Lines are handed to the kernel before the next request
goes out, so a SIGKILL takes none of them along.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

FOREVER = 2**63


@dataclass(frozen=True)
class Event:
    time: int
    kind: str
    partition: int
    offset: int = -1


@dataclass
class Tenure:
    """One member's ownership of one partition, from `assigned` to the end of it."""

    member: str
    partition: int
    start: int
    end: int = FOREVER
    # It ended because the group had already given the member up.
    lost: bool = False
    # When a commit that was acknowledged went out.
    commits: list[int] = field(default_factory=list)
    # (time, offset) of each record that was handled.
    records: list[tuple[int, int]] = field(default_factory=list)


def read_events(path: Path) -> list[Event]:
    """The whole lines of a journal; a kill may have cut the last one off."""
    text = path.read_text() if path.exists() else ""
    events = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        time, kind, *numbers = line.split(" ")
        events.append(Event(int(time), kind, *map(int, numbers)))
    return events


def owned_now(events: list[Event]) -> set[int]:
    """The partitions that a member holds after these events."""
    owned: set[int] = set()
    for event in events:
        if event.kind == "assigned":
            owned.add(event.partition)
        elif event.kind in ("revoked", "lost"):
            owned.discard(event.partition)
    return owned


def tenures(member: str, events: list[Event], ended: int) -> tuple[list[Tenure], list[str]]:
    """A member's tenures, and what is wrong in its journal alone. `ended` is when its process was gone."""
    found: list[Tenure] = []
    wrong: list[str] = []
    current: dict[int, Tenure] = {}
    asked: dict[int, int] = {}
    for event in events:
        partition = event.partition
        held = current.get(partition)
        if event.kind == "assigned":
            if held is not None:
                wrong.append(f"{member} was assigned {partition} although it had it")
                continue
            current[partition] = Tenure(member, partition, event.time)
            found.append(current[partition])
        elif event.kind in ("revoked", "lost"):
            if held is None:
                wrong.append(f"{member}: {event.kind} {partition} without having it")
                continue
            held.end, held.lost = event.time, event.kind == "lost"
            del current[partition]
        elif event.kind == "record":
            if held is None:
                wrong.append(f"{member} handled {partition}@{event.offset} without having it")
                continue
            if held.records and event.offset != held.records[-1][1] + 1:
                wrong.append(f"{member} handled {partition}@{event.offset} after {held.records[-1][1]} in one assignment")
            held.records.append((event.time, event.offset))
        elif event.kind == "committing":
            asked[partition] = event.time
        elif event.kind == "committed" and held is not None:
            held.commits.append(asked[partition])
    for held in current.values():
        held.end = ended
    return found, wrong


def overlaps(every: list[Tenure], *, broker_died: bool = False) -> list[str]:
    """Partitions that two members had at a time.

    When the broker was away for longer than a session, a member may hear late that it lost a partition. Then nothing
    that it did with the partition after it had a new owner may have been accepted.
    """
    wrong = []
    for partition in sorted({tenure.partition for tenure in every}):
        latest: Tenure | None = None
        for tenure in sorted((t for t in every if t.partition == partition), key=lambda t: t.start):
            if latest is not None and tenure.start < latest.end:
                late = f"{(latest.end - tenure.start) / 1e6:.1f} ms before {latest.member} was without it"
                if not (broker_died and latest.lost):
                    wrong.append(f"partition {partition}: {tenure.member} was given it {late}")
                elif any(asked > tenure.start for asked in latest.commits):
                    wrong.append(f"partition {partition}: {latest.member} committed although {tenure.member} was given it {late}")
            if latest is None or tenure.end > latest.end:
                latest = tenure
    return wrong


def handovers(every: list[Tenure], events: list[Event]) -> list[str]:
    """Records skipped at any moment, and tenures that began before what had been committed."""
    wrong = []
    for partition in sorted({tenure.partition for tenure in every}):
        # Nothing is handled ahead of what somebody handled before.
        front = 0
        records = sorted(r for t in every if t.partition == partition for r in t.records)
        for _, offset in records:
            if offset > front:
                wrong.append(f"partition {partition}: {offset} was handled while {front} had not been")
                break
            front = max(front, offset + 1)
        for tenure in (t for t in every if t.partition == partition and t.records):
            commits = [e.offset for e in events if e.partition == partition and e.kind == "committed" and e.time <= tenure.start]
            if commits and tenure.records[0][1] < max(commits):
                wrong.append(
                    f"partition {partition}: {tenure.member} began at {tenure.records[0][1]}, but {max(commits)} was committed"
                )
    return wrong


def never_handled(every: list[Tenure], ends: dict[int, int]) -> list[str]:
    """Records that no member handled."""
    strange = (tenure for tenure in every if tenure.partition not in ends)
    wrong = [f"{tenure.member} was given {tenure.partition}, which is not the group's" for tenure in strange]
    for partition, end in ends.items():
        seen = {offset for tenure in every if tenure.partition == partition for _, offset in tenure.records}
        missing = sorted(set(range(end)) - seen)
        if missing:
            wrong.append(f"partition {partition}: {len(missing)} of {end} records were handled by nobody, first {missing[:3]}")
        if beyond := sorted(seen - set(range(end))):
            wrong.append(f"partition {partition}: records beyond the log's end {end}: {beyond[:3]}")
    return wrong


def judge(
    journals: dict[str, tuple[list[Event], int]], ends: dict[int, int], *, exact_times: bool = True, broker_died: bool = False
) -> list[str]:
    """All that is wrong with a group's history; an empty list is what is wanted.

    `journals` has each member's events and the time at which its process was gone; `ends` the log end of each
    partition. Without `exact_times`, the events were stamped by somebody who watched the member from outside, later
    than they happened, and nothing is concluded from an order in time. `overlaps` says what `broker_died` permits.
    """
    every: list[Tenure] = []
    wrong: list[str] = []
    for member, (events, ended) in journals.items():
        found, complaints = tenures(member, events, ended)
        every += found
        wrong += complaints
    wrong += never_handled(every, ends)
    if exact_times:
        wrong += overlaps(every, broker_died=broker_died)
        wrong += handovers(every, [event for events, _ in journals.values() for event in events])
    return wrong
