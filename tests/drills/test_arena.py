"""A lab beside another: a home of its own, and nothing of the other's settings but where downloads are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.drills.arena import beside
from lab.settings import Settings


def test_nothing_of_the_one_lab_reaches_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("LAB_")]:
        monkeypatch.delenv(name)
    given = {"LAB_HOME": str(tmp_path / "home"), "LAB_TOPIC": "mine", "LAB_KAFKA_PORT": "9999", "LAB_CACHE": "/kept"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    own = beside(Settings.from_env(), "drill").settings
    assert own.home == tmp_path / "home-drill"
    assert own.history == own.home / "history.txt"
    assert own.topic == Settings.topic
    assert own.cache == Path("/kept")
    ports = [value for name, value in own.to_env().items() if name.endswith("_PORT")]
    assert len(set(ports)) == len(ports) == 10
    assert "9999" not in ports
    assert not [name for name in os.environ if name.startswith("LAB_")]
