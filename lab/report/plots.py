"""The plots: drawn from a query's answer, as SVG with words that say the same; the same data gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from IPython.display import display
from matplotlib import rc_context
from matplotlib.figure import Figure

from lab.pipeline import queries
from lab.report.analysis import Curve

BLUE = "#0072B2"
COLOURS = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#000000")
"""Of Okabe and Ito: told apart by the colour-blind, and strong enough on white. Lines differ in their dashes too."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def bars(answer: queries.Answer, label: str, value: str, title: str, unit: str) -> None:
    """Show a bar for each row: its length is the column `value`, counted in `unit`; its name the column `label`."""
    names, numbers = _columns(answer, label, value)
    with _drawing(f"{title}, in {unit}: {_in_words(names, numbers)}", 0.8 + 0.32 * len(names)) as axes:
        drawn = axes.barh(names, numbers, color=BLUE)
        axes.bar_label(drawn, labels=[f"{number:g}" for number in numbers], padding=3)
        axes.invert_yaxis()
        axes.set_title(title)
        axes.set_xlabel(unit)


def over_time(answer: queries.Answer, time: str, value: str, title: str, unit: str) -> None:
    """Show an upright bar for each row, in the order of the rows: the column `value` over the column `time`."""
    names, numbers = _columns(answer, time, value)
    with _drawing(f"{title}, in {unit}, by {time}: {_in_words(names, numbers)}", 3.2) as axes:
        drawn = axes.bar(names, numbers, color=BLUE)
        axes.bar_label(drawn, labels=[f"{number:g}" for number in numbers], padding=2, fontsize=8)
        axes.set_title(title)
        axes.set_xlabel(time)
        axes.set_ylabel(unit)
        if max(map(len, names), default=0) > 5:
            axes.tick_params(axis="x", labelrotation=30)


def lasting(curves: Mapping[str, Curve], title: str) -> None:
    """Show for each name which share of memberships lasts how many days, as a line that falls in steps."""
    longest = max((day for curve in curves.values() for day in curve.days), default=1.0)
    shares = (f"{name} {100 * curve.after(1):.0f}%, {100 * curve.after(3):.0f}%" for name, curve in curves.items())
    alt = f"{title}, share of members after one day and after three: {'; '.join(shares)}"
    with _drawing(alt, 3.6) as axes:
        for (name, curve), colour, dash in zip(curves.items(), COLOURS, DASHES, strict=False):
            days = [0.0, *curve.days, max(longest, *curve.days, 0.0)]
            share = [100.0, *(100 * one for one in curve.share), 100 * curve.after(longest)]
            axes.step(days, share, where="post", color=colour, linestyle=dash, linewidth=2, label=name)
        axes.set_ylim(0, 104)
        axes.set_xlim(0, longest * 1.02)
        axes.set_title(title)
        axes.set_xlabel("days since joining")
        axes.set_ylabel("still members, %")
        axes.legend(frameon=False)


@contextmanager
def _drawing(alt: str, height: float) -> Iterator[Any]:
    """Axes to draw on; shown afterwards. Letters stay letters, so that the file is small and can be searched."""
    # without a salt of its own, matplotlib would name the parts of the picture differently each time
    style: Any = {"svg.hashsalt": "lab", "svg.fonttype": "none", "font.size": 10, "font.family": "sans-serif"}
    with rc_context(style):
        figure = Figure(figsize=(7, height), layout="constrained")
        figure.set_facecolor("white")  # not transparent: dark letters on a dark page cannot be read
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        yield axes
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    picture = {"image/svg+xml": drawn.getvalue(), "text/plain": alt}
    display(picture, raw=True, metadata={"image/svg+xml": {"alt": alt}})


def _columns(answer: queries.Answer, label: str, value: str) -> tuple[list[str], list[float]]:
    names = [str(row[answer.columns.index(label)]) for row in answer.rows]
    return names, [float(row[answer.columns.index(value)]) for row in answer.rows]


def _in_words(names: Sequence[str], numbers: Sequence[float]) -> str:
    return ", ".join(f"{name} {number:g}" for name, number in zip(names, numbers, strict=True))
