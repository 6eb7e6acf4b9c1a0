"""Landing: rows become visible on HDFS exactly once, whatever dies in between.

    /lab/tables/TABLE/TOPIC.TOPIC_ID.PARTITION.START-END.BY.parquet    what the Hive tables show
    /lab/staging/TOPIC_ID                                              what is not visible yet
    /lab/progress/TOPIC_ID.json                                        where the next landing begins

A landing writes one file for each table and Kafka partition into the staging folder, then renames each into its
table, then notes its progress. A rename is atomic. The name says which offsets of the partition the landing took in
(START to END, END not included), so that after a crash between two renames the next landing reads from the names
what each table has already, and leaves it out. One process lands at a time: it holds the lab's landing lock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce

from filelock import FileLock, Timeout
from pyspark.sql import Column, DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F

from lab.errors import LabError
from lab.pipeline.events import EVENT_TYPES, QUARANTINE, REPEATS, tables
from lab.pipeline.hdfs import Hdfs
from lab.pipeline.landed_file import LandedFile
from lab.pipeline.transforms import shape
from lab.settings import Settings


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


class Landing:
    """The landing zone of one topic: knows what has landed, and lands what comes next."""

    def __init__(self, spark: SparkSession, settings: Settings, topic_id: str, partitions: int, landed_by: str) -> None:
        self.spark, self.topic, self.topic_id, self.landed_by = spark, settings.topic, topic_id, landed_by
        self.partitions = range(partitions)
        self.hdfs = Hdfs(spark, settings.hdfs)
        self.root = settings.tables
        self.url = f"hdfs://{settings.hdfs}{settings.tables}"
        self.staging = f"{self.root}/staging/{topic_id}"
        self.progress_path = f"{self.root}/progress/{topic_id}.json"
        for table in tables():
            self.hdfs.make_folder(f"{self.root}/tables/{table}")
        self.hdfs.delete(self.staging)  # left by a landing that was cut off: none of it was visible
        self.progress = {int(p): n for p, n in json.loads(self.hdfs.read_text(self.progress_path) or "{}").items()}
        self.ends = self._ends_of_tables()
        # Partitions of which this process has not yet seen where the landed part ends.
        self.behind = set(self.progress) | {partition for _, partition in self.ends}
        # Events of which a second sending has landed: their first one may still come, and has no mark of its own.
        self.resent = self._resent_among(self._landed_events())

    def starting_offsets(self) -> dict[int, int]:
        """Where the next landing begins, by partition."""
        return {partition: self.progress.get(partition, 0) for partition in self.partitions}

    def land(self, records: DataFrame) -> Landed:
        """Land these records of Kafka's source; those that have landed already are left out."""
        begun = time.monotonic()
        seen = Observation()
        rows = shape(records, self.topic_id, self.landed_by).observe(seen, *self._measures())
        if self.behind:
            rows = rows.where(self._not_landed(exempt=self._suspect()))
        folder = "first"
        counts = self._stage(rows, folder)
        if counts["suspects"]:
            staged = self.spark.read.parquet(f"{self.url}/staging/{self.topic_id}/{folder}").drop("p")
            self.resent |= self._resent_among(staged)
            settled = self._settle_repeats(staged).where(self._not_landed(exempt=F.lit(False)))
            folder = "second"
            counts = self._stage(settled.repartition("table_name", "kafka_partition"), folder)
        found = seen.get
        offsets = {
            p: (max(found[f"first_{p}"], self.progress.get(p, 0)), found[f"last_{p}"] + 1)
            for p in self.partitions
            if found[f"last_{p}"] is not None
        }
        self._publish(folder, offsets)
        del counts["suspects"]
        return Landed({table: n for table, n in counts.items() if n}, offsets, time.monotonic() - begun)

    def _suspect(self) -> Column:
        """Rows whose event may stand elsewhere too: they say so, or a second sending of them has landed."""
        suspect = F.coalesce(F.col("may_repeat"), F.lit(False))
        if self.resent:
            suspect = suspect | F.coalesce(F.col("event_id").isin(sorted(self.resent)), F.lit(False))
        return suspect

    def _measures(self) -> list[Column]:
        offset = F.col("kafka_offset")
        here = [F.when(F.col("kafka_partition") == p, offset) for p in self.partitions]
        firsts = [F.min(column).alias(f"first_{p}") for p, column in enumerate(here)]
        return firsts + [F.max(column).alias(f"last_{p}") for p, column in enumerate(here)]

    def _stage(self, rows: DataFrame, folder: str) -> dict[str, int]:
        """Write the rows out of sight, a file for each table and partition; rows by table, and `suspects`."""
        counted = Observation()
        counts = [F.count_if(F.col("table_name") == table).alias(table) for table in tables()]
        rows = rows.observe(counted, *counts, F.count_if(self._suspect()).alias("suspects"))
        rows = rows.withColumn("p", F.col("kafka_partition"))
        rows.write.partitionBy("table_name", "p").parquet(f"{self.url}/staging/{self.topic_id}/{folder}")
        return dict(counted.get)

    def _publish(self, folder: str, offsets: dict[int, tuple[int, int]]) -> None:
        """Make the staged files visible, one rename each, then note the progress."""
        base = f"{self.staging}/{folder}"
        for table_folder in self._folders(base, "table_name="):
            table = table_folder.removeprefix("table_name=")
            for partition_folder in self._folders(f"{base}/{table_folder}", "p="):
                partition = int(partition_folder.removeprefix("p="))
                start, end = offsets[partition]
                files = self.hdfs.names(f"{base}/{table_folder}/{partition_folder}")
                if len(files) != 1:
                    raise OSError(f"{len(files)} staged files for {table}, partition {partition}: expected one")
                start = max(start, self.ends.get((table, partition), 0))  # what the table had is not in this file
                name = LandedFile(self.topic, self.topic_id, partition, start, end, self.landed_by).name
                self.hdfs.rename(
                    f"{base}/{table_folder}/{partition_folder}/{files[0]}", f"{self.root}/tables/{table}/{name}"
                )
        for partition, (_, end) in offsets.items():
            if end >= self.progress.get(partition, 0):
                self.progress[partition] = end
                if all(end >= known for (_, p), known in self.ends.items() if p == partition):
                    self.behind.discard(partition)
        self.hdfs.write_text(self.progress_path, json.dumps(self.progress))
        self.hdfs.delete(self.staging)

    def _not_landed(self, exempt: Column) -> Column:
        """Which rows no table has yet. `exempt` rows are looked at later, when their table is known."""
        partition, offset = F.col("kafka_partition"), F.col("kafka_offset")
        landed = [(partition == p) & (offset < end) for p, end in self.progress.items() if p in self.behind]
        for (table, p), end in self.ends.items():
            if p in self.behind and end > self.progress.get(p, 0):
                landed.append(~exempt & (F.col("table_name") == table) & (partition == p) & (offset < end))
        return ~reduce(lambda one, other: one | other, landed, F.lit(False))

    def _folders(self, folder: str, prefix: str) -> list[str]:
        return [name for name in self.hdfs.names(folder) if name.startswith(prefix)]

    def _settle_repeats(self, staged: DataFrame) -> DataFrame:
        """Send to the table `repeats` each suspect whose event stands elsewhere: in a table, or earlier in `staged`.

        After a landing that was cut off some staged rows are visible already; a row is no repeat of itself, so that
        the same rows are chosen again.
        """
        place = ["kafka_topic_id", "kafka_partition", "kafka_offset"]
        events = staged.where(F.col("table_name") != QUARANTINE)
        ids = events.where(self._suspect()).select("event_id").distinct()
        landed = self._landed_events().join(F.broadcast(ids), "event_id", "left_semi")
        landed = landed.join(events.select(*place), place, "left_anti").select("event_id").distinct()
        order = Window.partitionBy("event_id").orderBy("kafka_partition", "kafka_offset")
        ranked = events.join(F.broadcast(ids), "event_id", "left_semi").withColumn("rank", F.row_number().over(order))
        known = landed.withColumn("known", F.lit(True))
        repeats = ranked.join(known, "event_id", "left").where("rank > 1 or known").select(*place)
        joined = staged.join(repeats.withColumn("repeated", F.lit(True)), place, "left")
        table = F.when(F.col("repeated"), F.lit(REPEATS)).otherwise(F.col("table_name"))
        return joined.withColumn("table_name", table).drop("repeated")

    def _landed_events(self) -> DataFrame:
        """What is needed of each event that has landed, of whatever topic, to know it again."""
        columns = "event_id string, may_repeat boolean, idempotency_key string, kafka_topic_id string, "
        columns += "kafka_partition int, kafka_offset bigint"
        filled = [
            f"{self.root}/tables/{table}"
            for table in sorted({declared.table for declared in EVENT_TYPES})
            if self.hdfs.names(f"{self.root}/tables/{table}")
        ]
        if not filled:
            return self.spark.createDataFrame([], columns)
        return self.spark.read.schema(columns).parquet(*[f"hdfs://{self.hdfs.address}{folder}" for folder in filled])

    def _resent_among(self, rows: DataFrame) -> set[str]:
        """The ids of events that the API has sent a second time of its own accord."""
        resent = rows.where("may_repeat and idempotency_key is null").select("event_id").distinct().collect()
        return {row.event_id for row in resent}

    def _ends_of_tables(self) -> dict[tuple[str, int], int]:
        """By table and partition, the offset up to which the table has its rows, as its files' names say."""
        ends: dict[tuple[str, int], int] = {}
        for table in tables():
            for name in self.hdfs.names(f"{self.root}/tables/{table}"):
                file = LandedFile.parse(name)
                if file and file.topic_id == self.topic_id:
                    ends[table, file.partition] = max(ends.get((table, file.partition), 0), file.end)
        return ends
