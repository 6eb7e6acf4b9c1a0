"""Grading one submission: take it, replay it, examine what it left, ask the checks, and write what they say."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError
from lab.grading import checks, rubric, sandbox
from lab.grading.checks import CHECKS, PASSED, UNCHECKED, Result
from lab.grading.examine import Evidence, examine
from lab.grading.intake import NotTaken, Submission, take
from lab.grading.replay import Engines, Ran, environment, replaying
from lab.grading.rubric import Rubric
from lab.history.plan import Plan
from lab.settings import Settings

WORK = "grade"
"""How a grader's own lab home is called beside the student's."""

STOPPED = "The grader was stopped before it had come to an end."


@dataclass
class Graded:
    """What came of one submission. `trouble` says why there is less than there should be."""

    name: str
    most: float
    results: list[Result] = field(default_factory=list)
    plan: Plan | None = None
    ran: list[Ran] = field(default_factory=list)
    kept: float = 1.0
    """Which part of the points is kept, by the time of handing in."""
    notes: list[str] = field(default_factory=list)
    trouble: str = ""
    tier: str = ""
    seconds: float = 0.0

    @property
    def score(self) -> float:
        return round(sum(result.points for result in self.results) * self.kept, 2)

    @property
    def status(self) -> int:
        """The exit status for a CI: 0 for all points, 1 for fewer, 2 where not all could be checked."""
        if self.trouble or not self.results or any(one.status == UNCHECKED for one in self.results):
            return 2
        return 0 if all(one.status == PASSED for one in self.results) and self.kept == 1.0 else 1


@dataclass
class Grader:
    """A grader at work: its engines, its folder, and the rubric. Close it: engines run until then."""

    settings: Settings
    rubric: Rubric
    work: Path
    engines: Engines
    progress: Callable[[str], None]

    @classmethod
    def open(cls, settings: Settings, work: Path, progress: Callable[[str], None]) -> Grader:
        """`settings` are those of the engines that will be started. Raises LabError where the rubric is none."""
        read = rubric.read(set(CHECKS))
        return cls(settings, read, work, _engines(settings, work, progress), progress)

    def renew(self) -> None:
        """Take new engines, in place of those that have failed. Raises LabError where these do not end."""
        self.close()
        self.engines = _engines(self.settings, self.work, self.progress)

    def close(self) -> None:
        try:
            self.engines.close()
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def take(self, source: Path, name: str) -> Submission:
        return take(source, self.work / "submission", name)

    def grade(self, submission: Submission) -> Graded:
        """Grade a submission that was taken. Raises LabError where the grader's own engines fail."""
        begun = time.monotonic()
        graded = Graded(submission.name, self.rubric.most, notes=list(submission.notes), tier=self.engines.sandbox.tier)
        pipeline = submission.pipeline(self.work / "pipeline")
        if pipeline is not None:
            graded.notes.append(f"Of lab/pipeline was handed in, and differs: {', '.join(submission.changed[:10])}.")
        untried = ""
        if pipeline is not None and graded.tier == sandbox.PROCESS:
            pipeline = None
            untried = f"the submitted pipeline was not run, for that is done in bubblewrap only: {sandbox.why_not()}"
            graded.notes.append(f"{untried[0].upper()}{untried[1:]}.")
        shutil.rmtree(self.work / "replay", ignore_errors=True)
        with ExitStack() as stack:
            replayed = stack.enter_context(
                replaying(submission, pipeline, self.engines, self.work, self.rubric.replay_seconds, self.progress)
            )
            evidence = Evidence(self.settings, self.rubric, submission, replayed, untried=untried)
            examine(evidence, stack, self.progress)
            graded.results = checks.results(evidence)
        graded.plan, graded.ran = replayed.plan, replayed.ran
        if replayed.died:
            graded.notes.append(f"The replay was ended: {replayed.died}.")
        if missing := replayed.plan.missing():
            graded.notes.append(f"The history has no line for step {', '.join(map(str, missing))}.")
        graded.kept = self.rubric.kept(submission.handed_in or replayed.plan.last_at)
        graded.seconds = time.monotonic() - begun
        return graded


def _engines(settings: Settings, work: Path, progress: Callable[[str], None]) -> Engines:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return Engines(work, environment(settings), settings, progress)


def ungraded(name: str, trouble: str) -> Graded:
    """What is said of a submission that was not graded (yet)."""
    return Graded(name, sum(rubric.read(set(CHECKS)).points.values()), trouble=trouble)


def one(grader: Grader, source: Path, name: str, handed_in: float | None, write: Callable[[Graded], None]) -> Graded:
    """Grade what is at `source`; `write` is called before anything else, and whatever happens once more."""
    graded = ungraded(name, STOPPED)
    write(graded)
    try:
        submission = grader.take(source, name)
        graded = grader.grade(Submission(name, submission.folder, submission.digest, submission.notes, handed_in))
    except NotTaken as error:
        graded.trouble = str(error)
    except LabError as error:
        graded.trouble = f"The grader failed: {error.what}"
        raise
    except Exception as error:
        graded.trouble = f"The grader failed: {type(error).__name__}: {error}"
        raise
    finally:
        write(graded)
    return graded
