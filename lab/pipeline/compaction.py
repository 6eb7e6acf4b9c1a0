"""Compaction: the small files of a segment become one for each Kafka partition, while queries run.

The landing's own process does it, between two landings: nobody else changes a segment meanwhile. A segment has a
bounded size, and so has the time that this takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lab.pipeline.events import tables
from lab.pipeline.layout import LandedFile
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
    origins = {(file.topic_id, file.partition) for file in map(LandedFile.parse, shelf.files) if file}
    return len(shelf.files) > max(MOST_FILES, 2 * len(origins)) and shelf.size < 2 * FULL_BYTES


def compact_segment(
    spark: SparkSession,
    warehouse: Warehouse,
    shelf: Shelf,
    keep: Callable[[DataFrame], DataFrame] = lambda rows: rows,
) -> None:
    """Write the rows of a segment that are to `keep` as its next generation: a file for each topic and partition."""
    # The folder, not its files one by one: Spark asks HDFS about each path that it is given.
    rows = spark.read.schema(table_schema(tables()[shelf.segment.table])).parquet(warehouse.path(shelf))
    rows = keep(rows).withColumn("t", F.col("kafka_topic_id")).withColumn("p", F.col("kafka_partition"))
    rows.coalesce(1).write.partitionBy("t", "p").parquet(f"{warehouse.url}/staging/compacted")
    ranges: dict[tuple[str, int], LandedFile] = {}
    for file in filter(None, map(LandedFile.parse, shelf.files)):
        known = ranges.get((file.topic_id, file.partition), file)
        start, end = min(known.start, file.start), max(known.end, file.end)
        ranges[file.topic_id, file.partition] = LandedFile(
            file.topic, file.topic_id, file.partition, start, end, "compaction"
        )
    staged = {}
    for path in warehouse.hdfs.matching(f"{warehouse.staging}/compacted/t=*/p=*/*.parquet"):
        topic_id, partition = (folder.split("=", 1)[1] for folder in path.split("/")[-3:-1])
        staged[path] = ranges[topic_id, int(partition)].name
    warehouse.replace(shelf, staged)
