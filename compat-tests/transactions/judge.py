"""What is wrong with what transactions left behind: in a copy of a topic, and after a broker died under a load.

Pure functions over numbers that were read; `test_judge.py` proves that they find flaws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# What a load was told of a transaction. UNKNOWN: it was begun, and nobody told how it ended.
COMMITTED, ABORTED, UNKNOWN = "committed", "aborted", "unknown"


def copied(source: dict[int, Sequence], target: dict[int, Sequence]) -> list[str]:
    """Each partition of the target must hold what the source's holds: each record once, in order, and nothing else."""
    wrong = []
    for partition in sorted(source.keys() | target.keys()):
        wanted, got = source.get(partition, ()), target.get(partition, ())
        if list(wanted) == list(got):
            continue
        times = Counter(got)
        known = set(wanted)
        complaints = {
            "lost": [value for value in wanted if value not in times],
            "there more than once": [value for value, count in times.items() if count > 1],
            "of another partition or of nobody": [value for value in times if value not in known],
        }
        found = [f"{len(values)} {what}, first {values[:3]}" for what, values in complaints.items() if values]
        if not found:
            at = next(at for at, (want, have) in enumerate(zip(wanted, got, strict=True)) if want != have)
            found = [f"out of order from record {at} on: {got[at]!r} instead of {wanted[at]!r}"]
        wrong.append(f"partition {partition}: {'; '.join(found)}")
    return wrong


@dataclass(frozen=True)
class State:
    """What readers at read_committed are shown.

    `records` has, per partition, the number of the transaction that each record is of, in the order of the log;
    `offsets` what is committed for the load's group, per partition.
    """

    records: dict[int, list[int]]
    offsets: dict[int, int]


def atomic(outcomes: Sequence[str], state: State, each: int) -> list[str]:
    """Each transaction is whole or absent, and as its producer was told.

    Transaction n, of those that `outcomes` lists in the order in which they were made one after another, writes its
    number `each` times to every partition, and n + 1 as the group's offset of every partition.
    """
    wrong = []
    per_partition = {partition: Counter(numbers) for partition, numbers in state.records.items()}
    present = set()
    for number in sorted(set().union(*per_partition.values())):
        counts = {partition: counter[number] for partition, counter in per_partition.items()}
        if set(counts.values()) != {each}:
            wrong.append(f"transaction {number} is there in part: {counts} records in the partitions instead of {each}")
        present.add(number)
        if not 0 <= number < len(outcomes):
            wrong.append(f"transaction {number} was never begun")
        elif outcomes[number] == ABORTED:
            wrong.append(f"transaction {number} was aborted and is shown")
    wrong += [
        f"transaction {number} was committed and is gone"
        for number, outcome in enumerate(outcomes)
        if outcome == COMMITTED and number not in present
    ]
    for partition, numbers in state.records.items():
        if sorted(numbers) != numbers:
            at = next(at for at in range(1, len(numbers)) if numbers[at] < numbers[at - 1])
            wrong.append(f"partition {partition}: transaction {numbers[at]} comes after {numbers[at - 1]}")
    # The offsets are those of the last transaction that is there, in every partition.
    expected = max(present, default=-1) + 1
    wrong += [
        f"partition {partition}: offset {state.offsets.get(partition, 0)} is committed instead of {expected}"
        for partition in state.records
        if state.offsets.get(partition, 0) != expected
    ]
    return wrong


def outcomes(journal: str) -> list[str]:
    """What a load was told of each transaction, from its journal's lines `begun N`, `committed N` and `aborted N`."""
    told: list[str] = []
    for line in journal[: journal.rfind("\n") + 1].splitlines():
        word, number = line.split()
        if word == "begun":
            assert int(number) == len(told), line
            told.append(UNKNOWN)
        else:
            told[int(number)] = {"committed": COMMITTED, "aborted": ABORTED}[word]
    return told
