"""The live view: what it counts, what it shows where a hop is silent, and that it never falls over."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from lab import console, watch
from lab.errors import LabError
from lab.pipeline.event_log import Record
from lab.pipeline.events import tables
from lab.pipeline.queries import Answer
from lab.pipeline.tables import VIEWS
from lab.settings import Settings
from lab.watch import Line, Reading

ALL = [*tables(), *VIEWS]


def settings_at(home: Path, **variables: str) -> Settings:
    return Settings.from_env({"LAB_HOME": str(home), **variables})


def journal_line(status: int) -> str:
    return f"2026-01-31T12:00:00.000Z GET /purchase_a_sword/sabre {status} 01a2-id yes 0.004\n"


def record(offset: int, value: bytes = b"{}") -> Record:
    return Record(0, offset, 1_769_860_800_123 + offset, None, value)


def no_tables(settings: Settings) -> dict[str, list[str]]:
    return {}


def asks_nothing(settings: Settings, sql: str) -> Answer:
    raise AssertionError(f"Presto was asked {sql}")


# --- the hops --------------------------------------------------------------------------------------------------------


def test_counts_the_journal_by_status(tmp_path: Path) -> None:
    path = tmp_path / "api-journal.log"
    path.write_text(journal_line(200) * 3 + journal_line(404) + "not a line of the journal\n")
    assert watch.Journal(path).read().lines == (Line("API", "answers", 4, "200: 3, 404: 1"),)


def test_reads_the_journal_on_from_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "api-journal.log"
    journal = watch.Journal(path)
    half = journal_line(503)
    path.write_text(journal_line(200) + half[:20])
    assert journal.read().lines[0].count == 1  # the last line is still being written
    with path.open("a") as file:
        file.write(half[20:])
    assert journal.read().lines[0].remark == "200: 1, 503: 1"


def test_counts_anew_a_journal_that_was_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "api-journal.log"
    path.write_text(journal_line(200) * 9)
    journal = watch.Journal(path)
    journal.read()
    path.write_text(journal_line(404))
    assert journal.read().lines == (Line("API", "answers", 1, "404: 1"),)


def test_says_that_the_api_has_not_run_yet(tmp_path: Path) -> None:
    with pytest.raises(LabError) as error:
        watch.Journal(tmp_path / "api-journal.log").read()
    assert str(error.value) == "The API has no journal yet.\n  try: make step-3"


def test_counts_the_topic_by_partition_and_fetches_events_only_when_there_are_new_ones(tmp_path: Path) -> None:
    ends = {1: 1000, 0: 234}
    fetched: list[int] = []

    def last_events(settings: Settings, n: int) -> list[Record]:
        fetched.append(n)
        return [record(233)]

    topic = watch.Topic(settings_at(tmp_path), lambda *_: dict(ends), last_events)
    expected = Reading((Line("topic", "events", 1234, "partition 0: 234, partition 1: 1,000"),), (record(233),))
    assert topic.read() == expected
    assert topic.read() == expected
    assert fetched == [watch.EVENTS_SHOWN]
    ends[0] += 1
    topic.read()
    assert len(fetched) == 2


def test_counts_the_rows_of_all_tables_in_one_query(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(settings: Settings, sql: str) -> Answer:
        asked.append(sql)
        return Answer(["table", "rows"], [(name, 10) for name in ALL])

    columns = {name: ["event_id"] for name in ALL}
    lines = watch.Tables(settings_at(tmp_path), lambda _: columns, ask).read().lines
    assert [line.what for line in lines] == [*ALL, "landed in all"]
    assert Line("tables", "sword_purchases", 10, "a view of purchases") in lines
    assert lines[-1].count == 10 * len(tables())  # a view's rows are rows of a table already
    (sql,) = asked
    assert sql.count("UNION ALL") == len(ALL) - 1
    assert "SELECT 'purchases', count(*) FROM purchases" in sql


def test_says_which_tables_are_missing(tmp_path: Path) -> None:
    def ask(settings: Settings, sql: str) -> Answer:
        assert sql == "SELECT 'guilds', count(*) FROM guilds"
        return Answer(["table", "rows"], [("guilds", 4)])

    lines = watch.Tables(settings_at(tmp_path), lambda _: {"guilds": [], "stranger": []}, ask).read().lines
    assert Line("tables", "guilds", 4) in lines
    assert Line("tables", "purchases", None, "not made yet (make step-7)") in lines
    assert not any(line.what == "stranger" for line in lines)


def test_counts_nothing_where_there_are_no_tables(tmp_path: Path) -> None:
    lines = watch.Tables(settings_at(tmp_path), no_tables, asks_nothing).read().lines
    assert all(line.count is None for line in lines)
    assert [line.what for line in lines] == ALL


def test_looks_again_for_tables_after_a_refused_query(tmp_path: Path) -> None:
    looked: list[int] = []
    present = {name: ["event_id"] for name in ALL}

    def table_columns(settings: Settings) -> dict[str, list[str]]:
        looked.append(1)
        return present

    def ask(settings: Settings, sql: str) -> Answer:
        if "FROM guilds" in sql and "guilds" not in present:
            raise LabError("Presto refused a query: Table hive.default.guilds does not exist", "make doctor")
        return Answer(["table", "rows"], [(name, 1) for name in present])

    hop = watch.Tables(settings_at(tmp_path), table_columns, ask)
    hop.read()
    hop.read()
    assert len(looked) == 1
    del present["guilds"]
    with pytest.raises(LabError, match="guilds does not exist"):
        hop.read()
    assert Line("tables", "guilds", None, "not made yet (make step-7)") in hop.read().lines


# --- silence ---------------------------------------------------------------------------------------------------------


def test_a_hop_that_fails_shows_a_dash_and_the_reason() -> None:
    def refuses() -> Reading:
        raise LabError("Kafka did not answer on 127.0.0.1:9092.", "make step-1")

    def stumbles() -> Reading:
        raise RuntimeError("half\x1b[2J\nan answer")

    text = watch.render(watch.snapshot({"topic": refuses, "tables": stumbles}, 5))
    assert "topic             -  Kafka did not answer on 127.0.0.1:9092. (make step-1)" in text
    assert "RuntimeError: half[2J an answer" in text


def test_a_snapshot_does_not_wait_for_a_hop_that_hangs() -> None:
    forever = threading.Event()

    def hangs() -> Reading:
        forever.wait(60)
        return Reading(())

    begun = time.monotonic()
    readings = watch.snapshot({"tables": hangs, "API": lambda: Reading((Line("API", "answers", 1),))}, 0.3)
    forever.set()
    assert time.monotonic() - begun < 5
    assert readings["tables"].lines == (Line("tables", "", None, "no answer within 0 s"),)
    assert readings["API"].lines[0].count == 1


def test_an_old_answer_of_a_silent_hop_is_not_shown_as_if_it_were_true_now() -> None:
    readings = {"tables": Reading((Line("tables", "guilds", 4),)), "topic": Reading((Line("topic", "events", 5),))}
    shown = watch.timely(readings, {"tables": 100.0, "topic": 120.0}, now=121.0)
    assert shown["tables"].lines == (Line("tables", "", None, "no answer for 21 s"),)
    assert shown["topic"] == readings["topic"]


# --- the picture -----------------------------------------------------------------------------------------------------


def test_draws_counts_and_events_in_columns() -> None:
    event = json.dumps({"event_type": "purchase_sword", "event_id": "x", "type": "katana", "cost": 10}).encode()
    readings = {
        "API": Reading((Line("API", "answers", 1234, "200: 1,234"),)),
        "topic": Reading((Line("topic", "events", 7),), (record(6, event),)),
    }
    assert watch.render(readings, {"API": 1, "topic": 1, "tables": 1}).splitlines() == [
        "hop     what     count",
        "------  -------  -----  -------------",
        "API     answers  1,234  200: 1,234",
        "topic   events       7",
        "tables               -  being asked …",
        "",
        "The newest events in the topic:",
        "time (UTC)               at   event",
        "-----------------------  ---  ----------------------------------",
        "2026-01-31 12:00:00.129  0/6  purchase_sword type=katana cost=10",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b'{"event_type": "default", "event_id": "x", "Host": "h"}', "default"),
        (b'{"event_type": "join_guild", "guild_name": "g\\u001b[2J"}', "join_guild guild_name=g[2J"),
        (b'{"bad', "unreadable: b'{\"bad'"),
        (b"[1]", "unreadable: b'[1]'"),
        (b"", "unreadable: b''"),
        (b"\xff\x1b", "unreadable: b'\\xff\\x1b'"),
    ],
)
def test_describes_any_record_in_a_line(value: bytes, text: str) -> None:
    assert watch.described(value) == text


def test_a_long_record_is_cut() -> None:
    assert len(watch.described(b"x" * 1000)) == watch.WIDEST_EVENT


# --- the run ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    hops = {"API": lambda: Reading((Line("API", "answers", 42),))}
    monkeypatch.setattr(watch, "hops", lambda settings: hops)


@pytest.mark.usefixtures("one_hop")
def test_without_a_terminal_prints_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=written, force_terminal=False, soft_wrap=True))
    begun = time.monotonic()
    assert watch.run(settings_at(tmp_path), seconds=60) == 0
    assert time.monotonic() - begun < 5
    assert written.getvalue().count("42") == 1
    assert "\x1b" not in written.getvalue()


@pytest.mark.usefixtures("one_hop")
def test_on_a_terminal_ends_after_the_given_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=written, force_terminal=True, width=80, height=40))
    assert watch.run(settings_at(tmp_path), seconds=0.2) == 0
    assert "answers     42" in written.getvalue()
    assert "Ctrl-C ends" in written.getvalue()


@pytest.mark.usefixtures("one_hop")
def test_ctrl_c_ends_without_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "out", Console(file=io.StringIO(), force_terminal=True))
    monkeypatch.setattr(watch.time, "sleep", interrupted)
    assert watch.run(settings_at(tmp_path), None) == 0
