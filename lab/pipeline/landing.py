"""Landing: each record of the topic becomes visible in exactly one table, whatever dies in between.

A landing reads the records between two offsets of each Kafka partition, writes them out of sight, a file for each
table, day and group of partitions, and lets the warehouse make them visible. Where the next one begins follows from
the files' names. An event that the topic holds twice is sent to the table `repeats` the second time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import reduce

import numpy
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from lab.errors import LabError
from lab.pipeline.compaction import compact
from lab.pipeline.events import EVENT_TYPES, QUARANTINE, REPEATS, tables
from lab.pipeline.faults import reach
from lab.pipeline.layout import TOGETHER, LandedFile
from lab.pipeline.recent import ALWAYS, MOST, Keys, RecentEvents, read_keys
from lab.pipeline.transforms import AHEAD_SECONDS, shape
from lab.pipeline.warehouse import StagedFile, Warehouse
from lab.settings import Settings

MOST_RECORDS = 400_000
"""The most that one landing takes in, so that its memory has a bound."""
FEW_RECORDS = 10_000
"""What comes after a landing of fewer is written by one task, a file for several Kafka partitions: to write, name and
compact files is what a small landing's time goes to."""
CONSUMER = {
    # How many records are handed over at once; with the default, 500, reading takes half as long again.
    "kafka.max.poll.records": "5000",
    # How long Kafka waits for a record that is not there yet. Spark asks only for what is there, but its consumers ask
    # ahead, and Kafka answers nothing else meanwhile: with the default, 500 ms, micro-batches waited for that.
    "kafka.fetch.max.wait.ms": "10",
}
"""Options of Spark's Kafka source."""


@contextmanager
def only_writer(settings: Settings) -> Iterator[None]:
    """Hold the landing lock. Raises LabError when another job of this lab is landing."""
    settings.run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.run / "landing.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LabError("Another job of this lab is landing events: nothing was landed here.", "make status") from None
    try:
        yield
    finally:
        lock.release()


@dataclass
class Landed:
    """What one landing did: rows by table, and the offsets [start, end) that it took in, by partition."""

    rows: dict[str, int] = field(default_factory=dict)
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        rows = ", ".join(f"{table} {count}" for table, count in sorted(self.rows.items())) or "no rows"
        offsets = ", ".join(f"partition {p} offsets {a}-{b}" for p, (a, b) in sorted(self.offsets.items()))
        return f"{rows} ({offsets}) in {self.seconds:.2f} s"


class TopicChanged(LabError):
    """The topic was deleted and made again, or given more partitions, while its records were read."""


class Landing:
    """The landing of one topic: knows how far it has landed, and lands what comes next.

    `topic_id` answers the topic's id at this moment.
    """

    def __init__(
        self, spark: SparkSession, settings: Settings, topic_id: Callable[[], str], partitions: int, landed_by: str
    ) -> None:
        self.spark, self.topic, self.landed_by = spark, settings.topic, landed_by
        self._topic_id_now, self.topic_id = topic_id, topic_id()
        self.partitions = range(partitions)
        self.warehouse = Warehouse(spark, settings)
        ends = self.warehouse.ends(self.topic_id)
        self.starts = {partition: ends.get(partition, 0) for partition in self.partitions}
        horizon = self._horizon()
        self.recent = RecentEvents(horizon, ahead=self._ahead(horizon))
        self._seen = self._what_is_seen()
        self._few = False

    def rows(self, records: DataFrame) -> DataFrame:
        """The rows that these records of Kafka's source come to, without what had landed when this process began."""
        rows = shape(records, self.topic_id, self.landed_by)
        partition, offset = F.col("kafka_partition"), F.col("kafka_offset")
        landed = [(partition == p) & (offset < start) for p, start in self.starts.items() if start]
        return rows.where(~reduce(lambda one, other: one | other, landed)) if landed else rows

    def land(self, rows: DataFrame) -> Landed:
        """Land what `rows` has made of some records; of each partition they are the next.

        Raises TopicChanged, and lands nothing, when the records may be those of another topic of the same name, or of
        partitions that the topic did not have at first.
        """
        begun = time.monotonic()
        reach("before-write")
        first = self._stage(rows, "first")
        staged = first
        unsure = self.recent.unsure(first.keys)
        if len(unsure):
            repeats = self._repeats(self._staged_rows("first"), unsure)
            if repeats:
                staged = self._stage(self._settle(self._staged_rows("first"), repeats), "second")
        reach("after-write")
        if self._topic_id_now() != self.topic_id:
            raise TopicChanged(
                f"The topic {self.topic} was deleted and made again: the job starts anew.", "make step-6"
            )
        if first.offsets:
            grown = self.warehouse.land(self._staged_files(staged.folder, first.offsets))
            self.recent.add(first.keys)
            compact(self.spark, self.warehouse, grown)
        self.warehouse.clear_staging()
        self._few = sum(staged.rows.values()) < FEW_RECORDS
        return Landed(staged.rows, first.offsets, time.monotonic() - begun)

    def rest(self) -> None:
        """What can wait until no record does: names that the metastore did not take, files that nobody reads."""
        self.warehouse.name_segments()
        self.warehouse.remove_old()

    def _stage(self, rows: DataFrame, folder: str) -> Staged:
        """Write the rows out of sight, a file for each table, day and group of partitions."""
        seen = Observation()
        group = F.floor(F.col("kafka_partition") / self._together)
        place = F.concat_ws(".", "table_name", "day", group)
        written = rows.observe(seen, *self._seen).withColumn("place", place).drop("event_key", "table_name", "day")
        written = written.coalesce(1) if self._few else written
        written.write.partitionBy("place").parquet(f"{self.warehouse.url}/staging/{folder}")
        found = seen.get
        if (found["last_partition"] or 0) not in self.partitions:
            raise TopicChanged(f"The topic {self.topic} has more partitions now: the job starts anew.", "make step-6")
        filled = [p for p in self.partitions if found[f"last_{p}"] is not None]
        return Staged(
            folder,
            {table: found[table] for table in tables() if found[table]},
            {p: (found[f"first_{p}"], found[f"last_{p}"] + 1) for p in filled},
            read_keys(found["keys"] or b""),
        )

    @property
    def _together(self) -> int:
        """The rows of how many partitions share a file."""
        return TOGETHER if self._few else 1

    def _what_is_seen(self) -> list[Column]:
        """What is counted while rows pass. Made once: to make it takes a tenth of a small landing's time."""
        offset = F.col("kafka_offset")
        here = [F.when(F.col("kafka_partition") == p, offset) for p in self.partitions]
        return [
            *[F.count_if(F.col("table_name") == table).alias(table) for table in tables()],
            *[F.min(column).alias(f"first_{p}") for p, column in enumerate(here)],
            *[F.max(column).alias(f"last_{p}") for p, column in enumerate(here)],
            F.max("kafka_partition").alias("last_partition"),
            F.listagg("event_key").alias("keys"),
        ]

    def _staged_rows(self, folder: str) -> DataFrame:
        rows = self.spark.read.parquet(f"{self.warehouse.url}/staging/{folder}")
        table, day = (F.split_part("place", F.lit("."), F.lit(part)) for part in (1, 2))
        return rows.select(table.alias("table_name"), day.alias("day"), "*").drop("place")

    def _staged_files(self, folder: str, offsets: dict[int, tuple[int, int]]) -> list[StagedFile]:
        """What stands in a folder of the staging area, and the names that it is to have."""
        found: dict[str, StagedFile] = {}
        for path, size in self.warehouse.hdfs.matching(f"{self.warehouse.staging}/{folder}/place=*/*.parquet").items():
            place = path.split("/")[-2].removeprefix("place=")
            if place in found:
                raise OSError(f"There are two staged files for {place}: expected one.")
            table, day, group = place.split(".")
            held = {p: both for p, both in offsets.items() if p // self._together == int(group)}
            file = LandedFile(self.topic, self.topic_id, held, self.landed_by)
            found[place] = StagedFile(path, size, table, day, file)
        return list(found.values())

    def _repeats(self, staged: DataFrame, unsure: NDArray[numpy.int64]) -> list[tuple[int, int]]:
        """Partition and offset of each unsure row whose event stands elsewhere: in a table, or earlier in `staged`."""
        events = staged.where(F.col("table_name") != QUARANTINE)
        hashes = self.spark.createDataFrame([(int(one),) for one in unsure], "hash bigint")
        suspects = (
            events.join(F.broadcast(hashes), F.xxhash64("event_id") == F.col("hash"), "left_semi")
            .select("kafka_partition", "kafka_offset", "event_id", "day")
            .collect()
        )
        landed = self._landed_ids(sorted({row.day for row in suspects}))
        ids = self.spark.createDataFrame([(row.event_id,) for row in suspects], "event_id string")
        seen = {row.event_id for row in landed.join(F.broadcast(ids), "event_id", "left_semi").distinct().collect()}
        repeats = []
        for partition, offset, event_id, _ in sorted(suspects):
            if event_id in seen:
                repeats.append((partition, offset))
            seen.add(event_id)
        return repeats

    def _settle(self, staged: DataFrame, repeats: list[tuple[int, int]]) -> DataFrame:
        """The staged rows, the repeats among them bound for their own table."""
        place = ["kafka_partition", "kafka_offset"]
        known = self.spark.createDataFrame(repeats, "kafka_partition int, kafka_offset bigint")
        joined = staged.join(F.broadcast(known.withColumn("repeated", F.lit(True))), place, "left")
        table = F.when(F.col("repeated"), F.lit(REPEATS)).otherwise(F.col("table_name"))
        settled = joined.withColumn("table_name", table).withColumn("event_key", F.lit(None).cast("binary"))
        return settled.drop("repeated").repartition("table_name", "day", "kafka_partition")

    def _landed_ids(self, days: list[str]) -> DataFrame:
        """The ids of all events of these days that have landed, of whatever topic of this name."""
        paths = [path for day in days for path in self._event_files(day)]
        if not paths:
            return self.spark.createDataFrame([], "event_id string")
        return self.spark.read.schema("event_id string").parquet(*paths)

    def _event_files(self, day: str) -> list[str]:
        """The files of one day in the tables of events: neither the quarantine's nor those of repeats."""
        declared = {event_type.table for event_type in EVENT_TYPES}
        shelves = [shelf for shelf in self.warehouse.shelves(day=day) if shelf.segment.table in declared]
        return [path for shelf in shelves for path in self.warehouse.paths(shelf)]

    def _horizon(self) -> int:
        """The latest time of an event that has landed, of those with a time that can be trusted."""
        time_of, stored = F.expr("try_to_timestamp(event_time)"), F.expr("try_to_timestamp(timestamp)")
        trusted = F.when(time_of <= stored + F.expr(f"INTERVAL {AHEAD_SECONDS + 1} SECONDS"), F.unix_micros(time_of))
        for day in reversed(self.warehouse.days()):
            paths = self._event_files(day)
            if paths:
                rows = self.spark.read.schema("event_time string, timestamp string").parquet(*paths)
                ((latest,),) = rows.select(F.max(trusted)).collect()
                if latest is not None:
                    return int(latest)
        return ALWAYS

    def _ahead(self, horizon: int) -> list[int]:
        """The hashes of the events that have landed with a time after the horizon: one that could not be trusted."""
        first = "" if horizon == ALWAYS else str(datetime.fromtimestamp(horizon / 1e6, timezone.utc).date())
        paths = [path for day in self.warehouse.days() if day >= first for path in self._event_files(day)]
        if not paths:
            return []
        rows = self.spark.read.schema("event_id string, event_time string").parquet(*paths)
        late = rows.where(F.expr("unix_micros(try_to_timestamp(event_time))") > horizon)
        return [row[0] for row in late.select(F.xxhash64("event_id")).limit(MOST + 1).collect()]


@dataclass(frozen=True)
class Staged:
    """What was written out of sight: rows by table, offsets [start, end) by partition, and the events' keys."""

    folder: str
    rows: dict[str, int]
    offsets: dict[int, tuple[int, int]]
    keys: Keys
