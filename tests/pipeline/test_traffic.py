"""The traffic plans, and what is read out of `ab`'s report."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import LabError
from lab.pipeline import traffic


def test_the_sample_is_the_course_s_33_requests_of_which_6_are_rejected() -> None:
    assert traffic.expected(traffic.SAMPLE) == (27, 6)


@given(requests=st.integers(1, 2000), seed=st.integers())
def test_a_mix_has_exactly_as_many_requests_as_asked_for(requests: int, seed: int) -> None:
    assert sum(traffic.expected(traffic.mix(requests, seed))) == requests


@given(requests=st.integers(1, 500), seed=st.integers())
def test_nobody_leaves_a_guild_more_often_than_they_joined_it_before(requests: int, seed: int) -> None:
    members: Counter[tuple[str, str]] = Counter()
    for line in traffic.mix(requests, seed):
        if line.path.startswith("/join_guild"):
            members[line.player, line.path.rsplit("/")[-1]] += line.requests
        if line.path.startswith("/leave_guild"):
            members[line.player, line.path.rsplit("/")[-1]] -= line.requests
            assert min(members.values()) >= 0


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert traffic.mix(100, 1) == traffic.mix(100, 1) != traffic.mix(100, 2)


@given(requests=st.integers(1, 300), size=st.integers(1, 50))
def test_bursts_are_the_whole_plan_in_order(requests: int, size: int) -> None:
    plan = traffic.mix(requests, 3)
    assert [line for burst in traffic.bursts(plan, size) for line in burst] == plan


def test_a_report_is_read_and_a_report_without_non_2xx_counts_none() -> None:
    text = "Complete requests:      10\nFailed requests:        2\n"
    assert traffic.read_report(text) == traffic.Report(10, 2, 0)
    assert traffic.read_report(text + "Non-2xx responses:      4\n").non_2xx == 4


def test_an_ab_that_could_not_connect_is_told_which_step_is_missing() -> None:
    with pytest.raises(LabError, match="Connection refused") as told:
        traffic.read_report("apr_socket_recv: Connection refused (111)\n")
    assert told.value.try_next == "make step-3"
