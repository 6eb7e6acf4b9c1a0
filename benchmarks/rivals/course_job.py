"""The usual solution of the course, as the baseline: a streaming query for each table, each with a Python UDF filter.

    spark-submit benchmarks/rivals/course_job.py FOLDER [SECONDS]

With SECONDS it goes on for ever, with a trigger of that length, from where the topic ends; without, it drains the
topic and ends.
"""

from __future__ import annotations

import json
import sys

from pyspark.sql import Column, SparkSession
from pyspark.sql.functions import from_json, udf
from pyspark.sql.types import BooleanType, IntegerType, StringType, StructField, StructType

from lab.settings import Settings

HEADERS = ("Accept", "Host", "User-Agent", "event_type")
TABLES = {
    "purchase_sword": ("type", "cost"),
    "purchase_shield": ("type", "cost"),
    "join_guild": ("guild_name", "guild_member_cnt", "tot_guild_member_cnt"),
}


def schema(fields: tuple[str, ...]) -> StructType:
    numbers = ("cost", "guild_member_cnt", "tot_guild_member_cnt")
    return StructType(
        [StructField(name, IntegerType() if name in numbers else StringType()) for name in (*HEADERS, *fields)]
    )


def is_event(event_type: str, event: Column) -> Column:
    @udf(BooleanType())
    def check(event_as_json: str) -> bool:
        return bool(json.loads(event_as_json)["event_type"] == event_type)

    return check(event)


def run(settings: Settings, folder: str, seconds: str | None) -> None:
    spark = SparkSession.builder.appName("course").getOrCreate()
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka)
    reader = reader.option("subscribe", settings.topic)
    raw = reader.option("startingOffsets", "latest" if seconds else "earliest").load()
    queries = []
    for event_type, fields in TABLES.items():
        text = raw.value.cast("string")
        events = raw.filter(is_event(event_type, text)).select(
            text.alias("raw_event"),
            raw.timestamp.cast("string"),
            from_json(text, schema(fields)).alias("json"),
        )
        writer = events.select("raw_event", "timestamp", "json.*").writeStream.format("parquet")
        writer = writer.option("path", f"hdfs://{settings.hdfs}{folder}/{event_type}")
        writer = writer.option("checkpointLocation", f"hdfs://{settings.hdfs}{folder}/checkpoints/{event_type}")
        triggered = (
            writer.trigger(processingTime=f"{seconds} seconds") if seconds else writer.trigger(availableNow=True)
        )
        queries.append(triggered.start())
    print("streaming", flush=True)
    for query in queries:
        query.awaitTermination()
    read = {sum(progress.numInputRows for progress in query.recentProgress) for query in queries}
    print(f"read {min(read)}")


if __name__ == "__main__":
    run(Settings.from_env(), sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
