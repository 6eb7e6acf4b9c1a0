"""The streaming job's patience with engines that are away."""

from __future__ import annotations

import threading

import pytest

from lab.errors import LabError
from lab.pipeline import stream_job
from lab.pipeline.stream_job import persist


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_job, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(stream_job, "LAST_PAUSE", 0.02)


def test_an_engine_that_comes_back_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    left = [OSError("HDFS is away"), LabError("Kafka\nis away", "make step-1")]

    def attempt() -> None:
        if left:
            raise left.pop()

    persist(attempt, threading.Event())
    assert not left
    said = capsys.readouterr().out
    assert "Kafka is away" in said
    assert said.count("tried again in") == 2


def test_patience_has_an_end() -> None:
    tried = []

    def attempt() -> None:
        tried.append(1)
        raise OSError("HDFS is away")

    with pytest.raises(OSError, match="HDFS is away"):
        persist(attempt, threading.Event(), patience=0.1)
    assert len(tried) > 2


def test_a_mistake_of_ours_is_not_taken_for_an_engine_that_is_away() -> None:
    def attempt() -> None:
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        persist(attempt, threading.Event())


def test_who_is_to_stop_waits_no_longer() -> None:
    stopping = threading.Event()

    def attempt() -> None:
        stopping.set()
        raise OSError("HDFS is away")

    persist(attempt, stopping)
