from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.pipeline.events import COMMON, EVENT_TYPES, SCHEMA_VERSION, make_event, payload_fields, tables

COMMON_VALUES = {"event_id": "1", "event_time": "2026-01-31T12:00:00.000000Z"}
SABRE = {"type": "sabre", "cost": 6}


def test_an_event_has_its_type_and_the_version_of_its_schema():
    event = make_event("purchase_sword", SABRE, COMMON_VALUES)
    assert event == {"event_type": "purchase_sword", "schema_version": SCHEMA_VERSION, **COMMON_VALUES, **SABRE}


def test_what_is_absent_is_not_in_the_event():
    assert "Host" not in make_event("default", {}, {**COMMON_VALUES, "Host": None})


@pytest.mark.parametrize("cost", [None, "6", 6.0, True])
def test_a_cost_that_is_not_a_whole_number_is_refused(cost):
    with pytest.raises(ValueError, match="cost"):
        make_event("purchase_sword", {"type": "sabre", "cost": cost}, COMMON_VALUES)


def test_an_undeclared_value_is_refused():
    with pytest.raises(ValueError, match=r"undeclared fields \['colour'\]"):
        make_event("default", {"colour": "red"}, COMMON_VALUES)


def test_an_undeclared_event_type_is_refused():
    with pytest.raises(KeyError, match="purchase_an_axe is not declared"):
        make_event("purchase_an_axe", {}, COMMON_VALUES)


def test_no_field_is_declared_twice_with_different_types():
    names = [field.name for field in payload_fields()]
    assert len(names) == len(set(names))


def test_no_table_has_two_columns_of_one_name():
    for columns in tables().values():
        names = [field.column for field in columns]
        assert len(names) == len(set(names))


def a_value(type_name: str) -> st.SearchStrategy[object]:
    return {"string": st.text(), "int": st.integers(), "bigint": st.integers(), "boolean": st.booleans()}[type_name]


@given(st.data(), st.sampled_from(EVENT_TYPES))
def test_any_event_of_declared_values_survives_json(data, event_type):
    common = {field.name: data.draw(a_value(field.type)) for field in COMMON}
    del common["schema_version"], common["event_type"]
    values = {field.name: data.draw(a_value(field.type)) for field in event_type.fields}
    event = make_event(event_type.name, values, common)
    assert json.loads(json.dumps(event)) == event
    assert event["event_type"] == event_type.name
