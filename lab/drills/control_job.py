"""The control: lands the topic as many do, with a plain append. The drills' checks must fail for what it lands.

It begins at the topic's end, trusts Spark's checkpoint alone, and appends each micro-batch to a folder:

spark-submit lab/drills/control_job.py
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession

from lab.pipeline import event_log
from lab.pipeline.faults import reach
from lab.pipeline.transforms import shape
from lab.settings import Settings

POINT = "after-append"
"""Where it dies when that is ordered: the rows are in the folder, and Spark has not noted it."""


def folder(settings: Settings) -> str:
    return f"hdfs://{settings.hdfs}{settings.tables}/control"


def run(settings: Settings) -> None:
    spark = SparkSession.builder.appName("control").getOrCreate()
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka)
    records = reader.option("subscribe", settings.topic).option("startingOffsets", "latest").load()
    topic_id = event_log.topic_id(settings)

    def append(rows: DataFrame, batch_id: int) -> None:
        rows.drop("event_key").coalesce(1).write.mode("append").parquet(folder(settings))
        reach(POINT)
        print(f"micro-batch {batch_id} appended", flush=True)

    query = shape(records, topic_id, "control").writeStream.foreachBatch(append)
    checkpoint = settings.run / "control-checkpoint"
    query.option("checkpointLocation", checkpoint.as_uri()).trigger(processingTime="1 second").start()
    spark.streams.awaitAnyTermination()


if __name__ == "__main__":
    run(Settings.from_env())
