"""The benchmark's arithmetic: what a ratio means, and when a row is met."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import result, scale
from benchmarks.processes import Run
from benchmarks.result import Row, row
from lab.errors import LabError


def test_of_times_the_ratio_says_how_many_times_faster_ours_is_pair_by_pair() -> None:
    found = row("drain", [10, 20, 10], [30, 40, 100], "s", at_least=3, aim=5)
    assert (found.ours, found.theirs, found.ratio, found.pairs) == (10, 40, 3, 3)
    assert found.met


def test_of_rates_it_says_how_many_times_more_ours_does() -> None:
    found = row("api", [100, 200], [50, 50], "1/s", at_least=3.5, aim=5, more_is_better=True)
    assert found.ratio == 3
    assert not found.met


@pytest.mark.parametrize(("ours", "met"), [(0.9, True), (1.0, True), (1.1, False)])
def test_what_has_a_limit_of_its_own_is_met_below_it(ours: float, met: bool) -> None:
    assert row("latency", [ours], [10], "s", at_least=1, aim=0.5, judged="ours").met is met


def test_what_is_there_to_compare_is_neither_met_nor_missed() -> None:
    assert row("drain", [40], [14], "s", None, None).met is None


def test_pairs_belong_together() -> None:
    with pytest.raises(ValueError, match="shorter"):
        row("drain", [1, 2], [1], "s", 1, 1)


def test_the_result_is_written_as_rows_and_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(result, "PLOT", tmp_path / "latest.svg")
    monkeypatch.setattr(result, "ROOT", tmp_path)
    result.write(
        [
            Row("a", 1, 3, "s", 3, 2, 4),
            Row("b", 2, 10, "s", 5, 1, 1, "ours"),
            row("c", [1], [2], "s", None, None),
        ],
        60,
        {},
    )
    written = json.loads((tmp_path / "latest.json").read_text())
    assert [(one["name"], one["met"]) for one in written["rows"]] == [("a", True), ("b", False), ("c", None)]
    assert {"name", "ours", "theirs", "unit", "ratio", "at_least", "aim", "met"} <= written["rows"][0].keys()
    assert written["machine"]["cores"]
    assert "<svg" in (tmp_path / "latest.svg").read_text()


def test_a_rate_is_that_of_the_landings_after_the_first() -> None:
    said = "landed a\nlanded b\nsomething else\nlanded c\n"
    assert scale.warm_rate(Run(40.0, said, (10.0, 20.0, 25.0, 30.0)), events=300) == 200 / 20
    with pytest.raises(LabError, match="too few"):
        scale.warm_rate(Run(40.0, "landed a\n", (10.0,)), events=300)


def test_each_rate_is_compared_with_one_executor_of_its_own_round() -> None:
    taken = [
        {"partitions": p, "executors": e, "round": r, "rate": rate * e, "seconds": 1, "cores": 1}
        for r, rate in ((0, 100), (1, 1000))
        for p in scale.SIZES
        for e in scale.SIZES
    ]
    rows = {(row["partitions"], row["executors"]): row for row in scale.medians(taken)}
    assert rows[1, 1]["ratio"] == 1
    assert rows[4, 2]["ratio"] == 2
    assert rows[2, 4]["rate"] == 2200
