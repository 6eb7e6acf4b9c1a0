"""The streaming job: lands what arrives, a micro-batch at a time, until it is stopped.

spark-submit lab/pipeline/stream_job.py
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time

from pyspark.sql import DataFrame, SparkSession

from lab.errors import LabError
from lab.pipeline import event_log
from lab.pipeline.landing import MOST_RECORDS, POLLED, Landing, only_writer
from lab.settings import Settings


def read(spark: SparkSession, settings: Settings, start: dict[int, int]) -> DataFrame:
    """The topic's records from the offsets `start` on, as an endless stream."""
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka)
    reader = reader.option("subscribe", settings.topic).option("maxOffsetsPerTrigger", MOST_RECORDS)
    reader = reader.option("kafka.max.poll.records", POLLED)
    # Where the last landing ended: the default, latest, would miss what was logged before this job started.
    offsets = {str(partition): offset for partition, offset in start.items()}
    return reader.option("startingOffsets", json.dumps({settings.topic: offsets})).load()


def run(settings: Settings) -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    partitions = len(event_log.end_offsets(settings.kafka, settings.topic))
    with only_writer(settings), event_log.TopicIdentity(settings.kafka, settings.topic) as identity:
        spark = SparkSession.builder.appName("stream").getOrCreate()
        landing = Landing(spark, settings, identity.now, partitions, landed_by="stream")
        busy = threading.Lock()

        def land(rows: DataFrame, batch_id: int) -> None:
            with busy:
                print(f"{time.strftime('%H:%M:%S')} micro-batch {batch_id}: {landing.land(rows)}", flush=True)

        # Spark's own notes of a query's offsets are thrown away at each start: what has landed says where to go on,
        # and cannot be lost, or be older or newer than the tables.
        checkpoint = settings.run / "checkpoint"
        shutil.rmtree(checkpoint, ignore_errors=True)
        query = (
            # Planned once, here: what is said inside `land` is planned anew for each micro-batch.
            landing.rows(read(spark, settings, landing.starts))
            .writeStream.foreachBatch(land)
            .option("checkpointLocation", checkpoint.as_uri())
            .trigger(processingTime=f"{settings.trigger_seconds} seconds")
            .start()
        )
        print(f"streaming from {landing.starts}", flush=True)
        while query.isActive and not stopping.is_set():
            query.awaitTermination(1)
            if busy.acquire(blocking=False):
                try:
                    landing.rest()
                finally:
                    busy.release()
        query.stop()
        spark.stop()


if __name__ == "__main__":
    try:
        run(Settings.from_env())
    except LabError as error:
        raise SystemExit(str(error)) from None
