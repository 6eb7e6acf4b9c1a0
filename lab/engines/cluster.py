"""A small real cluster on this machine, to show that a lab runs on one that it did not start.

Each node is as a machine of its own: it has a home, ports and a configuration from the same templates as a lab on one
machine; only what the nodes must know of one another differs. The lab that uses it is told addresses and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

from lab import atomic
from lab.engines import probes, stack
from lab.engines.services import Registry, Service
from lab.errors import LabError
from lab.neighbour import free_ports
from lab.settings import LOOPBACK, Settings, env_file, shown_path

BROKERS, DATANODES, SPARK_WORKERS, PRESTO_WORKERS = 3, 3, 2, 2
REPLICATION = {
    "LAB_REPLICATION": "3",
    "LAB_HDFS_REPLICATION": "2",
    "LAB_PARTITIONS": "4",
    "LAB_EXECUTOR_MEMORY": "512m",
}
LEAST_MEMORY = 6_000_000_000
"""Bytes available: fourteen JVMs, and those of the jobs that run on them."""
USE = "use.env"
READY_SECONDS = 240.0


@dataclass(frozen=True)
class Node:
    """One server: `settings` are those of its home; `values` are what only its configuration has."""

    name: str
    command: tuple[str, ...]
    settings: Settings
    values: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    format_command: tuple[str, ...] = ()


def names() -> list[str]:
    """The nodes, and for each port that it needs a name of its own, in one order."""
    found = [f"kafka-{n}" for n in range(1, BROKERS + 1)] + ["namenode"]
    found += [f"datanode-{n}" for n in range(1, DATANODES + 1)] + ["metastore", "presto"]
    found += [f"presto-worker-{n}" for n in range(1, PRESTO_WORKERS + 1)] + ["spark-master"]
    return found + [f"spark-worker-{n}" for n in range(1, SPARK_WORKERS + 1)]


PORTS = 3
"""That a node may need."""


def addresses(home: Path) -> dict[str, list[int]]:
    """The ports of each node: free when the cluster was first started, and remembered since."""
    path = home / "ports.json"
    known = atomic.read_json(path)
    if known is None:
        ports = iter(free_ports(PORTS * len(names())))
        known = {name: [next(ports) for _ in range(PORTS)] for name in names()}
        atomic.write_json(path, known)
    return {str(name): list(ports) for name, ports in known.items()}


def use(home: Path) -> dict[str, str]:
    """The variables by which a lab uses the cluster: addresses, and how many copies there shall be."""
    ports = addresses(home)

    def at(name: str, which: int = 0) -> str:
        return f"{LOOPBACK}:{ports[name][which]}"

    return {
        "LAB_KAFKA": ",".join(at(f"kafka-{n}") for n in range(1, BROKERS + 1)),
        "LAB_HDFS": at("namenode"),
        "LAB_NAMENODE_HTTP_PORT": str(ports["namenode"][1]),
        "LAB_METASTORE": at("metastore"),
        "LAB_PRESTO": at("presto"),
        "LAB_SPARK_MASTER": f"spark://{at('spark-master')}",
        **REPLICATION,
    }


def nodes(home: Path, cache: Path) -> list[Node]:
    """The cluster's nodes, in the order in which data needs them."""
    ports = addresses(home)
    shared = {
        "LAB_CACHE": str(cache),
        "LAB_HDFS_PORT": str(ports["namenode"][0]),
        "LAB_NAMENODE_HTTP_PORT": str(ports["namenode"][1]),
        "LAB_METASTORE_PORT": str(ports["metastore"][0]),
        "LAB_PRESTO_PORT": str(ports["presto"][0]),
        **REPLICATION,
    }

    def settings(name: str, **own: int) -> Settings:
        variables = {f"LAB_{variable.upper()}": str(port) for variable, port in own.items()}
        return Settings.from_env({**shared, **variables, "LAB_HOME": str(home / "nodes" / name)})

    voters = ",".join(f"{n}@{LOOPBACK}:{ports[f'kafka-{n}'][1]}" for n in range(1, BROKERS + 1))
    found = []
    for n in range(1, BROKERS + 1):
        name = f"kafka-{n}"
        own = settings(name, kafka_port=ports[name][0], kafka_controller_port=ports[name][1])
        properties = str(own.conf / "kafka" / "server.properties")
        values = {"kafka_node": str(n), "kafka_voters": voters, "kafka_copies": str(BROKERS)}
        formats = ("kafka-storage", "format", "-t", _cluster_id(home), "-c", properties)
        found.append(Node(name, ("kafka-server-start", properties), own, values, format_command=formats))
    form = ("hdfs", "namenode", "-format", "-nonInteractive")
    found.append(Node("namenode", ("hdfs", "namenode"), settings("namenode"), format_command=form))
    for n in range(1, DATANODES + 1):
        name = f"datanode-{n}"
        three = dict(zip(("datanode_port", "datanode_http_port", "datanode_ipc_port"), ports[name], strict=True))
        found.append(Node(name, ("hdfs", "datanode"), settings(name, **three)))
    own = settings("metastore")
    found.append(Node("metastore", ("hive", "--service", "metastore", "-p", str(own.metastore_port)), own))
    role = {"presto_role": stack.PRESTO_COORDINATOR.format(works_too="false")}
    found.append(Node("presto", ("presto-server", "run"), settings("presto"), role))
    for n in range(1, PRESTO_WORKERS + 1):
        name = f"presto-worker-{n}"
        role = {"presto_role": "coordinator=false", "presto_node": name, "presto_own_port": str(ports[name][0])}
        found.append(Node(name, ("presto-server", "run"), settings(name), role))
    daemon = {"SPARK_DAEMON_MEMORY": "192m", "SPARK_DAEMON_JAVA_OPTS": "-Dspark.master.rest.enabled=false"}
    port, page, _ = ports["spark-master"]
    listens = ("--host", LOOPBACK, "--port", str(port), "--webui-port", str(page))
    master = ("spark-class", "org.apache.spark.deploy.master.Master", *listens)
    found.append(Node("spark-master", master, settings("spark-master"), environment=daemon))
    for n in range(1, SPARK_WORKERS + 1):
        name = f"spark-worker-{n}"
        own = settings(name)
        listens = ("--host", LOOPBACK, "--port", str(ports[name][0]), "--webui-port", str(ports[name][1]))
        size = ("--cores", "2", "--memory", "1g", "--work-dir", str(own.home / "work"))
        worker = ("spark-class", "org.apache.spark.deploy.worker.Worker", *listens, *size, f"spark://{LOOPBACK}:{port}")
        found.append(Node(name, worker, own, environment=daemon))
    return found


def start(home: Path, cache: Path, on_ready: Callable[[str, float], None]) -> Path:
    """Start what is missing; returns the file of variables by which a lab uses it, once all nodes serve.

    Raises LabError where memory is too little, or where a node is not ready in time.
    """
    registry = Registry(home / "run")
    made = nodes(home, cache)
    missing = [node for node in made if registry.process(node.name) is None]
    memory = psutil.virtual_memory().available
    if len(missing) == len(made) and memory < LEAST_MEMORY:
        raise LabError(
            f"{memory / 1e9:.1f} GB of memory are available; the cluster needs {LEAST_MEMORY / 1e9:.0f} GB.",
            "make stop, end other programs, then make mini-cluster",
        )
    begun = time.monotonic()

    def bring_up(node: Node) -> None:
        stack.configure(node.settings, node.values)
        service = _service(home, node)
        stack.format_once(node.name.split("-")[0], node.format_command, node.settings, service.env)
        registry.start(service)

    with ThreadPoolExecutor(max_workers=8) as pool:
        for future in [pool.submit(bring_up, node) for node in missing]:
            future.result()
    atomic.write_text(home / USE, env_file(use(home)))
    _await(home, registry, lambda what: on_ready(what, time.monotonic() - begun))
    return home / USE


def stop(home: Path) -> None:
    """Stop every node, side by side; what they hold stays."""
    Registry(home / "run").stop(reversed(names()))


def _service(home: Path, node: Node) -> Service:
    environment = {**stack.command_environment(node.settings), **node.environment}
    return Service(node.name, node.command, str(home / "logs" / f"{node.name}.log"), environment, grace=15.0)


def _await(home: Path, registry: Registry, ready: Callable[[str], None]) -> None:
    """Return when every node serves; what each must answer is asked of the cluster as a lab would ask."""
    lab = Settings.from_env({**use(home), "LAB_HOME": str(home / "nodes" / "client")})
    ports = addresses(home)
    page = f"http://{LOOPBACK}:{ports['namenode'][1]}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
    master = f"http://{LOOPBACK}:{ports['spark-master'][1]}/json/"

    def kafka() -> bool:
        return bool(probes.kafka(lab))  # on a topic with a copy on each broker

    def hdfs() -> bool:
        (bean,) = requests.get(page, timeout=5).json()["beans"]
        return bool(bean["NumLiveDataNodes"] == DATANODES and probes.datanode(lab))

    def presto() -> bool:
        return bool(probes.presto_query(lab)) and probes.presto_nodes(lab) == 1 + PRESTO_WORKERS

    def spark() -> bool:
        return bool(requests.get(master, timeout=5).json()["aliveworkers"] == SPARK_WORKERS)

    waiting: dict[str, Callable[[], bool]] = {
        "Kafka, three brokers": kafka,
        "HDFS, three DataNodes": hdfs,
        "the metastore": lambda: bool(probes.metastore(lab)),
        "Spark, a master and two workers": spark,
        "Presto, a coordinator and two workers": presto,
    }
    deadline = time.monotonic() + READY_SECONDS
    complaints: dict[str, str] = {}
    while waiting:
        for what, serves in list(waiting.items()):
            try:
                if serves():
                    ready(what)
                    del waiting[what]
            except probes.FAILURES as error:
                complaints[what] = str(error) or type(error).__name__
        for name in names():
            state = registry.state(name)
            if state and state.status == "failed":
                log = home / "logs" / f"{name}.log"
                raise LabError(
                    f"{name} ended ({state.last_exit}); its log: {log}\n{stack.last_lines(log)}", "make status"
                )
        if waiting and time.monotonic() > deadline:
            what = next(iter(waiting))
            raise LabError(
                f"{what} did not serve within {READY_SECONDS:.0f} s: {complaints.get(what, 'not all are there')}; "
                f"logs: {shown_path(home / 'logs')}"
            )
        if waiting:
            time.sleep(0.5)  # between two rounds of requests


def _cluster_id(home: Path) -> str:
    path = home / "kafka-cluster-id"
    if not path.exists():
        atomic.write_text(path, stack.new_cluster_id())
    return path.read_text()


def home_beside(settings: Settings) -> Path:
    """Where the cluster of a lab lives: beside the lab's home."""
    return settings.home.parent / f"{settings.home.name}-cluster"
