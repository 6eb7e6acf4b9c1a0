"""The stack's preparations: configuration from templates, ports, room."""

from __future__ import annotations

import os
import socket
from collections import namedtuple
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.engines import stack
from lab.errors import LabError
from lab.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env(
        {"LAB_HOME": str(tmp_path / "a home"), "LAB_KAFKA_PORT": "19092", "LAB_HDFS_PORT": "18020"}
    )


def test_every_template_is_filled_in_and_ports_stand_where_they_belong(settings: Settings) -> None:
    stack.configure(settings)
    written = {path.relative_to(settings.conf): path.read_text() for path in settings.conf.rglob("*") if path.is_file()}
    assert not [path for path, text in written.items() if "$" in text]
    assert "PLAINTEXT://127.0.0.1:19092" in written[Path("kafka/server.properties")]
    for path, text in written.items():
        if path.suffix == ".xml":
            ElementTree.fromstring(text)
    assert "hdfs://127.0.0.1:18020" in written[Path("hadoop/core-site.xml")]


def test_a_home_keeps_its_ports_and_its_cluster_id(settings: Settings) -> None:
    stack.configure(settings)
    command = stack.engines(settings)[0].format_command
    again = Settings.from_env({"LAB_HOME": str(settings.home)})
    assert again == settings
    stack.configure(again)
    assert stack.engines(again)[0].format_command == command
    assert len(command[3]) == 22


def test_looking_at_a_lab_that_is_not_there_makes_no_folder(settings: Settings) -> None:
    stack.engines(settings)
    assert not settings.home.exists()


def test_an_engine_that_runs_elsewhere_is_not_started_here() -> None:
    settings = Settings.from_env({"LAB_KAFKA": "far:9092", "LAB_PRESTO": "far:8080"})
    assert [engine.name for engine in stack.local_engines(settings)] == ["namenode", "datanode", "metastore"]


def test_a_taken_port_is_told_with_its_holder_and_the_way_out() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(LabError, match=rf"Port {port} is taken by .* \(pid {os.getpid()}\)") as told:
            stack.require_free_port(port, "LAB_API_PORT")
    assert "LAB_API_PORT=" in told.value.try_next


@pytest.mark.parametrize(
    ("memory", "disk", "words"), [(10**9, 10**12, "of memory are available"), (10**11, 10**8, "are free at")]
)
def test_too_little_memory_or_disk_is_said_in_numbers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, memory: int, disk: int, words: str
) -> None:
    monkeypatch.setattr(stack.psutil, "virtual_memory", lambda: namedtuple("M", "available")(memory))
    monkeypatch.setattr(stack.shutil, "disk_usage", lambda path: namedtuple("D", "free")(disk))
    with pytest.raises(LabError, match=words):
        stack.require_room(settings)


def test_a_machine_whose_name_does_not_resolve_is_told_the_line_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.socket, "gethostname", lambda: "no-such-host.invalid")
    with pytest.raises(LabError, match=r"no-such-host\.invalid, does not resolve") as told:
        stack.require_own_name()
    assert "127.0.0.1 no-such-host.invalid" in told.value.try_next


def test_a_path_that_java_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="has a colon or a quote"):
        stack.configure(Settings.from_env({"LAB_HOME": str(tmp_path / "a:b")}))
