"""The stack: which servers make up a lab on this machine, how each is configured, started and known to be ready."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import quote

import psutil

from lab import atomic
from lab.engines import probes
from lab.engines.services import Registry, Service, resident_bytes
from lab.errors import LabError
from lab.settings import LOOPBACK, ROOT, Settings, env_file, shown_path

TEMPLATES = Path(__file__).parent / "templates"
READY_SECONDS = 180.0
LEAST_MEMORY = 1_500_000_000  # bytes available that the engines need to start
LEAST_DISK = 1_000_000_000  # bytes free: below that HDFS and Kafka stop taking data
ANOTHER_PORT = 100
"""Added to a port that is taken, to name another: none of the lab's own, and none that a browser refuses."""
AIRPLAY = "ControlCenter"
"""Holds port 5000 on a Mac, unless it is switched off in the settings of AirDrop & Handoff."""

PRESTO_COORDINATOR = """\
coordinator=true
node-scheduler.include-coordinator={works_too}
discovery-server.enabled=true"""

Commands = Callable[[tuple[str, ...], bool], None]
"""Is told each command before it runs, and whether it runs in the background."""


@dataclass(frozen=True)
class Engine:
    """One server: its command, the ports it listens on (fields of Settings), and the request that proves it ready.

    `format_command` runs once, before the first start, on an empty `data_folder`. `address` names the field of
    Settings that says where the engine is when it is not started here.
    """

    name: str
    address: str
    command: tuple[str, ...]
    ports: tuple[str, ...]
    probe: Callable[[Settings], str]
    data_folder: str
    format_command: tuple[str, ...] = ()


def engines(settings: Settings) -> tuple[Engine, ...]:
    """The servers of a lab, in the order in which data needs them."""
    properties = shown_path(settings.conf / "kafka" / "server.properties")
    return (
        Engine(
            "kafka",
            "kafka",
            ("kafka-server-start", properties),
            ("kafka_port", "kafka_controller_port"),
            probes.kafka,
            "kafka",
            ("kafka-storage", "format", "-t", _cluster_id(settings), "-c", properties),
        ),
        Engine(
            "namenode",
            "hdfs",
            ("hdfs", "namenode"),
            ("hdfs_port", "namenode_http_port"),
            probes.namenode,
            "namenode",
            ("hdfs", "namenode", "-format", "-nonInteractive"),
        ),
        Engine(
            "datanode",
            "hdfs",
            ("hdfs", "datanode"),
            ("datanode_port", "datanode_http_port", "datanode_ipc_port"),
            probes.datanode,
            "datanode",
        ),
        Engine(
            "metastore",
            "metastore",
            ("hive", "--service", "metastore", "-p", str(settings.metastore_port)),
            ("metastore_port",),
            probes.metastore,
            "metastore",
        ),
        Engine("presto", "presto", ("presto-server", "run"), ("presto_port",), probes.presto_query, "presto"),
    )


def local_engines(settings: Settings) -> list[Engine]:
    """Those that this machine runs: not the ones whose address was given."""
    return [engine for engine in engines(settings) if engine.address not in settings.external]


def command_environment(settings: Settings) -> dict[str, str]:
    """What a command needs in its environment, beside the caller's own, to be this lab's."""
    path = f"{ROOT / 'scripts'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**settings.to_env(), "PATH": path, "PYTHONPATH": str(ROOT)}


def configure(settings: Settings, others: Mapping[str, str] | None = None) -> None:
    """Write the engines' configuration from the templates, and what this lab remembers, into its home.

    `others` are values of the templates that follow from no setting, where the engine is one of several.
    """
    for path in (settings.home, settings.cache):
        if ":" in str(path) or '"' in str(path):
            raise LabError(f"The path {path} has a colon or a quote in it; Java's class path cannot hold that.", "mv")
    temporary = settings.home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    alone = {
        "kafka_node": "1",
        "kafka_voters": f"1@{LOOPBACK}:{settings.kafka_controller_port}",
        "kafka_copies": "1",
        "presto_node": "lab-coordinator",
        "presto_role": PRESTO_COORDINATOR.format(works_too="true"),
        "presto_own_port": str(settings.presto_port),
    }
    values = {
        **alone,
        **(others or {}),
        **{name: str(value) for name, value in vars(settings).items()},
        "hdfs_host": settings.hdfs_host,
        "conf": str(settings.conf),
        "conf_uri": "file://" + quote(str(settings.conf)),
        "data": str(settings.data),
        "data_uri": "file://" + quote(str(settings.data)),
        "logs": str(settings.logs),
        "tmp": str(temporary),
        "spark_jars": _spark_jars(settings),
    }
    for template in sorted(path for path in TEMPLATES.rglob("*") if path.is_file()):
        text = Template(template.read_text()).substitute(values)
        target = settings.conf / template.relative_to(TEMPLATES)
        if not target.exists() or target.read_text() != text:
            atomic.write_text(target, text)
    if not _cluster_id(settings):
        atomic.write_text(settings.data / "kafka-cluster-id", new_cluster_id())
    remembered = {name: value for name, value in settings.to_env().items() if name != "LAB_HOME"}
    atomic.write_text(settings.conf / "lab.env", env_file(remembered))


def _spark_jars(settings: Settings) -> str:
    """What of the cache Spark has to carry to its executors: nothing where they live in the driver's own process."""
    if settings.spark_master.startswith("local"):
        return "# none: the executors live in the driver"
    jars = ",".join(f"file://{quote(str(jar))}" for jar in sorted((settings.cache / "spark").glob("*.jar")))
    return f"spark.jars                           {jars}"


def start(settings: Settings, on_command: Commands, on_ready: Callable[[str, float, str], None]) -> None:
    """Start what is missing, side by side; return when each engine has answered a real request.

    `on_ready` is told name, seconds since the start, and what the engine answered. Raises LabError when a port is
    taken, when an engine ends, or when one is not ready in time.
    """
    configure(settings)
    registry = Registry(settings.run)
    begun = time.monotonic()
    missing = [engine for engine in local_engines(settings) if registry.process(engine.name) is None]
    if missing:
        require_room(settings, len(missing) / len(engines(settings)))
        require_own_name()
    for engine in missing:
        for port in engine.ports:
            require_free_port(getattr(settings, port), "LAB_" + port.upper())
    for engine in missing:
        if engine.format_command and not _formatted(settings, engine.data_folder).exists():
            on_command(engine.format_command, False)
    for engine in missing:
        on_command(engine.command, True)

    def bring_up(engine: Engine) -> None:
        if engine in missing:
            _format(settings, engine)
            registry.start(service(settings, engine))
        said = await_ready(settings, engine, registry)
        on_ready(engine.name, time.monotonic() - begun, said)

    with ThreadPoolExecutor(max_workers=8) as pool:
        futures = [pool.submit(bring_up, engine) for engine in engines(settings)]
        for future in futures:
            future.result()


def service(settings: Settings, engine: Engine) -> Service:
    return Service(
        engine.name,
        engine.command,
        str(settings.logs / f"{engine.name}.log"),
        command_environment(settings),
        grace=15.0,
    )


def await_ready(settings: Settings, engine: Engine, registry: Registry, seconds: float = READY_SECONDS) -> str:
    """Ask the engine until it answers; say what it answered. Stop asking at once when its process has failed."""
    deadline = time.monotonic() + seconds
    wait = 0.2
    while True:
        try:
            return engine.probe(settings)
        except probes.FAILURES as error:
            complaint = str(error) or type(error).__name__
        log = settings.logs / f"{engine.name}.log"
        state = registry.state(engine.name)
        if engine.address not in settings.external and state and state.status == "failed":
            raise LabError(f"{engine.name} ended ({state.last_exit}); its log: {log}\n{last_lines(log)}", "make doctor")
        if time.monotonic() > deadline:
            where = getattr(settings, engine.address)
            raise LabError(
                f"{engine.name} did not answer at {where} within {seconds:.0f} s: {complaint}; its log: {log}"
            )
        time.sleep(wait)  # between two requests: there is nothing else to wait on
        wait = min(1.0, wait * 1.3)


def stop(settings: Settings) -> None:
    """Stop every engine, side by side."""
    Registry(settings.run).stop(reversed([engine.name for engine in engines(settings)]))


def require_room(settings: Settings, share: float = 1.0) -> None:
    """Raise LabError where memory or disk is too little for `share` of the engines to start."""
    memory, disk = psutil.virtual_memory().available, shutil.disk_usage(settings.home).free
    if memory < share * LEAST_MEMORY:
        raise LabError(
            f"{memory / 1e9:.1f} GB of memory are available; the engines need {share * LEAST_MEMORY / 1e9:.1f} GB.",
            "end other programs, then: make",
        )
    if disk < LEAST_DISK:
        raise LabError(
            f"{disk / 1e9:.1f} GB are free at {settings.home}; the engines need {LEAST_DISK / 1e9:.0f} GB.",
            "free some space, or use another disk: LAB_HOME=… make",
        )


def require_own_name() -> None:
    """Raise LabError where this machine's own name does not resolve: Presto looks it up when it starts."""
    name = socket.gethostname()
    try:
        socket.gethostbyname(name)
    except OSError:
        raise LabError(
            f"This machine's own name, {name}, does not resolve, and Presto needs it to.",
            f"echo '127.0.0.1 {name}' | sudo tee -a /etc/hosts",
        ) from None


def require_free_port(port: int, variable: str) -> None:
    """Raise LabError, naming who holds it, when something listens on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            return
        except OSError:
            holder = _holder_of(port)
    raise LabError(
        f"Port {port} is taken by {holder}.",
        f"end that process, or use another port: {variable}={port + ANOTHER_PORT} make",
    )


def _holder_of(port: int) -> str:
    for process in psutil.process_iter(["pid", "name"]):
        try:
            held = {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        except (psutil.Error, OSError):
            continue  # another user's process: its connections are not ours to see
        if port in held:
            found = f"{process.info['name']} (pid {process.info['pid']})"
            if process.info["name"] == AIRPLAY:
                found += ", macOS's AirPlay Receiver (System Settings, AirDrop & Handoff)"
            return found
    return "a process of another user"


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log, for an error message."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8000))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])


def resident(settings: Settings, names: Iterable[str]) -> Mapping[str, int]:
    """Resident memory in bytes of each of these services that runs."""
    registry = Registry(settings.run)
    found = {name: registry.process(name) for name in names}
    return {name: resident_bytes(process) for name, process in found.items() if process}


def new_cluster_id() -> str:
    """An id in the form in which Kafka takes one."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _cluster_id(settings: Settings) -> str:
    """Kafka's cluster id: `configure` makes it once for a home."""
    path = settings.data / "kafka-cluster-id"
    return path.read_text() if path.exists() else ""


def _formatted(settings: Settings, data_folder: str) -> Path:
    return settings.data / f"{data_folder}.formatted"


def _format(settings: Settings, engine: Engine) -> None:
    format_once(engine.data_folder, engine.format_command, settings, command_environment(settings))


def format_once(data_folder: str, command: tuple[str, ...], settings: Settings, environment: Mapping[str, str]) -> None:
    """Run an engine's format command once. A format that was cut off is begun again from nothing. Raises LabError."""
    stamp = _formatted(settings, data_folder)
    if not command or stamp.exists():
        return
    shutil.rmtree(settings.data / data_folder, ignore_errors=True)
    log = settings.logs / f"{data_folder}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=120,
        )
    if done.returncode != 0:
        raise LabError(f"{data_folder} could not be formatted; its log: {log}\n{last_lines(log)}", "make doctor")
    atomic.write_text(stamp, "")
