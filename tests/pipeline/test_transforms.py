"""The transformation, on a few records in a local Spark; and landing, on files, with what can be tried without HDFS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import pytest
from pyspark.sql import Row, SparkSession

from lab.pipeline.events import EVENT_TYPES, QUARANTINE, SCHEMA_VERSION, make_event, payload_fields, tables
from lab.pipeline.recent import UNTRUSTED, read_keys
from lab.pipeline.transforms import MOST_BYTES, shape

COMMON = {
    "event_id": "e1",
    "event_time": "2026-01-31T12:00:00.000001Z",
    "Host": "user1.comcast.com",
    "User-Agent": "ab",
}
SAMPLES = {"string": "x", "int": 7, "bigint": 7, "boolean": True}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", False)
    builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    builder = builder.config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
    session = builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    yield session
    session.stop()


def shaped(spark: SparkSession, *values: object) -> list[Row]:
    """The rows that these message values come to."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    at = datetime(2026, 1, 31, 12)
    records = spark.createDataFrame(
        [(None if value is None else bytearray(value), 0, offset, at) for offset, value in enumerate(encoded)],  # type: ignore[arg-type]
        "value binary, partition int, offset bigint, timestamp timestamp",
    )
    return shape(records, "topic-id", "batch").orderBy("kafka_offset").collect()


def event(name: str, /, **changes: object) -> dict[str, object]:
    declared = next(known for known in EVENT_TYPES if known.name == name)
    values = {field.name: SAMPLES[field.type] for field in declared.fields}
    return {**make_event(name, values, COMMON), **changes}


def test_each_declared_event_goes_to_its_table_with_its_values(spark: SparkSession) -> None:
    rows = shaped(spark, *[json.dumps(event(declared.name)) for declared in EVENT_TYPES])
    for row, declared in zip(rows, EVENT_TYPES, strict=True):
        assert row.table_name == declared.table
        assert json.loads(row.raw_event) == event(declared.name)
        assert row["user-agent"] == "ab"
        for field in declared.fields:
            assert row[field.column] == SAMPLES[field.type]
        assert row.raw_bytes is None


def test_a_row_has_every_column_of_every_table(spark: SparkSession) -> None:
    (row,) = shaped(spark, json.dumps(event("default")))
    assert set(row.asDict()) == {"table_name", "day", "event_key"} | {
        field.column for fields in tables().values() for field in fields
    }
    assert (row.kafka_partition, row.kafka_offset, row.landed_by) == (0, 0, "batch")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the record is empty"),
        ("", "not a JSON object"),
        ("not json", "not a JSON object"),
        ('{"event_type": "default"', "not a JSON object"),
        ("[]", "not a JSON object"),
        (f"[{json.dumps(event('default'))}]", "not a JSON object"),
        ("null", "not a JSON object"),
        (b"\xff\xfe\x00", "not a JSON object"),
        (json.dumps(event("purchase_sword", cost="4")), "not a JSON object of the declared types"),
        (json.dumps(event("purchase_sword", cost=4.5)), "not a JSON object of the declared types"),
        (json.dumps(event("purchase_sword", cost=2**40)), "not a JSON object of the declared types"),
        (json.dumps(event("purchase_sword", cost=None)), "one of type, cost is missing"),
        (json.dumps(event("default", event_type=None)), "event_type is missing"),
        (json.dumps(event("default", event_type="purchase_axe")), "unknown event_type: purchase_axe"),
        (json.dumps(event("default", event_id=None)), "a field that each event has is missing"),
        *(
            (json.dumps(event("default", event_time=said)), "event_time is not a time with its zone")
            for said in (
                "soon",
                "2026",
                "2026-01-31",
                "12:00",
                "2026-01-31 12:00:00",
                "2026-01-31T12:00:00",
                "2026-01-31T12:00:00 Europe/Paris",
                "2026-1-31T12:00:00Z",
                "2026-01-31T25:00:00Z",
                "2026-01-31T12:00:00Z\n",
            )
        ),
        (json.dumps(event("default", schema_version=SCHEMA_VERSION + 1)), "schema_version is newer"),
        (json.dumps(event("default", Accept="x" * MOST_BYTES)), "the record is larger than"),
    ],
)
def test_what_is_no_event_is_set_aside_with_its_bytes_and_the_reason(
    spark: SparkSession, value: str | bytes | None, reason: str
) -> None:
    (row,) = shaped(spark, value)
    assert row.table_name == QUARANTINE
    assert row.reason.startswith(reason)
    encoded = value.encode() if isinstance(value, str) else value
    assert (None if row.raw_bytes is None else bytes(row.raw_bytes)) == encoded
    assert row.raw_event is None
    assert row.event_id is None


def test_a_field_that_nobody_declared_stays_in_the_raw_event_only(spark: SparkSession) -> None:
    (row,) = shaped(spark, json.dumps(event("default", colour="red")))
    assert row.table_name == "defaults"
    assert "red" in row.raw_event


def test_no_two_events_declare_one_field_differently() -> None:
    assert len({field.name for field in payload_fields()}) == len(payload_fields())


@pytest.mark.parametrize(
    ("event_time", "day", "micros"),
    [
        ("2026-01-31T12:00:00.000001Z", "2026-01-31", 1_769_860_800_000_001),
        ("2026-01-30T23:59:59Z", "2026-01-30", 1_769_817_599_000_000),
        ("2026-01-31T01:30:00+02:00", "2026-01-30", 1_769_815_800_000_000),
        ("2026-01-31T12:00:10Z", "2026-01-31", 1_769_860_810_000_000),
        ("2026-01-31T12:00:10.000001Z", "2026-01-31", UNTRUSTED),  # later than Kafka's own time for it
        ("2025-02-01T00:00:00Z", "2025-02-01", 1_738_368_000_000_000),
    ],
)
def test_an_event_has_the_day_of_its_time_in_utc_and_a_key(
    spark: SparkSession, event_time: str, day: str, micros: int
) -> None:
    (row,) = shaped(spark, json.dumps(event("default", event_time=event_time)))
    assert (row.table_name, row.day) == ("defaults", day)
    assert read_keys(bytes(row.event_key))[1].tolist() == [micros]


@pytest.mark.parametrize("event_time", ["1970-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "9999-12-31T00:00:00Z"])
def test_a_time_more_than_a_year_from_kafka_s_is_set_aside(spark: SparkSession, event_time: str) -> None:
    (row,) = shaped(spark, json.dumps(event("default", event_time=event_time)))
    assert (row.table_name, row.day, row.event_key) == (QUARANTINE, "2026-01-31", None)
    assert "more than 366 days away" in row.reason


def test_two_copies_have_one_key_and_other_events_others(spark: SparkSession) -> None:
    texts = [json.dumps(event("default", event_id=ident)) for ident in ("a", "b", "a")]
    keys = [row.event_key for row in shaped(spark, *texts)]
    assert keys[0] == keys[2] != keys[1]
