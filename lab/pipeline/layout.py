"""Where rows live on HDFS: the names of folders and files say what is in them.

    tables/TABLE/day=DAY/segment=NUMBER/GENERATION/TOPIC.TOPIC_ID.PARTITION.START-END.BY.parquet

A table is divided by day (of `event_time`, UTC), a day into segments of a bounded size. To compact a segment is to
write its next generation beside it: the highest one counts, and is the one that the metastore names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

FILE = re.compile(
    r"(?P<topic>.+)\.(?P<id>[^.]+)\.(?P<partition>\d+)\.(?P<start>\d+)-(?P<end>\d+)\.(?P<by>\w+)\.parquet"
)
SEGMENT = re.compile(r"(?P<table>\w+)/day=(?P<day>\d{4}-\d\d-\d\d)/segment=(?P<number>\d+)/(?P<generation>\d+)")

PARTITION_KEYS = {"day": "string", "segment": "int"}
"""What the tables are partitioned by, beside the columns of an event."""


@dataclass(frozen=True)
class LandedFile:
    """Rows of `partition` with offsets from `start` to `end` (not included), of the topic with this id.

    The id tells a topic from one of the same name that was deleted: both begin at offset 0.
    """

    topic: str
    topic_id: str
    partition: int
    start: int
    end: int
    landed_by: str

    @property
    def name(self) -> str:
        return f"{self.topic}.{self.topic_id}.{self.partition}.{self.start}-{self.end}.{self.landed_by}.parquet"

    @classmethod
    def parse(cls, name: str) -> LandedFile | None:
        """The file that `name` names, or None when a landing did not write it."""
        match = FILE.fullmatch(name)
        if match is None:
            return None
        partition, start, end = (int(match[group]) for group in ("partition", "start", "end"))
        return cls(match["topic"], match["id"], partition, start, end, match["by"])


@dataclass(frozen=True, order=True)
class Segment:
    """A part of one day of a table, in one of its generations; `folder` is relative to the folder of the tables."""

    table: str
    day: str
    number: int
    generation: int = 0

    @property
    def folder(self) -> str:
        return f"{self.table}/day={self.day}/segment={self.number}/{self.generation}"

    @classmethod
    def parse(cls, folder: str) -> Segment | None:
        """The segment that lives in `folder`, or None when it is no segment's folder."""
        match = SEGMENT.fullmatch(folder)
        return match and cls(match["table"], match["day"], int(match["number"]), int(match["generation"]))

    @property
    def next_generation(self) -> Segment:
        return replace(self, generation=self.generation + 1)

    @property
    def next_segment(self) -> Segment:
        return Segment(self.table, self.day, self.number + 1)


def ends(names: Iterable[str], topic_id: str) -> dict[int, int]:
    """By partition, the offset up to which a topic has landed, as the names of all live files say.

    Each landing ends with a row in some table, and its files are named for its last offset.
    """
    found: dict[int, int] = {}
    for file in filter(None, map(LandedFile.parse, names)):
        if file.topic_id == topic_id:
            found[file.partition] = max(found.get(file.partition, 0), file.end)
    return found


def live(segments: Iterable[Segment]) -> list[Segment]:
    """Of each segment the generation that counts: the highest. In order."""
    newest: dict[tuple[str, str, int], Segment] = {}
    for segment in segments:
        key = (segment.table, segment.day, segment.number)
        newest[key] = max(newest.get(key, segment), segment)
    return sorted(newest.values())
