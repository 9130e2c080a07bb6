"""kcat -G as a member of a group. It tells of its records and partitions on its own streams, without times."""

from __future__ import annotations

import re
import subprocess

from groups.journal import Event
from groups.members import Member

# What kcat says on standard error when its partitions change.
REBALANCED = re.compile(r"^% Group \S+ rebalanced \(memberid \S*\): (assigned|revoked)(?:: (.*))?$")


def member_command(bootstrap: str, group: str, topic: str, style: str, journal) -> list:
    if style != "eager":
        raise ValueError(style)
    settings = {
        "auto.offset.reset": "earliest", "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
        "auto.commit.interval.ms": 200, "partition.assignment.strategy": "range",
    }  # fmt: skip
    return [
        "kcat", "-b", bootstrap, "-G", group, "-u", "-f", "%p %o\n",
        *(word for key, value in settings.items() for word in ("-X", f"{key}={value}")), topic,
    ]  # fmt: skip


class KcatMember(Member):
    """Both streams go to the journal, unbuffered, so that a kill takes nothing along. SIGTERM makes kcat leave."""

    def start(self) -> None:
        self.log.touch()
        with open(self.journal, "ab") as journal:
            self.process = subprocess.Popen(
                [str(word) for word in self.command], stdin=subprocess.DEVNULL, stdout=journal, stderr=journal
            )

    def ask_to_leave(self) -> None:
        super().ask_to_leave()
        self.process.terminate()

    def told(self) -> str:
        return f"{self.name}: {self.journal.read_text(errors='replace')[-3000:]}"

    def events(self) -> list[Event]:
        text = self.journal.read_text() if self.journal.exists() else ""
        events = []
        for line in text[: text.rfind("\n") + 1].splitlines():
            if changed := REBALANCED.match(line):
                numbers = re.findall(r" \[(\d+)\]", changed[2] or "")
                events += [Event(0, changed[1], int(number)) for number in numbers]
            elif record := re.match(r"^(\d+) (\d+)$", line):
                events.append(Event(0, "record", int(record[1]), int(record[2])))
        return events
