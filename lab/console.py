"""The one printer: what a learner sees on the terminal goes through here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from tabulate import tabulate

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def quietly() -> Iterator[None]:
    """Print nothing meanwhile."""
    before, out.quiet = out.quiet, True
    try:
        yield
    finally:
        out.quiet = before


def title(text: str) -> None:
    out.print(f"\n[bold]{text}[/bold]")


def say(text: str = "") -> None:
    """A sentence or two, taken literally: no markup is read from it."""
    out.print(text, markup=False)


def command(argv: Sequence[str], background: bool = False) -> None:
    """A command that is about to run, as it could be typed."""
    out.print("$ " + shlex.join(argv) + (" &" if background else ""), markup=False, style="bold cyan")


def output(text: str) -> None:
    """What a command printed."""
    out.print(text.rstrip("\n"), markup=False)


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> None:
    out.print(as_table(rows, headers), markup=False)


def as_table(rows: Iterable[Sequence[object]], headers: Sequence[str], style: str = "simple") -> str:
    """Rows as aligned text; numbers are printed as they are, never rounded."""
    cells = [["" if cell is None else cell for cell in row] for row in rows]
    return tabulate(cells, headers=headers, tablefmt=style, disable_numparse=False, intfmt=",")


def problem(text: str) -> None:
    err.print(text, markup=False, style="red")
