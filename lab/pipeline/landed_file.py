"""The name of a landed file: it says which offsets of which topic the landing took in, and who landed them."""

from __future__ import annotations

import re
from dataclasses import dataclass

PATTERN = re.compile(
    r"(?P<topic>.+)\.(?P<id>[^.]+)\.(?P<partition>\d+)\.(?P<start>\d+)-(?P<end>\d+)\.(?P<by>\w+)\.parquet"
)


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
        match = PATTERN.fullmatch(name)
        if match is None:
            return None
        partition, start, end = (int(match[group]) for group in ("partition", "start", "end"))
        return cls(match["topic"], match["id"], partition, start, end, match["by"])
