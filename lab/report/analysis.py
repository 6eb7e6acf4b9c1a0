"""The statistics: from rows that Presto has answered, to an estimate and how far to trust it.

Seeds are fixed, so that the same rows give the same digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

SEED = 205
RESAMPLES = 4000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """Two means, and how often chance alone would make them differ as much."""

    first: float
    second: float
    p: float


@dataclass(frozen=True)
class Ratio:
    """An estimated ratio of two rates, and the interval that holds the true one with `CONFIDENCE`.

    `players` counts those on whom it rests: who have days of both kinds.
    """

    estimate: float
    low: float
    high: float
    players: int

    @property
    def differs(self) -> bool:
        """Whether 1, which would mean no difference, is outside of the interval."""
        return not self.low <= 1 <= self.high


@dataclass(frozen=True)
class Curve:
    """The share of memberships that last longer than `days`, a step for each length at which one ended.

    `memberships` are all of them; `ended` those whose end is known.
    """

    days: list[float]
    share: list[float]
    memberships: int
    ended: int

    def after(self, days: float) -> float:
        """The share that lasts longer than `days`."""
        passed = [share for day, share in zip(self.days, self.share, strict=True) if day <= days]
        return passed[-1] if passed else 1.0


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Whether two groups of players differ in the mean: a permutation test, two-sided.

    It asks how often groups drawn by lot would differ as much, and supposes nothing of how purchases are spread.
    """

    def difference(one: Any, other: Any, axis: int) -> Any:
        return np.mean(one, axis=axis) - np.mean(other, axis=axis)

    found = stats.permutation_test(
        (np.asarray(first, float), np.asarray(second, float)),
        difference,
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(SEED),
    )
    return Comparison(float(np.mean(first)), float(np.mean(second)), float(found.pvalue))


def within_players(rows: Sequence[tuple[int, int, int, int]]) -> Ratio | None:
    """How many times as much the same players buy on a day in a guild as on a day without one.

    A row is a player: days in a guild, purchases on them, days without one, purchases on those. Players are compared
    with themselves only (Mantel and Haenszel's ratio of rates), so that it does not matter that keen players join
    guilds. The interval is a bootstrap over players. None where fewer than two have both kinds of days.
    """
    both = np.array([row for row in rows if row[0] and row[2]], float).reshape(-1, 4)
    if len(both) < 2 or both[:, 3].sum() == 0:
        return None

    def ratio(inside: Any, bought_inside: Any, outside: Any, bought_outside: Any, axis: int = -1) -> Any:
        days = inside + outside
        above = (bought_inside * outside / days).sum(axis=axis)
        below = (bought_outside * inside / days).sum(axis=axis)
        with np.errstate(divide="ignore"):
            return above / below

    columns = tuple(both.T)
    found = stats.bootstrap(
        columns,
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Ratio(float(ratio(*columns)), float(found.low), float(found.high), len(both))


def lasting(lengths: ArrayLike, ended: Sequence[bool]) -> Curve:
    """How long memberships last: Kaplan and Meier's curve. One that goes on counts as long as it was seen."""
    lengths = np.asarray(lengths, float)
    gone = np.asarray(ended, bool)
    if not gone.any():
        return Curve([], [], len(lengths), 0)
    data = stats.CensoredData(uncensored=lengths[gone], right=lengths[~gone])
    curve = stats.ecdf(data).sf
    return Curve(curve.quantiles.tolist(), curve.probabilities.tolist(), len(lengths), int(gone.sum()))
