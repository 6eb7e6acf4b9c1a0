"""The doctor: what it calls broken, what it only calls not started, and what it tells people to type."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from lab import atomic, doctor
from lab.doctor import Finding
from lab.engines import probes, stack
from lab.engines.fetch import read_lock
from lab.engines.services import Registry, Service, State
from lab.errors import LabError
from lab.pipeline.events import tables
from lab.pipeline.queries import Answer
from lab.pipeline.tables import VIEWS
from lab.settings import ROOT, Settings


def settings_at(home: Path, **variables: object) -> Settings:
    return Settings.from_env({"LAB_HOME": str(home), **{name: str(value) for name, value in variables.items()}})


def pretend(settings: Settings, name: str, up: bool = True, alive: bool = True, **state: object) -> None:
    """Have the registry hold a service whose process, where it is alive, is this test's own."""
    registry = Registry(settings.run)
    service = Service(name, ("true",), str(settings.logs / f"{name}.log"), up=up)
    atomic.write_json(registry.want_path(name), dataclasses.asdict(service))
    me = psutil.Process()
    values = {
        "status": "running",
        "pid": me.pid if alive else 0,
        "created": me.create_time() if alive else 0.0,
        **state,
    }
    atomic.write_json(registry.state_path(name), dataclasses.asdict(State(**values)))  # type: ignore[arg-type]


def engine_that(probe: object) -> stack.Engine:
    return stack.Engine("kafka", "kafka", (), ("kafka_port",), probe, "kafka")  # type: ignore[arg-type]


def executable(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


# --- how findings are collected and told -----------------------------------------------------------------------------


def test_runs_checks_side_by_side_and_keeps_their_order() -> None:
    meet = threading.Barrier(2, timeout=5)

    def check(name: str) -> Finding:
        meet.wait()  # only passes when both run at once
        return Finding(name, True, "met")

    found = doctor.side_by_side({"b": lambda: check("b"), "a": lambda: check("a")}, 5)
    assert [finding.name for finding in found] == ["b", "a"]
    assert all(finding.ok for finding in found)


def test_does_not_wait_for_a_check_that_hangs() -> None:
    forever = threading.Event()
    begun = time.monotonic()
    (found,) = doctor.side_by_side({"presto": lambda: Finding("presto", forever.wait(60), "")}, 0.2)
    forever.set()
    assert time.monotonic() - begun < 5
    assert found == Finding("presto", False, "there was no answer within 0 s", "make status, then make logs")


def test_a_check_that_stumbles_hides_no_other() -> None:
    def stumbles() -> Finding:
        raise RuntimeError("oh")

    def complains() -> Finding:
        raise LabError("It is so.", "make it otherwise")

    found = doctor.side_by_side({"x": stumbles, "y": complains, "z": lambda: Finding("z", True, "well")}, 5)
    assert found == [
        Finding("x", False, "it could not be examined: oh", "make logs"),
        Finding("y", False, "It is so.", "make it otherwise"),
        Finding("z", True, "well"),
    ]


def test_reports_each_broken_thing_with_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        Finding("clock", True, "12:00"),
        Finding("kafka", None, "not started", "make step-1"),
        Finding("ports", False, "Port 5000 is taken by [python].", "end that process"),
    ]
    assert doctor.report(found) == 1
    said = capsys.readouterr()
    assert re.search(r"clock +ok +12:00", said.out)
    assert re.search(r"kafka +- +not started \(make step-1\)", said.out)
    assert re.search(r"ports +BROKEN +see below", said.out)
    assert "1 of 3 is broken" in said.out
    assert "ports: Port 5000 is taken by [python].\n  try: end that process" in said.err


def test_what_was_not_started_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.report([Finding("kafka", None, "not started", "make step-1")]) == 0
    assert "Nothing is broken." in capsys.readouterr().out


# --- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.12" 2024-07-16\nOpenJDK Runtime Environment', 17),
        ('Picked up JAVA_TOOL_OPTIONS: -XX:TieredStopAtLevel=1\nopenjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_412"', 8),
        ("javac 17.0.12", 17),
        ("javac 1.8.0_412", 8),
        ("command not understood", None),
    ],
)
def test_reads_the_version_of_a_java(said: str, version: int | None) -> None:
    assert doctor.java_version(said) == version


def test_the_java_that_is_asked_for_is_the_one_that_set_up_installs() -> None:
    assert f"JAVA_VERSION_NEEDED={doctor.JAVA_VERSION}\n" in (ROOT / "scripts" / "bootstrap").read_text()


def test_accepts_a_jdk_that_set_up_has_recorded(tmp_path: Path) -> None:
    executable(tmp_path / "jdk 17/bin/java", "echo 'openjdk version \"17.0.1\"' >&2")
    executable(tmp_path / "jdk 17/bin/javac", "echo javac 17.0.1")
    toolchain = tmp_path / "toolchain.env"
    toolchain.write_text(f"JAVA_HOME='{tmp_path}/jdk 17'\n")
    assert doctor.java({}, toolchain) == Finding("Java", True, f"JDK 17 at {tmp_path}/jdk 17")


def test_tells_a_jre_from_a_jdk(tmp_path: Path) -> None:
    executable(tmp_path / "bin/java", "echo 'openjdk version \"17.0.1\"' >&2")
    found = doctor.java({"JAVA_HOME": str(tmp_path)})
    assert found.said == f"There is no javac at {tmp_path}/bin/javac; a JDK 17 is needed."
    assert (found.ok, found.fix) == (False, "unset JAVA_HOME, then make setup")


def test_refuses_another_version_of_java(tmp_path: Path) -> None:
    executable(tmp_path / "bin/java", "echo 'openjdk version \"21.0.1\"' >&2")
    found = doctor.java({"JAVA_HOME": str(tmp_path)})
    assert found.said == f"{tmp_path}/bin/java is Java 21; a JDK 17 is needed."


def test_says_when_no_java_is_known(tmp_path: Path) -> None:
    found = doctor.java({}, tmp_path / "toolchain.env")
    assert found == Finding(
        "Java", False, f"JAVA_HOME is not set, and there is no {tmp_path}/toolchain.env.", "make setup"
    )


def test_finds_apache_bench(tmp_path: Path) -> None:
    ab = executable(tmp_path / "ab", "echo 'This is ApacheBench, Version 2.3 <$Revision$>'")
    assert doctor.apache_bench(str(tmp_path)) == Finding("Apache Bench", True, f"2.3 at {ab}")


def test_misses_apache_bench(tmp_path: Path) -> None:
    assert doctor.apache_bench(str(tmp_path)) == Finding(
        "Apache Bench", False, "There is no ab on the PATH.", "make setup"
    )


def test_sees_that_the_packages_are_of_another_lock(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / "requirements.lock").write_text("flask==3\n")
    assert (
        doctor.python_packages(tmp_path / ".venv", tmp_path / "requirements.lock").said
        == f"{tmp_path}/.venv was not made to the end."
    )
    (tmp_path / ".venv" / "requirements.lock").write_text("flask==2\n")
    assert (
        doctor.python_packages(tmp_path / ".venv", tmp_path / "requirements.lock").said
        == f"{tmp_path}/.venv was made from another requirements.lock."
    )
    (tmp_path / ".venv" / "requirements.lock").write_text("flask==3\n")
    assert doctor.python_packages(tmp_path / ".venv", tmp_path / "requirements.lock").ok


def test_names_the_downloads_that_are_missing(tmp_path: Path) -> None:
    jars = read_lock("spark-kafka")
    found = doctor.downloads(tmp_path, ["spark-kafka"])
    names = ", ".join(jar.filename for jar in jars[:3])
    assert found.said == f"{len(jars)} of {len(jars)} jars are not there: {names} and {len(jars) - 3} more."
    assert (found.ok, found.fix) == (False, "make setup")


def test_names_a_damaged_download_and_how_to_have_it_brought_again(tmp_path: Path) -> None:
    cache = tmp_path / "a cache"
    place = cache / "presto-cli" / "presto-cli.jar"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    found = doctor.downloads(cache, ["presto-cli"])
    assert found.said == "Not as its lock says: presto-cli.jar."
    assert found.fix == f"rm '{place}'; make setup"


def test_installed_and_locked_versions_agree() -> None:
    found = doctor.versions()
    assert found.ok, found.said
    assert f"Spark {importlib.metadata.version('pyspark')}, its Kafka source too" in found.said


def test_sees_a_pyspark_that_its_kafka_source_does_not_fit() -> None:
    found = doctor.versions(lambda _: "4.1.1")
    locked = next(jar.version for jar in read_lock("spark-kafka") if jar.artifact.startswith("spark-sql-kafka"))
    assert found.said == f"pyspark is 4.1.1, and Spark's Kafka source is {locked}: they must be equal."
    assert (found.ok, found.fix) == (False, "make setup")


def test_misses_pyspark() -> None:
    def nothing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    assert doctor.versions(nothing) == Finding("versions", False, "pyspark is not installed.", "make setup")


def test_needs_memory_for_engines_that_do_not_run_yet() -> None:
    found = doctor.judge_memory(8e9, 1e9, engines_run=False)
    assert found.said == "1.0 of 8.0 GB available; the engines need 1.5 GB."
    assert (found.ok, found.fix) == (False, "close other programs, then make")
    assert doctor.judge_memory(8e9, 1e9, engines_run=True).ok
    assert doctor.judge_memory(3e9, 2.9e9, engines_run=True).said.endswith("the lab needs a machine with 4 GB.")


def test_needs_space_on_the_disk(tmp_path: Path) -> None:
    found = doctor.disk([tmp_path / "not" / "there"], lambda _: (10**12, 0, 10**9))
    assert found.said == f"1.0 GB free at {tmp_path}/not/there; the lab needs 2 GB."
    assert (found.ok, found.fix) == (False, "free some space, or LAB_HOME=… make")
    assert doctor.disk([tmp_path], lambda _: (10**12, 0, 10**11)).ok


def test_a_home_that_is_not_there_yet_can_be_made(tmp_path: Path) -> None:
    assert doctor.folders([tmp_path / "a" / "b"]).ok
    assert list(tmp_path.iterdir()) == []


def test_sees_that_a_home_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = doctor.folders([tmp_path / "file" / "home"])
    assert found.said == f"{tmp_path}/file/home cannot be made: {tmp_path}/file is not a folder."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_sees_a_read_only_home(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor.folders([tmp_path]).said == f"{tmp_path} cannot be written: Permission denied."


def test_examines_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    named = doctor.checks(settings_at(tmp_path / "file" / "home"))
    assert named["folders"]().ok is False


@pytest.mark.parametrize("name", ["a:b", 'a"b'])
def test_refuses_a_path_that_java_cannot_have(tmp_path: Path, name: str) -> None:
    found = doctor.paths([tmp_path / name])
    assert found.said == f"The path {tmp_path / name} has a colon or a quote in it; Java's class path cannot hold that."
    assert doctor.paths([tmp_path / "with a space"]).ok


def test_sees_a_clock_that_was_put_back(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    assert doctor.clock(settings).ok
    found = doctor.clock(settings, now=0.0)
    assert found.said.startswith("It is 1970-01-01 00:00:00 UTC, says the clock; a file of the lab was written at ")
    assert found.fix == doctor.SET_CLOCK


# --- ports -----------------------------------------------------------------------------------------------------------

ELSEWHERE = {f"LAB_{engine}": "127.0.0.1:9" for engine in ("KAFKA", "HDFS", "METASTORE", "PRESTO")}


def test_names_the_process_that_holds_a_port(tmp_path: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    found = doctor.ports(settings_at(tmp_path, LAB_API_PORT=port, **ELSEWHERE))
    assert found.ok is False
    assert re.fullmatch(rf"Port {port} is taken by \S+ \(pid {os.getpid()}\)\.", found.said)
    assert found.fix == f"end that process, or use another port: LAB_API_PORT={port + stack.ANOTHER_PORT} make"


def test_names_all_ports_that_another_lab_holds(tmp_path: Path, listener: socket.socket) -> None:
    with socket.socket() as second:
        second.bind(("127.0.0.1", 0))
        second.listen()
        ports = sorted([listener.getsockname()[1], second.getsockname()[1]])
        external = {name: where for name, where in ELSEWHERE.items() if name != "LAB_PRESTO"}
        found = doctor.ports(settings_at(tmp_path, LAB_API_PORT=ports[0], LAB_PRESTO_PORT=ports[1], **external))
    assert [line.split()[1] for line in found.said.splitlines()] == [str(port) for port in ports]
    moves = f"LAB_API_PORT={ports[0] + stack.ANOTHER_PORT} LAB_PRESTO_PORT={ports[1] + stack.ANOTHER_PORT} make"
    assert found.fix == f"make stop, where that is another lab, or use other ports: {moves}"


def test_a_port_that_this_lab_holds_itself_is_no_fault(tmp_path: Path, listener: socket.socket) -> None:
    settings = settings_at(tmp_path, LAB_API_PORT=listener.getsockname()[1], **ELSEWHERE)
    pretend(settings, "api")
    assert doctor.ports(settings) == Finding("ports", True, "1 held by this lab, 0 free")


def test_sees_one_port_given_to_two(tmp_path: Path) -> None:
    found = doctor.ports(settings_at(tmp_path, LAB_PRESTO_PORT=9092))
    assert found == Finding(
        "ports", False, "LAB_KAFKA_PORT and LAB_PRESTO_PORT are both 9092.", "unset LAB_PRESTO_PORT"
    )


# --- what runs -------------------------------------------------------------------------------------------------------


def test_an_engine_that_was_never_started_is_not_asked(tmp_path: Path) -> None:
    found = doctor.engine_answers(settings_at(tmp_path), engine_that(lambda settings: pytest.fail("it was asked")))
    assert found == Finding("kafka", None, "not started", "make step-1")


def test_an_engine_that_was_stopped_is_not_broken(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "kafka", up=False, alive=False, status="stopped")
    assert doctor.engine_answers(settings, engine_that(lambda settings: "")).ok is None


def test_an_engine_that_answers_is_well_and_timed(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "kafka")
    found = doctor.engine_answers(settings, engine_that(lambda settings: "a record was written and read back"))
    assert found.ok
    assert re.fullmatch(r"a record was written and read back \(\d+\.\d\d s\)", found.said)


def test_an_engine_that_runs_and_does_not_answer_is_broken(tmp_path: Path) -> None:
    def silent(settings: Settings) -> str:
        raise probes.NotReady("the record that was written could not be read back")

    settings = settings_at(tmp_path, LAB_KAFKA_PORT=19092)
    pretend(settings, "kafka")
    found = doctor.engine_answers(settings, engine_that(silent))
    assert found.ok is False
    assert found.said == (
        "127.0.0.1:19092 did not answer: the record that was written could not be read back\n"
        f"its log: {settings.logs}/kafka.log"
    )
    assert found.fix == "wait if it has just been started, else make logs NAME=kafka"


def test_an_engine_elsewhere_is_asked_though_nothing_of_it_runs_here(tmp_path: Path) -> None:
    def refuses(settings: Settings) -> str:
        raise ConnectionRefusedError("refused")

    settings = settings_at(tmp_path, LAB_KAFKA="10.0.0.1:9092")
    assert doctor.engine_answers(settings, engine_that(lambda settings: "well")).ok
    found = doctor.engine_answers(settings, engine_that(refuses))
    assert found == Finding("kafka", False, "10.0.0.1:9092 did not answer: refused", "unset LAB_KAFKA")


def test_shows_the_last_words_of_an_engine_that_died(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "kafka", alive=False, status="failed", last_exit="exit status 1")
    settings.logs.mkdir()
    (settings.logs / "kafka.log").write_text("starting\nFATAL no space left\n")
    found = doctor.engine_answers(settings, engine_that(lambda settings: ""))
    assert found.ok is False
    assert found.said == (
        "It should run and does not: it ended (exit status 1) and was given up.\n"
        f"its log: {settings.logs}/kafka.log\nstarting\nFATAL no space left"
    )
    assert found.fix == "make step-1"


def test_misses_a_supervisor_where_services_are_wanted(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    registry = Registry(settings.run)
    assert doctor.supervisor(registry) == Finding("supervisor", None, "not started", "make step-1")
    pretend(settings, "kafka")
    found = doctor.supervisor(registry)
    assert found.said == "Nobody looks after kafka: the supervisor has ended, and what dies stays dead."
    assert (found.ok, found.fix) == (False, "make step-1")
    me = psutil.Process()
    atomic.write_json(settings.run / "supervisor.json", {"pid": me.pid, "created": me.create_time()})
    assert doctor.supervisor(registry) == Finding("supervisor", True, f"pid {me.pid} looks after kafka")


def test_a_topic_that_is_not_made_yet_is_no_failure(tmp_path: Path) -> None:
    def no_topic(asked: Settings) -> dict[int, int]:
        raise LabError(f"Kafka on {asked.kafka} has no topic {asked.topic}.", "make step-2")

    def no_kafka(asked: Settings) -> dict[int, int]:
        raise LabError("Kafka did not answer.", "make step-1")

    settings = settings_at(tmp_path)
    assert doctor.topic(settings, no_kafka) == Finding("topic", None, "Kafka does not run", "make step-1")
    pretend(settings, "kafka")
    assert doctor.topic(settings, no_topic).ok is None
    assert doctor.topic(settings, no_topic).fix == "make step-2"
    assert doctor.topic(settings, no_kafka).ok is False


def test_counts_the_partitions_of_the_topic(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "kafka")
    assert doctor.topic(settings, lambda *_: {0: 1000, 1: 234}).said == "events: 2 partitions, 1,234 records"
    found = doctor.topic(settings, lambda *_: {0: 1, 1: 1, 2: 1})
    assert found.said == "events has 3 partitions, where LAB_PARTITIONS says 2."
    assert found.fix == "LAB_PARTITIONS=3 make step-1"


class _Health(BaseHTTPRequestHandler):
    answer: tuple[int, bytes] = (200, b"")

    def do_GET(self) -> None:
        self.send_response(self.answer[0] if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(self.answer[1])

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def health() -> Iterator[tuple[type[_Health], int]]:
    handler = type("Health", (_Health,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler, server.server_address[1]
        server.shutdown()


def test_asks_the_api_for_its_health(tmp_path: Path, health: tuple[type[_Health], int]) -> None:
    handler, port = health
    settings = settings_at(tmp_path, LAB_API_PORT=port)
    assert doctor.api(settings) == Finding("API", None, "not started", "make step-3")
    pretend(settings, "api")
    handler.answer = (200, json.dumps({"status": "ok"}).encode())
    assert doctor.api(settings).said.startswith(f"http://127.0.0.1:{port}/health says ok (")
    handler.answer = (503, json.dumps({"status": "Kafka does not answer"}).encode())
    found = doctor.api(settings)
    assert found.said == f"http://127.0.0.1:{port}/health answered 503: Kafka does not answer."
    assert (found.ok, found.fix) == (False, "make step-1")
    handler.answer = (200, b"<h1>another server</h1>")
    assert "did not answer as it should" in doctor.api(settings).said


def test_counts_the_rows_of_the_tables(tmp_path: Path) -> None:
    everything = {name: ["event_id"] for name in [*tables(), *VIEWS]}
    settings = settings_at(tmp_path)
    assert doctor.landed_tables(settings).said.startswith("not all engines run: kafka, namenode")
    settings = settings_at(tmp_path, **ELSEWHERE)
    found = doctor.landed_tables(settings, lambda _: everything, lambda *_: Answer(["n"], [(1234,)]))
    assert found.ok
    assert f"{len(everything)} tables; 1,234 rows counted" in found.said
    found = doctor.landed_tables(settings, lambda _: {}, lambda *_: pytest.fail("nothing to count"))
    assert found == Finding("tables", None, "not made yet", "make step-7")
    del everything["guilds"]
    found = doctor.landed_tables(settings, lambda _: everything, lambda *_: pytest.fail("nothing to count"))
    assert found == Finding("tables", False, "Not there: guilds.", "make step-7")
