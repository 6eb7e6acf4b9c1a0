"""From Kafka records to rows of tables: one parse of each record, shared by the batch job and the stream.

Only Spark's own functions work on the rows; no Python runs per row.
"""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, BooleanType, IntegerType, LongType, StringType, StructField, StructType

from lab.pipeline.events import COMMON, EVENT_TYPES, QUARANTINE, SCHEMA_VERSION, Field, payload_fields
from lab.pipeline.recent import UNTRUSTED

MOST_BYTES = 65_536
"""The largest record that is read as an event; the API bounds what it logs far below."""

CLOCK_DAYS = 366
"""How far an event's time may be from Kafka's: the tables are divided by day, and rubbish shall not make a million."""
ISO_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\z"
"""An event's time. Spark would read more, such as `2026`, that Presto's `from_iso8601_timestamp` does not."""
AHEAD_SECONDS = 10
"""An event may be this much later than Kafka's time for it; beyond that its clock is not trusted."""

SPARK_TYPES = {
    "string": StringType(),
    "int": IntegerType(),
    "bigint": LongType(),
    "boolean": BooleanType(),
    "binary": BinaryType(),
}
CORRUPT = "_corrupt"


def payload_schema() -> StructType:
    """The payload as Spark reads it: all fields of all events, and what did not fit in `_corrupt`."""
    fields = [StructField(field.name, SPARK_TYPES[field.type]) for field in payload_fields()]
    return StructType([*fields, StructField(CORRUPT, StringType())])


def table_schema(fields: tuple[Field, ...]) -> StructType:
    """The columns of a table as Spark reads its files, by name."""
    return StructType([StructField(field.column, SPARK_TYPES[field.type]) for field in fields])


def shape(records: DataFrame, topic_id: str, landed_by: str) -> DataFrame:
    """One row for each record of Kafka's source (`value`, `partition`, `offset`, `timestamp`).

    Columns: `table_name`, `day` (of the event's time, UTC; where there is none, of Kafka's), `event_key` (what
    `recent.read_keys` reads; null where the record is no event), then every column of every table in `events.tables()`;
    those of other tables are null.
    A record that is not an event as declared goes to the table `quarantine`, with its bytes and the reason.
    """
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
    text = F.col("value").cast("string")
    parsed = records.select(
        "value", "partition", "offset", "timestamp", F.from_json(text, payload_schema(), options).alias("event")
    )
    timed = parsed.withColumn("at", F.expr("try_to_timestamp(event.event_time)"))
    judged = timed.withColumn("problem", _problem())
    at = F.when(F.col("problem").isNull(), F.col("at"))
    event = F.when(F.col("problem").isNull(), F.col("event"))
    columns = [event[field.name].alias(field.column) for field in payload_fields() if field.name != "reason"]
    return judged.select(
        _table().alias("table_name"),
        F.coalesce(at, "timestamp").cast("date").cast("string").alias("day"),
        F.when(at.isNotNull(), event_key(F.col("event.event_id"), at, F.col("timestamp"))).alias("event_key"),
        F.when(F.col("problem").isNull(), text).alias("raw_event"),
        F.date_format("timestamp", "yyyy-MM-dd HH:mm:ss.SSS").alias("timestamp"),
        *columns,
        F.coalesce("problem", event["reason"]).alias("reason"),
        F.when(F.col("problem").isNotNull(), F.col("value")).alias("raw_bytes"),
        F.lit(topic_id).alias("kafka_topic_id"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.lit(landed_by).alias("landed_by"),
    )


def event_key(event_id: Column, at: Column, stored_at: Column) -> Column:
    """An event's key, 16 bytes that `recent.read_keys` reads: the id's hash, and the time."""
    trusted = at <= stored_at + F.expr(f"INTERVAL {AHEAD_SECONDS} SECONDS")
    micros = F.when(trusted, F.unix_micros(at)).otherwise(F.lit(UNTRUSTED))
    return F.unhex(F.concat(F.lpad(F.hex(F.xxhash64(event_id)), 16, "0"), F.lpad(F.hex(micros), 16, "0")))


def _problem() -> Column:
    """Why a record is not an event, as text; null where it is one."""
    event_type, version = F.col("event.event_type"), F.col("event.schema_version")
    known = [declared.name for declared in EVENT_TYPES]
    checks: list[tuple[Column, Column]] = [
        (F.col("value").isNull(), F.lit("the record is empty")),
        (F.length("value") > MOST_BYTES, F.lit(f"the record is larger than {MOST_BYTES} bytes")),
        (
            F.col("event").isNull()
            | F.col(f"event.{CORRUPT}").isNotNull()
            | ~_looks_like_an_object(F.col("value").cast("string")),
            F.lit("not a JSON object of the declared types"),
        ),
        (event_type.isNull(), F.lit("event_type is missing")),
        (~event_type.isin(known), F.concat(F.lit("unknown event_type: "), F.substring(event_type, 1, 100))),
        (version > SCHEMA_VERSION, F.lit(f"schema_version is newer than {SCHEMA_VERSION}, the newest this lab reads")),
        (_lacks(COMMON), F.lit("a field that each event has is missing")),
        (
            F.col("at").isNull() | ~F.col("event.event_time").rlike(ISO_TIME),
            F.lit("event_time is not a time with its zone, as in 2026-01-31T12:00:00Z"),
        ),
        (
            F.abs(F.unix_micros("at") - F.unix_micros("timestamp")) > CLOCK_DAYS * 86_400_000_000,
            F.lit(f"event_time is more than {CLOCK_DAYS} days away from when Kafka stored the record"),
        ),
    ]
    for declared in EVENT_TYPES:
        if declared.fields:
            names = ", ".join(field.name for field in declared.fields if field.required)
            checks.append(
                ((event_type == declared.name) & _lacks(declared.fields), F.lit(f"one of {names} is missing"))
            )
    return F.coalesce(*[F.when(condition, reason) for condition, reason in checks])


def _looks_like_an_object(text: Column) -> Column:
    """Spark reads a JSON array of one object as that object; it is no event here."""
    return text.startswith("{") | text.rlike(r"^\s*\{")


def _lacks(fields: tuple[Field, ...]) -> Column:
    missing = [F.col("event")[field.name].isNull() for field in fields if field.required]
    return reduce(lambda one, other: one | other, missing, F.lit(False))


def _table() -> Column:
    tables: dict[str, list[str]] = {}
    for declared in EVENT_TYPES:
        tables.setdefault(declared.table, []).append(declared.name)
    chosen = F.when(F.col("problem").isNotNull(), F.lit(QUARANTINE))
    for table, names in tables.items():
        chosen = chosen.when(F.col("event.event_type").isin(names), F.lit(table))
    return chosen
