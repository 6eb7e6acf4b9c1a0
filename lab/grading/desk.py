"""The desk: what is put on it is graded, and the grades lie in `grade/` afterwards."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from lab import console
from lab.errors import LabError
from lab.grading import course, render, sandbox
from lab.grading.grade import STOPPED, WORK, Grader, one, ungraded
from lab.history.submission import pack
from lab.neighbour import neighbour
from lab.settings import Settings, shown_path

GRADES = "grade"
SILENCE_SECONDS = 15.0
"""So long nothing is said where no terminal shows what is being done."""


def run(settings: Settings, history: Path | None, source: Path | None, folder: Path | None, out: Path | None) -> int:
    """Grade a history, one submission, a class, or else what this lab has recorded; the exit status.

    Grades go to `out`, by default `grade/` beside the report. Raises LabError where the grader itself fails.
    """
    sandbox.with_own_network()
    out = (out or settings.report.parent / GRADES).absolute()
    try:
        with _ended_by_signals(), _working(settings) as work:
            if folder is not None:
                return _class(settings, work, folder.absolute(), out)
            return _one(settings, work, history or source, out)
    except KeyboardInterrupt:
        console.problem("\nInterrupted. Nothing of the grader runs any more, and what it had not graded has no points.")
        return 130


def _one(settings: Settings, work: Path, source: Path | None, out: Path) -> int:
    name = "this lab's own" if source is None else source.name
    render.write(ungraded(name, STOPPED), out)
    if source is None:
        source = pack(settings, archive=work.with_suffix(".zip")).archive
    with _progress() as progress:
        grader = _open(settings, work, progress)
        try:
            graded = one(grader, source.resolve(), name, _handed_in(out), partial(render.write, folder=out))
        finally:
            progress("ending what ran")
            grader.close()
    console.say()
    render.say(graded)
    console.say(
        f"\n{graded.score:g} of {graded.most:g} points. Written: {shown_path(out)}/grade.md, results.json, junit.xml"
    )
    return graded.status


def _class(settings: Settings, work: Path, folder: Path, out: Path) -> int:
    with _progress() as progress:
        grader = _open(settings, work, progress)

        def told(line: course.Line) -> None:
            trouble = f"  {line.line['trouble']}" if line.line["trouble"] else ""
            again = "  (graded before)" if line.again else ""
            console.say(f"{line.line['score']:>6} of {grader.rubric.most:g}  {line.line['submission']}{again}{trouble}")

        try:
            lines = course.grade(grader, folder, out, told)
        finally:
            progress("ending what ran")
            grader.close()
    console.say(f"\n{len(lines)} submissions. Written: {shown_path(out)}/{course.SUMMARY}, and a folder for each")
    return 2 if any(line.line["trouble"] for line in lines) else 0


def _open(settings: Settings, work: Path, progress: Callable[[str], None]) -> Grader:
    """A grader with engines of its own: on the usual ports where it has a network of its own, else on free ones."""
    home, cache = sandbox.home_in(work / "stack"), {"LAB_CACHE": str(settings.cache)}
    around = {**cache, "LAB_HOME": str(home)} if os.environ.get(sandbox.PRIVATE) else neighbour(home, cache)
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
    """SIGTERM and SIGHUP end a grader as Ctrl-C does: with nothing left behind. Ctrl-C was ignored until here."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """One line that says what is being done; without a terminal, another one now and then."""
    said = 0.0
    with console.err.status("Starting …") as status:

        def progress(text: str) -> None:
            nonlocal said
            status.update(render.plain(text, 100))
            if not console.err.is_terminal and time.monotonic() - said > SILENCE_SECONDS:
                said = time.monotonic()
                console.err.print(f"  {render.plain(text, 100)}", markup=False)

        yield progress


def _handed_in(out: Path) -> float | None:
    """When Gradescope says that this was handed in: its metadata lie beside the folder of results."""
    try:
        said = json.loads((out.parent / "submission_metadata.json").read_text("utf-8"))
        return datetime.fromisoformat(said["created_at"]).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return None
