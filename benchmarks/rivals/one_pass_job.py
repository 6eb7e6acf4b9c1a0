"""What any landing has to do at the least: Spark parses each event once, and writes it divided by its type.

No guarantee of the lab: nothing is checked, known again, made visible at once or begun where the last one ended.

spark-submit benchmarks/rivals/one_pass_job.py FOLDER
"""

from __future__ import annotations

import sys

from pyspark.sql import Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lab.pipeline.landing import CONSUMER
from lab.pipeline.transforms import CORRUPT, payload_schema
from lab.settings import Settings


def run(settings: Settings, folder: str) -> None:
    spark = SparkSession.builder.appName("one pass").getOrCreate()
    reader = spark.read.format("kafka").option("kafka.bootstrap.servers", settings.kafka)
    reader = reader.option("subscribe", settings.topic).options(**CONSUMER)
    records = reader.option("startingOffsets", "earliest").load()
    schema = StructType([field for field in payload_schema() if field.name != CORRUPT])
    text = F.col("value").cast("string")
    events = records.select(
        text.alias("raw_event"),
        F.col("timestamp").cast("string"),
        F.from_json(text, schema).alias("event"),
        "partition",
        "offset",
    )
    rows = events.select("raw_event", "timestamp", "partition", "offset", "event.*")
    seen = Observation()
    counted = rows.observe(seen, F.count("*").alias("rows"))
    counted.write.partitionBy("event_type").parquet(f"hdfs://{settings.hdfs}{folder}")
    print(f"read {seen.get['rows']}")


if __name__ == "__main__":
    run(Settings.from_env(), sys.argv[1])
