"""The closing account: what the API answered, what the topic holds, and in which table each record stands."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.ledger.files import landed_ends
from lab.pipeline import event_log, queries
from lab.pipeline.events import EVENT_TYPES, QUARANTINE, REPEATS, tables
from lab.settings import Settings

LANDING_SECONDS = 90.0
NAMED = 5
"""How many of the missing or doubled are named."""


@dataclass(frozen=True)
class Check:
    """Two numbers that must agree, and whether they do."""

    what: str
    expected: str
    found: str
    ok: bool


@dataclass(frozen=True)
class TypeLine:
    """One event type: events that the API acknowledged, rows in its table, of these not the API's, and repeats."""

    event_type: str
    acknowledged: int
    landed: int
    of_others: int
    repeats: int


@dataclass
class Account:
    """The numbers of each hop, up to the same offsets; `missing`, `doubled` and `misplaced` are event ids."""

    answered: dict[str, int] = field(default_factory=dict)
    topic: dict[int, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    types: list[TypeLine] = field(default_factory=list)
    swords: int = 0
    swords_in_purchases: int = 0
    places: int = 0
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By guild: members as the API counted them, and as the joins and leaves come to."""

    @property
    def records(self) -> int:
        return sum(self.topic.values())

    def rows(self) -> list[tuple[str, str, int]]:
        """(hop, what, count), in the order of the data."""
        lines = [("API", what, count) for what, count in self.answered.items()]
        lines += [("topic", f"records in partition {p}", count) for p, count in sorted(self.topic.items())]
        lines += [("tables", name, count) for name, count in self.tables.items()]
        return [*lines, ("view", "sword_purchases", self.swords)]

    def checks(self) -> list[Check]:
        """What must hold, in the order of the hops. What others wrote to the topic comes on top of the API's events."""
        landed = sum(self.tables.values())
        acknowledged = self.answered.get("events acknowledged", 0)
        disagreeing = [guild for guild, (counted, worked_out) in self.members.items() if counted != worked_out]
        return [
            Check(
                "events that the API acknowledged, in the topic and in a table",
                str(acknowledged),
                str(acknowledged - len(self.missing)) + named(self.missing),
                not self.missing,
            ),
            Check(
                "records of the topic, each in a table",
                str(self.records),
                str(landed) + named(self.gaps),
                landed == self.records and not self.gaps,
            ),
            Check("and in no second one", str(self.records), str(self.places), self.places == self.records),
            Check("events that stand in two rows", "0", str(len(self.doubled)) + named(self.doubled), not self.doubled),
            Check(
                "events that stand in the table of another type",
                "0",
                str(len(self.misplaced)) + named(self.misplaced),
                not self.misplaced,
            ),
            Check(
                "sword_purchases holds the swords of purchases",
                str(self.swords_in_purchases),
                str(self.swords),
                self.swords == self.swords_in_purchases,
            ),
            Check(
                "guilds whose member counts disagree", "0", str(len(disagreeing)) + named(disagreeing), not disagreeing
            ),
        ]

    def first_difference(self) -> str | None:
        """The first hop at which the numbers part, as a sentence; None where they do not."""
        hops = (
            "from the API to the tables",
            "from the topic to the tables",
            "in the tables",
            "in the tables",
            "in the tables",
            "from the table to its view",
            "from the API's counts to the guild events",
        )
        for hop, check in zip(hops, self.checks(), strict=True):
            if not check.ok:
                return f"The numbers part {hop}: {check.what}: {check.found}, expected {check.expected}."
        return None

    def as_json(self) -> str:
        whole = {**asdict(self), "records": self.records, "checks": [asdict(check) for check in self.checks()]}
        return json.dumps(whole, indent=2)


def named(few: list[str]) -> str:
    """The first few, in brackets; nothing where there is none."""
    return f" ({', '.join(few[:NAMED])}{', …' if len(few) > NAMED else ''})" if few else ""


@dataclass(frozen=True)
class Journal:
    """What the API answered: how many answers by kind, and the ids of the events that it acknowledged."""

    answered: dict[str, int]
    acknowledged: frozenset[str]


def read_journal(journal: Path) -> Journal:
    """The API's journal. An event that was answered twice (an Idempotency-Key) counts as one event."""
    kinds: Counter[str] = Counter()
    acknowledged: set[str] = set()
    if journal.exists():
        for line in journal.read_text(errors="replace").splitlines():
            words = line.split(" ")
            if len(words) != 7:
                continue  # the last line of a worker that was killed
            status, event_id, logged = words[3:6]
            if logged == "yes":
                acknowledged.add(event_id)
            kinds[_kind(status, logged)] += 1
    answered = {"requests answered": sum(kinds.values()), **dict(sorted(kinds.items()))}
    return Journal({**answered, "events acknowledged": len(acknowledged)}, frozenset(acknowledged))


def _kind(status: str, logged: str) -> str:
    if status.startswith("2"):
        return "2xx: done and logged"
    if status == "404" and logged == "yes":
        return "404: rejected, and logged as such"
    if status == "503":
        return "503: not known whether logged" if logged != "no" else "503: not logged"
    return f"{status}: not logged"


def await_landed(settings: Settings, topic_id: str, ends: dict[int, int], seconds: float = LANDING_SECONDS) -> None:
    """Return when the topic has landed up to `ends`. Raises LabError when that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        landed = landed_ends(settings, topic_id)
        missing = {p: end - landed.get(p, 0) for p, end in ends.items() if landed.get(p, 0) < end}
        if not missing:
            return
        if time.monotonic() > deadline:
            raise LabError(
                f"{sum(missing.values())} records of the topic have not landed after {seconds:.0f} s.",
                "make step-6, which starts the stream; its log: make logs NAME=stream",
            )
        time.sleep(0.3)  # between two looks at HDFS


MEMBERS = """
-- A join is one member more, a leave one less, but never below zero: what a leave found missing is added again.
SELECT guild_name, max_by(guild_member_cnt, guild_seq), max_by(balance, guild_seq) - least(0, min(balance))
FROM (
  SELECT guild_name, guild_member_cnt, guild_seq,
    sum(if(event_type = 'join_guild', 1, -1)) OVER (PARTITION BY guild_name ORDER BY guild_seq) AS balance
  FROM guilds
  WHERE {here}
)
GROUP BY guild_name
ORDER BY guild_name
"""
"""By guild: the members that the API counted last, and those that its joins and leaves come to."""


def take(settings: Settings) -> Account:
    """The account up to where the topic ends now; waits until all of that has landed.

    What the API answered is read first and the topic's end after it, so that the one is never ahead of the other.
    """
    topic_id = event_log.topic_id(settings)
    journal = read_journal(settings.logs / "api-journal.log")
    ends = event_log.end_offsets(settings)
    await_landed(settings, topic_id, ends)
    up_to = " OR ".join(f"(kafka_partition = {p} AND kafka_offset < {end})" for p, end in ends.items())
    here = f"kafka_topic_id = '{topic_id}' AND ({up_to})"

    def each(columns: str, names: Iterable[str], where: str = here) -> str:
        return " UNION ALL ".join(f"SELECT '{name}' AS name, {columns} FROM {name} WHERE {where}" for name in names)

    def ask(sql: str) -> list[tuple[Any, ...]]:
        return queries.ask(settings, sql).rows

    places = each("kafka_partition, kafka_offset", tables())
    counts = dict(ask(f"SELECT name, count(*) FROM ({places}) GROUP BY name"))
    ((distinct,),) = ask(f"SELECT count(*) FROM (SELECT DISTINCT kafka_partition, kafka_offset FROM ({places}))")
    gaps = ask(
        "SELECT kafka_partition, before + 1, kafka_offset - 1 FROM (SELECT kafka_partition, kafka_offset, "
        "lag(kafka_offset, 1, -1) OVER (PARTITION BY kafka_partition ORDER BY kafka_offset) AS before "
        f"FROM ({places})) WHERE kafka_offset > before + 1 ORDER BY 1, 2 LIMIT {NAMED + 1}"
    )
    events = each("event_type, event_id", [name for name in tables() if name != QUARANTINE])
    landed = ask(f"SELECT name, event_type, event_id FROM ({events})")
    # Events of a topic that was deleted since have landed too, and only there. An event that stands in `repeats` alone
    # has not landed: it was taken for a copy of something that is not there.
    elsewhere = f"kafka_topic_id <> '{topic_id}'"
    everything = each(
        "event_id", [name for name in tables() if name not in (QUARANTINE, REPEATS)], f"({here}) OR {elsewhere}"
    )
    known = dict(ask(f"SELECT event_id, count(*) FROM ({everything}) GROUP BY event_id"))
    ((swords,),) = ask(f"SELECT count(*) FROM sword_purchases WHERE {here}")
    ((bought,),) = ask(f"SELECT count(*) FROM purchases WHERE event_type = 'purchase_sword' AND {here}")
    table_of = {declared.name: declared.table for declared in EVENT_TYPES}
    return Account(
        answered=journal.answered,
        topic=dict(ends),
        tables={table: counts.get(table, 0) for table in tables()},
        types=_by_type(landed, journal.acknowledged),
        swords=swords,
        swords_in_purchases=bought,
        places=distinct,
        missing=sorted(journal.acknowledged - known.keys()),
        doubled=sorted(event_id for event_id, count in known.items() if count > 1),
        misplaced=sorted(
            event_id
            for table, event_type, event_id in landed
            if table != REPEATS and table_of.get(event_type, table) != table
        ),
        gaps=[f"partition {p} offsets {first}-{last}" for p, first, last in gaps],
        members={
            guild: (counted, worked_out)
            for guild, counted, worked_out in ask(MEMBERS.format(here=f"({here}) OR {elsewhere}"))
        },
    )


def _by_type(landed: list[tuple[str, str, str]], acknowledged: frozenset[str]) -> list[TypeLine]:
    """The landed rows (table, event type, event id), by type."""
    found: dict[str, Counter[str]] = {declared.name: Counter() for declared in EVENT_TYPES}
    for table, event_type, event_id in landed:
        line = found.setdefault(event_type, Counter())
        if table == REPEATS:
            line["repeats"] += 1
        else:
            line["landed"] += 1
            line["acknowledged" if event_id in acknowledged else "of others"] += 1
    return [
        TypeLine(name, line["acknowledged"], line["landed"], line["of others"], line["repeats"])
        for name, line in found.items()
    ]
