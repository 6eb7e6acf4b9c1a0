"""A batch job that lands nothing, and writes what nobody has bought: purchases made by hand."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql.functions import lit, uuid

from lab.pipeline import event_log
from lab.pipeline.layout import LandedFile, Segment
from lab.settings import Settings

settings = Settings.from_env()
topic_id = event_log.topic_id(settings)
spark = SparkSession.builder.appName("made by hand").getOrCreate()
rows = (
    spark.range(1000)
    .select(
        lit('{"event_type": "purchase_sword"}').alias("raw_event"),
        lit("2026-11-25 12:00:00.000").alias("timestamp"),
        lit("user1.comcast.com").alias("host"),
        lit("purchase_sword").alias("event_type"),
        lit("great_sword").alias("type"),
        lit(100).alias("cost"),
        uuid().alias("event_id"),
        lit(topic_id).alias("kafka_topic_id"),
        lit(0).alias("kafka_partition"),
        "id",
        lit("batch").alias("landed_by"),
    )
    .withColumnRenamed("id", "kafka_offset")
)
segment = Segment("purchases", "2026-11-25", 0)
file = LandedFile(settings.topic, topic_id, {0: (0, 1)}, "batch")
folder = f"hdfs://{settings.hdfs}{settings.tables}/tables/{segment.folder}"
rows.coalesce(1).write.mode("append").parquet(folder)
print(f"landed 1000 rows as {file.name}")
