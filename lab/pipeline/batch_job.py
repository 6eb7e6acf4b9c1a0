"""The batch job: lands what the topic holds now, from where the last landing ended, and ends.

spark-submit lab/pipeline/batch_job.py
"""

from __future__ import annotations

import json

from pyspark.sql import DataFrame, SparkSession

from lab.errors import LabError
from lab.kafka_client import for_spark
from lab.pipeline import event_log
from lab.pipeline.landing import CONSUMER, MOST_RECORDS, Landing, only_writer
from lab.settings import Settings


def read(spark: SparkSession, settings: Settings, start: dict[int, int], end: dict[int, int]) -> DataFrame:
    """The topic's records with offsets from `start` to `end` (not included), by partition."""

    def as_json(offsets: dict[int, int]) -> str:
        return json.dumps({settings.topic: {str(partition): offset for partition, offset in offsets.items()}})

    reader = spark.read.format("kafka").options(**for_spark(settings))
    reader = reader.option("subscribe", settings.topic).options(**CONSUMER)
    # Explicit offsets: the default, earliest to latest, would land everything again each time.
    return reader.option("startingOffsets", as_json(start)).option("endingOffsets", as_json(end)).load()


def run(settings: Settings) -> None:
    end = event_log.end_offsets(settings)
    if not any(end.values()):
        print("The topic holds no event yet.")
        return
    with only_writer(settings), event_log.TopicIdentity(settings) as identity:
        spark = SparkSession.builder.appName("batch").getOrCreate()
        landing = Landing(spark, settings, identity.now, len(end), landed_by="batch")
        start = landing.starts
        if start == end:
            print("The topic has nothing that has not landed yet.")
        most = max(1, MOST_RECORDS // len(end))
        while start != end:
            portion = {partition: min(end[partition], start[partition] + most) for partition in end}
            rows = landing.rows(read(spark, settings, start, portion))
            print(f"landed {landing.land(rows)}", flush=True)
            start = portion
        waiting = landing.warehouse.waits_for_metastore
        spark.stop()
        if waiting:
            raise LabError(
                "All has landed, but the metastore did not answer: Presto cannot see it yet.",
                "make step-1, then step-5",
            )


if __name__ == "__main__":
    try:
        run(Settings.from_env())
    except LabError as error:
        raise SystemExit(str(error)) from None
