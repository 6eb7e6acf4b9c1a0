"""The streaming job: lands what arrives, a micro-batch at a time, until it is stopped.

spark-submit lab/pipeline/stream_job.py
"""

from __future__ import annotations

import json
import signal
import threading
import time

from pyspark.sql import DataFrame, SparkSession

from lab.errors import LabError
from lab.pipeline import event_log
from lab.pipeline.landing import Landing, only_writer
from lab.settings import Settings


def read(spark: SparkSession, settings: Settings, start: dict[int, int]) -> DataFrame:
    """The topic's records as an endless stream. `start` counts for a new checkpoint; later the checkpoint does."""
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka)
    reader = reader.option("subscribe", settings.topic)
    # Where the batch ended: the default, latest, would miss what was logged before this job started.
    offsets = {str(partition): offset for partition, offset in start.items()}
    return reader.option("startingOffsets", json.dumps({settings.topic: offsets})).load()


def run(settings: Settings) -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    topic_id = event_log.topic_id(settings.kafka, settings.topic)
    partitions = len(event_log.end_offsets(settings.kafka, settings.topic))
    with only_writer(settings):
        spark = SparkSession.builder.appName("stream").getOrCreate()
        landing = Landing(spark, settings, topic_id, partitions, landed_by="stream")

        def land(records: DataFrame, batch_id: int) -> None:
            print(f"{time.strftime('%H:%M:%S')} micro-batch {batch_id}: {landing.land(records)}", flush=True)

        query = (
            read(spark, settings, landing.starting_offsets())
            .writeStream.foreachBatch(land)
            .option("checkpointLocation", f"{landing.url}/checkpoints/{topic_id}")
            .trigger(processingTime=f"{settings.trigger_seconds} seconds")
            .start()
        )
        print(f"streaming from {landing.starting_offsets()}", flush=True)
        while query.isActive and not stopping.is_set():
            query.awaitTermination(1)
        query.stop()
        spark.stop()


if __name__ == "__main__":
    try:
        run(Settings.from_env())
    except LabError as error:
        raise SystemExit(str(error)) from None
