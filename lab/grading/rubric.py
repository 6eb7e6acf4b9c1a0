"""The rubric: what each check is worth, and what an instructor decides; read from `rubric.toml`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.settings import shown_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RUBRIC = Path(__file__).with_name("rubric.toml")


@dataclass(frozen=True)
class Fact:
    """A number that a report has to name: worked out by `sql`, and found beside one of `words`."""

    what: str
    sql: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Rubric:
    """`points` by the name of a check; `hops` by what has to be explained, the words that tell it."""

    points: Mapping[str, float]
    hops: Mapping[str, tuple[str, ...]]
    facts: tuple[Fact, ...]
    least_queries: int
    replay_seconds: float
    deadline: datetime | None
    late_percent_per_day: float
    digest: str

    @property
    def most(self) -> float:
        return sum(self.points.values())

    def kept(self, handed_in: float | None) -> float:
        """Which part of the points is kept by what was handed in at this Unix time; all of it where nobody knows."""
        if self.deadline is None or handed_in is None:
            return 1.0
        seconds = handed_in - self.deadline.timestamp()
        days = max(0, -int(-seconds // 86_400))
        return max(0.0, 1.0 - days * self.late_percent_per_day / 100)


def read(checks: set[str], path: Path = RUBRIC) -> Rubric:
    """The rubric. Raises LabError where it cannot be read, or names points for what is none of `checks`."""
    try:
        text = path.read_text("utf-8")
        return _rubric(tomllib.loads(text), checks, hashlib.sha256(text.encode()).hexdigest())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise LabError(f"{shown_path(path)} cannot be used: {reason}.", f"edit {shown_path(path)}") from error


def _rubric(said: Mapping[str, Any], checks: set[str], digest: str) -> Rubric:
    points = {name: float(worth) for name, worth in said["points"].items()}
    if points.keys() != checks or min(points.values()) < 0:
        odd = sorted(points.keys() ^ checks)
        raise ValueError(f"[points] has to name each check once, with zero or more: {', '.join(odd) or 'below zero'}")
    deadline = datetime.fromisoformat(said["deadline"]) if said["deadline"] else None
    if deadline is not None and deadline.tzinfo is None:
        raise ValueError("the deadline has to say its time zone, like 2026-12-18T23:59:00+01:00")
    return Rubric(
        points,
        {hop: tuple(words) for hop, words in said["hops"].items()},
        tuple(Fact(fact["what"], fact["sql"], tuple(fact["words"])) for fact in said["facts"]),
        int(said["queries"]["least"]),
        float(said["replay_seconds"]),
        deadline,
        float(said["late_percent_per_day"]),
        digest,
    )
