"""How clients connect to Kafka: its addresses, and TLS or SASL where LAB_KAFKA_CLIENT names a file that says so.

The file is the one that Kafka's own tools take as --command-config, with Kafka's names of settings
(https://kafka.apache.org/documentation/#security). From the same lines follow kafka-python's names, for the API and the
steps, and the options of Spark's Kafka source. Certificates are PEM files, which all of them read.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.settings import Settings

PLAIN_NAMES = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "ssl.truststore.location": "ssl_cafile",
    "ssl.keystore.location": "ssl_certfile",
    "ssl.key.password": "ssl_password",
}
"""What kafka-python takes as it is, under another name."""
JAAS, HOSTNAME = "sasl.jaas.config", "ssl.endpoint.identification.algorithm"
TYPES = ("ssl.truststore.type", "ssl.keystore.type")
_CREDENTIAL = re.compile(r'\b(username|password)\s*=\s*"([^"]*)"')


def file_settings(settings: Settings) -> dict[str, str]:
    """The lines of the file, by Kafka's names; empty where none is named. Raises LabError where it cannot be read."""
    if not settings.kafka_client:
        return {}
    path = Path(settings.kafka_client).expanduser()
    parser = configparser.ConfigParser(
        delimiters=("=",), comment_prefixes=("#", "!"), interpolation=None, strict=False, default_section="-"
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names as they are written
    try:
        parser.read_string("[client]\n" + path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise LabError(
            f"LAB_KAFKA_CLIENT is {path}, which cannot be read: {error}", "unset LAB_KAFKA_CLIENT"
        ) from error
    return dict(parser["client"])


def for_python(settings: Settings) -> dict[str, Any]:
    """The arguments with which each client of kafka-python connects. Raises LabError for what it cannot do."""
    said = file_settings(settings)
    found: dict[str, Any] = {"bootstrap_servers": settings.kafka}
    for kind in TYPES:
        if said.get(kind, "PEM") != "PEM":
            raise LabError(f"{kind} is {said[kind]}; Python's client reads PEM files only.", f"{kind}=PEM")
    found |= {ours: said[name] for name, ours in PLAIN_NAMES.items() if name in said}
    if "ssl.keystore.location" in said:  # Java takes the key and its certificate from one file
        found["ssl_keyfile"] = said["ssl.keystore.location"]
    if HOSTNAME in said:
        found["ssl_check_hostname"] = bool(said[HOSTNAME])
    if JAAS in said:
        credentials = dict(_CREDENTIAL.findall(said[JAAS]))
        if {"username", "password"} - credentials.keys():
            raise LabError(f'{JAAS} names no username="…" and password="…".', f"$EDITOR {settings.kafka_client}")
        found |= {f"sasl_plain_{name}": value for name, value in credentials.items()}
    known = {*PLAIN_NAMES, JAAS, HOSTNAME, *TYPES}
    if others := [name for name in said if name.startswith(("ssl.", "sasl.")) and name not in known]:
        raise LabError(f"{others[0]} has no counterpart in Python's client.", f"$EDITOR {settings.kafka_client}")
    return found


def for_spark(settings: Settings) -> dict[str, str]:
    """The options with which Spark's Kafka source connects."""
    return {
        "kafka.bootstrap.servers": settings.kafka,
        **{f"kafka.{name}": value for name, value in file_settings(settings).items()},
    }
