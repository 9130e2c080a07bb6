"""kafka-consumer-groups.sh and its relatives of Kafka 4.3.1, and the admin clients of other languages."""

from __future__ import annotations

import re
import time

import pytest
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPythonPartition

from groups.members import PARTITIONS

TOOLS = "org.apache.kafka.tools"
CONFIG_COMMAND = "kafka.admin.ConfigCommand"
PER_PARTITION = 20
STYLES = {"eager": "Classic", "consumer": "Consumer"}


@pytest.fixture
def command(tool):
    """A function that runs ConsumerGroupCommand and returns what it printed."""
    return lambda *arguments: tool(f"{TOOLS}.consumer.group.ConsumerGroupCommand", *arguments)


def table(printed: str) -> list[dict[str, str]]:
    """The rows of the tables in what a tool printed, by the names in their headers."""
    rows, names = [], []
    for line in printed.splitlines():
        if line.startswith(("GROUP ", "TOPIC ")):
            # Two blanks or more between columns: "COORDINATOR (ID)" is one of them.
            names = re.split(r" {2,}|(?<=[A-Z]) (?=[A-Z#])", line.strip())
        elif names and line.strip():
            # The coordinator is "host:port  (id)".
            values = re.sub(r" +\((\d+)\)", r"(\1)", line).split()
            if len(values) == len(names):
                rows.append(dict(zip(names, values)))
    return rows


def fill(bootstrap: str, topic: str) -> None:
    """PER_PARTITION records each: the first half was two hours ago, the rest is half an hour ahead."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    now = int(time.time() * 1000)
    refused: list = []

    def delivered(error, _) -> None:
        if error:
            refused.append(error)

    for number in range(PER_PARTITION):
        stamp = now + (-7_200_000 if number < PER_PARTITION // 2 else 1_800_000)
        for partition in range(PARTITIONS):
            producer.produce(topic, b"x", partition=partition, timestamp=stamp + number, on_delivery=delivered)
    assert producer.flush(30) == 0 and not refused, refused[:3]


@pytest.fixture
def group(request, new_group):
    """A group of two librdkafka members that have read what there is."""
    group = new_group(f"command-{request.param}", "confluent-kafka")
    fill(group.bootstrap, group.topic)
    group.start("a", request.param)
    group.start("b", request.param)
    group.await_divided("both joined")
    group.await_all_committed()
    return group


both = pytest.mark.parametrize("group", STYLES, indirect=True)


@both
def test_list_and_describe(request, group, command, tool):
    style = request.node.callspec.params["group"]
    kind, member_shares = STYLES[style], {frozenset(share) for share in group.shares()}

    rows = {row["GROUP"]: row for row in table(command("--list", "--state", "--type"))}
    assert (rows[group.name]["TYPE"], rows[group.name]["STATE"]) == (kind, "Stable")
    listed = table(command("--list", "--state", "Stable", "--type", kind))
    assert group.name in {row["GROUP"] for row in listed} and {row["TYPE"] for row in listed} == {kind}
    other = "Consumer" if kind == "Classic" else "Classic"
    assert group.name not in command("--list", "--state", "Stable", "--type", other)
    assert group.name not in command("--list", "--state", "Empty,Dead")
    overview = tool(f"{TOOLS}.GroupsCommand", "--list")
    (row,) = (row for row in table(overview) if row["GROUP"] == group.name)
    assert (row["TYPE"], row["PROTOCOL"]) == (kind, "consumer")

    offsets = table(command("--describe", "--group", group.name))
    assert [(row["TOPIC"], int(row["PARTITION"])) for row in sorted(offsets, key=lambda row: int(row["PARTITION"]))] == [
        (group.topic, partition) for partition in range(PARTITIONS)
    ]
    assert {(row["CURRENT-OFFSET"], row["LOG-END-OFFSET"], row["LAG"]) for row in offsets} == {
        (str(PER_PARTITION), str(PER_PARTITION), "0")
    }
    owners: dict[str, set] = {}
    for row in offsets:
        owners.setdefault(row["CONSUMER-ID"], set()).add(int(row["PARTITION"]))
    assert set(map(frozenset, owners.values())) == member_shares

    members = table(command("--describe", "--group", group.name, "--members", "--verbose"))
    assert {row["CONSUMER-ID"] for row in members} == set(owners)
    for row in members:
        assert (row["HOST"], row["CLIENT-ID"], row["#PARTITIONS"]) == ("/127.0.0.1", "rdkafka", str(PARTITIONS // 2))
        share = f"{group.topic}:{','.join(map(str, sorted(owners[row['CONSUMER-ID']])))}"
        assert row["CURRENT-ASSIGNMENT"] == share
        if kind == "Consumer":
            assert row["TARGET-ASSIGNMENT"] == share and row["CURRENT-EPOCH"] == row["TARGET-EPOCH"]
            assert int(row["CURRENT-EPOCH"]) > 0
        else:
            assert {row["TARGET-ASSIGNMENT"], row["CURRENT-EPOCH"], row["TARGET-EPOCH"]} == {"-"}

    (state,) = table(command("--describe", "--group", group.name, "--state"))
    assert (state["STATE"], state["#MEMBERS"]) == ("Stable", "2")
    assert state["COORDINATOR (ID)"].startswith(f"{group.bootstrap}(")
    assert state["ASSIGNMENT-STRATEGY"] == ("range" if kind == "Classic" else "uniform")

    assert group.name in {row["GROUP"] for row in table(command("--describe", "--all-groups", "--state"))}
    assert len([row for row in table(command("--describe", "--all-groups", "--members")) if row["GROUP"] == group.name]) == 2
    everything = [row for row in table(command("--describe", "--all-groups")) if row["GROUP"] == group.name]
    assert len(everything) == PARTITIONS


@both
def test_what_is_refused_while_a_group_is_active(group, command):
    """And what is possible once it is empty."""
    before = group.committed()
    printed = command("--delete", "--group", group.name)
    assert f"Group '{group.name}' could not be deleted due to: org.apache.kafka.common.errors.GroupNotEmptyException" in printed
    printed = command("--reset-offsets", "--group", group.name, "--topic", group.topic, "--to-earliest", "--execute")
    assert f"Assignments can only be reset if the group '{group.name}' is inactive, but the current state is Stable." in printed
    printed = command("--delete-offsets", "--group", group.name, "--topic", group.topic)
    assert printed.count("GroupSubscribedToTopicException") == PARTITIONS, printed
    assert group.committed() == before

    group.finish()
    (state,) = table(command("--describe", "--group", group.name, "--state"))
    assert (state["STATE"], state["#MEMBERS"]) == ("Empty", "0")
    printed = command("--delete-offsets", "--group", group.name, "--topic", f"{group.topic}:0,1")
    assert [row["STATUS"] for row in table(printed)] == ["Successful"] * 2
    assert group.committed() == {partition: offset for partition, offset in before.items() if partition > 1}
    assert "was successful" in command("--delete", "--group", group.name)
    assert group.name not in command("--list").split()
    assert "GroupIdNotFoundException" in command("--delete", "--group", group.name)


def test_offsets_are_reset(new_group, command, tmp_path):
    """Each method, first without and then with effect, on a group that begins in the middle."""
    group = new_group("reset", "confluent-kafka")
    fill(group.bootstrap, group.topic)
    middle, half = 7, PER_PARTITION // 2
    group.set_offsets(middle)

    file = tmp_path / "offsets.csv"
    file.write_text("".join(f"{group.topic},{partition},{partition + 3}\n" for partition in range(PARTITIONS)))
    same = dict.fromkeys(range(PARTITIONS), 0)
    # In UTC, as the tool takes a time without a zone.
    between = time.strftime("%Y-%m-%dT%H:%M:%S.000", time.gmtime())
    scope = ("--topic", group.topic)
    for words, expected in (
        ((*scope, "--to-current"), dict.fromkeys(same, middle)),
        ((*scope, "--to-latest"), dict.fromkeys(same, PER_PARTITION)),
        ((*scope, "--shift-by", "-6"), dict.fromkeys(same, PER_PARTITION - 6)),
        # Beyond the log is as far as it goes.
        ((*scope, "--shift-by", "1000"), dict.fromkeys(same, PER_PARTITION)),
        ((*scope, "--to-earliest"), same),
        ((*scope, "--to-datetime", between), dict.fromkeys(same, half)),
        ((*scope, "--to-offset", "5"), dict.fromkeys(same, 5)),
        ((*scope, "--by-duration", "PT1H"), dict.fromkeys(same, half)),
        (("--from-file", file), {partition: partition + 3 for partition in same}),
        (("--topic", f"{group.topic}:2", "--to-offset", "1"), {2: 1}),
    ):
        before = group.committed()
        for effect in ("--dry-run", "--execute"):
            printed = command("--reset-offsets", "--group", group.name, *words, effect)
            rows = {int(row["PARTITION"]): int(row["NEW-OFFSET"]) for row in table(printed)}
            assert rows == expected, f"{words} {effect}: {printed}"
            assert group.committed() == (before if effect == "--dry-run" else {**before, **expected}), (words, effect)

    exported = command("--reset-offsets", "--group", group.name, *scope, "--to-current", "--export", "--dry-run")
    assert sorted(exported.split()) == sorted(f"{group.topic},{p},{o}" for p, o in group.committed().items())


def test_group_configs(tool, new_group):
    """Of a group that does not exist yet, and of the same one once it has a member."""
    group = new_group("configs", "confluent-kafka")
    entity = ("--entity-type", "groups", "--entity-name", group.name)

    def config(*words, **options) -> str:
        return tool(CONFIG_COMMAND, *entity, *words, **options)

    config("--alter", "--add-config", "consumer.session.timeout.ms=3000,consumer.heartbeat.interval.ms=300")
    assert group.name not in {entry.group_id for entry in group.admin.list_consumer_groups().result(30).valid}
    for refused, reason in (
        ("consumer.session.timeout.ms=1", "must be greater than or equal to group.consumer.min.session.timeout.ms"),
        ("consumer.no.such=1", "Unknown group config name: consumer.no.such"),
    ):
        printed = config("--alter", "--add-config", refused, fails=True)
        assert "InvalidConfigurationException: " in printed and reason in printed, printed
    described = config("--describe")
    for setting in ("consumer.session.timeout.ms=3000", "consumer.heartbeat.interval.ms=300"):
        assert re.search(rf"^ *{re.escape(setting)} .*DYNAMIC_GROUP_CONFIG:{re.escape(setting)}", described, re.M), described

    group.start("a", "consumer")
    group.await_divided("the member joined")
    config("--alter", "--delete-config", "consumer.session.timeout.ms")
    everything = config("--describe", "--all")
    assert "DYNAMIC_GROUP_CONFIG:consumer.heartbeat.interval.ms=300" in everything
    # Without a value of its own, the group has the broker's.
    name, prefix = r"consumer\.session\.timeout\.ms", "STATIC_BROKER_CONFIG:group"
    assert re.search(rf"^ *{name}=(\d+) sensitive=false synonyms={{{prefix}\.{name}=\1,", everything, re.M), everything
    group.finish()


@both
def test_confluent_admin(request, group):
    style = request.node.callspec.params["group"]
    kind = {"eager": ConsumerGroupType.CLASSIC, "consumer": ConsumerGroupType.CONSUMER}[style]
    other = {"eager": ConsumerGroupType.CONSUMER, "consumer": ConsumerGroupType.CLASSIC}[style]
    admin = group.admin

    def listed(**filters) -> list:
        found = admin.list_consumer_groups(**filters).result(30)
        assert not found.errors
        return [(entry.state, entry.type, entry.is_simple_consumer_group) for entry in found.valid if entry.group_id == group.name]

    stable = (ConsumerGroupState.STABLE, kind, False)
    assert listed() == [stable]
    assert listed(states={ConsumerGroupState.STABLE}, types={kind}) == [stable]
    assert listed(states={ConsumerGroupState.EMPTY}) == [] and listed(types={other}) == []

    described = admin.describe_consumer_groups([group.name])[group.name].result(30)
    assert (described.state, described.type, len(described.members)) == (ConsumerGroupState.STABLE, kind, 2)
    assert described.partition_assignor == ("range" if style == "eager" else "uniform")
    shares = [{entry.partition for entry in member.assignment.topic_partitions} for member in described.members]
    assert sorted(shares, key=min) == sorted(group.shares(), key=min)
    assert {(member.client_id, member.host, member.group_instance_id) for member in described.members} == {
        ("rdkafka", "/127.0.0.1", None)
    }

    def refusal(future) -> int:
        with pytest.raises(KafkaException) as refused:
            future.result(30)
        return refused.value.args[0].code()

    wanted = [TopicPartition(group.topic, partition, partition, metadata="by hand") for partition in range(PARTITIONS)]
    assert refusal(admin.delete_consumer_groups([group.name])[group.name]) == KafkaError.NON_EMPTY_GROUP
    alter = [ConsumerGroupTopicPartitions(group.name, wanted)]
    altered = admin.alter_consumer_group_offsets(alter)[group.name].result(30)
    assert {entry.error and entry.error.code() for entry in altered.topic_partitions} == {KafkaError.UNKNOWN_MEMBER_ID}

    group.finish()
    altered = admin.alter_consumer_group_offsets(alter)[group.name].result(30)
    assert all(entry.error is None for entry in altered.topic_partitions)
    asked = ConsumerGroupTopicPartitions(group.name, [TopicPartition(group.topic, partition) for partition in (1, 4)])
    found = admin.list_consumer_group_offsets([asked])[group.name].result(30)
    assert [(entry.partition, entry.offset, entry.metadata) for entry in found.topic_partitions] == [
        (1, 1, "by hand"), (4, 4, "by hand")
    ]  # fmt: skip
    assert group.committed() == {partition: partition for partition in range(PARTITIONS)}
    admin.delete_consumer_groups([group.name])[group.name].result(30)
    assert listed() == [] and group.committed() == {}
    assert refusal(admin.delete_consumer_groups([group.name])[group.name]) == KafkaError.GROUP_ID_NOT_FOUND


@both
def test_kafka_python_admin(request, group):
    style = request.node.callspec.params["group"]
    admin = KafkaAdminClient(bootstrap_servers=group.bootstrap)
    partitions = [KafkaPythonPartition(group.topic, partition) for partition in range(PARTITIONS)]
    try:
        (listed,) = (entry for entry in admin.list_groups() if entry["group_id"] == group.name)
        kind = STYLES[style].lower()
        assert (listed["protocol_type"], listed["group_state"], listed["group_type"]) == ("consumer", "Stable", kind)
        described = admin.describe_groups([group.name])[group.name]
        if style == "eager":
            assert (described["group_state"], described["protocol_data"]) == ("Stable", "range") and not described.get("error")
            assert [member["client_id"] for member in described["members"]] == ["rdkafka"] * 2
        else:
            # DescribeGroups knows groups of the classic protocol alone.
            assert described["group_state"] == "Dead" and "GroupIdNotFoundError" in described["error"]
        found = admin.list_group_offsets(group.name)[group.name]
        assert {partition: entry.offset for partition, entry in found.items()} == dict.fromkeys(partitions, PER_PARTITION)
    finally:
        admin.close()
