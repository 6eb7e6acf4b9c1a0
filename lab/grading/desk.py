"""The desk: what is put on it is graded, and the grades lie in `grade/` afterwards."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from lab import console
from lab.errors import LabError
from lab.grading import course, render, sandbox
from lab.grading.grade import WORK, Graded, Grader, one, ungraded
from lab.history.submission import pack
from lab.neighbour import neighbour
from lab.settings import Settings, shown_path

GRADES = "grade"


def run(settings: Settings, history: Path | None, source: Path | None, folder: Path | None, out: Path | None) -> int:
    """Grade a history, one submission, a class, or else what this lab has recorded; the exit status.

    Grades go to `out`, by default `grade/` beside the report. Raises LabError where the grader itself fails.
    """
    sandbox.with_own_network()
    out = (out or settings.report.parent / GRADES).absolute()
    with _ended_by_signals(), _working(settings) as work:
        if folder is not None:
            return _class(settings, work, folder.absolute(), out)
        name = (history or source or settings.history).name
        render.write(ungraded(name, "The grader was stopped before it had come to an end."), out)
        if source is None and history is None:
            source, name = pack(settings, archive=work.with_suffix(".zip")).archive, "this lab's own"
        graded = _one(settings, work, (history or source or settings.history).resolve(), name, out)
    console.say()
    render.say(graded)
    console.say(
        f"\n{graded.score:g} of {graded.most:g} points. Written: {shown_path(out)}/grade.md, results.json, junit.xml"
    )
    return graded.status


def _one(settings: Settings, work: Path, source: Path, name: str, out: Path) -> Graded:
    with _progress() as progress:
        grader = _open(settings, work, progress)
        try:
            return one(grader, source, name, _handed_in(out), lambda graded: render.write(graded, out))
        finally:
            progress("ending what ran")
            grader.close()


def _class(settings: Settings, work: Path, folder: Path, out: Path) -> int:
    with _progress() as progress:
        grader = _open(settings, work, progress)

        def reopen() -> Grader:
            nonlocal grader
            grader = _open(settings, work, progress)
            return grader

        def told(line: course.Line) -> None:
            trouble = f"  {line.line['trouble']}" if line.line["trouble"] else ""
            again = "  (graded before)" if line.again else ""
            console.say(f"{line.line['score']:>6} of {grader.rubric.most:g}  {line.line['submission']}{again}{trouble}")

        try:
            lines = course.grade(grader, folder, out, told, reopen)
        finally:
            progress("ending what ran")
            grader.close()
    console.say(f"\n{len(lines)} submissions. Written: {shown_path(out)}/{course.SUMMARY}, and a folder for each")
    return 2 if any(line.line["trouble"] for line in lines) else 0


def _open(settings: Settings, work: Path, progress: Callable[[str], None]) -> Grader:
    """A grader with engines of its own: on the usual ports where it has a network of its own, else on free ones."""
    around = neighbour(sandbox.home_in(work / "stack"), {"LAB_CACHE": str(settings.cache)})
    if os.environ.get(sandbox.PRIVATE):
        around = {name: value for name, value in around.items() if not name.endswith("_PORT")}
    console.say(_about(sandbox.why_not()))
    return Grader.open(Settings.from_env(around), work, progress)


def _about(why_not: str) -> str:
    if not why_not:
        return "Sandbox: bubblewrap, with a network and processes of its own."
    return (
        "Sandbox: the weaker one, a lab of its own on other ports, with limits, but with this person's files and "
        f"network; submitted code is not run in it. The reason: {why_not}."
    )


@contextmanager
def _working(settings: Settings) -> Iterator[Path]:
    """The grader's folder beside the lab's home; one grader at a time has it."""
    work = settings.home.parent / f"{settings.home.name}-{WORK}"
    work.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LabError("Another make grade is at work for this lab.", "wait until it has ended") from None
    try:
        yield work
    finally:
        work.with_suffix(".zip").unlink(missing_ok=True)
        lock.release()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end a grader as Ctrl-C does: with nothing left behind."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """One line that says what is being done, where somebody looks at a terminal."""
    with console.err.status("Starting …") as status:
        yield lambda text: status.update(render.plain(text, 100))


def _handed_in(out: Path) -> float | None:
    """When Gradescope says that this was handed in: its metadata lie beside the folder of results."""
    try:
        said = json.loads((out.parent / "submission_metadata.json").read_text("utf-8"))
        return datetime.fromisoformat(said["created_at"]).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return None
