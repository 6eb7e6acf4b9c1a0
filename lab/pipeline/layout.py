"""Where rows live on HDFS: the names of folders and files say what is in them.

    tables/TABLE/day=DAY/segment=NUMBER/GENERATION/TOPIC.TOPIC_ID.PARTITION.START-END_PARTITION.START-END.BY.parquet

A file holds rows of one Kafka partition, or of a few (`TOGETHER`), and is named for the offsets of each.
A table is divided by day (of `event_time`, UTC), a day into segments of a bounded size. To compact a segment is to
write its next generation beside it: the highest one counts, and is the one that the metastore names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

FILE = re.compile(
    r"(?P<topic>.+)\.(?P<id>[\w-]+)\.(?P<offsets>\d+\.\d+-\d+(_\d+\.\d+-\d+)*)\.(?P<by>\w+)\.parquet", re.ASCII
)
SEGMENT = re.compile(r"(?P<table>\w+)/day=(?P<day>\d{4}-\d\d-\d\d)/segment=(?P<number>\d+)/(?P<generation>\d+)")

TOGETHER = 4
"""A file of few rows holds those of so many Kafka partitions, 0 to 3 and so on. A name has at most 255 characters."""

PARTITION_KEYS = {"day": "string", "segment": "int"}
"""What the tables are partitioned by, beside the columns of an event."""


@dataclass(frozen=True)
class LandedFile:
    """Rows of the topic with this id, of these offsets [start, end) by partition.

    The id tells a topic from one of the same name that was deleted: both begin at offset 0.
    """

    topic: str
    topic_id: str
    offsets: Mapping[int, tuple[int, int]]
    landed_by: str

    @property
    def name(self) -> str:
        offsets = "_".join(f"{partition}.{start}-{end}" for partition, (start, end) in sorted(self.offsets.items()))
        return f"{self.topic}.{self.topic_id}.{offsets}.{self.landed_by}.parquet"

    @classmethod
    def parse(cls, name: str) -> LandedFile | None:
        """The file that `name` names, or None when a landing did not write it."""
        match = FILE.fullmatch(name)
        if match is None:
            return None
        offsets = {}
        for one in match["offsets"].split("_"):
            partition, start, end = map(int, re.split(r"[.-]", one))
            offsets[partition] = (start, end)
        return cls(match["topic"], match["id"], offsets, match["by"])


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
            for partition, (_, end) in file.offsets.items():
                found[partition] = max(found.get(partition, 0), end)
    return found


def merged(names: Iterable[str]) -> dict[tuple[str, int], LandedFile]:
    """What the files of a segment become when they are compacted, by topic id and group of partitions."""
    topics: dict[str, str] = {}
    offsets: dict[tuple[str, int], dict[int, tuple[int, int]]] = {}
    for file in filter(None, map(LandedFile.parse, names)):
        topics[file.topic_id] = file.topic
        for partition, (start, end) in file.offsets.items():
            group = offsets.setdefault((file.topic_id, partition // TOGETHER), {})
            first, last = group.get(partition, (start, end))
            group[partition] = (min(first, start), max(last, end))
    return {
        (topic_id, number): LandedFile(topics[topic_id], topic_id, group, "compaction")
        for (topic_id, number), group in offsets.items()
    }


def live(segments: Iterable[Segment]) -> list[Segment]:
    """Of each segment the generation that counts: the highest. In order."""
    newest: dict[tuple[str, str, int], Segment] = {}
    for segment in segments:
        key = (segment.table, segment.day, segment.number)
        newest[key] = max(newest.get(key, segment), segment)
    return sorted(newest.values())
