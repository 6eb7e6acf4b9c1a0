"""What stands on HDFS, seen from outside the jobs: the landed files, listed over WebHDFS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from lab.errors import LabError
from lab.pipeline.layout import LandedFile, Segment, ends, live
from lab.settings import Settings


@dataclass(frozen=True)
class Entry:
    """A file that a table shows: its size in bytes, and what its name says (None where a landing did not write it)."""

    segment: Segment
    name: str
    size: int
    landed: LandedFile | None


def segments(settings: Settings) -> list[Segment]:
    """The live segments of all tables. Raises LabError when HDFS does not answer."""
    root = f"{settings.tables}/tables"

    def below(folder: str, levels: int) -> Iterator[str]:
        for entry in _list(settings, f"{root}/{folder}"):
            path = f"{folder}/{entry['pathSuffix']}".lstrip("/")
            if levels == 1:
                yield path
            elif entry["type"] == "DIRECTORY":
                yield from below(path, levels - 1)

    return live(filter(None, map(Segment.parse, below("", 4))))


def landed_files(settings: Settings) -> list[Entry]:
    """Every file of the live segments. Raises LabError when HDFS does not answer."""
    return [
        Entry(segment, file["pathSuffix"], file["length"], LandedFile.parse(file["pathSuffix"]))
        for segment in segments(settings)
        for file in _list(settings, f"{settings.tables}/tables/{segment.folder}")
    ]


def landed_ends(settings: Settings, topic_id: str) -> dict[int, int]:
    """By partition, the offset up to which the topic has landed. Raises LabError when HDFS does not answer."""
    return ends((entry.name for entry in landed_files(settings)), topic_id)


def _list(settings: Settings, folder: str) -> list[dict[str, Any]]:
    host = settings.hdfs.partition(":")[0]
    url = f"http://{host}:{settings.namenode_http_port}/webhdfs/v1{folder}"
    try:
        answer = requests.get(url, params={"op": "LISTSTATUS"}, timeout=10)
        if answer.status_code == 404:
            return []
        answer.raise_for_status()
    except requests.RequestException as error:
        raise LabError(
            f"HDFS does not answer at {host}:{settings.namenode_http_port}: {error}", "make step-1"
        ) from None
    found = answer.json()["FileStatuses"]["FileStatus"]
    return sorted(found, key=lambda status: str(status["pathSuffix"]))
