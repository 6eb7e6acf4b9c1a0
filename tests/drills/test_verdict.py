"""The verdict: passes what is whole, and finds each way in which it can be broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.drills.verdict import Answer, Place, Record, Row, Seen, judge
from lab.pipeline.events import QUARANTINE, REPEATS


def whole(kinds: list[str]) -> Seen:
    """What is seen when nothing goes wrong: an `event`, a `copy` of the first one, `rubbish` or a `refused` request."""
    seen = Seen(counts={"defaults": [(0, 0), (1, 1), (1, 1), (3, 3)]})
    events: list[Record] = []
    for number, kind in enumerate(["event", *kinds]):
        place = Place("t", number % 2, number // 2)
        if kind == "refused":
            seen.answers.append(Answer(f"tag{number}", f"e{number}", "no"))
        elif kind == "unknown":
            seen.answers.append(Answer(f"tag{number}"))
        elif kind == "rubbish":
            seen.topic.append(Record(place, None, None))
            seen.rows.append(Row(QUARANTINE, place, None, None))
        elif kind == "copy":
            copy = replace(events[0], place=place)
            seen.topic.append(copy)
            seen.rows.append(Row(REPEATS, place, copy.event_id, copy.tag))
        else:
            record = Record(place, f"e{number}", f"tag{number}")
            events.append(record)
            seen.topic.append(record)
            seen.rows.append(Row("defaults", place, record.event_id, record.tag))
            seen.answers.append(Answer(f"tag{number}", f"e{number}", "yes"))
    return seen


KINDS = st.lists(st.sampled_from(["event", "copy", "rubbish", "refused", "unknown"]), max_size=30)


def failed(seen: Seen) -> set[str]:
    return {check.what for check in judge(seen) if not check.ok}


@given(KINDS)
def test_what_is_whole_passes(kinds: list[str]) -> None:
    assert not failed(whole(kinds))


@given(KINDS, st.data())
def test_a_row_that_is_missing_is_found(kinds: list[str], data: st.DataObject) -> None:
    seen = whole(kinds)
    seen.rows.pop(data.draw(st.integers(0, len(seen.rows) - 1)))
    assert "records of the topic that are in no table" in failed(seen)


@given(KINDS, st.data())
def test_a_row_that_is_there_twice_is_found(kinds: list[str], data: st.DataObject) -> None:
    seen = whole(kinds)
    seen.rows.append(data.draw(st.sampled_from(seen.rows)))
    assert "records that are in two rows" in failed(seen)


@given(KINDS)
def test_an_event_that_never_reached_the_topic_is_found(kinds: list[str]) -> None:
    seen = whole(kinds)
    seen.answers.append(Answer("tag", "lost", "yes"))
    assert {
        "events that were accepted and are not in the topic",
        "events that were accepted and are in no table",
    } == failed(seen)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda seen: seen.counts.update(guilds=[(5, 5), (4, 4)]), "counts that a reader saw go down"),
        (lambda seen: seen.counts.update(guilds=[(4, 4), (6, 5)]), "looks at which a reader saw a row twice"),
        (lambda seen: seen.counts.clear(), "looks that a reader had meanwhile"),
        (
            lambda seen: seen.rows.__setitem__(0, replace(seen.rows[0], event_id="e99")),
            "rows that hold another event than their record",
        ),
        (
            lambda seen: seen.answers.append(Answer("x", "e0", "no")),
            "events that were refused and are in the topic",
        ),
        (
            lambda seen: seen.rows.append(Row("defaults", Place("other", 0, 0), "e99", "x")),
            "rows that are no record of the topic",
        ),
        (
            lambda seen: seen.rows.append(Row("defaults", Place("t", 0, 99), "e0", "x")),
            "events that are in two rows",
        ),
    ],
)
def test_each_other_fault_is_found(change, what: str) -> None:
    seen = whole(["event", "copy", "rubbish"])
    assert not failed(seen)
    change(seen)
    assert what in failed(seen)


def test_a_copy_that_lands_as_an_event_is_found() -> None:
    seen = whole(["copy"])
    (copy,) = (row for row in seen.rows if row.table == REPEATS)
    seen.rows[seen.rows.index(copy)] = replace(copy, table="defaults")
    assert {"events that are in two rows", "copies in the topic, each a row of repeats"} <= failed(seen)


def test_an_answered_request_made_one_event() -> None:
    seen = whole(["event", "event"])
    for rows in (seen.topic, seen.rows):
        rows[:] = [replace(row, tag="tag1") if row.tag == "tag2" else row for row in rows]
    assert failed(seen) == {"requests that made two events"}


def test_an_unanswered_request_may_have_made_one_event_but_not_two() -> None:
    seen = whole(["event", "event"])
    for record in seen.topic[1:]:
        seen.answers = [answer for answer in seen.answers if answer.event_id != record.event_id]
    seen.answers.append(Answer("tag1"))
    assert not failed(seen)
    for rows in (seen.topic, seen.rows):
        rows[:] = [replace(row, tag="tag1") if row.tag == "tag2" else row for row in rows]
    assert failed(seen) == {"requests that made two events"}
