"""The same lab on containers: its numbers are those of a run without them, and containers that die cost no event."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from lab.ledger import account
from lab.neighbour import free_ports
from lab.pipeline import queries, traffic
from lab.settings import LOOPBACK, ROOT, Settings
from tests.integration.conftest import new_lab, planned

SEED = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))
SERVICES = ("kafka", "namenode", "datanode", "metastore", "presto", "lab")
HANDED = ("Dockerfile", ".dockerignore", "docker-compose.yml", "Makefile", "requirements.lock", "pyproject.toml")
BASE = "game-events-base:bookworm"
QUESTIONS = (
    "SELECT event_type, type, count(*), sum(cost) FROM purchases GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT event_type, guild_name, count(*), max(guild_member_cnt) FROM guilds GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT wanted, count(*) FROM rejected GROUP BY 1 ORDER BY 1",
)
"""Answers that the same seeded traffic must give wherever it runs."""


def reason_to_skip() -> str:
    if not shutil.which("docker"):
        return "Docker is not installed"
    if answers("docker", "info"):
        return "Docker does not answer: its daemon does not run, or this user may not speak to it"
    if answers("docker", "compose", "version") and not shutil.which("docker-compose"):
        return "there is neither docker compose nor docker-compose"
    return ""


def answers(*argv: str) -> int:
    return subprocess.run(argv, capture_output=True, timeout=300, check=False).returncode


pytestmark = [pytest.mark.timeout(1800), pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]
whole = pytest.mark.compose


@dataclass
class Containers:
    """A checkout of its own, whose lab runs on containers; `presto` is the port at which the host reaches Presto."""

    checkout: Path
    environment: dict[str, str]
    api: str
    presto: Settings

    def run(self, *argv: str, seconds: float = 900, fails: bool = False) -> str:
        done = subprocess.run(
            argv, cwd=self.checkout, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def compose(self, *words: str) -> str:
        plugin = not answers("docker", "compose", "version")
        return self.run(*(("docker", "compose") if plugin else ("docker-compose",)), *words)

    def id_of(self, service: str) -> str:
        return self.compose("ps", "-q", service).split()[-1]

    def state(self, service: str) -> dict[str, Any]:
        (found,) = json.loads(self.run("docker", "inspect", self.id_of(service)))
        return dict(found)

    def await_healthy(self, seconds: float = 240) -> None:
        until(lambda: all(self.state(name)["State"]["Health"]["Status"] == "healthy" for name in SERVICES), seconds)

    def ledger(self) -> dict[str, Any]:
        said = self.run("make", "-s", "ledger", "JSON=1")
        return dict(json.loads(said[said.index("{") :]))

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return queries.ask(self.presto, sql).rows


def until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def base() -> str:
    """The image to build on: the one that is asked for, Debian's, or one made here of Debian's packages."""
    wanted = os.environ.get("LAB_BASE_IMAGE", "")
    if wanted:
        return wanted
    debian = "debian:bookworm-slim"
    if not answers("docker", "image", "inspect", debian) or not answers("docker", "pull", debian):
        return debian
    if answers("docker", "image", "inspect", BASE) and answers(str(ROOT / "scripts" / "docker-base"), BASE):
        pytest.skip("no image registry is reached, and scripts/docker-base could make no base image here")
    return BASE


@pytest.fixture(scope="module")
def empty(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """A checkout whose lab would run on containers; nothing of it is left afterwards but the image."""
    checkout = tmp_path_factory.mktemp("compose") / "checkout"
    for name in ("lab", "scripts"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in HANDED:
        shutil.copy2(ROOT / name, checkout)
    api, presto, namenode = free_ports(3)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "MAKE", "MFLAGS"))}
    environment = kept | {
        "LAB_STACK": "compose",
        "LAB_BASE_IMAGE": base,
        "LAB_API_PORT": str(api),
        "LAB_PRESTO_PORT": str(presto),
        "LAB_NAMENODE_HTTP_PORT": str(namenode),
        "LAB_UID": str(os.getuid()),
        "LAB_GID": str(os.getgid()),
        "COMPOSE_PROJECT_NAME": f"lab-test-{os.getpid()}",
    }
    settings = Settings.from_env({"LAB_HOME": str(checkout / "none"), "LAB_PRESTO": f"{LOOPBACK}:{presto}"})
    lab = Containers(checkout, environment, f"http://{LOOPBACK}:{api}", settings)
    try:
        yield lab
    finally:
        if (checkout / ".lab").exists():
            print(lab.compose("logs", "--tail", "30"))
        lab.run("make", "clean")


@pytest.fixture(scope="module")
def containers(empty: Containers) -> Containers:
    """The lab on containers; `make` has run in it once."""
    empty.run("make", seconds=1500)
    return empty


def test_a_first_event_travels_through_containers(empty: Containers) -> None:
    """The short run, which is in `make test` where Docker answers: each engine is healthy, and an event is logged."""
    for number in (1, 2, 3):
        empty.run("make", f"step-{number}", seconds=1500)
    said = requests.get(f"{empty.api}/purchase_a_sword/sabre", timeout=15)
    assert (said.status_code, said.headers["X-Event-Logged"]) == (200, "yes")
    argv = ("exec", "-T", "lab", "kafka-get-offsets", "--bootstrap-server", "kafka:9092", "--topic", "events")
    assert sum(int(line.split(":")[2]) for line in empty.compose(*argv).split()) == 1
    assert empty.ask("SHOW SCHEMAS FROM hive")
    empty.run("make", "clean")


@whole
def test_numbers_are_those_of_a_run_without_containers(
    containers: Containers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    native = new_lab(tmp_path_factory.mktemp("labs") / "native")
    try:
        for number in range(1, 9):
            native.step(number)
        taken = account.take(native.settings)
        answered = [queries.ask(native.settings, sql).rows for sql in QUESTIONS]
    finally:
        native.make("stop")
    found = containers.ledger()
    assert all(check["ok"] for check in found["checks"]), found["checks"]
    assert found["tables"] == taken.tables
    assert {table: count for table, count in found["tables"].items() if count} == planned()
    assert found["answered"] == taken.answered
    assert found["swords"] == taken.swords
    assert [containers.ask(sql) for sql in QUESTIONS] == answered


@whole
def test_what_a_run_leaves_is_in_the_checkout_and_is_its_owner_s(containers: Containers) -> None:
    for name in ("history.txt", "report.md", "report.html"):
        assert (containers.checkout / name).stat().st_uid == os.getuid(), name
    assert "docker compose up --detach" in (containers.checkout / "history.txt").read_text()
    assert "is, to the byte, what a run gives now" in containers.run("make", "report-check")
    steps = containers.run("make", "check")
    assert steps.count("done") == 8, steps


@whole
def test_the_image_runs_as_nobody_special_and_keeps_no_certificates(containers: Containers) -> None:
    image = containers.state("kafka")["Image"]
    (made,) = json.loads(containers.run("docker", "image", "inspect", image))
    assert made["Config"]["User"] == "lab"
    look = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c")
    assert containers.run(*look, "id -u").strip() != "0"
    assert (
        containers.run(*look, "find / -xdev -name certificates.pem -o -xdev -name 'lab-bundle-*' 2>/dev/null; :") == ""
    )


@whole
def test_ports_are_published_on_loopback_only(containers: Containers) -> None:
    published = [
        binding["HostIp"]
        for name in SERVICES
        for bindings in (containers.state(name)["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or ()
    ]
    assert len(published) == 3
    assert set(published) == {LOOPBACK}


@dataclass
class Players:
    """Send requests until told to end; `accepted` are the ids of the events that the API acknowledged."""

    api: str
    accepted: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def play(self) -> None:
        for line in traffic.mix(100_000, SEED):
            for _ in range(line.requests):
                if self.ended.wait(0.05):
                    return
                try:
                    said = requests.get(self.api + quote(line.path), headers={"Host": line.player}, timeout=15)
                except requests.RequestException:
                    continue  # nobody knows what became of it: it counts for nothing
                if said.headers.get("X-Event-Logged") == "yes":
                    self.accepted.append(said.headers["X-Event-Id"])

    def await_more(self, count: int, seconds: float) -> None:
        wanted = len(self.accepted) + count
        until(lambda: len(self.accepted) >= wanted, seconds)


@whole
@pytest.mark.parametrize("victim", SERVICES)
def test_a_container_that_dies_under_load_costs_no_event(containers: Containers, victim: str) -> None:
    print(f"FAULTS_SEED={SEED}")
    restarts = containers.state(victim)["RestartCount"]
    players = Players(containers.api)
    thread = threading.Thread(target=players.play)
    thread.start()
    try:
        players.await_more(20, 60)
        # Its init, the first process, cannot be killed from within; all that it looks after can.
        subprocess.run(
            ["docker", "exec", containers.id_of(victim), "sh", "-c", "kill -9 -1"], capture_output=True, check=False
        )
        until(lambda: bool(containers.state(victim)["RestartCount"] > restarts), 60)
        players.await_more(20, 240)
    finally:
        players.ended.set()
        thread.join()
    containers.await_healthy()
    closes_with(containers, players.accepted)


def closes_with(containers: Containers, accepted: list[str]) -> None:
    """The account closes, and each of these events is in a table."""
    found = containers.ledger()
    assert all(check["ok"] for check in found["checks"]), found["checks"]
    lost = set(accepted)
    assert lost
    for table in ("defaults", "purchases", "guilds", "rejected"):
        lost -= {row[0] for row in containers.ask(f"SELECT event_id FROM {table}")}
    assert not lost, f"acknowledged, and in no table: {sorted(lost)[:5]}"


@whole
def test_down_and_up_keep_the_data(containers: Containers) -> None:
    before = containers.ledger()
    containers.compose("down")
    containers.compose("up", "--detach")
    containers.await_healthy()
    after = containers.ledger()
    assert after["tables"] == before["tables"]
    assert after["answered"] == before["answered"]
    assert all(check["ok"] for check in after["checks"]), after["checks"]


@whole
def test_what_needs_engines_of_its_own_is_refused_in_a_sentence(containers: Containers) -> None:
    said = containers.run("make", "grade", fails=True)
    assert "grade is done without containers only" in said


@whole
def test_ports_are_remembered_for_who_does_not_say_them_again(containers: Containers) -> None:
    ids = [containers.id_of(name) for name in SERVICES]
    forgetful = {name: value for name, value in containers.environment.items() if not name.endswith("_PORT")}
    forgetful = {
        name: value for name, value in forgetful.items() if name not in ("LAB_BASE_IMAGE", "LAB_UID", "LAB_GID")
    }
    said = subprocess.run(
        ["make", "setup"], cwd=containers.checkout, env=forgetful, capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
    assert [containers.id_of(name) for name in SERVICES] == ids, "a container was made anew"
