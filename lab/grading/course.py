"""A whole class: every submission in a folder, one after another, on engines that are started once.

What has been graded is not graded again while neither the submission nor the rubric has changed, so that a run that was
ended goes on where it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab import atomic
from lab.errors import LabError
from lab.grading import render
from lab.grading.checks import CHECKS
from lab.grading.grade import Graded, Grader, one, ungraded
from lab.grading.intake import NotTaken, take

SUMMARY, REMEMBERED = "summary.csv", "graded.json"


@dataclass(frozen=True)
class Line:
    """One submission of a class: its line of the summary."""

    line: dict[str, Any]
    again: bool = False
    """Whether it was graded by an earlier run."""


def submissions(folder: Path) -> list[Path]:
    """The submissions in a folder: all that is in it, for what cannot be taken gets a line that says so.

    Raises LabError where there is none.
    """
    if not folder.is_dir():
        raise LabError(f"There is no folder {folder}.", "make grade SUBMISSIONS=folder")
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not found:
        raise LabError(f"{folder} holds no submission: a folder or an archive for each.", "ls")
    return found


def slug(name: str, taken: set[str]) -> str:
    """A folder's name for the grade of a submission of this name; another one for each."""
    safe = re.sub(r"[^\w.-]+", "_", name).strip("._")[:80] or "submission"
    unique, number = safe, 2
    while unique.casefold() in taken:
        unique, number = f"{safe}_{number}", number + 1
    taken.add(unique.casefold())
    return unique


def grade(grader: Grader, folder: Path, out: Path, told: Callable[[Line], None]) -> list[Line]:
    """Grade all in `folder`; grades and the summary go to `out`, and each line to `told` as soon as it is there."""
    lines: list[Line] = []
    taken: set[str] = set()
    for path in submissions(folder):
        own = out / slug(path.name, taken)
        digest = _digest(grader, path)
        known = _known(own, digest)
        if known is not None:
            line = Line(known, again=True)
        else:
            graded = _graded(grader, path, own)
            line = Line(_line(graded, own.name))
            if graded.results:
                atomic.write_json(own / REMEMBERED, {"of": digest, "line": line.line})
        lines.append(line)
        atomic.write_text(out / SUMMARY, render.summary([each.line for each in lines], CHECKS))
        told(line)
    return lines


def _graded(grader: Grader, path: Path, own: Path) -> Graded:
    """The grade of one, on engines that are empty. Where the grader fails, the next one gets new engines."""
    if path.is_file() and path.suffix.lower() != ".zip":
        graded = ungraded(path.name, "It is neither a folder nor a zip archive.")
        render.write(graded, own)
        return graded
    try:
        grader.engines.empty()
        return one(grader, path, path.name, None, partial(render.write, folder=own))
    except Exception as error:  # whatever it was, one submission does not cost all others their grades
        what = error.what if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
        graded = Graded(path.name, grader.rubric.most, trouble=f"The grader failed: {what}")
        render.write(graded, own)
        grader.renew()
        return graded


def _line(graded: Graded, folder: str) -> dict[str, Any]:
    points = {result.check.name: result.points for result in graded.results}
    return {
        "submission": render.plain(graded.name, 100),
        "folder": folder,
        "score": graded.score,
        **{name: points.get(name, "") for name in CHECKS},
        "trouble": render.plain(graded.trouble, 200),
    }


def _digest(grader: Grader, path: Path) -> str | None:
    """What a grade rests on, the submission and the rubric; None where the submission is not taken."""
    try:
        return f"{take(path, grader.work / 'known', path.name).digest} {grader.rubric.digest}"
    except NotTaken:
        return None


def _known(own: Path, digest: str | None) -> dict[str, Any] | None:
    """The line of an earlier run, where nothing has changed since."""
    try:
        remembered = atomic.read_json(own / REMEMBERED)
        return dict(remembered["line"]) if remembered and digest and remembered["of"] == digest else None
    except (ValueError, KeyError, TypeError):
        return None
