"""Recent events: a bounded memory by which a landing knows, without a look at the tables, that an event is new.

Two copies of an event have the same `event_id` and the same `event_time`. Of each event later than the horizon that
has landed, the memory holds the time and a 64-bit hash of the id: such an event is new when its hash is not there.
Of an event before the horizon the memory knows nothing; whoever asks has to look in the tables. An event whose time
cannot be trusted is always looked up, and its hash is kept apart: a copy that comes later may have a time that can be.
Correctness never depends on a clock: a clock that is wrong only makes more events be looked up.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy
from numpy.typing import NDArray

MOST = 1_000_000
"""Events remembered at most: 16 bytes each."""
YOUNG = 50_000
UNTRUSTED = -(2**63)
"""Stands for the time of an event that is later than Kafka's: it is always looked up."""
ALWAYS = UNTRUSTED
"""The horizon while nothing has landed at all."""
NEVER = 2**63 - 1
"""The horizon after which nothing is known: every event is looked up."""

Keys = NDArray[numpy.int64]
"""Events, a column each: the hash of the id, and below it the time in microseconds since 1970."""
NONE: Keys = numpy.empty((2, 0), numpy.int64)


def read_keys(packed: bytes) -> Keys:
    """Keys as Spark hands them over: 16 bytes each, the hash and the time."""
    return numpy.frombuffer(packed, dtype=">i8").astype(numpy.int64).reshape(-1, 2).T


class RecentEvents:
    """What has landed after the `horizon`, in microseconds since 1970.

    No event later than that had landed before, but those `ahead`: hashes of events whose time cannot be trusted.
    """

    def __init__(self, horizon: int = ALWAYS, most: int = MOST, ahead: Iterable[int] = ()) -> None:
        self.horizon = horizon
        self._ahead = NONE[0]
        self._most = most
        self._old, self._young = NONE, [NONE]  # each sorted by hash
        self._add_ahead(numpy.fromiter(ahead, numpy.int64))

    def __len__(self) -> int:
        return self._old.shape[1] + sum(keys.shape[1] for keys in self._young)

    def unsure(self, keys: Keys) -> NDArray[numpy.int64]:
        """The hashes of those events that may have landed before, or that may stand in `keys` twice."""
        hashes, micros = keys
        doubtful = micros <= self.horizon
        for known in (self._ahead, self._old[0], *(young[0] for young in self._young)):
            if len(known):
                at = numpy.minimum(numpy.searchsorted(known, hashes), len(known) - 1)
                doubtful |= known[at] == hashes
        distinct, times = numpy.unique(hashes, return_counts=True)
        return numpy.union1d(hashes[doubtful], distinct[times > 1])

    def add(self, keys: Keys) -> None:
        """These have landed."""
        self._add_ahead(keys[0][keys[1] == UNTRUSTED])
        self._young.append(_sorted(keys[:, keys[1] > self.horizon]))
        if sum(young.shape[1] for young in self._young) > YOUNG or len(self._young) > 100:
            self._merge()

    def _add_ahead(self, hashes: NDArray[numpy.int64]) -> None:
        if len(hashes):
            self._ahead = numpy.union1d(self._ahead, hashes)
        if len(self._ahead) > self._most:  # too many to remember: from now on every event is looked up
            self.horizon, self._ahead = NEVER, NONE[0]

    def _merge(self) -> None:
        together = numpy.concatenate([self._old, *self._young], axis=1)
        if together.shape[1] > self._most:
            # the earlier ones are forgotten: from now on such events are looked up
            last_forgotten = together.shape[1] - self._most // 2 - 1
            self.horizon = max(self.horizon, int(numpy.partition(together[1], last_forgotten)[last_forgotten]))
            together = together[:, together[1] > self.horizon]
        self._old, self._young = _sorted(together), []


def _sorted(keys: Keys) -> Keys:
    return keys[:, numpy.argsort(keys[0])]
