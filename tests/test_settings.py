"""The settings: where they come from, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.atomic import write_text
from lab.errors import LabError
from lab.settings import Settings, env_file, read_env_file


def test_the_defaults_are_the_usual_ports_on_loopback() -> None:
    settings = Settings.from_env({})
    assert (settings.kafka, settings.hdfs, settings.presto) == ("127.0.0.1:9092", "127.0.0.1:8020", "127.0.0.1:8080")
    assert settings.api == "http://127.0.0.1:5000"
    assert not settings.external


def test_settings_survive_their_way_through_the_environment(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {"LAB_HOME": str(tmp_path / "a home"), "LAB_KAFKA_PORT": "19092", "LAB_PRESTO": "far:1"}
    )
    assert Settings.from_env(settings.to_env()) == settings
    assert settings.external == {"presto"}


def test_a_home_remembers_its_ports_and_the_environment_wins(tmp_path: Path) -> None:
    write_text(tmp_path / "conf" / "lab.env", env_file({"LAB_API_PORT": "5001", "LAB_PRESTO_PORT": "8081"}))
    settings = Settings.from_env({"LAB_HOME": str(tmp_path), "LAB_PRESTO_PORT": "8082"})
    assert (settings.api_port, settings.presto_port) == (5001, 8082)


@pytest.mark.parametrize(("value", "words"), [("many", "not a whole number"), ("0", "between 1 and 65535")])
def test_a_wrong_port_is_told_which_variable_to_mend(value: str, words: str) -> None:
    with pytest.raises(LabError, match=words) as told:
        Settings.from_env({"LAB_API_PORT": value})
    assert told.value.try_next == "unset LAB_API_PORT"


def test_an_environment_file_keeps_spaces_and_quotes(tmp_path: Path) -> None:
    write_text(tmp_path / "x", env_file({"LAB_A": "a b'c\"d", "LAB_B": "$HOME"}))
    assert read_env_file(tmp_path / "x") == {"LAB_A": "a b'c\"d", "LAB_B": "$HOME"}
