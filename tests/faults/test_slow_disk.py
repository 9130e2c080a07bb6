"""A disk whose syncs take seconds (row 21). FAULTS_STALL_S says how many."""

from __future__ import annotations

import os
import struct
import threading
import time
from pathlib import Path

import pytest

from faults import records, strace
from faults.script import everything
from faults.wire import REQUEST_TIMED_OUT, Client, string

STALL_S = float(os.environ.get("FAULTS_STALL_S", 4))
# What needs no disk is answered meanwhile.
PROMPT_S = 1.5
JOIN_GROUP, SYNC_GROUP, HEARTBEAT = (11, 2), (14, 1), (12, 1)
MEMBER_ID_REQUIRED = 79


class Member:
    """The only member of a classic group."""

    def __init__(self, port: int, group: str):
        self._client, self._group = Client(port), group
        self.member = ""
        code = self._join()
        if code == MEMBER_ID_REQUIRED:
            code = self._join()
        assert code == 0, code
        body = string(group) + struct.pack(">i", self.generation) + string(self.member)
        assignment = struct.pack(">i", 1) + string(self.member) + struct.pack(">i", 1) + b"x"
        answer = self._client.ask(SYNC_GROUP, body + assignment)
        answer.take("i")
        assert answer.take("h") == 0

    def _join(self) -> int:
        body = string(self._group) + struct.pack(">ii", 60_000, 60_000) + string(self.member) + string("consumer")
        body += struct.pack(">i", 1) + string("range") + struct.pack(">i", 1) + b"x"
        answer = self._client.ask(JOIN_GROUP, body)
        _throttle, code, self.generation = answer.take("ihi")
        answer.text(), answer.text()
        self.member = answer.text()
        return code

    def heartbeat(self) -> int:
        body = string(self._group) + struct.pack(">i", self.generation) + string(self.member)
        answer = self._client.ask(HEARTBEAT, body)
        return answer.take("ih")[1]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("calls", ["data", "everything"])
def test_syncs_that_take_seconds(calls, make_broker):
    """Producers that wait hear that it took too long; readers, metadata and heartbeats go on as ever; what arrives meanwhile
    is bounded; and when the disk is well all that was taken is there."""
    broker = make_broker(settings={"group.initial.rebalance.delay.ms": 0})
    broker.start()
    with broker.client() as client:
        client.create("slow", 2)
        client.create("read", 1)
        assert client.produce("read", {0: records.batch("r", 0, 5, 100)})[0].code == 0
        assert client.produce("slow", {0: records.batch("s", 0, 1, 100)})[0].code == 0
    member = Member(broker.port, "beating")
    names = ["fdatasync", "fsync", "syncfs"]
    path = max(broker.partition("slow").glob("*.log")) if calls == "data" else None
    faults = [f"{name}:delay_enter={int(STALL_S * 1e6)}" for name in names]
    before = resident_bytes(broker.pid())
    answers: list[tuple[float, int]] = []
    with strace.attached(broker, *faults, path=path):
        began = time.monotonic()

        def impatient() -> None:
            with broker.client(timeout=60) as client:
                answer = client.produce("slow", {0: records.batch("s", 1, 1, 100)}, timeout_ms=1000)[0]
                answers.append((time.monotonic() - began, answer.code))

        waiting = threading.Thread(target=impatient)
        waiting.start()
        time.sleep(0.2)
        # A flood that nobody waits for.
        flood = Client(broker.port, timeout=60)
        data = records.batch("s", 2, 1, 100_000)
        sent = [flood.send_produce("slow", {0: data}) for _ in range(100)]
        slowest = 0.0
        with broker.client() as client:
            while time.monotonic() < began + STALL_S - 0.5:
                asked = time.monotonic()
                assert member.heartbeat() == 0
                assert client.fetch("read", {0: 0})[0].code == 0
                assert "slow" in client.topics()
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.1)
        assert slowest < PROMPT_S, f"an answer took {slowest:.1f} s while the disk stalled"
        growth = resident_bytes(broker.pid()) - before
        assert growth < 64 << 20, f"{growth >> 20} MiB more"
        waiting.join(timeout=60)
    ((after_s, code),) = answers
    assert code == REQUEST_TIMED_OUT and after_s < max(STALL_S, 3), f"code {code} after {after_s:.1f} s"
    assert {flood.receive_produced(number)[0].code for number in sent} == {0}
    flood.close()
    assert member.heartbeat() == 0
    with broker.client() as client:
        assert client.produce("slow", {0: records.batch("s", 3, 1, 100)})[0].code == 0
        # The one that was timed out is there, too: its producer cannot know.
        assert [batch.read()[1] for batch in everything(client, "slow", 0)][:2] == [0, 1]
    broker.kill()
    broker.start()
    with broker.client() as client:
        assert len(everything(client, "slow", 0)) == 103
