"""The streaming job: lands what arrives, a micro-batch at a time, until it is stopped.

An engine that is away for long ends Spark's query. The job then waits, and begins a new one from what has landed.

spark-submit lab/pipeline/stream_job.py
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from lab.errors import LabError
from lab.kafka_client import for_spark
from lab.pipeline import event_log
from lab.pipeline.landing import CONSUMER, MOST_RECORDS, Landing, only_writer
from lab.settings import Settings

AWAY = (LabError, OSError, Py4JJavaError, PySparkException)
"""What is raised when an engine is away; what Spark itself got wrong looks the same."""
FIRST_PAUSE, LAST_PAUSE = 1.0, 15.0
PATIENCE_SECONDS = 600.0
"""After so much failing the process ends, and the supervisor starts another: that may help where this one could not."""
WORKED_SECONDS = 120.0
"""Who fails after so long has worked before."""


def read(spark: SparkSession, settings: Settings, start: dict[int, int]) -> DataFrame:
    """The topic's records from the offsets `start` on, as an endless stream."""
    reader = spark.readStream.format("kafka").options(**for_spark(settings))
    reader = reader.option("subscribe", settings.topic).option("maxOffsetsPerTrigger", MOST_RECORDS)
    reader = reader.options(**CONSUMER)
    # Where the last landing ended: the default, latest, would miss what was logged before this job started.
    offsets = {str(partition): offset for partition, offset in start.items()}
    return reader.option("startingOffsets", json.dumps({settings.topic: offsets})).load()


def run(settings: Settings) -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with only_writer(settings):
        spark = SparkSession.builder.appName("stream").getOrCreate()
        persist(lambda: stream(spark, settings, stopping), stopping)
        spark.stop()


def persist(attempt: Callable[[], None], stopping: threading.Event, patience: float = PATIENCE_SECONDS) -> None:
    """Call `attempt` until it returns, or until `stopping` is set.

    An engine that is away makes it fail: it is called again, after longer and longer pauses. Raises what it raised last
    when that has gone on for `patience` seconds.
    """
    failing_since, pause = float("inf"), FIRST_PAUSE
    while not stopping.is_set():
        begun = time.monotonic()
        try:
            attempt()
        except AWAY as error:
            if stopping.is_set():
                return  # what was under way has failed since Spark is ending too
            now = time.monotonic()
            if now - begun > WORKED_SECONDS:
                failing_since, pause = now, FIRST_PAUSE
            failing_since = min(failing_since, now)
            if now - failing_since >= patience:
                raise
            said = " ".join(str(error).split())[:300]
            print(f"{time.strftime('%H:%M:%S')} failed, tried again in {pause:.0f} s: {said}", flush=True)
            stopping.wait(pause)
            pause = min(2 * pause, LAST_PAUSE)
        else:
            return


def stream(spark: SparkSession, settings: Settings, stopping: threading.Event) -> None:
    """Land what arrives, from where the last landing ended, until `stopping` is set. Raises one of AWAY."""
    partitions = len(event_log.end_offsets(settings))
    with event_log.TopicIdentity(settings) as identity:
        landing = Landing(spark, settings, identity.now, partitions, landed_by="stream")
        busy = threading.Lock()

        def land(rows: DataFrame, batch_id: int) -> None:
            with busy:
                print(f"{time.strftime('%H:%M:%S')} micro-batch {batch_id}: {landing.land(rows)}", flush=True)

        # Spark's own notes of a query's offsets are thrown away at each start: what has landed says where to go on,
        # and cannot be lost, or be older or newer than the tables.
        checkpoint = settings.run / "checkpoint"
        if checkpoint.exists():
            shutil.rmtree(checkpoint)
        query = (
            # Planned once, here: what is said inside `land` is planned anew for each micro-batch.
            landing.rows(read(spark, settings, landing.starts))
            .writeStream.foreachBatch(land)
            .option("checkpointLocation", checkpoint.as_uri())
            .trigger(processingTime=f"{settings.trigger_seconds} seconds")
            .start()
        )
        print(f"streaming from {landing.starts}", flush=True)
        try:
            while not stopping.is_set():
                query.awaitTermination(1)
                if busy.acquire(blocking=False):
                    try:
                        landing.rest()
                    finally:
                        busy.release()
        finally:
            query.stop()


if __name__ == "__main__":
    try:
        run(Settings.from_env())
    except LabError as error:
        raise SystemExit(str(error)) from None
