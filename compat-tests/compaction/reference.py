"""Apache Kafka itself, as a single node: whoever moves to it takes the files along."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

import pytest

from conftest import Broker


@dataclass
class Kafka(Broker):
    """A broker of Apache Kafka's; `java` is the function of the fixture of that name."""

    java: object = field(kw_only=True)

    def command(self) -> list[str]:
        settings = {
            "process.roles": "broker,controller",
            "node.id": 0,
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.port + 1}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self.port + 1}",
            "log.dirs": self.log_dir,
            "offsets.topic.replication.factor": 1,
            **self.settings,
        }
        properties = self.directory / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        if not (self.log_dir / "meta.properties").exists():
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
            words = self.java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", properties, "--standalone")
            done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
        return [str(word) for word in self.java("kafka.Kafka", properties)]

    def start(self) -> None:
        """Returns when it knows its topics; it accepts connections earlier than that."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        super().start()
        for _ in range(30):
            try:
                return AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(timeout=5) and None
            except KafkaException:
                continue
        pytest.fail(f"Apache Kafka does not answer\n{self.tail()}")
