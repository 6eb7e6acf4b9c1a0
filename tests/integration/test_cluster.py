"""The same lab on a cluster that it did not start: the eight steps, then nodes killed under load."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from lab.drills.load import Load
from lab.engines import cluster
from lab.engines.services import Registry
from lab.errors import LabError
from lab.ledger import account
from lab.neighbour import neighbour
from lab.pipeline import queries
from lab.settings import Settings
from tests.integration.conftest import RunningLab, planned

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
SEED = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))
LEAST_MEMORY = cluster.LEAST_MEMORY


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cluster's home, while it runs."""
    if psutil.virtual_memory().available < LEAST_MEMORY:
        pytest.skip(f"the cluster needs {LEAST_MEMORY / 1e9:.0f} GB of memory")
    home = tmp_path_factory.mktemp("cluster") / "cluster"
    cache = Settings.from_env().cache
    try:
        cluster.start(home, cache, lambda what, seconds: print(f"{what}: {seconds:.0f} s"))
        yield home
    finally:
        cluster.stop(home)


@pytest.fixture(scope="module")
def on_cluster(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab of its own that knows the cluster's addresses, and nothing else of it."""
    environment = {**neighbour(tmp_path_factory.mktemp("labs") / "a lab", os.environ), **cluster.use(home)}
    running = RunningLab(Settings.from_env(environment), environment)
    try:
        yield running
    finally:
        running.make("stop")


def test_the_eight_steps_end_in_the_numbers_that_they_end_in_everywhere(on_cluster: RunningLab) -> None:
    for number in range(1, 9):
        on_cluster.step(number)
    taken = account.take(on_cluster.settings)
    assert all(check.ok for check in taken.checks()), taken.checks()
    assert {table: count for table, count in taken.tables.items() if count} == planned()
    ((copies,),) = {
        tuple(line.split("ReplicationFactor: ")[1].split()[:1])
        for line in on_cluster.script(
            "kafka-topics", "--bootstrap-server", on_cluster.settings.kafka, "--describe", "--topic", "events"
        ).splitlines()
        if "ReplicationFactor" in line
    }
    assert copies == "3"


def test_nothing_of_the_cluster_is_the_lab_s_to_start_or_stop(on_cluster: RunningLab) -> None:
    assert set(on_cluster.registry.wanted()) == {"api", "stream"}
    said = on_cluster.make("status")
    assert said.count("elsewhere") == 5


@pytest.mark.parametrize("victim", ["kafka-2", "datanode-2", "spark-worker-1", "presto-worker-1"])
def test_a_node_that_dies_under_load_costs_no_event(on_cluster: RunningLab, home: Path, victim: str) -> None:
    print(f"FAULTS_SEED={SEED}")
    registry = Registry(home / "run")
    process = registry.process(victim)
    assert process is not None
    with Load(on_cluster.settings, f"cluster/{victim}", SEED) as load:
        load.await_accepted(30)
        process.send_signal(signal.SIGKILL)
        load.await_accepted(60, 120)
    deadline = time.monotonic() + 120
    while (again := registry.process(victim)) is None or again.pid == process.pid:
        assert time.monotonic() < deadline, f"{victim} was not started again"
        time.sleep(0.2)
    lost = {answer.event_id for answer in load.answers if answer.logged == "yes"}
    assert len(lost) >= 90
    taken = until_closed(on_cluster)
    assert all(check.ok for check in taken.checks()), taken.checks()
    in_tables = "SELECT event_id FROM {}"
    for table in ("defaults", "purchases", "guilds", "rejected"):
        lost -= {row[0] for row in queries.ask(on_cluster.settings, in_tables.format(table)).rows}
    assert not lost, f"acknowledged, and in no table: {sorted(lost)[:5]}"


def until_closed(lab: RunningLab) -> account.Account:
    """The account, once the stream has caught up; after the death of a node that may need more than one try."""
    deadline = time.monotonic() + 240
    while True:
        try:
            return account.take(lab.settings)
        except (LabError, requests.RequestException):
            if time.monotonic() > deadline:
                raise
