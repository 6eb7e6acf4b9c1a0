"""The verdict: what was seen during a drill, and whether anything was lost, doubled or taken back.

It knows no engine: what it is given was read from the players' answers, from the topic and from Presto, each by a
client of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from lab.ledger.account import Check, named
from lab.pipeline.events import QUARANTINE, REPEATS


@dataclass(frozen=True)
class Answer:
    """What a player got for one request. `tag` is what the request and its event carry as User-Agent.

    `logged` is the API's word: yes, no, later or unknown; where no answer came, it and `event_id` are empty.
    """

    tag: str
    event_id: str = ""
    logged: str = ""


@dataclass(frozen=True)
class Place:
    """Where a record stands: its topic's id, its partition, its offset."""

    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Record:
    """A record of the topic; one that is no event has no `event_id`."""

    place: Place
    event_id: str | None
    tag: str | None


@dataclass(frozen=True)
class Row:
    """A row of a table, as Presto shows it."""

    table: str
    place: Place
    event_id: str | None
    tag: str | None


@dataclass
class Seen:
    """All that was seen. `counts` holds, by table, what a reader was told meanwhile: rows, and their places."""

    answers: list[Answer] = field(default_factory=list)
    topic: list[Record] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    counts: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


def judge(seen: Seen) -> list[Check]:
    """What must hold after any fault, in the order of the hops."""
    accepted = {answer.event_id for answer in seen.answers if answer.logged == "yes"}
    refused = {answer.event_id for answer in seen.answers if answer.logged == "no"}
    events = [record for record in seen.topic if record.event_id is not None]
    in_topic = {record.event_id for record in events if record.event_id}
    shown = [row for row in seen.rows if row.table not in (QUARANTINE, REPEATS)]
    in_tables = Counter(row.event_id for row in shown)
    places = Counter(row.place for row in seen.rows)
    tags = Counter(row.tag for row in shown if row.tag)
    said = {record.place: record.event_id for record in seen.topic}
    tables = Counter(row.table for row in seen.rows)

    looks = [(table, rows, places) for table, counts in seen.counts.items() for rows, places in counts]
    went_down = [
        f"{table} {one} to {other}"
        for table, counts in seen.counts.items()
        for (one, _), (other, _) in pairwise(counts)
        if other < one
    ]
    return [
        _none("events that were accepted and are not in the topic", accepted - in_topic),
        _none("events that were refused and are in the topic", refused & in_topic),
        _none("records of the topic that are in no table", map(_said, {r.place for r in seen.topic} - places.keys())),
        _none("records that are in two rows", (_said(place) for place, count in places.items() if count > 1)),
        _none("rows that are no record of the topic", map(_said, places.keys() - {r.place for r in seen.topic})),
        _none(
            "rows that hold another event than their record",
            (
                _said(row.place)
                for row in seen.rows
                if row.table != QUARANTINE and row.event_id != said.get(row.place, row.event_id)
            ),
        ),
        _none("events that were accepted and are in no table", accepted - in_tables.keys()),
        _none("events that are in two rows", (str(one) for one, count in in_tables.items() if count > 1)),
        _none("requests that made two events", (tag for tag, count in tags.items() if count > 1)),
        _same("copies in the topic, each a row of repeats", len(events) - len(in_topic), tables[REPEATS]),
        _same("records that are no event, each in quarantine", len(seen.topic) - len(events), tables[QUARANTINE]),
        Check("looks that a reader had meanwhile", "some", str(len(looks)), bool(looks)),
        _none("counts that a reader saw go down", went_down),
        _none(
            "looks at which a reader saw a row twice",
            (f"{table} {rows} rows of {places} records" for table, rows, places in looks if rows != places),
        ),
    ]


def _none(what: str, found: Iterable[str]) -> Check:
    few = sorted(found)
    return Check(what, "0", f"{len(few)}{named(few)}", not few)


def _same(what: str, expected: int, found: int) -> Check:
    return Check(what, str(expected), str(found), expected == found)


def _said(place: Place) -> str:
    return f"{place.partition}:{place.offset}"
