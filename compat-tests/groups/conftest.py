"""A broker whose groups react fast, the programs that are members of them, and a group with a feed."""

from __future__ import annotations

import itertools
import sys

import pytest

import conftest as root
from conftest import HERE, run
from groups.members import PARTITIONS, Feed, Group, Member, flight_rows
from kcat.members import KcatMember
from kcat.members import member_command as kcat_command
from packages import kept

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """The broker that the scenarios of this folder share."""
    with root.shared_broker(tmp_path_factory.mktemp("group-broker"), root.GROUP_SETTINGS) as shared:
        yield shared


@pytest.fixture(scope="session")
def new_topic(broker):
    """As everywhere, on this folder's broker."""
    return root.topic_maker(broker.bootstrap)


@pytest.fixture(scope="session")
def rows(small_set) -> list[tuple[int, bytes, bytes]]:
    """The first 20,000 flights: timestamp, key and value of each."""
    return flight_rows(small_set)


@pytest.fixture(scope="session")
def member_command(request):
    """A function (client) that gives a function from a member program's arguments to its command line.

    A client's packages are fetched when it is asked for, so that a run of one client fetches that client's only.
    """

    def of(client: str):
        if client == "kcat":
            return kcat_command
        if client in ("confluent-kafka", "kafka-python", "aiokafka"):
            return lambda *words: [sys.executable, HERE / client / "member.py", *words]
        program = request.getfixturevalue(client.replace("-", "_") + "_member")
        return lambda *words: [*program, *words]

    return of


@pytest.fixture(scope="session")
def java_member(java_class) -> list:
    return java_class("Member")


@pytest.fixture(scope="session")
def tool(java_class, broker, tmp_path_factory):
    """A function that runs one of Kafka's command-line tools against the broker; see `root.tools_of`."""
    with root.tools_of(broker.bootstrap, java_class("Tools"), tmp_path_factory.mktemp("tools") / "stderr") as call:
        yield call


@pytest.fixture(scope="session")
def franz_go_member() -> list:
    sources = [HERE / "franz-go" / name for name in ("go.mod", "go.sum", "member/main.go")]

    def install(folder) -> None:
        run(["go", "build", "-o", folder / "member", "./member"], cwd=HERE / "franz-go", timeout=900)

    return [kept("franz-go-member", sources, install) / "member"]


@pytest.fixture(scope="session")
def sarama_member() -> list:
    sources = [HERE / "sarama" / name for name in ("go.mod", "go.sum", "main.go")]

    def install(folder) -> None:
        run(["go", "build", "-o", folder / "member", "."], cwd=HERE / "sarama", timeout=900)

    return [kept("sarama", sources, install) / "member"]


@pytest.fixture(scope="session")
def kafkajs_member(kafkajs) -> list:
    return ["node", kafkajs / "member.js"]


@pytest.fixture(scope="session")
def krafka_member(krafka) -> list:
    return [krafka.parent / "member"]


@pytest.fixture
def new_group(broker, new_topic, member_command, tmp_path):
    """A function (label, client) that gives a group on a topic of its own; its members end with the scenario."""
    groups = []

    def create(label: str, client: str) -> Group:
        topic = new_topic(label, partitions=PARTITIONS)
        kind = KcatMember if client == "kcat" else Member
        group = Group(broker.bootstrap, f"group-{topic}", topic, tmp_path, member_command(client), kind)
        groups.append(group)
        return group

    yield create
    for group in groups:
        group.abandon()


@pytest.fixture
def feed(rows):
    """A function (group, steps) that gives the feed of a scenario with so many steps."""
    return lambda group, steps: Feed(group.bootstrap, group.topic, rows, steps)
