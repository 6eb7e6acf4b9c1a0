"""The limit: Spark copies the topic's records to parquet as they are, with the reader's settings of the lab's own jobs.

spark-submit benchmarks/rivals/raw_copy_job.py FOLDER
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from lab.pipeline.landing import CONSUMER
from lab.settings import Settings


def run(settings: Settings, folder: str) -> None:
    spark = SparkSession.builder.appName("raw copy").getOrCreate()
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka)
    reader = reader.option("subscribe", settings.topic).options(**CONSUMER)
    records = reader.option("startingOffsets", "earliest").load()
    writer = records.writeStream.format("parquet").option("path", f"hdfs://{settings.hdfs}{folder}/rows")
    writer = writer.option("checkpointLocation", f"hdfs://{settings.hdfs}{folder}/checkpoint")
    query = writer.trigger(availableNow=True).start()
    query.awaitTermination()
    print(f"read {sum(progress.numInputRows for progress in query.recentProgress)}")


if __name__ == "__main__":
    run(Settings.from_env(), sys.argv[1])
