"""The quarantine job: lands again what the quarantine holds, as far as the contract can read it by now, and ends.

First the rows are landed in their tables, then the quarantine is rewritten without them. Who runs it again after it was
cut off in between finds its rows in both, and lands nothing twice: a row whose place in the topic stands in a table is
only taken out.

spark-submit lab/pipeline/quarantine_job.py
"""

from __future__ import annotations

from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lab.errors import LabError
from lab.pipeline.compaction import compact_segment
from lab.pipeline.events import QUARANTINE, tables
from lab.pipeline.faults import reach
from lab.pipeline.landing import Landing, only_writer
from lab.pipeline.transforms import shape, table_schema
from lab.pipeline.warehouse import Shelf, Warehouse
from lab.settings import Settings

PLACE = ["kafka_topic_id", "kafka_partition", "kafka_offset"]


def read(spark: SparkSession, warehouse: Warehouse, shelves: list[Shelf]) -> DataFrame:
    """What the quarantine holds, with the columns of its table."""
    paths = [path for shelf in shelves for path in warehouse.paths(shelf)]
    return spark.read.schema(table_schema(tables()[QUARANTINE])).parquet(*paths)


def places_in_tables(spark: SparkSession, warehouse: Warehouse) -> DataFrame:
    """Where the records stood in their topics that came out of the quarantine into a table."""
    columns = "kafka_topic_id string, kafka_partition int, kafka_offset bigint, landed_by string"
    shelves = [shelf for shelf in warehouse.shelves() if shelf.segment.table != QUARANTINE]
    paths = [path for shelf in shelves for path in warehouse.paths(shelf)]
    rows = spark.read.schema(columns).parquet(*paths) if paths else spark.createDataFrame([], columns)
    return rows.where("landed_by = 'quarantine'").select(*PLACE)


def run(settings: Settings) -> None:
    with only_writer(settings):
        spark = SparkSession.builder.appName("quarantine").getOrCreate()
        warehouse = Warehouse(spark, settings)
        shelves = [shelf for shelf in warehouse.shelves(QUARANTINE) if shelf.files]
        if not shelves:
            print("The quarantine is empty.")
            return
        held = read(spark, warehouse, shelves)
        before = held.count()
        places = held.groupBy("kafka_topic_id").agg(F.max("kafka_partition").alias("last")).collect()
        for topic_id, last in places:
            landing = Landing(spark, settings, partial(str, topic_id), last + 1, landed_by="quarantine")
            records = held.where(F.col("kafka_topic_id") == topic_id).select(
                F.col("raw_bytes").alias("value"),
                F.col("kafka_partition").alias("partition"),
                F.col("kafka_offset").alias("offset"),
                F.expr("try_to_timestamp(timestamp)").alias("timestamp"),
            )
            rows = shape(records, topic_id, "quarantine").where(F.col("table_name") != QUARANTINE)
            rows = rows.join(places_in_tables(spark, landing.warehouse), PLACE, "left_anti")
            print(f"landed {landing.land(rows.repartition('table_name', 'day', 'kafka_partition'))}", flush=True)
        reach("before-quarantine-cleared")
        warehouse = Warehouse(spark, settings)
        landed = places_in_tables(spark, warehouse).localCheckpoint()
        for shelf in warehouse.shelves(QUARANTINE):
            if shelf.files and read(spark, warehouse, [shelf]).join(landed, PLACE, "left_semi").limit(1).count():
                compact_segment(
                    spark, warehouse, shelf, lambda rows: rows.join(F.broadcast(landed), PLACE, "left_anti")
                )
        left = [shelf for shelf in warehouse.shelves(QUARANTINE) if shelf.files]
        remain = read(spark, warehouse, left).count() if left else 0
        print(f"The quarantine held {before} records and holds {remain} now.")
        spark.stop()


if __name__ == "__main__":
    try:
        run(Settings.from_env())
    except LabError as error:
        raise SystemExit(str(error)) from None
