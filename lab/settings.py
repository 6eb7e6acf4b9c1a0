"""Where this lab lives and which addresses it speaks to: the only reader of the environment.

Precedence: a `LAB_…` variable, then what this lab's home remembers (`conf/lab.env`), then the default.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
STACKS = ("native", "compose")


@dataclass(frozen=True)
class Settings:
    """One lab. Field `x` is set by the variable `LAB_X`; ports are TCP ports at `bind`, which is loopback.

    An address (`kafka`, `hdfs`, `metastore`, `presto`) that is given names an engine that runs elsewhere:
    the lab uses it and starts nothing. An address that is not given follows from the port.
    """

    home: Path = ROOT / ".lab" / "home"
    cache: Path = ROOT / ".lab" / "cache"
    history: Path = ROOT / "history.txt"
    report: Path = ROOT / "report.md"

    stack: str = "native"
    """What runs the engines of this lab: `native`, or `compose`: then each has a container of its own."""
    bind: str = LOOPBACK
    """The address at which engines and API listen."""
    host: str = LOOPBACK
    """The name by which others reach the engines that run here."""
    api_port: int = 5000
    kafka_port: int = 9092
    kafka_controller_port: int = 9093
    hdfs_port: int = 8020
    namenode_http_port: int = 9870
    datanode_port: int = 9866
    datanode_http_port: int = 9864
    datanode_ipc_port: int = 9867
    metastore_port: int = 9083
    presto_port: int = 8080

    kafka: str = ""
    hdfs: str = ""
    metastore: str = ""
    presto: str = ""
    kafka_client: str = ""
    """A file of Kafka's client settings (TLS, SASL), where Kafka asks for them."""
    user: str = "lab"
    """Who asks HDFS and Presto."""
    external: frozenset[str] = frozenset()
    """Which of the four addresses were given. Derived, never set."""

    topic: str = "events"
    partitions: int = 2
    replication: int = 1
    hdfs_replication: int = 1
    tables: str = "/lab"
    """The HDFS folder that holds all that the lab lands."""
    schema: str = "default"
    spark_master: str = "local[2]"
    executor_memory: str = "1g"
    driver_host: str = LOOPBACK
    """The address at which Spark's executors reach the driver: of use only where they run elsewhere."""
    trigger_seconds: float = 0.0
    """How long the stream gathers events before it lands them; 0: until the landing before has ended."""

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def conf(self) -> Path:
        return self.home / "conf"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def api(self) -> str:
        return f"http://{LOOPBACK}:{self.api_port}"

    @property
    def presto_host_port(self) -> tuple[str, int]:
        host, _, port = self.presto.partition(":")
        return host, int(port)

    @property
    def hdfs_host(self) -> str:
        return self.hdfs.partition(":")[0]

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that `environ` (the process's own by default) and the lab's home ask for."""
        given = dict(os.environ if environ is None else environ)
        home = Path(given.get("LAB_HOME") or cls.home).expanduser().absolute()
        remembered = read_env_file(home / "conf" / "lab.env")
        values: dict[str, Any] = {"home": home}
        if home != cls.home:  # a lab with a home of its own keeps there what it writes
            values.update(history=home / "history.txt", report=home / "report.md")
        for field in dataclasses.fields(cls):
            variable = "LAB_" + field.name.upper()
            text = given.get(variable) or remembered.get(variable)
            if text and field.name not in ("home", "external"):
                values[field.name] = _parse(variable, text, field.default)
        settings = cls(**values)
        if settings.stack not in STACKS:
            raise LabError(f"LAB_STACK is {settings.stack!r}; it is one of: {', '.join(STACKS)}.", "unset LAB_STACK")
        ports = {
            "kafka": settings.kafka_port,
            "hdfs": settings.hdfs_port,
            "metastore": settings.metastore_port,
            "presto": settings.presto_port,
        }
        external = frozenset(engine for engine in ports if getattr(settings, engine))
        addresses: dict[str, Any] = {
            engine: getattr(settings, engine) or f"{LOOPBACK}:{port}" for engine, port in ports.items()
        }
        return dataclasses.replace(settings, **addresses, external=external)

    def to_env(self) -> dict[str, str]:
        """These settings as `LAB_…` variables, from which `from_env` makes equal settings."""
        skipped = {"external"} | ({"kafka", "hdfs", "metastore", "presto"} - self.external)
        return {
            "LAB_" + field.name.upper(): str(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name not in skipped
        }


def shown_path(path: Path) -> str:
    """A path as it is shortest to type: relative to the checkout where it lies in it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def read_env_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines, as a shell reads them; empty where there is no such file."""
    if not path.exists():
        return {}
    words = shlex.split(path.read_text(), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


def env_file(variables: Mapping[str, str]) -> str:
    """The text that `read_env_file`, and a shell, read back as `variables`."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def _parse(variable: str, text: str, default: Any) -> Any:
    try:
        value: Any = Path(text).expanduser().absolute() if isinstance(default, Path) else type(default)(text)
    except ValueError:
        kind = {"int": "a whole number", "float": "a number"}.get(type(default).__name__, type(default).__name__)
        raise LabError(f"{variable} is {text!r}, not {kind}.", f"unset {variable}") from None
    if variable.endswith("_PORT") and not 1 <= value <= 65535:
        raise LabError(f"{variable} is {value}; a port is between 1 and 65535.", f"unset {variable}")
    return value
