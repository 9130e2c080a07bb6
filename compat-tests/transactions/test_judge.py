"""The judges and the ledger themselves: what must be refused, each for one reason, and what must not."""

from __future__ import annotations

import pytest

from transactions.judge import ABORTED, COMMITTED, UNKNOWN, State, atomic, copied, outcomes
from transactions.ledger import READ_COMMITTED, READ_UNCOMMITTED, Ledger


@pytest.mark.parametrize(
    "target, reason",
    [
        ({0: [1, 3, 5], 1: [2, 4]}, None),
        ({0: [1, 5], 1: [2, 4]}, "partition 0: 1 lost, first [3]"),
        ({0: [1, 3, 3, 5], 1: [2, 4]}, "1 there more than once"),
        ({0: [1, 3, 5, 1, 3], 1: [2, 4]}, "2 there more than once"),
        ({0: [1, 5, 3], 1: [2, 4]}, "out of order from record 1"),
        ({0: [1, 3, 5, 4], 1: [2]}, "of another partition"),
        ({0: [1, 3, 5], 1: [2, 4, 9]}, "partition 1: 1 of another partition or of nobody"),
        ({0: [1, 3, 5]}, "partition 1: 2 lost"),
        ({0: [1, 3, 5], 1: [2, 4], 2: [7]}, "partition 2"),
    ],
)
def test_copies(target, reason):
    found = copied({0: [1, 3, 5], 1: [2, 4]}, target)
    assert (found == []) if reason is None else any(reason in complaint for complaint in found), found


TOLD = [COMMITTED, ABORTED, COMMITTED, UNKNOWN]


def two(*numbers: int) -> list[int]:
    return [number for number in numbers for _ in range(2)]


@pytest.mark.parametrize(
    "first, second, offsets, reason",
    [
        # Of the one that nobody told the end of, both ends are right.
        (two(0, 2), two(0, 2), (3, 3), None),
        (two(0, 2, 3), two(0, 2, 3), (4, 4), None),
        (two(0, 2, 3), two(0, 2), (4, 4), "transaction 3 is there in part"),
        ([*two(0, 2), 3], [*two(0, 2), 3], (4, 4), "transaction 3 is there in part"),
        ([*two(0, 2), 2], two(0, 2), (3, 3), "transaction 2 is there in part"),
        (two(0, 2, 3), two(0, 2, 3), (3, 3), "offset 3 is committed instead of 4"),
        (two(0, 2, 3), two(0, 2, 3), (4, 3), "partition 1: offset 3 is committed instead of 4"),
        (two(0, 2), two(0, 2), (4, 4), "offset 4 is committed instead of 3"),
        (two(0), two(0), (1, 1), "transaction 2 was committed and is gone"),
        (two(0, 1, 2), two(0, 1, 2), (3, 3), "transaction 1 was aborted and is shown"),
        (two(0, 2, 4), two(0, 2, 4), (5, 5), "transaction 4 was never begun"),
        (two(2, 0), two(0, 2), (3, 3), "partition 0: transaction 0 comes after 2"),
        ([], [], (0, 0), "transaction 0 was committed and is gone"),
    ],
)
def test_transactions_after_a_crash(first, second, offsets, reason):
    found = atomic(TOLD, State({0: first, 1: second}, dict(enumerate(offsets))), each=2)
    assert (found == []) if reason is None else any(reason in complaint for complaint in found), found


def test_offsets_that_nobody_committed_count_as_none():
    assert atomic([UNKNOWN], State({0: [], 1: []}, {}), each=1) == []
    assert atomic([COMMITTED], State({0: [0], 1: [0]}, {0: 1}), each=1) != []


def test_a_journal_that_was_cut_off():
    assert outcomes("begun 0\ncommitted 0\nbegun 1\naborted 1\nbegun 2\ncommi") == [COMMITTED, ABORTED, UNKNOWN]
    with pytest.raises(AssertionError):
        outcomes("begun 1\n")


def test_the_ledger_counts_control_records_and_holds_back_what_is_not_stable(tmp_path):
    ledger = Ledger(2)
    ledger.begin("a")
    ledger.begin("b")
    ledger.send("a", 0, [b"1", b"2"])
    ledger.send("b", 0, [b"3"])
    ledger.send("b", 1, [b"4"])
    ledger.end("b", commit=True)
    # One control record in each partition of the transaction.
    assert ledger.end_offsets(READ_UNCOMMITTED) == [4, 2]
    assert ledger.end_offsets(READ_COMMITTED) == [0, 2]
    assert ledger.visible(0, READ_COMMITTED) == [] and ledger.visible(1, READ_COMMITTED) == [(0, b"4")]
    ledger.end("a", commit=False)
    assert ledger.end_offsets(READ_COMMITTED) == ledger.end_offsets(READ_UNCOMMITTED) == [5, 2]
    assert ledger.visible(0, READ_COMMITTED) == [(2, b"3")]
    assert ledger.count(READ_UNCOMMITTED) == 4

    (tmp_path / "0.tsv").write_bytes(b"2\t3\n")
    (tmp_path / "1.tsv").write_bytes(b"0\t4\n")
    assert ledger.differences(READ_COMMITTED, tmp_path) == []
    for flaw in (b"", b"2\t3\n3\t3\n", b"0\t1\n2\t3\n", b"1\t3\n"):
        (tmp_path / "0.tsv").write_bytes(flaw)
        assert len(ledger.differences(READ_COMMITTED, tmp_path)) == 1
    (tmp_path / "1.tsv").unlink()
    assert len(ledger.differences(READ_COMMITTED, tmp_path)) == 2
