"""Of two producers with one transactional id, only the younger writes; a transaction whose time is over is ended."""

from __future__ import annotations

import time

import pytest

from transactions.conftest import CLIENTS
from transactions.ledger import READ_COMMITTED, Ledger
from transactions.programs import Program, Refused
from transactions.writer import Writer, end_offsets

# How each client says that its producer was fenced: by PRODUCER_FENCED or by INVALID_PRODUCER_EPOCH.
FENCED = {
    "java": {"ProducerFencedException", "InvalidProducerEpochException"},
    "java-older": {"ProducerFencedException", "InvalidProducerEpochException"},
    "confluent-kafka": {"_FENCED"},
    "franz-go": {"PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"},
    "sarama": {"KError(90)", "KError(47)"},
    "krafka": {"ProducerFenced", "InvalidProducerEpoch", "Fenced"},
    "kafka-python": {"ProducerFencedError", "InvalidProducerEpochError"},
    "aiokafka": {"ProducerFenced", "InvalidProducerEpoch"},
}
# This one says of a refused write only that the transaction is lost, and of the producer when that is ended.
ON_WRITING = {"krafka": {"TransactionAbortable"}}
# In the second transaction protocol, a commit of the epoch before is taken for a repetition, and there is nothing
# committed to repeat when time ran out.
EXPIRED = {"java": {"InvalidTxnStateException"}, "franz-go": {"INVALID_TXN_STATE"}}
# Any client's producer fences another's, and whose records are shown is told by some readers as well as by all.
SUCCESSOR, READERS = "confluent-kafka", ("java", "confluent-kafka", "franz-go")


def refused(program: Program, *words) -> str:
    """Has a command fail, and returns the client's name of the error."""
    with pytest.raises(Refused) as caught:
        program(*words)
    return caught.value.name


class Duel:
    """A producer and its successor with the same transactional id, on a topic with one partition."""

    def __init__(self, older: Program, younger: Program, bootstrap: str, topic: str, lines: list, name: str):
        self.older = Writer(older, bootstrap, topic, Ledger(1), lines)
        self.younger = Writer(younger, bootstrap, topic, self.older.ledger, lines)
        self.ledger, self.topic, self.lines, self.name = self.older.ledger, topic, lines, name
        self.older.init(name)
        self.older.begin(name)
        self.older.send(name, {0: 10})

    def succeed(self) -> None:
        """The successor comes, which ends what the older one left open, and commits a transaction of its own."""
        self.younger.init(self.name)
        self.ledger.end(self.name, commit=False)
        self.commit_one()

    def commit_one(self) -> None:
        self.younger.begin(self.name)
        self.younger.send(self.name, {0: 10})
        self.younger.end(self.name, commit=True)

    def late_send(self) -> tuple:
        first, _ = self.older.take(0, 5)
        return "send", self.name, self.topic, 0, self.lines[0], first, 5


@pytest.fixture
def duel(broker, new_topic, lines):
    """A function (older program, younger program, name of the producers) that starts a duel on a topic of its own."""
    return lambda older, younger, name: Duel(older, younger, broker.bootstrap, new_topic("fenced", partitions=1), lines, name)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_older_producer_is_fenced(client, program, duel, assert_read):
    """Whether it goes on to write or to commit, it is told, and nothing of it is shown."""
    older, younger = program(client), program(SUCCESSOR)
    ending, writing = duel(older, younger, "x"), duel(older, younger, "y")
    ending.succeed()
    assert refused(older, "commit", "x") in FENCED[client]
    writing.succeed()
    assert refused(older, *writing.late_send()) in FENCED[client] | ON_WRITING.get(client, set())
    # Clients differ in what they say of the transaction after that.
    refused(older, "commit", "y")
    for each in (ending, writing):
        assert_read(each.ledger, each.topic, READ_COMMITTED, by=READERS)


@pytest.mark.parametrize("client", ["java", "java-older", "confluent-kafka", "franz-go", "sarama", "krafka"])
def test_a_stopped_producer_does_not_come_back(client, program, duel, assert_read):
    """SIGSTOP, a successor that commits, SIGCONT: what the zombie was about to do is refused and never visible."""
    zombie = program(client)
    fight = duel(zombie, program(SUCCESSOR), "x")
    zombie.stop()
    zombie.tell(*fight.late_send())
    zombie.tell("commit", "x")
    fight.succeed()
    zombie.resume()
    names = []
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            zombie.answer()
        names.append(caught.value.name)
    assert names[0] in FENCED[client] | ON_WRITING.get(client, set())
    assert_read(fight.ledger, fight.topic, by=READERS)
    # The successor is not disturbed.
    fight.commit_one()
    assert_read(fight.ledger, fight.topic, READ_COMMITTED, by=READERS)


TIMEOUT_MS = 3_000


@pytest.mark.parametrize("client", ["java", "java-older", "confluent-kafka", "franz-go"])
def test_an_abandoned_transaction_is_aborted_in_time(client, program, broker, new_topic, lines, assert_read):
    """A client is killed with an open transaction; readers are held back for as long as its timeout says, no longer.

    Another client lives, but takes too long: it may not commit any more.
    """
    topic, ledger = new_topic(f"abandoned-{client}", partitions=1), Ledger(1)
    alive = program(client)
    killed, slow, other = (
        Writer(each, broker.bootstrap, topic, ledger, lines) for each in (program(client), alive, alive)
    )
    for writer, name, timeout in ((killed, "killed", TIMEOUT_MS), (slow, "slow", TIMEOUT_MS), (other, "other", 60_000)):
        writer.init(name, timeout)
    started = time.monotonic()
    for writer, name in ((killed, "killed"), (slow, "slow"), (other, "other")):
        writer.begin(name)
        writer.send(name, {0: 10})
    other.end("other", commit=True)
    killed.program.kill()

    def stable() -> list[int]:
        return end_offsets(other.admin, topic, 1, READ_COMMITTED)

    held = ledger.end_offsets(READ_COMMITTED)
    while (now := stable()) == held:
        assert time.monotonic() - started < 30, "nobody ended the transactions"
        time.sleep(0.05)
    took = time.monotonic() - started
    assert took > TIMEOUT_MS / 1000, f"released {now} after {took:.2f} s"
    ledger.end("killed", commit=False)
    ledger.end("slow", commit=False)
    other.settle()
    assert refused(slow.program, "commit", "slow") in FENCED[client] | EXPIRED.get(client, set())
    assert_read(ledger, topic, by=READERS)
    # The id is not lost: whoever takes it over goes on.
    other.init("killed")
    other.begin("killed")
    other.send("killed", {0: 10})
    other.end("killed", commit=True)
    assert_read(ledger, topic, READ_COMMITTED, by=READERS)

