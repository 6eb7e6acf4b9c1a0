"""Writes the rows of each table into one file, for the questions to be asked of it.

spark-submit benchmarks/rivals/one_file_job.py FOLDER
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lab.ledger import files
from lab.pipeline.events import tables
from lab.pipeline.transforms import table_schema
from lab.settings import Settings


def run(settings: Settings, folder: str) -> None:
    spark = SparkSession.builder.appName("one file").getOrCreate()
    root = f"hdfs://{settings.hdfs}{settings.tables}/tables"
    paths: dict[str, list[str]] = {table: [] for table in tables()}
    for entry in files.landed_files(settings):
        paths[entry.segment.table].append(f"{root}/{entry.segment.folder}/{entry.name}")
    for table, fields in tables().items():
        rows = spark.read.schema(table_schema(fields)).parquet(*paths[table]) if paths[table] else None
        if rows is None:
            rows = spark.createDataFrame([], table_schema(fields))
        day = F.lit("") if table == "quarantine" else F.substring("event_time", 1, 10)
        rows = rows.withColumn("day", day).withColumn("segment", F.lit(0))
        rows.coalesce(1).write.parquet(f"hdfs://{settings.hdfs}{folder}/{table}")


if __name__ == "__main__":
    run(Settings.from_env(), sys.argv[1])
