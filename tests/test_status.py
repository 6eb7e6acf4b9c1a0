"""The table of what runs, and the end of the logs."""

from __future__ import annotations

import dataclasses
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab import atomic, status
from lab.engines.services import Registry, Service, State
from lab.errors import LabError
from lab.settings import Settings


def settings_at(home: Path, **variables: object) -> Settings:
    return Settings.from_env({"LAB_HOME": str(home), **{name: str(value) for name, value in variables.items()}})


def pretend(
    settings: Settings, name: str, up: bool = True, alive: bool = True, asked: float = 0.0, **state: object
) -> None:
    """Have the registry hold a service whose process, where it is alive, is this test's own."""
    registry = Registry(settings.run)
    service = Service(name, ("true",), str(settings.logs / f"{name}.log"), up=up, asked=asked)
    atomic.write_json(registry.want_path(name), dataclasses.asdict(service))
    me = psutil.Process()
    values = {
        "status": "running",
        "pid": me.pid if alive else 0,
        "created": me.create_time() if alive else 0.0,
        **state,
    }
    atomic.write_json(registry.state_path(name), dataclasses.asdict(State(**values)))  # type: ignore[arg-type]


def pretend_supervisor(settings: Settings) -> None:
    me = psutil.Process()
    atomic.write_json(settings.run / "supervisor.json", {"pid": me.pid, "created": me.create_time()})


def line_of(settings: Settings, name: str) -> status.Line:
    return next(line for line in status.services(settings, Registry(settings.run)) if line.name == name)


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which this test listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_new_lab_has_nothing_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_at(tmp_path)
    lines = status.services(settings, Registry(settings.run))
    names = ["kafka", "namenode", "datanode", "metastore", "presto", "api", "stream"]
    assert [(line.name, line.state) for line in lines] == [(name, "not started") for name in names]
    assert status.show(settings) == 0
    assert "Nothing of this lab runs here. make starts it, make step-1 only the engines." in capsys.readouterr().out


def test_a_service_runs_once_it_listens(tmp_path: Path, port: int) -> None:
    settings = settings_at(tmp_path, LAB_PRESTO_PORT=port)
    pretend(settings, "presto")
    line = line_of(settings, "presto")
    assert (line.state, line.pid, line.where, line.restarts) == ("running", psutil.Process().pid, str(port), 0)
    assert line.megabytes is not None
    assert 5 < line.megabytes < 5000
    assert line.since == time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(psutil.Process().create_time()))


def test_a_service_that_does_not_listen_yet_is_starting(tmp_path: Path) -> None:
    settings = settings_at(tmp_path, LAB_PRESTO_PORT=1)
    pretend(settings, "presto")
    assert line_of(settings, "presto").state == "starting"


def test_an_engine_whose_address_was_given_is_elsewhere(tmp_path: Path) -> None:
    settings = settings_at(tmp_path, LAB_HDFS="10.0.0.7:8020")
    for name in ("namenode", "datanode"):
        assert (line_of(settings, name).state, line_of(settings, name).where) == ("elsewhere", "10.0.0.7:8020")
    assert line_of(settings, "kafka").state == "not started"


def test_a_service_that_was_stopped_says_so(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "stream", up=False, alive=False, status="stopped")
    assert line_of(settings, "stream").state == "stopped"


def test_a_service_that_died_is_starting_only_under_a_supervisor(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "stream", alive=False)
    assert line_of(settings, "stream").state == "stopped"
    pretend_supervisor(settings)
    assert line_of(settings, "stream").state == "starting"


def test_only_deaths_since_it_was_last_asked_for_are_restarts(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "stream", asked=100.0, deaths=[50.0, 99.0, 101.0, 150.0])
    assert line_of(settings, "stream").restarts == 2


def test_a_service_that_was_given_up_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "presto", alive=False, status="failed", deaths=[1.0] * 6)
    assert status.show(settings) == 1
    said = capsys.readouterr()
    assert "failed" in said.out
    assert said.err == "presto died again and again and is not started any more.\n  try: make logs NAME=presto\n"


def test_shows_what_else_was_asked_for(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "broker-2")
    assert status.services(settings, Registry(settings.run))[-1].name == "broker-2"


def test_says_when_no_supervisor_looks_after_what_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "stream")
    assert status.show(settings) == 0
    assert "No supervisor runs: what dies stays dead. make step-1 starts one." in capsys.readouterr().out
    pretend_supervisor(settings)
    status.show(settings)
    said = capsys.readouterr().out
    assert "No supervisor" not in said
    assert "supervisor  running" in said


def test_pids_and_ports_are_not_written_as_amounts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_at(tmp_path)
    pretend(settings, "stream")
    status.show(settings)
    said = capsys.readouterr().out
    assert f" {psutil.Process().pid} " in said
    assert re.search(r"^api +not started +5000\b", said, re.MULTILINE)


# --- logs ------------------------------------------------------------------------------------------------------------


def write_logs(settings: Settings, **logs: str) -> None:
    settings.logs.mkdir(parents=True, exist_ok=True)
    for name, text in logs.items():
        (settings.logs / f"{name}.log").write_text(text)


def test_shows_the_end_of_one_log_under_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_at(tmp_path)
    write_logs(settings, kafka="one\ntwo [bold]\nthree\n", presto="other\n")
    status.logs(settings, "kafka", 2)
    assert capsys.readouterr().out == f"\n{tmp_path}/logs/kafka.log\ntwo [bold]\nthree\n"


def test_shows_all_logs_in_the_order_of_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_at(tmp_path)
    write_logs(settings, batch="b\n", stream="s\n", presto="p\n", kafka="k\n", supervisor="")
    status.logs(settings, None, 5)
    said = capsys.readouterr().out
    assert [line.rpartition("/")[2] for line in said.splitlines() if ".log" in line] == [
        "kafka.log",
        "presto.log",
        "stream.log",
        "batch.log",
        "supervisor.log",
    ]
    assert said.endswith("supervisor.log\n(empty)\n")


def test_names_the_logs_there_are_when_asked_for_another(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    with pytest.raises(LabError) as nothing:
        status.logs(settings, "kafka", 5)
    assert (
        str(nothing.value)
        == f"There is no log called kafka in {tmp_path}/logs; there are none yet.\n  try: make step-1"
    )
    write_logs(settings, kafka="k\n", presto="p\n")
    with pytest.raises(LabError) as other:
        status.logs(settings, "../kafka", 5)
    assert str(other.value) == (
        f"There is no log called ../kafka in {tmp_path}/logs; there are: kafka, presto.\n  try: make logs"
    )


def test_a_lab_without_logs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status.logs(settings_at(tmp_path), None, 5)
    said = capsys.readouterr().out
    assert said == f"There are no logs in {tmp_path}/logs yet. make step-1 starts the engines.\n"


def test_reads_only_the_end_of_a_large_log(tmp_path: Path) -> None:
    log = tmp_path / "large.log"
    log.write_text("".join(f"line {number}\n" for number in range(200_000)))
    assert status.tail(log, 2) == "line 199998\nline 199999"
    assert status.tail(log, 0) == ""


def test_a_log_cannot_move_the_cursor(tmp_path: Path) -> None:
    log = tmp_path / "hostile.log"
    log.write_bytes(b"before\n\x1b[2Jred\x1b[0m\tand \xff\n")
    assert status.tail(log, 1) == "[2Jred[0m\tand �"
