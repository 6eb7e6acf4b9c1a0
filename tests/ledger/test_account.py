"""The ledger: it closes only when every hop agrees, and names the first one that does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lab.ledger.account import Account, TypeLine, read_journal

CLOSED = Account(
    answered={"requests answered": 3, "2xx: done and logged": 2, "503: not logged": 1, "events acknowledged": 2},
    topic={0: 2, 1: 1},
    tables={"purchases": 2, "quarantine": 1},
    types=[TypeLine("purchase_sword", 2, 2, 0, 0)],
    swords=2,
    swords_in_purchases=2,
    places=3,
    members={"grubs": (1, 1)},
)


def test_a_closed_account_has_no_difference() -> None:
    assert all(check.ok for check in CLOSED.checks())
    assert CLOSED.first_difference() is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"missing": ["e7"]}, "from the API to the tables: events that the API acknowledged.*: 1 \\(e7\\), expected 2"),
        ({"tables": {"purchases": 2}}, "from the topic to the tables: .*: 2, expected 3"),
        ({"gaps": ["partition 1 offsets 0-0"]}, "from the topic to the tables: .*partition 1 offsets 0-0"),
        ({"places": 2}, "in the tables: and in no second one: 2, expected 3"),
        ({"doubled": ["e1", "e2"]}, "in the tables: events that stand in two rows: 2 \\(e1, e2\\)"),
        ({"misplaced": ["e1"]}, "in the tables: events that stand in the table of another type: 1 \\(e1\\)"),
        ({"swords": 1}, "from the table to its view"),
        ({"members": {"grubs": (2, 1)}}, "from the API's counts to the guild events: .*: 1 \\(grubs\\)"),
    ],
)
def test_each_difference_is_seen_and_named(change: dict[str, object], sentence: str) -> None:
    account = replace(CLOSED, **change)
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(account.first_difference())


def test_the_first_hop_comes_first() -> None:
    both = replace(CLOSED, missing=["e7"], doubled=["e1"])
    assert "from the API" in str(both.first_difference())


def test_only_the_first_few_are_named() -> None:
    named = str(replace(CLOSED, doubled=[f"e{n}" for n in range(9)]).first_difference())
    assert "e4, …" in named
    assert "e5" not in named


def test_machines_read_the_same_account() -> None:
    read = json.loads(CLOSED.as_json())
    assert read["records"] == 3
    assert read["topic"] == {"0": 2, "1": 1}
    assert all(check["ok"] for check in read["checks"])


def test_an_event_that_was_answered_twice_is_one_event(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    lines = ["200 e1 yes", "200 e1 yes", "404 e2 yes", "503 e3 unknown", "503 - no", "404 - no"]
    whole = "".join(f"2026-11-24T00:00:00Z GET /x {line} 0.01\n" for line in lines)
    journal.write_text(whole + "2026-11-24T00:00:01Z GET /x 20")
    read = read_journal(journal)
    assert read.acknowledged == {"e1", "e2"}
    assert read.answered == {
        "requests answered": 6,
        "2xx: done and logged": 2,
        "404: not logged": 1,
        "404: rejected, and logged as such": 1,
        "503: not known whether logged": 1,
        "503: not logged": 1,
        "events acknowledged": 2,
    }


def test_no_journal_is_no_answer(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none").answered == {"requests answered": 0, "events acknowledged": 0}
