"""What a grade looks like: Markdown, Gradescope's results.json, JUnit's XML, and one line of a class's table."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from lab import atomic, console
from lab.grading.checks import FAILED, PARTLY, PASSED, SKIPPED, UNCHECKED, Result
from lab.grading.grade import Graded
from lab.history.plan import IGNORED, REFUSED, REPLAYED, TRANSLATED, shown

MOST_LINES = 400
"""Of a history, in a grade; where there are more, those that were ignored are left out first."""


def rows(graded: Graded) -> list[tuple[object, ...]]:
    """(step, check, status, points, of, found), in the order of the checks."""
    return [
        (
            one.check.step,
            one.check.title,
            one.status,
            number(one.points),
            number(one.most),
            plain(one.finding.actual, 70),
        )
        for one in graded.results
    ]


def say(graded: Graded) -> None:
    """Print what came of it."""
    console.table(rows(graded), ["step", "check", "status", "points", "of", "found"])
    for result in graded.results:
        if result.status != PASSED and result.finding.hint:
            console.say(
                f"  {result.check.title}: expected {plain(result.finding.expected)}. Try: {result.finding.hint}"
            )
    for note in graded.notes:
        console.say(f"  {plain(note)}")
    if graded.trouble:
        console.problem(plain(graded.trouble))


def number(points: float) -> str:
    return f"{points:g}"


def plain(text: str, width: int = 300) -> str:
    """A text that may come from a submission, on one line, without anything that a terminal or XML would obey."""
    return shown(text, width)


def write(graded: Graded, folder: Path) -> None:
    """Write grade.md, results.json and junit.xml into `folder`."""
    atomic.write_text(folder / "grade.md", as_markdown(graded))
    atomic.write_text(folder / "results.json", json.dumps(as_gradescope(graded), indent=1) + "\n")
    atomic.write_text(folder / "junit.xml", as_junit(graded))


def as_markdown(graded: Graded) -> str:
    """For the student: the score, each check with what it asks, and what became of each line of the history."""

    def cell(text: object) -> str:
        return str("" if text is None else text).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")

    table = console.as_table(
        [[cell(value) for value in row] for row in rows(graded)],
        ["step", "check", "status", "points", "of", "found"],
        "pipe",
    )
    parts = [f"# {cell(plain(graded.name))}: {number(graded.score)} of {number(graded.most)} points"]
    if graded.trouble:
        parts.append(f"**{cell(plain(graded.trouble))}**")
    parts += [f"- {cell(plain(note))}" for note in graded.notes]
    if graded.kept < 1:
        parts.append(f"Handed in late: {graded.kept:.0%} of the points are kept.")
    if graded.results:
        parts += ["## Checks", table]
    for one in graded.results:
        parts.append(f"### {one.check.title}: {one.status}")
        parts.append(cell(one.check.says))
        parts.append(f"Expected: {cell(plain(one.finding.expected))}  \nFound: {cell(plain(one.finding.actual))}")
        if one.finding.hint and one.status != PASSED:
            parts.append(f"Try: {cell(plain(one.finding.hint))}")
    if graded.plan is not None:
        parts += ["## The history, line by line", _lines(graded, cell)]
    parts.append(f"Replayed in the tier `{graded.tier or 'none'}`, in {graded.seconds:.0f} s.")
    return "\n\n".join(parts) + "\n"


def _lines(graded: Graded, cell: Any) -> str:
    ran = {id(one.planned): one for one in graded.ran}
    lines: list[tuple[object, ...]] = []
    for planned in graded.plan.commands if graded.plan else ():
        told = ran.get(id(planned))
        if planned.fate in (REPLAYED, TRANSLATED):
            done = told.done if told else None
            if done is not None:
                became = "too long" if done.late else "runs" if done.status is None else f"exit status {done.status}"
            else:
                became = told.why if told else "not run"
        else:
            became = planned.why
        here = "" if shlex.join(planned.argv) == planned.typed else shlex.join(planned.argv)
        lines.append((planned.line, planned.fate, cell(plain(planned.typed, 80)), cell(plain(here, 80)), cell(became)))
    more = f"\n\nand {len(lines) - MOST_LINES:,} lines more" if len(lines) > MOST_LINES else ""
    chosen = sorted(lines, key=lambda line: (REFUSED, REPLAYED, TRANSLATED, IGNORED).index(str(line[1])))[:MOST_LINES]
    return (
        console.as_table(
            sorted(chosen, key=lambda line: int(str(line[0]))),
            ["line", "fate", "typed", "here", "what became of it"],
            "pipe",
        )
        + more
    )


def _said(one: Result) -> str:
    found = one.finding
    text = f"{one.check.says}\n{one.status}. Expected: {plain(found.expected)}. Found: {plain(found.actual)}."
    return f"{text}\nTry: {plain(found.hint)}" if found.hint and one.status != PASSED else text


def as_gradescope(graded: Graded) -> dict[str, Any]:
    """Gradescope's format. A check that could not be asked is shown as failed: Gradescope knows two outcomes."""
    notes = [plain(note) for note in [graded.trouble, *graded.notes] if note]
    return {
        "score": graded.score,
        "max_score": graded.most,
        "output": "\n".join(notes),
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "execution_time": round(graded.seconds),
        "tests": [
            {
                "name": one.check.title,
                "number": f"{one.check.step}" if one.check.step else "",
                "score": one.points,
                "max_score": one.most,
                "status": "passed" if one.status == PASSED else "failed",
                "output": _said(one),
                "visibility": "visible",
            }
            for one in graded.results
        ],
    }


def as_junit(graded: Graded) -> str:
    suite = xml.Element("testsuite", name=plain(graded.name), tests=str(len(graded.results)))
    for one in graded.results:
        case = xml.SubElement(suite, "testcase", classname="grade", name=one.check.title)
        kind = {FAILED: "failure", PARTLY: "failure", UNCHECKED: "error", SKIPPED: "skipped"}.get(one.status)
        if kind:
            xml.SubElement(case, kind, message=plain(one.finding.actual)).text = _said(one)
    if graded.trouble:
        case = xml.SubElement(suite, "testcase", classname="grade", name="the submission is graded")
        xml.SubElement(case, "error", message=plain(graded.trouble))
    for what in ("failure", "error", "skipped"):
        name = {"failure": "failures", "error": "errors", "skipped": "skipped"}[what]
        suite.set(name, str(len(suite.findall(f"testcase/{what}"))))
    xml.indent(suite)
    return xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def summary(graded: Iterable[dict[str, Any]], names: Iterable[str]) -> str:
    """A class as CSV: a line for each submission, with its points for each check."""
    text = io.StringIO()
    names = list(names)
    writer = csv.DictWriter(text, ["submission", "folder", "score", *names, "trouble"], lineterminator="\n")
    writer.writeheader()
    for one in graded:
        # A spreadsheet takes a cell that begins so for a formula.
        writer.writerow(
            {key: f"'{value}" if str(value).startswith(("=", "+", "-", "@")) else value for key, value in one.items()}
        )
    return text.getvalue()
