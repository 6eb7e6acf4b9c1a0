"""Compaction: the small files of a segment become one for a few Kafka partitions, while queries run.

The landing's own process does it, between two landings: nobody else changes a segment meanwhile. A segment has a
bounded size, and so has the time that this takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lab.pipeline.events import tables
from lab.pipeline.layout import TOGETHER, merged
from lab.pipeline.transforms import table_schema
from lab.pipeline.warehouse import FULL_BYTES, Shelf, Warehouse

MOST_FILES = 16
"""A segment with more files is compacted."""


def compact(spark: SparkSession, warehouse: Warehouse, shelves: Iterable[Shelf]) -> None:
    """Compact the one of these segments that needs it most, if one does."""
    due = [shelf for shelf in shelves if _is_due(shelf)]
    if due:
        compact_segment(spark, warehouse, max(due, key=lambda shelf: len(shelf.files)))


def _is_due(shelf: Shelf) -> bool:
    return len(shelf.files) > max(MOST_FILES, 2 * len(merged(shelf.files))) and shelf.size < 2 * FULL_BYTES


def compact_segment(
    spark: SparkSession,
    warehouse: Warehouse,
    shelf: Shelf,
    keep: Callable[[DataFrame], DataFrame] = lambda rows: rows,
) -> None:
    """Write what is to `keep` of a segment as its next generation: a file for each topic and group of partitions."""
    # The folder, not its files one by one: Spark asks HDFS about each path that it is given.
    rows = spark.read.schema(table_schema(tables()[shelf.segment.table])).parquet(warehouse.path(shelf))
    group = F.floor(F.col("kafka_partition") / TOGETHER)
    rows = keep(rows).withColumn("t", F.col("kafka_topic_id")).withColumn("g", group)  # names that no field has
    rows.coalesce(1).write.partitionBy("t", "g").parquet(f"{warehouse.url}/staging/compacted")
    become = merged(shelf.files)
    staged = {}
    for path in warehouse.hdfs.matching(f"{warehouse.staging}/compacted/t=*/g=*/*.parquet"):
        topic_id, number = (folder.split("=", 1)[1] for folder in path.split("/")[-3:-1])
        staged[path] = become[topic_id, int(number)].name
    warehouse.replace(shelf, staged)
