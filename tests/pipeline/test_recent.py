"""The memory of recent events: it may doubt a new event, and never takes a copy for a new one."""

from __future__ import annotations

import numpy
from hypothesis import given
from hypothesis import strategies as st

from lab.pipeline.recent import UNTRUSTED, Keys, RecentEvents, read_keys

EVENTS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans())
"""(hash, time, whether it is trusted when it lands): few of each, so that copies come by themselves."""


def keys(*events: tuple[int, int]) -> Keys:
    return numpy.array(events, numpy.int64).reshape(-1, 2).T


def test_keys_are_read_as_spark_writes_them() -> None:
    assert read_keys(bytes.fromhex("ffffffffffffffff0000000000000007" + "8000000000000000" * 2)).tolist() == [
        [-1, UNTRUSTED],
        [7, UNTRUSTED],
    ]
    assert read_keys(b"").shape == (2, 0)


def test_a_new_event_after_the_horizon_is_sure() -> None:
    recent = RecentEvents(horizon=100)
    assert recent.unsure(keys((1, 101), (2, 102))).tolist() == []


def test_a_copy_is_unsure_within_a_landing_and_after_it() -> None:
    recent = RecentEvents()
    assert recent.unsure(keys((1, 5), (2, 6), (1, 5))).tolist() == [1]
    recent.add(keys((1, 5), (2, 6)))
    assert recent.unsure(keys((2, 6), (3, 7))).tolist() == [2]


def test_an_event_before_the_horizon_or_without_a_trusted_time_is_unsure() -> None:
    recent = RecentEvents(horizon=100)
    assert recent.unsure(keys((1, 100), (2, UNTRUSTED), (3, 101))).tolist() == [1, 2]
    assert RecentEvents().unsure(keys((2, UNTRUSTED))).tolist() == [2]


def test_a_copy_with_a_trusted_time_of_an_event_without_one_is_unsure() -> None:
    """The first came from a clock that was ahead; when the copy came, Kafka's time had caught up."""
    recent = RecentEvents(horizon=100)
    recent.add(keys((1, UNTRUSTED)))
    assert recent.unsure(keys((1, 150), (2, 151))).tolist() == [1]
    assert RecentEvents(horizon=100, ahead=[1]).unsure(keys((1, 150), (2, 151))).tolist() == [1]


def test_with_too_many_untrusted_times_every_event_is_looked_up() -> None:
    recent = RecentEvents(horizon=100, most=3)
    recent.add(keys(*((n, UNTRUSTED) for n in range(4))))
    assert recent.unsure(keys((2, 150), (9, 2**62))).tolist() == [2, 9]
    assert RecentEvents(most=3, ahead=range(4)).unsure(keys((9, 150))).tolist() == [9]


def test_the_memory_is_bounded_and_what_is_forgotten_is_unsure() -> None:
    recent = RecentEvents(most=1000)
    for start in range(0, 500_000, 10_000):
        recent.add(keys(*((start + n, start + n) for n in range(10_000))))
    assert len(recent) <= 1000 + 60_000
    assert recent.horizon > 400_000
    assert recent.unsure(keys((5, 5))).tolist() == [5]
    assert recent.unsure(keys((500_001, 500_001))).tolist() == []


@given(st.lists(st.lists(EVENTS, max_size=30), max_size=12), st.integers(2, 40))
def test_no_copy_is_ever_taken_for_a_new_event(landings: list[list[tuple[int, int, bool]]], most: int) -> None:
    """An event's time is a part of it here: the same hash at another time is another event's."""
    recent, landed = RecentEvents(most=most), set()
    recent._young = []
    for landing in landings:
        events = [(hash_ * 100 + at, at if trusted else UNTRUSTED) for hash_, at, trusted in landing]
        unsure = set(recent.unsure(keys(*events)).tolist())
        for place, (hash_, _) in enumerate(events):
            again = hash_ in landed or hash_ in {other for other, _ in events[:place]}
            assert not again or hash_ in unsure
        recent.add(keys(*events))
        recent._merge()
        landed |= {hash_ for hash_, _ in events}
