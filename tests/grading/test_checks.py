"""The checks: each asks one thing, those that depend on a failed one are not asked, and nothing passes unseen."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import duckdb
import pytest

from lab.grading import checks, landed, render, rubric
from lab.grading.checks import CHECKS, FAILED, PARTLY, PASSED, SKIPPED, UNCHECKED, Result
from lab.grading.course import slug
from lab.grading.examine import Evidence, Secret, Seen
from lab.grading.grade import Graded
from lab.grading.intake import Submission
from lab.grading.landed import Landed
from lab.grading.replay import Replayed
from lab.grading.wire import File, Query, Record, Table
from lab.history.plan import Plan
from lab.settings import Settings

SETTINGS = Settings.from_env({})
RUBRIC = rubric.read(set(CHECKS))
REPORT = Path(__file__).parent.parent.parent / "lab" / "grading" / "example_class" / "anvil" / "report.md"


@dataclass
class World:
    """What the examiner would see, in memory; a test breaks a part of it."""

    topic: list[Record] = field(
        default_factory=lambda: [Record(0, number, b'{"n": %d}' % number) for number in range(6)]
    )
    new: list[Record] = field(default_factory=lambda: [Record(0, 6, b"{}"), Record(0, 7, b"{ }")])
    rows: list[tuple[str, int, int, str, bytes]] = field(default_factory=list)
    topics: tuple[str, ...] = ("events",)
    started: bool = True

    def __post_init__(self) -> None:
        self.rows = [("purchases", 0, one.offset, "batch", one.value) for one in self.topic]
        self.rows += [("purchases", 0, one.offset, "stream", one.value) for one in self.new]

    def seen(self, topic: list[Record]) -> Seen:
        database = duckdb.connect(":memory:")
        database.execute('CREATE TABLE topic ("partition" INTEGER, "offset" BIGINT, value BLOB)')
        database.execute(
            "CREATE TABLE rows (table_name VARCHAR, kafka_partition INTEGER, kafka_offset BIGINT, "
            "landed_by VARCHAR, raw BLOB)"
        )
        for one in topic:
            database.execute("INSERT INTO topic VALUES (?, ?, ?)", [one.partition, one.offset, one.value])
        ends = max((one.offset for one in topic), default=-1)
        for row in self.rows:
            if row[2] <= ends or row[2] > 7:
                database.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", list(row))
        purchases = "CREATE TABLE purchases AS SELECT 'u' || (i % 4) AS host, 5 AS cost FROM range(12) AS t(i)"
        database.execute(purchases.replace("5 AS cost", "CASE WHEN i = 0 THEN 70 ELSE 5 END AS cost"))
        database.execute(
            "CREATE TABLE guilds AS SELECT "
            "CASE WHEN i < 7 THEN 'join_guild' ELSE 'leave_guild' END AS event_type FROM range(10) AS t(i)"
        )
        columns = {name: tuple(sorted({*checks.COLUMNS[name]})) for name in checks.COLUMNS}
        tables = {name: Table(name, of, f"/lab/tables/{name}") for name, of in columns.items()}
        return Seen(list(self.topics), topic, tables, Landed(database, {"purchases": [File("/a", 1)]}))

    def evidence(self, tmp_path: Path) -> Evidence:
        (tmp_path / "report.md").write_text(REPORT.read_text())
        asked = [Query(str(n), "lab", "FINISHED", f"SELECT {n} FROM purchases") for n in range(5)]
        replayed = Replayed(Plan(()), [], self.started, True, asked_requests=6, grown=6, queries=asked)
        secret = Secret(sent=[("/", 200, 200), ("/x", 404, 404)])
        evidence = Evidence(SETTINGS, RUBRIC, Submission("me", tmp_path, ""), replayed)
        if not self.started:
            evidence.unseen = dict.fromkeys(("before", "after", "secret"), "no line of the history starts the stack")
            return evidence
        evidence.before, evidence.after, evidence.secret = (
            self.seen(self.topic),
            self.seen(self.topic + self.new),
            secret,
        )
        return evidence


@pytest.fixture(autouse=True)
def engines_that_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.grading.wire.ask", lambda settings, sql: [(1,)])
    monkeypatch.setattr("lab.grading.checks.by_player", lambda settings, secret: {"a": (1, 1)})


def outcome(evidence: Evidence) -> dict[str, str]:
    return {one.check.name: one.status for one in checks.results(evidence)}


def lost(evidence: Evidence) -> dict[str, str]:
    return {name: status for name, status in outcome(evidence).items() if status != PASSED}


def test_all_is_passed_where_all_is_well(tmp_path: Path) -> None:
    results = checks.results(World().evidence(tmp_path))
    assert {one.status for one in results} == {PASSED}, results
    assert sum(one.points for one in results) == RUBRIC.most


def test_without_a_stack_only_the_report_s_text_is_looked_at(tmp_path: Path) -> None:
    found = outcome(World(started=False).evidence(tmp_path))
    assert {name for name, status in found.items() if status == PASSED} == {"report_opens", "report_explains"}
    assert found.pop("stack") == FAILED
    assert UNCHECKED not in found.values()


def test_a_topic_of_another_name_costs_what_depends_on_it(tmp_path: Path) -> None:
    found = lost(World(topics=("game_events",)).evidence(tmp_path))
    assert found.pop("topic") == FAILED
    assert set(found) == {"api", "traffic", "batch", "stream", "followed", "ledger", "report_numbers"}
    assert set(found.values()) == {SKIPPED}


def test_rows_made_by_hand_are_no_landing(tmp_path: Path) -> None:
    world = World()
    world.rows = [(table, p, offset, by, b"made up") for table, p, offset, by, _ in world.rows]
    found = lost(world.evidence(tmp_path))
    assert (found["batch"], found["stream"]) == (FAILED, FAILED)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:3] + rows[4:], "1 records in no table"),
        (lambda rows: [*rows, rows[0]], "1 rows too many"),
        (lambda rows: [*rows, ("guilds", *rows[0][1:])], "1 rows too many"),
        (lambda rows: [*rows, ("purchases", 0, 99, "batch", b"x")], "1 rows that the topic does not hold"),
        (lambda rows: [("purchases", 0, 0, "batch", b"other"), *rows[1:]], "1 rows that the topic does not hold"),
    ],
)
def test_the_account_finds_what_is_lost_doubled_or_made_up(tmp_path: Path, change: Any, said: str) -> None:
    world = World()
    world.rows = change(world.rows)
    results = {one.check.name: one for one in checks.results(world.evidence(tmp_path))}
    assert results["ledger"].status == FAILED
    assert said in results["ledger"].finding.actual


def test_a_file_that_does_not_say_where_its_rows_are_from_is_found(tmp_path: Path) -> None:
    evidence = World().evidence(tmp_path)
    assert evidence.after is not None
    evidence.after.landed.files["guilds"] = [File("/lab/tables/guilds/mine.parquet", 10)]
    assert lost(evidence)["ledger"] == FAILED


def test_a_stream_that_does_not_run_is_no_stream(tmp_path: Path) -> None:
    world = World()
    world.rows = world.rows[:-2]
    assert lost(world.evidence(tmp_path))["stream"] == FAILED


def test_what_a_batch_landed_is_no_stream_s(tmp_path: Path) -> None:
    world = World()
    world.rows = [(*row[:3], "batch", row[4]) for row in world.rows]
    assert lost(world.evidence(tmp_path))["stream"] == FAILED


def test_requests_that_became_no_event_cost_their_part(tmp_path: Path) -> None:
    evidence = World().evidence(tmp_path)
    evidence.replayed.grown = 3
    results = {one.check.name: one for one in checks.results(evidence)}
    assert (results["traffic"].status, results["traffic"].points) == (PARTLY, RUBRIC.points["traffic"] / 2)


@pytest.mark.parametrize(
    "queries",
    [
        [],
        [Query(str(n), "lab", "FAILED", f"SELECT {n} FROM purchases") for n in range(9)],
        [Query(str(n), "lab", "FINISHED", f"SELECT {n}") for n in range(9)],
        [Query(str(n), "lab", "FINISHED", "SHOW TABLES -- purchases") for n in range(9)],
    ],
)
def test_queries_that_ask_nothing_of_the_game_are_none(tmp_path: Path, queries: list[Query]) -> None:
    evidence = World().evidence(tmp_path)
    evidence.replayed.queries = queries
    assert lost(evidence) == {"queries": FAILED}


def test_one_query_many_times_is_one(tmp_path: Path) -> None:
    evidence = World().evidence(tmp_path)
    evidence.replayed.queries = [Query(str(n), "lab", "FINISHED", "SELECT  1\nFROM purchases") for n in range(9)]
    assert lost(evidence) == {"queries": PARTLY}


def test_players_that_are_counted_wrongly_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.grading.checks.by_player", lambda settings, secret: {"a": ((3, 9), (3, 8))})
    evidence = World().evidence(tmp_path)
    results = {one.check.name: one for one in checks.results(evidence)}
    assert results["followed"].status == FAILED
    assert "(3, 8), not (3, 9)" in results["followed"].finding.actual


@pytest.mark.parametrize(
    ("old", "new"), [("12 purchases", "1012 purchases"), ("125 coins", "126 coins"), ("| 7 |", "| 8 |")]
)
def test_a_number_that_is_not_the_run_s_is_found(tmp_path: Path, old: str, new: str) -> None:
    evidence = World().evidence(tmp_path)
    text = REPORT.read_text()
    assert old in text
    evidence.submission.report.write_text(text.replace(old, new))
    assert lost(evidence) == {"report_numbers": PARTLY}


def test_a_hop_that_is_not_explained_is_named(tmp_path: Path) -> None:
    evidence = World().evidence(tmp_path)
    text = REPORT.read_text()
    kept = [one for one in text.split("\n\n") if one.startswith("```") or "Presto" not in one]
    evidence.submission.report.write_text("\n\n".join(kept))
    results = {one.check.name: one for one in checks.results(evidence)}
    assert results["report_explains"].status == PARTLY
    assert results["report_explains"].finding.actual.endswith("not Presto")


def test_what_cannot_be_seen_is_neither_passed_nor_failed(tmp_path: Path) -> None:
    evidence = World().evidence(tmp_path)
    evidence.after, evidence.unseen = None, {"after": "Kafka: the end of events: timeout"}
    found = outcome(evidence)
    assert found["stack"] == UNCHECKED
    assert PASSED not in {found[name] for name in ("topic", "api", "stream", "ledger", "followed")}
    assert Graded("me", 100, checks.results(evidence)).status == 2


def test_each_check_says_what_it_asks_and_is_worth_something() -> None:
    assert all(len(one.says) > 30 for one in CHECKS.values())
    assert RUBRIC.points.keys() == CHECKS.keys()
    assert sorted(one.step for one in CHECKS.values() if one.step) == list(range(1, 9))


# --- what a grade looks like ---

EVIL = "\x1b[31m<script>|`x`|\u202e\x00]]>&\n# all points"


def graded(tmp_path: Path) -> Graded:
    results = checks.results(World(topics=("x",)).evidence(tmp_path))
    evil = Result(results[0].check, FAILED, 0, 5, checks.Finding(0, EVIL, EVIL, EVIL))
    return Graded(EVIL, 100, [evil, *results[1:]], notes=[EVIL], trouble=EVIL)


def test_what_a_submission_says_cannot_break_a_grade(tmp_path: Path) -> None:
    render.write(graded(tmp_path), tmp_path / "out")
    texts = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(texts) == {"grade.md", "results.json", "junit.xml"}
    for text in texts.values():
        assert not set(text) & {"\x1b", "\x00", "\u202e"}
    assert "<script>" not in texts["grade.md"]
    assert "\n# all points" not in texts["grade.md"]
    suite = xml.fromstring(texts["junit.xml"])
    assert int(suite.get("failures", "0")) == len(suite.findall("testcase/failure")) > 0


def test_gradescope_reads_its_format(tmp_path: Path) -> None:
    said = render.as_gradescope(graded(tmp_path))
    assert json.loads(json.dumps(said)) == said
    assert said["score"] == sum(one["score"] for one in said["tests"]) <= said["max_score"] == 100
    assert {one["status"] for one in said["tests"]} == {"passed", "failed"}
    assert all({"name", "score", "max_score", "output", "visibility"} <= one.keys() for one in said["tests"])


def test_a_class_s_table_holds_no_formula(tmp_path: Path) -> None:
    lines = [
        {"submission": "=cmd()", "folder": "cmd", "score": 3.0, "topic": "", "trouble": "@x"},
        {"submission": "b", "folder": "b", "score": 0.0},
    ]
    assert render.summary(lines, ["topic"]).splitlines() == [
        "submission,folder,score,topic,trouble",
        "'=cmd(),cmd,3.0,,'@x",
        "b,b,0.0,,",
    ]


def test_each_submission_has_a_folder_of_its_own() -> None:
    taken: set[str] = set()
    names = ["a", "A", "../../etc", "", "ä", "a b", "a_b", "..", "x" * 300, "x" * 301, "CON"]
    slugs = [slug(name, taken) for name in names]
    assert len({one.casefold() for one in slugs}) == len(names)
    assert all("/" not in one and one.strip(".") and len(one) < 100 for one in slugs)


# --- which files a query sees ---


def test_of_a_segment_the_newest_generation_is_looked_at_and_what_the_metastore_names_before_all() -> None:
    root = "/lab/tables"
    old, new = (File(f"{root}/guilds/day=1/segment=0/{n}/a.parquet", 1) for n in (9, 10))
    staged = File(f"{root}/.staging/guilds/day=1/segment=0/11/a.parquet", 1)
    loose = File(f"{root}/guilds/by-hand.parquet", 1)
    assert landed.shown([old, new, staged, loose], root, {}) == {"guilds": [new, loose]}
    named = Table("guilds", (), f"{root}/guilds", (f"{root}/guilds/day=1/segment=0/9",))
    assert landed.shown([old, new, staged], root, {"guilds": named}) == {"guilds": [old]}


def test_what_a_pipeline_would_have_to_show_that_was_not_run_could_not_be_checked(tmp_path: Path) -> None:
    evidence = World().evidence(tmp_path)
    evidence.untried = "the submitted pipeline was not run"
    found = {one.check.name: one for one in checks.results(evidence)}
    assert found["api"].status == UNCHECKED
    assert "where bubblewrap is" in found["api"].finding.hint
    assert all(one.status != PASSED for one in found.values() if one.check.of_code)
    assert found["topic"].status == PASSED
