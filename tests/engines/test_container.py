"""The containers: what docker-compose.yml must say of each, and how one becomes its server."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from lab import atomic
from lab.engines import container, stack
from lab.engines.services import Registry, Service
from lab.errors import LabError
from lab.settings import ROOT, Settings
from tests.test_docs import README

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
TEXTS = {name: (ROOT / name).read_text() for name in ("docker-compose.yml", "Dockerfile", "scripts/docker-base")}


def test_each_engine_has_a_container_and_the_client_waits_for_all() -> None:
    names = {engine.name for engine in stack.engines(Settings.from_env({}))}
    assert SERVICES.keys() == names | {"lab"}
    assert SERVICES["lab"]["depends_on"] == {name: {"condition": "service_healthy"} for name in names}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_is_bounded_watched_and_published_on_loopback_only(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    *_, verb, asked = service["healthcheck"]["test"]
    assert (verb, asked) == ("healthy", container.CLIENT if name == "lab" else name)
    assert service["command"] == ["run", asked]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert any(volume.startswith(f"{name}:") for volume in service["volumes"])
    assert name in COMPOSE["volumes"]
    assert service["cap_drop"] == ["ALL"]


def test_no_image_is_whatever_is_latest() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert {service["image"] for service in SERVICES.values()} == {f"game-events-lab:{version[1]}"}
    for name, text in TEXTS.items():
        assert "latest" not in text, name
    assert re.search(r"^ARG BASE=\S+:\S+$", TEXTS["Dockerfile"], re.MULTILINE)


def test_published_ports_are_those_of_the_settings() -> None:
    published = {
        f"LAB_{variable}": int(port)
        for service in SERVICES.values()
        for mapping in service.get("ports", [])
        for variable, port in re.findall(r"\$\{LAB_(\w+):-(\d+)\}", mapping)
    }
    settings = Settings.from_env({})
    assert published == {
        f"LAB_{name.upper()}": getattr(settings, name) for name in ("api_port", "presto_port", "namenode_http_port")
    }
    assert all(str(port) in README for port in published.values())


def test_an_engine_listens_where_others_reach_it(tmp_path: Path) -> None:
    addresses = SERVICES["kafka"]["environment"]
    found = Settings.from_env({**addresses, "LAB_HOME": str(tmp_path), "LAB_BIND": "0.0.0.0", "LAB_HOST": "kafka"})
    stack.configure(found)
    text = (tmp_path / "conf" / "kafka" / "server.properties").read_text()
    assert "listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093" in text
    assert "advertised.listeners=PLAINTEXT://kafka:9092" in text
    site = (tmp_path / "conf" / "hadoop" / "hdfs-site.xml").read_text()
    assert "<name>dfs.namenode.rpc-address</name><value>namenode:8020<" in site
    assert "<name>dfs.datanode.hostname</name><value>kafka<" in site


def test_without_containers_nothing_is_told_to_listen_beyond_loopback(tmp_path: Path) -> None:
    stack.configure(Settings.from_env({"LAB_HOME": str(tmp_path)}))
    for path in (tmp_path / "conf").rglob("*"):
        assert not path.is_file() or "0.0.0.0" not in path.read_text(), path


def test_a_client_that_may_not_write_into_the_checkout_says_as_whom_it_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_env({"LAB_HOME": str(tmp_path / "home"), "LAB_HISTORY": str(tmp_path / "history.txt")})
    assert container.healthy(settings, container.CLIENT) == "no step has started the API yet"
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(LabError, match=rf"LAB_UID={tmp_path.stat().st_uid} LAB_GID=\d+ docker compose up"):
        container.healthy(settings, container.CLIENT)


def test_a_client_whose_api_should_run_is_asked_for_it(tmp_path: Path) -> None:
    settings = Settings.from_env({"LAB_HOME": str(tmp_path), "LAB_API_PORT": "1"})
    wanted = Service("api", ("true",), str(tmp_path / "log"))
    atomic.write_json(Registry(settings.run).want_path("api"), {**vars(wanted), "argv": ["true"], "env": {}})
    with pytest.raises(container.probes.FAILURES):
        container.healthy(settings, container.CLIENT)
