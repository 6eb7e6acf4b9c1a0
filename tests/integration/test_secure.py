"""The same steps on a Kafka that runs elsewhere and asks for TLS and a password."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engines import stack
from lab.engines.services import Registry, Service
from lab.ledger import account
from lab.neighbour import neighbour
from lab.settings import LOOPBACK, ROOT, Settings, read_env_file
from tests.integration.conftest import RunningLab, planned

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
OF_BROKER = f'{LOGIN} username="broker" password="of the broker" user_broker="of the broker" user_lab="of the lab";'


def keytool(*arguments: str) -> None:
    java = Path(os.environ.get("JAVA_HOME") or read_env_file(ROOT / ".lab" / "toolchain.env")["JAVA_HOME"])
    words = [str(java / "bin" / "keytool"), *arguments, "-alias", "broker", "-storepass", "changeit"]
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a broker that knows one user, and the file with which a client may connect."""
    folder = tmp_path_factory.mktemp("secure")
    own = Settings.from_env(neighbour(folder / "broker", os.environ))
    stack.configure(own)
    keys, certificate = str(folder / "keys.p12"), folder / "broker.pem"
    who = ("-dname", "CN=broker", "-ext", f"san=ip:{LOOPBACK}", "-keyalg", "RSA", "-validity", "2")
    keytool("-genkeypair", "-keystore", keys, "-storetype", "PKCS12", *who)
    keytool("-exportcert", "-rfc", "-keystore", keys, "-file", str(certificate))
    properties = own.conf / "kafka" / "server.properties"
    lines = properties.read_text().replace("PLAINTEXT://", "SASL_SSL://").splitlines()
    lines = [line for line in lines if not line.startswith(("listener.security", "inter.broker"))]
    lines += [
        "listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name=SASL_SSL",
        "sasl.enabled.mechanisms=PLAIN",
        "sasl.mechanism.inter.broker.protocol=PLAIN",
        f"listener.name.sasl_ssl.plain.sasl.jaas.config={OF_BROKER}",
        f"ssl.keystore.location={keys}",
        "ssl.keystore.password=changeit",
        "ssl.keystore.type=PKCS12",
        f"ssl.truststore.location={certificate}",
        "ssl.truststore.type=PEM",
    ]
    properties.write_text("\n".join(lines) + "\n")
    client = folder / "client.properties"
    client.write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
        f'sasl.jaas.config={LOGIN} username="lab" password="of the lab";\n'
        f"ssl.truststore.type=PEM\nssl.truststore.location={certificate}\n"
    )
    kafka = next(engine for engine in stack.engines(own) if engine.name == "kafka")
    stack.format_once("kafka", kafka.format_command, own, stack.command_environment(own))
    registry = Registry(own.run)
    try:
        registry.start(Service("kafka", kafka.command, str(own.logs / "kafka.log"), stack.command_environment(own)))
        yield f"{LOOPBACK}:{own.kafka_port}", client
    finally:
        registry.stop(["kafka"])


OTHERS = {"LAB_TOPIC": "deeds", "LAB_SCHEMA": "game", "LAB_TABLES": "/games/one", "LAB_PARTITIONS": "3"}
"""Names that a cluster may ask for: nothing may rest on the lab's own."""


def test_the_eight_steps_run_on_a_kafka_that_asks_for_tls_and_a_password(
    broker: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    address, client = broker
    home = tmp_path_factory.mktemp("labs") / "a lab"
    secured = {"LAB_KAFKA": address, "LAB_KAFKA_CLIENT": str(client)}
    environment = {**neighbour(home, os.environ), **OTHERS, **secured}
    lab = RunningLab(Settings.from_env(environment), environment)
    try:
        for number in range(1, 9):
            lab.step(number)
        taken = account.take(lab.settings)
        assert all(check.ok for check in taken.checks()), taken.checks()
        assert {table: count for table, count in taken.tables.items() if count} == planned()
        read = lab.script(
            "kafka-console-consumer", "--bootstrap-server", address, "--topic", "deeds", "--from-beginning",
            "--max-messages", "3",
        )  # fmt: skip
        assert read.count("event_id") == 3
        assert lab.script("presto", "--execute", "SELECT count(*) FROM hive.game.purchases").strip('"\n').isdigit()
        assert "purchases" not in lab.script("presto", "--execute", "SHOW TABLES FROM hive.default")
        assert "segment=" in lab.script("hdfs", "dfs", "-ls", "-R", "/games/one/tables/purchases")
        assert "of the lab" not in lab.settings.history.read_text()
    finally:
        lab.make("stop")


def test_a_wrong_password_is_said_in_a_sentence(
    broker: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    address, client = broker
    wrong = client.with_name("wrong.properties")
    wrong.write_text(client.read_text().replace("of the lab", "guessed"))
    home = tmp_path_factory.mktemp("labs") / "a lab"
    others = {f"LAB_{name}": f"{LOOPBACK}:1" for name in ("HDFS", "METASTORE", "PRESTO")}
    environment = {**neighbour(home, os.environ), **others, "LAB_KAFKA": address, "LAB_KAFKA_CLIENT": str(wrong)}
    said = RunningLab(Settings.from_env(environment), environment).step(3, fails=True)
    assert f"or did not accept what {wrong} says" in said, said
