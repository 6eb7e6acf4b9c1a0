"""From Kafka records to rows of tables: one parse of each record, shared by the batch job and the stream.

Only Spark's own functions work on the rows; no Python runs per row.
"""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, IntegerType, LongType, StringType, StructField, StructType

from lab.pipeline.events import COMMON, EVENT_TYPES, QUARANTINE, SCHEMA_VERSION, Field, payload_fields

MOST_BYTES = 65_536
"""The largest record that is read as an event; the API bounds what it logs far below."""

SPARK_TYPES = {"string": StringType(), "int": IntegerType(), "bigint": LongType(), "boolean": BooleanType()}
CORRUPT = "_corrupt"


def payload_schema() -> StructType:
    """The payload as Spark reads it: all fields of all events, and what did not fit in `_corrupt`."""
    fields = [StructField(field.name, SPARK_TYPES[field.type]) for field in payload_fields()]
    return StructType([*fields, StructField(CORRUPT, StringType())])


def shape(records: DataFrame, topic_id: str, landed_by: str) -> DataFrame:
    """One row for each record of Kafka's source (`value`, `partition`, `offset`, `timestamp`).

    Columns: `table_name`, then every column of every table in `events.tables()`; those of other tables are null.
    A record that is not an event as declared goes to the table `quarantine`, with its bytes and the reason.
    """
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
    text = F.col("value").cast("string")
    parsed = records.select(
        "value", "partition", "offset", "timestamp", F.from_json(text, payload_schema(), options).alias("event")
    )
    judged = parsed.withColumn("problem", _problem())
    event = F.when(F.col("problem").isNull(), F.col("event"))
    columns = [event[field.name].alias(field.column) for field in payload_fields() if field.name != "reason"]
    return judged.select(
        _table().alias("table_name"),
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
            | ~F.col("value").cast("string").rlike(r"^\s*\{"),
            F.lit("not a JSON object of the declared types"),
        ),
        (event_type.isNull(), F.lit("event_type is missing")),
        (~event_type.isin(known), F.concat(F.lit("unknown event_type: "), F.substring(event_type, 1, 100))),
        (version > SCHEMA_VERSION, F.lit(f"schema_version is newer than {SCHEMA_VERSION}, the newest this lab reads")),
        (_lacks(COMMON), F.lit("a field that each event has is missing")),
        (F.expr("try_to_timestamp(event.event_time)").isNull(), F.lit("event_time is not a time")),
    ]
    for declared in EVENT_TYPES:
        if declared.fields:
            names = ", ".join(field.name for field in declared.fields if field.required)
            checks.append(
                ((event_type == declared.name) & _lacks(declared.fields), F.lit(f"one of {names} is missing"))
            )
    return F.coalesce(*[F.when(condition, reason) for condition, reason in checks])


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
