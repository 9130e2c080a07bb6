"""A flipped bit, or a cut, in any of the other files (rows 7 and 9).

Each trial damages one file of a data directory at rest. Then either all answers are as before, or the broker refuses: as a
whole, or a partition, and says why. With the file put back all answers are as before: nothing was destroyed meanwhile.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import sample
from faults import records
from faults.broker import Broker, Ended
from faults.dataset import TOPIC, TRANSACTIONS, Stored, ask, difference, store
from faults.history import Violated
from faults.records import Damaged
from faults.wire import Refused, until
from faults.test_damaged_log import flip

FLIPS = 5
# What is in Kafka's format, which has no checksum: a flipped digit is another number, and nobody can tell. What it hides
# must come back with the file.
WITHOUT_CHECKSUM = {"log-start-offset-checkpoint"}
PATTERNS = {
    "offset index": f"{TOPIC}-0/*.index",
    "time index": f"{TOPIC}-0/*.timeindex",
    "transaction index": f"{TRANSACTIONS}-0/*.txnindex",
    "producer snapshot": f"{TOPIC}-0/*.snapshot",
    "leader epochs": f"{TOPIC}-0/leader-epoch-checkpoint",
    "partition metadata": f"{TOPIC}-0/partition.metadata",
    "recovery points": "recovery-point-offset-checkpoint",
    "log starts": "log-start-offset-checkpoint",
    "identity": "meta.properties",
    "state: log": "state/*.log",
    "state: tables": "state/*.sst",
    "state: manifest": "state/MANIFEST-*",
    "state: current": "state/CURRENT",
    "state: options": "state/OPTIONS-*",
}
REFUSED = "refused"


@pytest.fixture(scope="module", params=[True, False], ids=["orderly", "killed"])
def stored(request, tmp_path_factory) -> Stored:
    broker = Broker(tmp_path_factory.mktemp("stored"))
    try:
        made = store(broker, orderly=request.param)
    finally:
        broker.remove()
    return made


def answers(broker: Broker, stored: Stored) -> dict | str:
    """What a broker answers; or that it refuses to start, having said why."""
    position = broker.log_size()
    try:
        broker.start()
        with broker.client() as client:
            return ask(client, broker.port, stored)
    except Ended:
        told = broker.logged_since(position)
        assert "panicked" not in told, told
        assert "tidelog: " in told, f"it ended without a reason: {told}"
        return REFUSED
    finally:
        if broker.is_running():
            broker.kill()


def verdict(stored: Stored, found: dict | str, broker: Broker, name: str) -> str | None:
    """What is wrong, if anything is."""
    if found == REFUSED:
        return None
    assert isinstance(found, dict)
    differs = difference(stored.answers, found)
    if found["topics"] != stored.answers["topics"]:
        return f"{name}: {differs}"
    # A partition that is not served answers errors, and the log has a line about it.
    errors = {key for key, answer in found.items() if answer != stored.answers[key] and _is_error(answer)}
    if differs and all(key in errors or key == "starts" for key in found if found[key] != stored.answers[key]) and "corrupt" in broker.log.read_text():
        return None
    return f"{name}: {differs}" if differs else None


def _is_error(answer) -> bool:
    if isinstance(answer, tuple):
        return answer[0] != 0
    return isinstance(answer, str) and answer.startswith("error")


def told(path: Path) -> int:
    """The bytes in which a flip can be told: all, but for the last write of a log of the state, which looks like a torn end."""
    content = path.read_bytes()
    if path.parent.name != "state" or path.suffix != ".log":
        return len(content)
    # Records have a header of 7 bytes, with length and type, and do not cross blocks of 32 KiB.
    position = last = 0
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        # A whole write, or the first part of one.
        if kind in (1, 2):
            last = position
        position += 7 + length
    return last


@pytest.mark.parametrize("kind", PATTERNS)
def test_a_flipped_bit(kind, stored, make_broker, chance):
    files = stored.files(PATTERNS[kind])
    if not files:
        pytest.skip(f"there is no {PATTERNS[kind]}")
    points = [(path, position) for path in files for position in range(min(told(stored.directory / path), 200_000))]
    wrong = []
    for path, position in sample(chance, points, FLIPS):
        broker = make_broker()
        stored.copy_to(broker.data)
        bit = chance.randrange(8)
        flip(broker.data / path, position, bit)
        what = f"bit {bit} of byte {position} of {path}"
        try:
            found = answers(broker, stored)
            if broken := verdict(stored, found, broker, what):
                _note(wrong, broken, path)
            if found != REFUSED and not path.name.startswith(("MANIFEST", "CURRENT", "OPTIONS")) and path.parent.name != "state":
                _restore(stored, broker, path)
                if differs := difference(stored.answers, answers(broker, stored)):
                    # The epoch of the leader goes up with each start: it is not among the answers.
                    wrong.append(f"{what}, and the file put back: {differs}")
        except (AssertionError, OSError, Damaged, Refused) as failure:
            wrong.append(f"{what}: {failure!r}"[:600])
        broker.remove()
    if wrong:
        raise Violated("\n".join(wrong))


def _note(wrong: list[str], broken: str, path: Path) -> None:
    if path.name not in WITHOUT_CHECKSUM:
        wrong.append(broken)


def _restore(stored: Stored, broker: Broker, path: Path) -> None:
    if (stored.directory / path).exists():
        (broker.data / path).write_bytes((stored.directory / path).read_bytes())


def test_the_end_of_the_state_is_torn(make_broker, chance):
    """The state's log is cut within what the last topic's creation wrote, which had not been acknowledged then. All topics of
    before are there; the last one is whole or absent, and can be made."""
    broker = make_broker()
    broker.start()
    with broker.client() as client:
        for number in range(3):
            client.create(f"before-{number}", 2, {"retention.ms": 1000 + number})
            assert client.produce(f"before-{number}", {0: records.batch("b", 0, 1, 10)})[0].code == 0
    (log,) = (broker.data / "state").glob("*.log")
    before = log.stat().st_size
    with broker.client() as client:
        client.create("last", 2, {"retention.ms": 99})
    broker.kill()
    after = log.stat().st_size
    assert after > before


    kept = broker.directory / "kept"
    shutil.copytree(broker.data, kept, ignore=shutil.ignore_patterns("control.sock"))
    whole = absent = 0
    for length in sample(chance, range(before, after + 1), 24):
        shutil.rmtree(broker.data)
        shutil.copytree(kept, broker.data)
        with open(broker.data / "state" / log.name, "r+b") as file:
            file.truncate(length)
        broker.start()
        topics = until(broker.port, lambda client: client.topics())
        for number in range(3):
            assert topics.get(f"before-{number}") == [0, 0], f"{length} bytes: {topics}\n{broker.tail()}"
        with broker.client() as client:
            if "last" in topics:
                whole += 1
                assert topics["last"] == [0, 0]
            else:
                absent += 1
                assert length < after
                client.create("last", 2, {"retention.ms": 99})
            answer = client.produce("last", {1: records.batch("l", 0, 1, 10)})[1]
            assert (answer.code, answer.offset) == (0, 0), answer
        broker.kill()
    assert whole and absent, f"{whole} {absent}"
