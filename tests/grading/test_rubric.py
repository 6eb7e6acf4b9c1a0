"""The rubric: points for each check, and a deadline that costs what it says."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.grading import rubric
from lab.grading.checks import CHECKS

TEXT = rubric.RUBRIC.read_text()


def written(tmp_path: Path, old: str = "", new: str = "") -> Path:
    assert old in TEXT
    path = tmp_path / "rubric.toml"
    path.write_text(TEXT.replace(old, new))
    return path


def test_the_lab_s_own_comes_to_a_hundred() -> None:
    assert rubric.read(set(CHECKS)).most == 100


def test_each_day_after_the_deadline_costs_its_part(tmp_path: Path) -> None:
    read = rubric.read(set(CHECKS), written(tmp_path, 'deadline = ""', 'deadline = "2026-12-18T23:59:00+01:00"'))
    deadline = datetime.fromisoformat("2026-12-18T23:59:00+01:00").timestamp()
    hours = (-100, 0, 0.001, 23, 24, 25, 48, 240, 10_000)
    assert [round(read.kept(deadline + hour * 3600), 2) for hour in hours] == [1, 1, 0.9, 0.9, 0.9, 0.8, 0.8, 0, 0]
    assert read.kept(None) == 1


def test_without_a_deadline_nothing_is_late() -> None:
    assert rubric.read(set(CHECKS)).kept(9e9) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("topic = 10\n", "", "topic"),
        ("topic = 10\n", "topic = -1\n", "below zero"),
        ("topic = 10\n", 'topic = "many"\n', "many"),
        ("[points]\n", "[points]\nbeauty = 3\n", "beauty"),
        ('deadline = ""', 'deadline = "soon"', "soon"),
        ('deadline = ""', 'deadline = "2026-12-18T23:59:00"', "time zone"),
        ("replay_seconds = 1800", "", "replay_seconds"),
        ("[points]", "[points", "rubric.toml cannot be used"),
    ],
)
def test_a_rubric_that_cannot_be_used_says_why(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(LabError, match="cannot be used") as raised:
        rubric.read(set(CHECKS), written(tmp_path, old, new))
    assert said in str(raised.value)
