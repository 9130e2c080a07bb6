"""The judge itself: histories that must be refused, each for one reason, and one that must not."""

from __future__ import annotations

import pytest

from groups.journal import Event, judge


def history(*members: str) -> dict:
    """Journals from lines; a member's process ends at the time its last line has, or at 1,000."""
    journals = {}
    for number, text in enumerate(members):
        events = []
        for line in text.strip().split(";"):
            time, kind, *numbers = line.split()
            events.append(Event(int(time), kind, *map(int, numbers)))
        ended = next((event.time for event in events if event.kind == "killed"), 1_000)
        journals[f"m{number}"] = ([event for event in events if event.kind != "killed"], ended)
    return journals


SOUND = (
    "1 assigned 0; 2 record 0 0; 3 committing 0 1; 4 committed 0 1; 5 record 0 1; 6 revoked 0",
    "7 assigned 0; 8 record 0 1; 9 record 0 2; 10 killed -1",
    "11 assigned 0; 12 record 0 1; 13 record 0 2; 14 committing 0 3; 14 committed 0 3; 15 revoked 0",
)


def test_a_sound_history_passes():
    assert judge(history(*SOUND), {0: 3}) == []


@pytest.mark.parametrize(
    "members, end, reason",
    [
        (SOUND, 4, "1 of 4 records were handled by nobody"),
        (SOUND, 2, "beyond the log's end"),
        (["1 assigned 0; 2 record 0 0; 9 revoked 0", "8 assigned 0"], 1, "was given it"),
        (["1 assigned 0; 2 record 0 0; 9 killed -1", "8 assigned 0"], 1, "was given it"),
        (["1 assigned 0; 2 record 0 0", "8 assigned 0"], 1, "was given it"),
        (["1 assigned 0; 2 record 0 0; 3 record 0 2; 4 record 0 1"], 3, "in one assignment"),
        (["1 assigned 0; 2 record 0 0; 3 record 0 0"], 1, "in one assignment"),
        (["1 assigned 0; 2 record 0 0; 3 revoked 0; 4 record 0 1"], 2, "without having it"),
        (["1 assigned 0; 2 record 0 1; 3 revoked 0; 4 assigned 0; 5 record 0 0"], 2, "while 0 had not been"),
        (["1 assigned 0; 2 record 0 0; 3 committing 0 1; 3 committed 0 1; 4 revoked 0", "5 assigned 0; 6 record 0 0"], 1, "but 1 was committed"),
        (["1 assigned 0; 2 assigned 0; 3 record 0 0"], 1, "although it had it"),
        (["1 assigned 0; 2 record 0 0; 3 assigned 7"], 1, "not the group's"),
        (["1 revoked 0; 2 assigned 0; 3 record 0 0"], 1, "without having it"),
    ],
)
def test_a_flaw_is_found(members, end, reason):
    found = judge(history(*members), {0: end})
    assert any(reason in complaint for complaint in found), found


LATE = ("1 assigned 0; 2 record 0 0; 9 lost 0", "8 assigned 0; 10 record 0 0")


def test_only_a_dead_broker_excuses_a_member_that_hears_late_of_its_loss():
    assert judge(history(*LATE), {0: 1}, broker_died=True) == []
    assert judge(history(*LATE), {0: 1}) != []
    revoked = LATE[0].replace("lost", "revoked")
    assert judge(history(revoked, LATE[1]), {0: 1}, broker_died=True) != []
    before = LATE[0].replace("9 lost", "3 committing 0 0; 9 committed 0 0; 9 lost")
    assert judge(history(before, LATE[1]), {0: 1}, broker_died=True) == []
    after = LATE[0].replace("9 lost", "9 committing 0 0; 9 committed 0 0; 9 lost")
    assert judge(history(after, LATE[1]), {0: 1}, broker_died=True) != []
