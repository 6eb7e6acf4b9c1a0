"""The check: a report is made again, and compared with the one that stands there, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from lab import atomic
from lab.errors import LabError
from lab.report import data, regions, render
from lab.report.regions import Block, first_line
from lab.settings import Settings, shown_path

SHOWN = 60
"""Characters of a line that are shown of each side."""


@dataclass(frozen=True)
class Stale:
    """What is not as this run gives it: the code cell by number and first line (0 for none), and why."""

    cell: int
    begins: str
    why: str


def check(
    settings: Settings,
    target: Path | None = None,
    source: Path = render.SOURCE,
    look: Callable[[Settings], data.Data] = data.seen,
) -> list[Stale]:
    """What of the report at `target` is stale, or was written by hand; nothing when it is as a new run gives it.

    Raises LabError where there is no report, or where it cannot be made again.
    """
    target = target or settings.report
    if not target.is_file():
        raise LabError(f"There is no report at {shown_path(target)}.", "make report")
    text = target.read_text(encoding="utf-8", errors="replace")
    fresh = render.make(settings, target.stem, source, look)
    before = atomic.read_json(render.remembered(settings))
    found = list(_compare(text, fresh, before, source))
    found += _pictures(target.with_suffix(""), fresh)
    if not found and text != fresh.text:
        found.append(Stale(0, "", "what stands around the cells is not as it is written: " + _first(text, fresh.text)))
    return found


def _compare(text: str, fresh: render.Rendered, before: data.Data | None, source: Path) -> Iterator[Stale]:
    now = data.digest(fresh.data)
    name = shown_path(source)
    for old, new in zip_longest(regions.blocks(text), regions.blocks(fresh.text)):
        if old is None or new is None:
            there = old or new
            lacks = "the report" if old is None else name
            yield Stale(there.number, first_line(there.code), f"{lacks} has fewer cells")
            return
        if old.before != new.before:
            differs = _first("\n".join(old.before), "\n".join(new.before))
            yield Stale(new.number, first_line(new.code), f"the text before it is not that of {name}: {differs}")
        why = _why(old, new, before, fresh.data, now, name)
        if why:
            yield Stale(new.number, first_line(new.code), why)


def _why(old: Block, new: Block, before: data.Data | None, seen: data.Data, now: str, source: str) -> str | None:
    """Why a block's result cannot stand, or None."""
    if old.code != new.code:
        return f"its code is not that of {source}: {_first(old.code, new.code)}"
    if old.result == new.result and (old.result is None or (old.code_hash, old.data_hash) == (new.code_hash, now)):
        return None
    if old.result is None:
        return "its result is missing"
    if new.result is None:
        return "it has a result, and a run gives none"
    if old.code_hash != new.code_hash:
        return "its code was changed after it had been run"
    if old.data_hash != now:
        known = before is not None and data.digest(before) == old.data_hash
        changed = data.difference(before, seen) if known and before is not None else "by the hash that it carries"
        same = ", though the result would be the same" if old.result == new.result else ""
        return f"the data has changed since{same}: {changed}"
    return f"it was edited by hand: {_first(old.result, new.result)}"


def _pictures(folder: Path, fresh: render.Rendered) -> Iterator[Stale]:
    shown = {
        name: block
        for block in regions.blocks(fresh.text)
        for name in fresh.pictures
        if block.result and f"({folder.name}/{name})" in block.result
    }
    for name, picture in fresh.pictures.items():
        file = folder / name
        if not file.is_file():
            yield Stale(shown[name].number, first_line(shown[name].code), f"its picture {name} is missing")
        elif file.read_bytes() != picture:
            yield Stale(shown[name].number, first_line(shown[name].code), f"its picture {name} is another")


def _first(old: str, new: str) -> str:
    """The first line in which two texts differ, on both sides."""
    for there, here in zip_longest(old.splitlines(), new.splitlines(), fillvalue=""):
        if there != here:
            return f"“{_part(there, here)}”, and a run gives “{_part(here, there)}”"
    return "only in how its lines end"


def _part(line: str, other: str) -> str:
    """The piece of `line` around the first character that `other` does not have."""
    at = next((n for n, (a, b) in enumerate(zip(line, other, strict=False)) if a != b), min(len(line), len(other)))
    begin = max(0, at - SHOWN // 2)
    return ("…" if begin else "") + line[begin : begin + SHOWN] + ("…" if len(line) > begin + SHOWN else "")
