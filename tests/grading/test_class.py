"""The example class: what the page for instructors says of it is what the graded class comes to."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lab.errors import LabError
from lab.grading import course, rubric
from lab.grading.checks import CHECKS
from lab.grading.grade import Graded
from lab.grading.intake import Submission, take
from lab.history.plan import plan
from lab.settings import ROOT, Settings
from tests.integration.test_grading import CLASS, DEPENDENTS, EXPECTED, points

PAGE = (ROOT / "lab" / "grading" / "README.md").read_text()


def test_the_page_names_each_with_the_points_that_it_gets() -> None:
    told = {name: float(score) for name, score in re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \|", PAGE, re.MULTILINE)}
    assert told == {name: round(sum(points(lost).values()), 2) for name, lost in EXPECTED.items()}
    assert set(told) == {path.name for path in CLASS.iterdir()}


def test_the_page_names_every_exit_status_and_every_file_that_is_written() -> None:
    assert all(name in PAGE for name in ("grade.md", "results.json", "junit.xml", "summary.csv", "rubric.toml"))


def test_what_a_step_costs_are_the_checks_that_need_it() -> None:
    """The table that the long test compares with is what the checks declare."""

    def needing(name: str) -> set[str]:
        return {name}.union(*(needing(one.name) for one in CHECKS.values() if name in one.needs))

    for step, lost in DEPENDENTS.items():
        own = {one.name for one in CHECKS.values() if one.step == step}
        assert lost == set().union(*map(needing, own)), step


def test_engines_that_fail_one_submission_are_renewed_for_the_next(tmp_path: Path) -> None:
    """With a grader whose engines cannot be emptied once."""

    class Failing:
        def __init__(self) -> None:
            self.work, self.rubric, self.engines, self.renewed = tmp_path / "work", rubric.read(set(CHECKS)), self, 0

        def empty(self) -> None:
            if not self.renewed:
                raise LabError("They are full.", "make grade")

        def renew(self) -> None:
            self.renewed += 1

        def take(self, source: Path, name: str) -> Submission:
            return take(source, self.work / "taken", name)

        def grade(self, submission: Submission) -> Graded:
            return Graded(submission.name, 100, trouble="graded")

    grader, out = Failing(), tmp_path / "out"
    lines = course.grade(grader, CLASS, out, lambda line: None)  # type: ignore[arg-type]
    assert [one.line["trouble"] for one in lines] == ["The grader failed: They are full.", *["graded"] * 4]
    assert grader.renewed == 1
    assert "They are full" in json.loads((out / "anvil" / "results.json").read_text())["output"]


def test_each_of_the_class_has_a_plan_without_a_refusal() -> None:
    settings = Settings.from_env({})
    for folder in CLASS.iterdir():
        made = plan(settings, folder / "history.txt")
        refused = [one for one in made.commands if one.fate == "refused"]
        assert not refused, folder.name
    assert plan(settings, CLASS / "anvil" / "history.txt").missing() == []


def test_nothing_in_a_class_s_folder_is_passed_over_in_silence(tmp_path: Path) -> None:
    for name in ("a.ZIP", "b.tar.gz", "c.txt", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "d").mkdir()
    (tmp_path / "e").symlink_to(tmp_path / "d")
    assert [path.name for path in course.submissions(tmp_path)] == ["a.ZIP", "b.tar.gz", "c.txt", "d", "e"]


def test_names_in_any_script_keep_their_folders() -> None:
    taken: set[str] = set()
    assert [course.slug(name, taken) for name in ("王", "李.zip", "a b")] == ["王", "李.zip", "a_b"]
