"""Reading a report: its numbers stand where the words do, and prose is told from code."""

from __future__ import annotations

import pytest

from lab.grading import reading
from lab.settings import ROOT

TABLE = "| item | purchases |\n| --- | --- |\n| sabre | 12 |\n| katana | 1,205 |\n"


@pytest.mark.parametrize(
    ("text", "words", "value"),
    [
        ("We saw **100 purchases** by 22 players.", ("purchase",), 100),
        ("They brought 101,125 coins.", ("coin",), 101125),
        (TABLE, ("purchase",), 12),
        (TABLE, ("purchase",), 1205),
        ("Purchases: 7.", ("purchase",), 7),
    ],
)
def test_a_number_is_found_beside_its_word(text: str, words: tuple[str, ...], value: int) -> None:
    assert reading.tells(reading.sentences(text), words, value)


@pytest.mark.parametrize(
    ("text", "words", "value"),
    [
        ("We saw 100 purchases.", ("purchase",), 10),
        ("We saw 100 purchases.", ("purchase",), 0),
        ("100 players\n\nmade purchases", ("purchase",), 100),
        ("purchases of 12.5 coins", ("purchase",), 12),
        ("purchases of 12.5 coins", ("purchase",), 5),
        ("purchases on 2026-11-25", ("purchase",), 11),
        (TABLE, ("purchase",), 205),
        ("purchases: " + " ".join(map(str, range(200))), ("purchase",), 100),
    ],
)
def test_a_number_that_is_not_there_is_not_found(text: str, words: tuple[str, ...], value: int) -> None:
    assert not reading.tells(reading.sentences(text), words, value)


def test_code_and_tables_are_no_prose() -> None:
    text = f"# Kafka\n\nKafka keeps events.\n\n```python\nkafka = 1\n```\n\n{TABLE}\n<!-- kafka -->\n"
    assert reading.prose(text) == ["Kafka keeps events."]


def test_a_heading_explains_nothing_and_a_repeated_sentence_counts_once() -> None:
    assert not reading.explains(reading.prose("## Kafka\n\nKafka is there.\n\n" * 30), ("kafka",))
    assert reading.explains(["Kafka keeps what happened " + "and so on " * 10], ("kafka",))


def test_the_lab_s_own_report_opens_as_a_notebook() -> None:
    kinds = reading.cells((ROOT / "report.md").read_text())
    assert kinds.count("code") > 10
    assert kinds.count("markdown") > 10


@pytest.mark.parametrize(
    "text", ["", "\0", "---\n: [\n---\n", "<!-- #region {-->", "```python\n", "\ud800", "#" * 100_000]
)
def test_rubbish_opens_as_nothing_or_as_text(text: str) -> None:
    assert set(reading.cells(text)) <= {"markdown", "code", "raw"}
