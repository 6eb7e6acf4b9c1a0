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
STORES = ("ssl.truststore", "ssl.keystore")
SECURITY = ("security.", "ssl.", "sasl.")
"""What of the file is used: where Kafka is, and how it is read, is the lab's to say."""
_CREDENTIAL = re.compile(r"""\b(username|password)\s*=\s*(?:"([^"\\]*)"|'([^'\\]*)')""")
_CONTINUED = re.compile(r"\\\r?\n[ \t]*")


def file_settings(settings: Settings) -> dict[str, str]:
    """What the file says of TLS and SASL, by Kafka's names; empty where none is named. Raises LabError."""
    if not settings.kafka_client:
        return {}
    path = Path(settings.kafka_client).expanduser()
    parser = configparser.ConfigParser(
        delimiters=("=",), comment_prefixes=("#", "!"), interpolation=None, strict=False, default_section="-"
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names as they are written
    try:
        text = _CONTINUED.sub("", path.read_text(encoding="utf-8"))
        parser.read_string("[client]\n" + text)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise LabError(
            f"LAB_KAFKA_CLIENT is {path}, which cannot be read: {error}", "unset LAB_KAFKA_CLIENT"
        ) from error
    return {name: value for name, value in parser["client"].items() if name.startswith(SECURITY)}


def for_python(settings: Settings) -> dict[str, Any]:
    """The arguments with which each client of kafka-python connects. Raises LabError for what it cannot do."""
    said = file_settings(settings)
    found: dict[str, Any] = {"bootstrap_servers": settings.kafka}
    for store in STORES:
        kind = said.get(f"{store}.type", "not said, which is JKS")
        if f"{store}.location" in said and kind != "PEM":
            raise LabError(f"{store}.type is {kind}; Python's client reads PEM files only.", f"{store}.type=PEM")
    found |= {ours: said[name] for name, ours in PLAIN_NAMES.items() if name in said}
    if "ssl.keystore.location" in said:  # Java takes the key and its certificate from one file
        found["ssl_keyfile"] = said["ssl.keystore.location"]
    if HOSTNAME in said:
        found["ssl_check_hostname"] = bool(said[HOSTNAME])
    if JAAS in said:
        credentials = {name: one or other for name, one, other in _CREDENTIAL.findall(said[JAAS])}
        if {"username", "password"} - credentials.keys():
            raise LabError(f'{JAAS} names no username="…" and password="…".', f"$EDITOR {settings.kafka_client}")
        found |= {f"sasl_plain_{name}": value for name, value in credentials.items()}
    known = {*PLAIN_NAMES, JAAS, HOSTNAME, *(f"{store}.type" for store in STORES)}
    if others := [name for name in said if name.startswith(("ssl.", "sasl.")) and name not in known]:
        raise LabError(f"{others[0]} has no counterpart in Python's client.", f"$EDITOR {settings.kafka_client}")
    return found


def for_spark(settings: Settings) -> dict[str, str]:
    """The options with which Spark's Kafka source connects."""
    secured = {f"kafka.{name}": value for name, value in file_settings(settings).items()}
    return {"kafka.bootstrap.servers": settings.kafka, **secured}
