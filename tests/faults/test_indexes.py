"""Files that can be made anew from the log: lost, cut, overwritten, or of another time (row 8).

Whatever happened to them, a broker answers as before: to fetches from anywhere, to questions for offsets by time, to
readers at read_committed, and to a producer that sends again.
"""

from __future__ import annotations

import random

import pytest

from conftest import sample
from faults.broker import Broker
from faults.dataset import BATCHES, TOPIC, TRANSACTIONS, Stored, ask, ask_again, difference, store
from faults.history import Violated
from faults.records import Damaged
from faults.wire import Refused

# Bytes of an entry; the last two are text, or checked as a whole.
KINDS = {"*.index": 8, "*.timeindex": 12, "*.txnindex": 34, "*.snapshot": 1, "leader-epoch-checkpoint": 1}
TRIALS = 14


def damages(chance: random.Random, entry: int) -> dict:
    """By name: what is made of the content of a file; None removes it."""

    def garbage(content: bytes) -> bytes:
        return chance.randbytes(max(len(content), 24))

    def half(content: bytes) -> int:
        return len(content) // entry // 2 * entry

    return {
        "deleted": lambda content: None,
        "empty": lambda content: b"",
        "half, in the middle of an entry": lambda content: content[: len(content) // 2 | 1],
        "half, whole entries": lambda content: content[: half(content)],
        "garbage of the same size": garbage,
        "garbage behind": lambda content: content + chance.randbytes(240),
        "zeros": lambda content: bytes(len(content)),
        "entries out of order": lambda content: content[half(content) :] + content[: half(content)],
        "one twice as large": lambda content: content * 2,
    }


def compare(broker: Broker, stored: Stored, what: str) -> list[str]:
    """What a broker answers otherwise than before the damage."""
    try:
        broker.start()
        with broker.client() as client:
            found = ask(client, broker.port, stored)
            again = ask_again(client, stored)
    except (OSError, AssertionError, Refused, Damaged) as failure:
        return [f"{what}: {failure!r}"[:600]]
    finally:
        broker.remove()
    wrong = [f"{what}: {differs}"] if (differs := difference(stored.answers, found)) else []
    # Two repeats and the next one.
    end = BATCHES * 3
    if [(answer.code, answer.offset) for answer in again] != [(0, end - 6), (0, end - 3), (0, end)]:
        wrong.append(f"{what}: retries are answered with {again}")
    return wrong


@pytest.mark.parametrize("orderly", [True, False], ids=["orderly", "killed"])
def test_derived_files(orderly, make_broker, chance):
    stored = store(make_broker(), orderly=orderly)
    wrong = []
    trials = [(kind, name, damage) for kind, entry in KINDS.items() for name, damage in damages(chance, entry).items()]
    for kind, name, damage in [("*.index", "no damage", lambda content: content), *sample(chance, trials, TRIALS)]:
        broker = make_broker()
        stored.copy_to(broker.data)
        # Of every segment at once.
        for path in [*broker.partition(TOPIC).glob(kind), *broker.partition(TRANSACTIONS).glob(kind)]:
            content = damage(path.read_bytes())
            path.unlink() if content is None else path.write_bytes(content)
        wrong += compare(broker, stored, f"{kind} {name}")
    if wrong:
        raise Violated("\n".join(wrong))


@pytest.mark.parametrize("orderly", [True, False], ids=["orderly", "killed"])
def test_stale_derived_files(orderly, make_broker, chance):
    """As they were when the log was half as long, or from another partition whose log is longer."""
    stored = store(make_broker(), orderly=orderly)
    wrong = []
    for kind in stored.earlier:
        for name in ("older", "of another partition"):
            broker = make_broker()
            stored.copy_to(broker.data)
            pattern = kind if kind == "leader-epoch-checkpoint" else f"*{kind}"
            newest = max(broker.partition(TOPIC).glob(pattern))
            foreign = sorted(broker.partition(TRANSACTIONS).glob(pattern))
            newest.write_bytes(stored.earlier[kind] if name == "older" else foreign[0].read_bytes())
            wrong += compare(broker, stored, f"{kind} {name}")
    if wrong:
        raise Violated("\n".join(wrong))
