"""One file of Kafka's own client settings, for its tools, for Python's client and for Spark."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import kafka_client
from lab.errors import LabError
from lab.settings import Settings

FILE = """\
# as Kafka's own tools read it
security.protocol=SASL_SSL
sasl.mechanism = PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="lab" password="p=%s";
ssl.truststore.type=PEM
ssl.truststore.location=/etc/kafka/ca.pem
ssl.endpoint.identification.algorithm=
"""


def settings_with(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "client.properties"
    path.write_text(text)
    return Settings(kafka="b1:9093,b2:9093", kafka_client=str(path))


def test_without_a_file_only_the_addresses_are_given() -> None:
    settings = Settings(kafka="here:9092")
    assert kafka_client.for_python(settings) == {"bootstrap_servers": "here:9092"}
    assert kafka_client.for_spark(settings) == {"kafka.bootstrap.servers": "here:9092"}


def test_python_s_client_gets_the_same_under_its_own_names(tmp_path: Path) -> None:
    assert kafka_client.for_python(settings_with(tmp_path, FILE)) == {
        "bootstrap_servers": "b1:9093,b2:9093",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "lab",
        "sasl_plain_password": "p=%s",
        "ssl_cafile": "/etc/kafka/ca.pem",
        "ssl_check_hostname": False,
    }


def test_spark_gets_each_line_as_it_is(tmp_path: Path) -> None:
    options = kafka_client.for_spark(settings_with(tmp_path, FILE))
    assert options["kafka.security.protocol"] == "SASL_SSL"
    assert options["kafka.sasl.jaas.config"].endswith('password="p=%s";')
    assert options["kafka.ssl.endpoint.identification.algorithm"] == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ssl.truststore.location=a.jks\nssl.truststore.type=JKS", "type is JKS; .* reads PEM files only"),
        ("ssl.truststore.location=a.pem", "not said, which is JKS"),
        ("sasl.jaas.config=org.example.Login required;", "names no username"),
        ("sasl.login.callback.handler.class=x", "has no counterpart in Python's client"),
    ],
)
def test_what_python_s_client_cannot_do_is_said(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(LabError, match=said):
        kafka_client.for_python(settings_with(tmp_path, line + "\n"))


def test_a_line_may_go_on_as_in_kafka_s_own_examples(tmp_path: Path) -> None:
    text = "sasl.jaas.config=Plain required \\\n   username=\"lab\" \\\n   password='x y';\n"
    text += "bootstrap.servers=elsewhere:1\n"
    settings = settings_with(tmp_path, text)
    assert kafka_client.for_spark(settings) == {
        "kafka.bootstrap.servers": "b1:9093,b2:9093",
        "kafka.sasl.jaas.config": "Plain required username=\"lab\" password='x y';",
    }
    assert kafka_client.for_python(settings)["sasl_plain_password"] == "x y"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"LAB_KAFKA_CLIENT .*/none"):
        kafka_client.for_python(Settings(kafka_client=str(tmp_path / "none")))
