"""The judge of compacted topics finds every flaw that it is there to find."""

from __future__ import annotations

import pytest

from compaction.oracle import EITHER, GONE, KEPT, Written, differences, flaws


def written() -> Written:
    """a: 0, 3, 7; b: 1, then deleted at 4; c: 2; d: 5, deleted at 6, and there again at 8."""
    known = Written(1)
    for offset, (key, value) in enumerate([
        (b"a", b"1"), (b"b", b"1"), (b"c", b"1"), (b"a", b"2"), (b"b", None), (b"d", b"1"), (b"d", None), (b"a", b"3"), (b"d", b"2"),
    ]):  # fmt: skip
        known.put(0, offset, b"\t".join([b"%d" % (1000 - offset), key, b"%d" % offset] + ([value] if value is not None else [])))
    return known


def rows(*offsets: int) -> list[tuple[int, bytes]]:
    records = written().records[0]
    return [(offset, records[offset]) for offset in offsets]


def test_what_must_be_left():
    assert written().offsets(0, 9) == {2, 4, 7, 8}
    assert written().offsets(0, 9, GONE) == {2, 7, 8}
    # What is not cleaned supersedes nothing yet.
    assert written().offsets(0, 7) == {2, 3, 4, 6, 7, 8}
    assert written().offsets(0, 7, GONE) == {2, 3, 7, 8}
    assert written().offsets(0, 0) == set(range(9))


@pytest.mark.parametrize(
    ("offsets", "tombstones"),
    [((2, 4, 7, 8), KEPT), ((2, 4, 7, 8), EITHER), ((2, 7, 8), EITHER), ((2, 7, 8), GONE)],
)
def test_what_is_right_passes(offsets, tombstones):
    assert differences(written(), 0, rows(*offsets), 9, tombstones) == []


@pytest.mark.parametrize(
    ("offsets", "tombstones", "complaint"),
    [
        ((2, 7, 8), KEPT, "1 records are missing"),
        ((2, 4, 7, 8), GONE, "1 records should be gone"),
        ((0, 2, 4, 7, 8), KEPT, "1 records should be gone"),
        ((2, 4, 7), KEPT, "'d' ends as b'nothing'"),
        ((2, 3, 4, 8), KEPT, "'a' ends as"),
        # A deleted key is back.
        ((1, 2, 7, 8), EITHER, "'b' ends as"),
        ((2, 4, 8, 7), KEPT, "7 came after 8"),
        ((2, 4, 7, 7, 8), KEPT, "7 came after 7"),
    ],
)
def test_what_is_wrong_is_found(offsets, tombstones, complaint):
    assert any(complaint in flaw for flaw in differences(written(), 0, rows(*offsets), 9, tombstones))


def test_a_reading_of_what_is_not_cleaned():
    assert flaws(written(), 0, rows(*range(9))) == []
    assert flaws(written(), 0, rows(0, 2, 4, 7, 8)) == []


@pytest.mark.parametrize(
    "row",
    [
        (2, b"998\tc\t2\t2"),  # another value
        (2, b"997\tc\t2\t1"),  # another timestamp
        (2, b"998\tc\t3\t1"),  # another header
        (2, b"998\tc\t2"),  # no value
        (2, b"998\tx\t2\t1"),  # another key
        (9, b"991\tc\t2\t1"),  # an offset that nobody was told
    ],
)
def test_every_column_counts(row):
    read = sorted([*rows(4, 7, 8), row])
    assert any(f"0@{row[0]} is" in flaw for flaw in differences(written(), 0, read, 9))


def test_an_older_value_behind_a_newer_one():
    # Even when offsets ascend and every record is known there.
    known = Written(1)
    known.put(0, 0, b"0\ta\t5\tnew")
    known.put(0, 1, b"0\ta\t4\told")
    assert any("number 4 of b'a' came after 5" in flaw for flaw in flaws(known, 0, sorted(known.records[0].items())))


def test_an_offset_is_acknowledged_once():
    with pytest.raises(AssertionError, match="two records were acknowledged"):
        written().put(0, 3, b"0\tz\t0\t0")
