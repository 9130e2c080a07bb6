"""A broker that soon ends overdue transactions, the programs that make transactions, and flights for them to write."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import conftest as root
from conftest import HERE, run
from packages import jars, kept
from transactions.ledger import READ_COMMITTED, READ_UNCOMMITTED, Ledger
from transactions.programs import Copier, Program, Refused

# Clients with a transactional program. `java-older` knows the first transaction protocol alone.
CLIENTS = ("java", "java-older", "confluent-kafka", "franz-go", "sarama", "krafka", "kafka-python", "aiokafka")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """The broker that the scenarios of this folder share."""
    with root.shared_broker(tmp_path_factory.mktemp("transactions-broker"), root.TRANSACTION_SETTINGS) as shared:
        yield shared


@pytest.fixture(scope="session")
def new_topic(broker):
    """As everywhere, on this folder's broker."""
    return root.topic_maker(broker.bootstrap)


@pytest.fixture(scope="session")
def tool(java_class, broker, tmp_path_factory):
    """A function that runs one of Kafka's command-line tools against the broker; see `root.tools_of`."""
    with root.tools_of(broker.bootstrap, java_class("Tools"), tmp_path_factory.mktemp("tools") / "stderr") as call:
        yield call


@pytest.fixture(scope="session")
def command_of(request):
    """A function (client, words) that gives the command line of a client's transactional program.

    A client's packages are fetched when it is asked for, so that a run of one client fetches that client's only.
    """

    def of(client: str, *words) -> list:
        if client in ("confluent-kafka", "kafka-python", "aiokafka"):
            return [sys.executable, HERE / client / "transactional.py", *words]
        return [*request.getfixturevalue(client.replace("-", "_") + "_transactions"), *words]

    return of


@pytest.fixture(scope="session")
def java_transactions(java_class) -> list:
    return java_class("Transactions")


@pytest.fixture(scope="session")
def java_older_transactions(java_class) -> list:
    libs = jars("java-older", HERE / "java" / "older" / "pom.xml") / "libs"
    line = java_class("Transactions", libs, "-older", "older/pom.xml")
    return [line[0], "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *line[1:]]


@pytest.fixture(scope="session")
def franz_go_transactions() -> list:
    return [_go("franz-go")]


@pytest.fixture(scope="session")
def sarama_transactions() -> list:
    return [_go("sarama")]


def _go(client: str) -> Path:
    sources = [HERE / client / name for name in ("go.mod", "go.sum", "transactions/main.go")]

    def install(folder: Path) -> None:
        run(["go", "build", "-o", folder / "transactions", "./transactions"], cwd=HERE / client, timeout=900)

    return kept(f"{client}-transactions", sources, install) / "transactions"


@pytest.fixture(scope="session")
def krafka_transactions(krafka) -> list:
    return [krafka.parent / "transactions"]


@pytest.fixture(scope="session")
def readers(command_of, broker, tmp_path_factory):
    """A program of each client, for all scenarios that read."""
    folder = tmp_path_factory.mktemp("readers")
    made = [Program(client, command_of(client, broker.bootstrap), folder / f"{client}.log") for client in CLIENTS]
    yield made
    for program in made:
        program.end()


@pytest.fixture
def program(command_of, broker, tmp_path):
    """A function (client) that starts a program of a client's, which ends with the scenario."""
    made = []

    def start(client: str) -> Program:
        made.append(Program(client, command_of(client, broker.bootstrap), tmp_path / f"{client}-{next(_numbers)}.log"))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.resume()
            each.kill()


@pytest.fixture
def copier(command_of, tmp_path):
    """A function (name, client, bootstrap, arguments of its copying) that gives a copier, which ends with the scenario."""
    made = []

    def create(name: str, client: str, bootstrap: str, *words) -> Copier:
        made.append(Copier(name, command_of(client, bootstrap, "copy", *words), tmp_path))
        return made[-1]

    yield create
    for each in made:
        each.kill()


@pytest.fixture(scope="session")
def lines(small_set) -> list[Path]:
    """A file of flights for each of four partitions."""
    return [small_set.input / f"{partition}.tsv" for partition in range(4)]


@pytest.fixture
def assert_read(readers, tmp_path):
    """A function (ledger, topic, isolations) that has clients read a topic, and compares with what must be there."""

    def check(ledger: Ledger, topic: str, *isolations: str, by: tuple[str, ...] = CLIENTS) -> None:
        for isolation in isolations or (READ_COMMITTED, READ_UNCOMMITTED):
            wrong = []

            def read(reader: Program) -> None:
                folder = tmp_path / f"{next(_numbers)}-{reader.client}"
                folder.mkdir()
                try:
                    reader("read", topic, ledger.partitions, isolation, ledger.count(isolation), folder)
                except Refused as refused:
                    wrong.append(f"{reader.client}: {refused}")
                wrong.extend(f"{reader.client} at {isolation}: {what}" for what in ledger.differences(isolation, folder))

            with ThreadPoolExecutor(len(by)) as pool:
                list(pool.map(read, (reader for reader in readers if reader.client in by)))
            assert not wrong, "\n".join(wrong)

    return check
