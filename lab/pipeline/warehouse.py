"""The warehouse: the segments of all tables on HDFS, changed in steps that are whole or not there.

    /lab/tables/…     what the Hive tables show
    /lab/staging/…    what a landing or a compaction is still writing: thrown away when it dies
    /lab/landing/…    a landing that is decided: its files, under the names that they will have in /lab/tables

A landing is decided by one rename, of its folder from staging to landing. After that each file is renamed into its
table, and who finds a decided landing at the start ends it first. So a landing that was cut off has wholly happened
or not at all, and the files' names alone say how far each Kafka partition has landed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pyspark.sql import SparkSession

from lab.pipeline import metastore
from lab.pipeline.events import tables
from lab.pipeline.faults import reach
from lab.pipeline.hdfs import Hdfs
from lab.pipeline.layout import LandedFile, Segment, ends, live
from lab.settings import Settings

FULL_BYTES = 16 * 2**20
"""A segment that has grown to this size is left as it is; the next one takes what comes."""
OLD_SECONDS = 15 * 60.0
"""How long the files of an old generation stay: longer than Presto lets a query run (`query.max-execution-time`)."""
NAMING_SECONDS = 2.0
"""How often the metastore is asked again whether it has the tables by now."""


@dataclass
class Shelf:
    """A live segment, and the size in bytes of each of its files by name."""

    segment: Segment
    files: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True)
class StagedFile:
    """A file that was written out of sight: where, how large (bytes), for which table and day, and what it holds."""

    path: str
    size: int
    table: str
    day: str
    holds: LandedFile


class Warehouse:
    """All segments, as the one process knows them that may change them (see `landing.only_writer`)."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.hdfs = Hdfs(spark, settings.hdfs)
        self._settings = settings
        self.root = settings.tables
        self.staging = f"{self.root}/staging"
        self.url = f"hdfs://{settings.hdfs}{settings.tables}"
        self._end_decided_landing()
        self.clear_staging()
        found = list(self._segments(f"{self.root}/tables"))
        self._shelves: dict[tuple[str, str], list[Shelf]] = {}
        for segment in live(found):
            files = self.hdfs.entries(f"{self.root}/tables/{segment.folder}")
            self._shelves.setdefault((segment.table, segment.day), []).append(Shelf(segment, files))
        self._old = {
            segment: self.hdfs.modified(f"{self.root}/tables/{segment.folder.rpartition('/')[0]}")
            for segment in set(found) - {shelf.segment for shelf in self.shelves()}
        }
        self._unnamed: list[Segment] = []
        self._asked_at = float("-inf")
        self._reachable = False
        self._name(shelf.segment for shelf in self.shelves())
        self.remove_old()
        for table in tables():
            self.hdfs.make_folder(f"{self.root}/tables/{table}")

    # --- what there is ---

    def shelves(self, table: str | None = None, day: str | None = None) -> list[Shelf]:
        """The live segments, of one table or one day where they are given."""
        return [
            shelf
            for (of_table, of_day), shelves in sorted(self._shelves.items())
            for shelf in shelves
            if table in (None, of_table) and day in (None, of_day)
        ]

    def days(self) -> list[str]:
        return sorted({day for _, day in self._shelves})

    def path(self, shelf: Shelf) -> str:
        """Where Spark finds a segment: its folder."""
        return f"{self.url}/tables/{shelf.segment.folder}"

    def paths(self, shelf: Shelf) -> list[str]:
        """Where Spark finds a segment's files."""
        return [f"{self.path(shelf)}/{name}" for name in shelf.files]

    def ends(self, topic_id: str) -> dict[int, int]:
        """By partition, the offset up to which the topic has landed."""
        return ends((name for shelf in self.shelves() for name in shelf.files), topic_id)

    def open_shelf(self, table: str, day: str) -> Shelf:
        """The segment that takes the next files; it is made where there is none, or where the last one is full."""
        shelves = self._shelves.setdefault((table, day), [])
        if not shelves:
            shelves.append(Shelf(Segment(table, day, 0)))
        elif shelves[-1].size >= FULL_BYTES:
            shelves.append(Shelf(shelves[-1].segment.next_segment))
        return shelves[-1]

    # --- a landing ---

    def clear_staging(self) -> None:
        self.hdfs.delete(self.staging)

    def land(self, staged: Iterable[StagedFile]) -> list[Shelf]:
        """Make staged files visible. The segments that grew."""
        grown: dict[Segment, Shelf] = {}
        files: dict[Segment, dict[str, int]] = {}
        for file in staged:
            shelf = self.open_shelf(file.table, file.day)
            decided = f"{self.staging}/decided/{shelf.segment.folder}"
            if shelf.segment not in grown:
                self.hdfs.make_folder(decided)
                grown[shelf.segment], files[shelf.segment] = shelf, {}
            self.hdfs.rename(file.path, f"{decided}/{file.holds.name}")
            files[shelf.segment][file.holds.name] = file.size
        reach("before-decision")
        self.hdfs.rename(f"{self.staging}/decided", f"{self.root}/landing")
        reach("after-decision")
        new = [segment for segment, shelf in grown.items() if not shelf.files]
        for segment, shelf in grown.items():
            self._publish(segment, files[segment], segment in new)
            shelf.files.update(files[segment])
        reach("before-cleaning")
        self.hdfs.delete(f"{self.root}/landing")
        if new:
            self._name(new)
        return list(grown.values())

    def _publish(self, segment: Segment, names: Iterable[str], new: bool) -> None:
        """Rename the files of a decided landing into their segment, a `new` one or one that has files already."""
        source, target = f"{self.root}/landing/{segment.folder}", f"{self.root}/tables/{segment.folder}"
        if new:
            self.hdfs.make_folder(target)
        for name in names:
            self.hdfs.rename(f"{source}/{name}", f"{target}/{name}")
            reach("between-renames")

    def _end_decided_landing(self) -> None:
        for segment in self._segments(f"{self.root}/landing"):
            self._publish(segment, self.hdfs.entries(f"{self.root}/landing/{segment.folder}"), new=True)
        self.hdfs.delete(f"{self.root}/landing")

    # --- a new generation ---

    def replace(self, shelf: Shelf, staged: dict[str, str]) -> None:
        """Let these staged files (path: name) be all that a segment holds, from one moment to the next.

        Queries that have begun go on with the old files; `remove_old` removes them when no query can need them.
        """
        old, new = shelf.segment, shelf.segment.next_generation
        self.hdfs.make_folder(f"{self.staging}/generation")
        for path, name in staged.items():
            self.hdfs.rename(path, f"{self.staging}/generation/{name}")
        files = self.hdfs.entries(f"{self.staging}/generation")
        reach("before-new-generation")
        self.hdfs.rename(f"{self.staging}/generation", f"{self.root}/tables/{new.folder}")
        reach("after-new-generation")
        shelf.segment, shelf.files = new, files
        self._old[old] = time.time()
        self._name([new])

    def remove_old(self) -> None:
        """Remove the old generations that no query reads any more."""
        if self._reachable:
            for segment in [old for old, since in self._old.items() if time.time() - since > OLD_SECONDS]:
                self.hdfs.delete(f"{self.root}/tables/{segment.folder}")
                del self._old[segment]

    # --- names ---

    def name_segments(self) -> None:
        """Ask the metastore again for what it did not know or did not answer, but not at each micro-batch."""
        if self._unnamed and time.monotonic() - self._asked_at > NAMING_SECONDS:
            self._name([])

    @property
    def waits_for_metastore(self) -> bool:
        """Whether there are segments that the metastore could not be asked to name."""
        return bool(self._unnamed) and not self._reachable

    def _name(self, segments: Iterable[Segment]) -> None:
        """Let the metastore name these segments; those that it cannot name yet wait for `name_segments`."""
        self._unnamed = live([*self._unnamed, *segments])
        if not self._unnamed:
            return
        try:
            named = metastore.name(self._settings, self._unnamed)
            self._unnamed = named.unknown
            self._reachable = True
            moved = {(one.table, one.day, one.number) for one in named.moved}
            for old in self._old:
                if (old.table, old.day, old.number) in moved:
                    self._old[old] = time.time()  # until now queries began to read it
        except metastore.Unreachable as error:
            self._reachable = False
            print(f"{error}: {len(self._unnamed)} segments are named later", flush=True)
        self._asked_at = time.monotonic()

    # --- folders ---

    def _segments(self, root: str) -> Iterator[Segment]:
        """The segments below a folder, in all their generations."""
        for table in self.hdfs.entries(root):
            for day in self.hdfs.entries(f"{root}/{table}"):
                for number in self.hdfs.entries(f"{root}/{table}/{day}"):
                    for generation in self.hdfs.entries(f"{root}/{table}/{day}/{number}"):
                        segment = Segment.parse(f"{table}/{day}/{number}/{generation}")
                        if segment:
                            yield segment
