"""The statistics, against players whose truth is known: the simulation's."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from datetime import datetime

import numpy as np
import pytest

from lab.pipeline import simulation
from lab.pipeline.simulation import TRUTH
from lab.pipeline.traffic import Line
from lab.report import analysis, findings


def days_of(lines: list[Line]) -> list[tuple[int, int, int, int]]:
    """What question 20 answers, worked out from the plan: days in a guild and purchases on them, and without one."""
    days: dict[tuple[str, str], tuple[bool, set[tuple[str, str]]]] = {}
    guild: dict[str, str] = {}
    for line in lines:
        _, deed, *name = line.path.split("/")
        if deed == "join_guild":
            guild[line.player] = name[0]
        if deed == "leave_guild":
            del guild[line.player]
        day = (line.player, line.game_time[:10])
        bought = days.get(day, (False, set()))[1]
        if deed.startswith("purchase") and line.known:
            bought.add((name[0], line.game_time))
        days[day] = (line.player in guild, bought)
    rows: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for (player, _), (member, bought) in days.items():
        rows[player][0 if member else 2] += 1
        rows[player][1 if member else 3] += len(bought)
    return [(a, b, c, d) for a, b, c, d in rows.values()]


def test_the_interval_holds_the_true_factor_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "RESAMPLES", 500)
    found = [analysis.within_players(days_of(simulation.week(1, seed))) for seed in range(60)]
    held = sum(one is not None and one.low <= TRUTH.member_factor <= one.high for one in found)
    assert held >= 48, f"{held} of 60 intervals hold the truth; 95% were meant, and a bootstrap of 30 players is narrow"
    estimates = [one.estimate for one in found if one]
    assert np.mean(estimates) == pytest.approx(TRUTH.member_factor, rel=0.1)


def test_members_and_others_differ_by_more_than_guilds_do() -> None:
    """Keen players join: who compares players, and not days of the same player, takes that for the guilds' doing."""
    rows = days_of(simulation.week())
    members = np.mean([b + d for a, b, _, d in rows if a])
    others = np.mean([d for a, _, _, d in rows if not a])
    within = analysis.within_players(rows)
    assert within is not None
    assert members / others > within.high


def test_the_same_rows_give_the_same_digits() -> None:
    rows = days_of(simulation.week())
    assert analysis.within_players(rows) == analysis.within_players(rows)


def test_players_without_both_kinds_of_days_say_nothing() -> None:
    assert analysis.within_players([(3, 9, 0, 0), (0, 0, 4, 1)]) is None
    assert analysis.within_players([(1, 2, 1, 0), (1, 2, 1, 0)]) is None


def test_groups_that_are_alike_seldom_differ_and_groups_that_are_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "RESAMPLES", 400)
    chance = np.random.default_rng(1)
    alike = [analysis.compare(chance.poisson(5, 30), chance.poisson(5, 30)).p for _ in range(100)]
    assert sum(p < 0.05 for p in alike) <= 12, "5 of 100 were meant"
    assert analysis.compare(chance.poisson(9, 30), chance.poisson(5, 30)).p < 0.01
    assert analysis.compare([1.0, 3.0], [2.0, 4.0]).first == 2.0


def test_a_curve_counts_those_who_stay_for_as_long_as_they_were_seen() -> None:
    """Of four, one leaves after 1 day; one is seen for 2 days only; of the two who are left, one leaves after 3."""
    curve = analysis.lasting([1.0, 2.0, 3.0, 4.0], [True, False, True, False])
    assert [curve.after(day) for day in (0.5, 1, 2, 3, 9)] == [1.0, 0.75, 0.75, 0.375, 0.375]
    assert (curve.memberships, curve.ended) == (4, 2)


def test_where_nobody_leaves_all_stay() -> None:
    assert analysis.lasting([1.0, 2.0], [False, False]).after(5) == 1.0


def test_the_analysis_does_not_know_the_simulation() -> None:
    for module in (analysis, findings):
        tree = ast.parse(inspect.getsource(module))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert not names & {"simulation", "truth", "TRUTH"}


def test_weeks_follow_one_another_and_players_keep_their_guilds() -> None:
    first, second = simulation.week(1), simulation.week(2)
    assert first == simulation.week(1)
    assert simulation.week(1, seed=1) != first
    assert {line.game_time[:10] for line in first} <= {f"2026-01-{day:02}" for day in range(5, 12)}
    assert {line.game_time[:10] for line in second} <= {f"2026-01-{day:02}" for day in range(12, 19)}
    members: set[tuple[str, str]] = set()
    for line in first + second:
        deed, _, guild = line.path[1:].partition("/")
        if deed == "join_guild":
            assert (line.player, guild) not in members
            members.add((line.player, guild))
        if deed == "leave_guild":
            members.remove((line.player, guild))  # nobody leaves a guild that they are not in
    times = [datetime.fromisoformat(line.game_time.replace("Z", "+00:00")) for line in first + second]
    assert times == sorted(times)


def test_a_line_with_a_clock_says_it_in_a_header() -> None:
    command = simulation.week()[0].command("http://127.0.0.1:5000")
    assert command[command.index("-H") + 2 :][1].startswith("X-Game-Time: 2026-01-05T")


def test_every_oddity_is_planted_in_every_week() -> None:
    for number in (1, 2):
        planted = [line for line in simulation.week(number) if line.requests > 1]
        assert [line.requests for line in planted] == [60, 9, 2, 2, 2]
