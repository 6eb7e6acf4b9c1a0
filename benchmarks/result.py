"""The result: rows of ours against theirs, as a table, a plot and JSON, with the machine that they were measured on."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any, Literal

import psutil
from matplotlib import rc_context
from matplotlib.figure import Figure

from lab import atomic, console
from lab.settings import ROOT

HERE = Path(__file__).parent
LATEST = HERE / "latest.json"
PLOT = HERE / "latest.svg"


@dataclass(frozen=True)
class Row:
    """Ours against theirs, medians of pairs that were measured in turn; `unit` is of both.

    `ratio` says how many times better ours is (of times and sizes theirs/ours, of rates ours/theirs), and is the
    median of the pairs' own ratios. `at_least` and `aim` are what it should be; where `judged` is `ours`, they are the
    most that ours may be. Where they are None, the row is there to compare, and is neither met nor missed.
    """

    name: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    at_least: float | None
    aim: float | None
    judged: Literal["ratio", "ours"] = "ratio"
    pairs: int = 0

    @property
    def met(self) -> bool | None:
        if self.at_least is None:
            return None
        return self.ours <= self.at_least if self.judged == "ours" else self.ratio >= self.at_least


def row(
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: str,
    at_least: float | None,
    aim: float | None,
    more_is_better: bool = False,
    judged: Literal["ratio", "ours"] = "ratio",
) -> Row:
    """A row from the pairs; each of `ours` was measured beside the one of `theirs` at the same place."""
    ratios = [a / b if more_is_better else b / a for a, b in zip(ours, theirs, strict=True)]
    return Row(name, median(ours), median(theirs), unit, median(ratios), at_least, aim, judged, len(ours))


def machine() -> dict[str, Any]:
    """What it was measured on."""
    java = subprocess.run(
        [f"{os.environ.get('JAVA_HOME', '')}/bin/java", "-version"]
        if os.environ.get("JAVA_HOME")
        else ["java", "-version"],
        capture_output=True,
        text=True,
        check=False,
    )
    packages = ("pyspark", "kafka-python", "flask", "gunicorn", "pyhive")
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "java": java.stderr.splitlines()[0] if java.stderr else "unknown",
        **{package: importlib.metadata.version(package) for package in packages},
    }


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    console.table(
        [
            (
                row.name,
                f"{row.ours:,.3g}" if row.ours < 1000 else f"{row.ours:,.0f}",
                f"{row.theirs:,.3g}" if row.theirs < 1000 else f"{row.theirs:,.0f}",
                row.unit,
                f"{row.ratio:.2f}",
                _bound(row, row.at_least),
                _bound(row, row.aim),
                {True: "yes", False: "NO", None: ""}[row.met],
            )
            for row in rows
        ],
        ["what", "ours", "theirs", "unit", "ratio", "at least", "aim", "met"],
    )


def _bound(row: Row, bound: float | None) -> str:
    return "" if bound is None else f"{'≤ ' if row.judged == 'ours' else ''}{bound:g}"


def write(rows: Sequence[Row], seconds: float, details: dict[str, Any]) -> None:
    """Write `latest.json` and the plot."""
    whole = {
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "machine": machine(),
        "rows": [{**asdict(row), "met": row.met} for row in rows],
        "details": details,
    }
    atomic.write_text(LATEST, json.dumps(whole, indent=1) + "\n")
    with rc_context({"svg.hashsalt": "lab", "font.size": 10}):
        judged = [(row, row.at_least) for row in rows if row.at_least is not None]
        figure = Figure(figsize=(8, 1.2 + 0.4 * len(judged)), layout="constrained")
        figure.set_facecolor("white")
        axes = figure.subplots()
        # How far beyond what it should be at least: 1 is just met, and further right is better.
        reach = [least / row.ours if row.judged == "ours" else row.ratio / least for row, least in judged]
        drawn = axes.barh(
            [row.name for row, _ in judged], reach, color=["#0072b2" if row.met else "#d55e00" for row, _ in judged]
        )
        axes.bar_label(drawn, labels=[f"{value:.2f}" for value in reach], padding=3)
        axes.axvline(1, color="black", linewidth=1)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("how far it reaches, in units of what it should reach at least (1)")
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(PLOT, format="svg", metadata={"Date": None})
    console.say(f"Written: {LATEST.relative_to(ROOT)}, {PLOT.relative_to(ROOT)}")
