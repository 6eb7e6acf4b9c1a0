"""Grading on real engines: what is right gets all points, and what is not loses what it should.

Two of the example class and a hostile submission; `FAULTS=long` grades the whole class, and takes each step away once.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from lab.grading import rubric, sandbox
from lab.grading.checks import CHECKS
from lab.history.plan import plan_of, steps_of
from lab.history.read import Typed
from lab.settings import ROOT, Settings
from tests.grading.test_hostile import PAYLOADS, POSITIONS, of_the_checkout, snapshot

LONG = os.environ.get("FAULTS") == "long"
WHY_NOT = sandbox.why_not()
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(4 * 3600 if LONG else 1800),
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]
CLASS = ROOT / "lab" / "grading" / "example_class"
EXPECTED = {
    "anvil": {},
    "bellows": {"traffic": 9.76, "report_opens": 0, "report_explains": 0, "report_numbers": 0},
    "crucible": dict.fromkeys(("stream", "followed", "ledger", "report_numbers"), 0),
    "dross": dict.fromkeys(("topic", "api", "traffic", "batch", "stream", "followed", "ledger", "report_numbers"), 0),
    "ember": dict.fromkeys(("batch", "ledger", "report_numbers"), 0),
}
"""What each of the example class loses: the points of a check, where they are not all."""
SHORT = ("anvil", "ember")


def points(lost: dict[str, float]) -> dict[str, float]:
    return {**rubric.read(set(CHECKS)).points, **lost}


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "LAB_HOME": str(home), "LAB_CACHE": str(Settings.from_env().cache)}


def grade(home: Path, out: Path, *arguments: str, seconds: float = 1500) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", "grade", "--results", str(out), *arguments],
        cwd=ROOT,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def summary(out: Path) -> dict[str, dict[str, float]]:
    with (out / "summary.csv").open() as file:
        return {line["submission"]: {name: float(line[name] or 0) for name in CHECKS} for line in csv.DictReader(file)}


def explained(out: Path, name: str) -> str:
    return (out / name / "grade.md").read_text()


def hostile(folder: Path, canary: Path) -> None:
    """Every hostile line after a stack that runs, and an API that tries what it can while it answers."""
    folder.mkdir()
    lines = ["make step-1", "make step-2", "make step-3"]
    for number, position in enumerate(POSITIONS):
        payload = PAYLOADS[number % len(PAYLOADS)].replace("CANARY", str(canary / "made"))
        lines.append(position.replace("{}", payload))
    (folder / "history.txt").write_text("\n".join(lines) + "\n")
    pipeline = folder / "lab" / "pipeline"
    pipeline.mkdir(parents=True)
    released = (ROOT / "lab" / "pipeline" / "catalogue.py").read_text()
    (pipeline / "catalogue.py").write_text(
        released
        + f"""
import os, pathlib, signal, socket
for target in ({str(canary / "made")!r}, {str(ROOT / "lab" / "cli.py")!r}, {str(ROOT / "grade")!r}, "/etc/made"):
    try:
        pathlib.Path(target).write_text("evil")
    except OSError:
        pass
for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
    try:
        secret = open(f"/proc/{{pid}}/environ").read()
        if "LAB_GRADING_NETWORK" in secret or "presto-main" in open(f"/proc/{{pid}}/cmdline").read():
            os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
try:
    socket.create_connection(("192.0.2.1", 80), 1)
except OSError:
    pass
"""
    )


def left(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(f"{home}-grade" in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def test_a_class_is_graded_for_what_each_has_done(tmp_path: Path) -> None:
    folder, out, home, canary = tmp_path / "class", tmp_path / "grades", tmp_path / "home", tmp_path / "canary"
    canary.mkdir()
    (canary / "mine").write_text("as it was")
    for name in EXPECTED if LONG else SHORT:
        shutil.copytree(CLASS / name, folder / name)
    hostile(folder / "hostile", canary)
    (folder / "empty").mkdir()
    before = snapshot(canary), of_the_checkout(), snapshot(folder)

    done = grade(home, out, "--submissions", str(folder), seconds=3600)

    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert (snapshot(canary), of_the_checkout(), snapshot(folder)) == before
    assert not left(home)
    found = summary(out)
    for name in EXPECTED if LONG else SHORT:
        assert found[name] == points(EXPECTED[name]), explained(out, name)
    assert "0 of 1038 rows" in explained(out, "ember")  # a thousand made by hand, and landed by nobody
    assert found["hostile"]["stack"] == points({})["stack"], explained(out, "hostile")
    assert found["hostile"]["topic"] == points({})["topic"], explained(out, "hostile")
    assert "There is no history in it" in json.loads((out / "empty" / "results.json").read_text())["output"]
    assert done.returncode == 2  # one of them could not be graded

    again = grade(home, out, "--submissions", str(folder), seconds=120)
    assert again.stdout.count("(graded before)") == len(found) - 1
    assert summary(out) == found


def test_what_interrupts_a_grader_leaves_nothing_running_and_a_grade(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "grades"
    grader = subprocess.Popen(
        [sys.executable, "-m", "lab", "grade", "--submission", str(CLASS / "anvil"), "--results", str(out)],
        cwd=ROOT,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(left(home)) < 8:  # engines are coming up
        assert time.monotonic() < deadline
        assert grader.poll() is None
        time.sleep(0.2)  # between two looks
    os.killpg(grader.pid, signal.SIGINT)
    grader.communicate(timeout=120)
    assert grader.returncode != 0
    deadline = time.monotonic() + 20
    while left(home):
        assert time.monotonic() < deadline, left(home)
        time.sleep(0.2)  # between two looks
    said = json.loads((out / "results.json").read_text())
    assert said["score"] == 0
    assert "stopped before" in said["output"]


def without(step: int, lines: Iterable[str]) -> list[str]:
    """The commands of a history but those that are there for a step."""
    settings = Settings.from_env({})
    return [
        line for line in lines if not any(step in steps_of(one) for one in plan_of(settings, [Typed(line, 1)]).commands)
    ]


DEPENDENTS = {
    1: set(CHECKS) - {"report_opens", "report_explains"},
    2: {"topic", "api", "traffic", "batch", "stream", "followed", "ledger", "report_numbers"},
    3: {"api", "traffic", "batch", "stream", "followed", "ledger", "report_numbers"},
    4: {"traffic", "batch", "ledger", "report_numbers"},
    5: {"batch", "ledger", "report_numbers"},
    6: {"stream", "followed", "ledger", "report_numbers"},
    7: {"tables", "queries", "followed"},
    8: {"queries"},
}
"""By step, what is lost without its lines: its own check, and those that depend on it."""


@pytest.mark.skipif(not LONG, reason="eight gradings: FAULTS=long runs them")
def test_without_the_lines_of_a_step_that_step_is_lost_and_what_depends_on_it(tmp_path: Path) -> None:
    folder, out = tmp_path / "class", tmp_path / "grades"
    lines = [line for line in (CLASS / "anvil" / "history.txt").read_text().splitlines() if line[:1] != "#"]
    for step in DEPENDENTS:
        shutil.copytree(CLASS / "anvil", folder / f"without-{step}")
        (folder / f"without-{step}" / "history.txt").write_text("\n".join(without(step, lines)) + "\n")
    shutil.copytree(CLASS / "anvil", folder / "again")
    grade(tmp_path / "home", out, "--submissions", str(folder), seconds=3 * 3600)
    found = summary(out)
    lost = {
        step: {name for name, got in found[f"without-{step}"].items() if got < points({})[name]} for step in DEPENDENTS
    }
    assert lost == DEPENDENTS
    assert found["again"] == points({})  # on engines that eight others have used
