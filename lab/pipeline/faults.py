"""Faults that only the inside can make, for the drills: a job that dies at a named point, a clock that is wrong.

echo after-decision > .lab/home/run/die-at      the job that lands dies when it is there next, once
LAB_CLOCK_SHIFT=-3600                           the API's clock is an hour behind
"""

from __future__ import annotations

import os
import signal
import time
from functools import cache
from pathlib import Path

from lab.settings import Settings

POINTS = {
    "before-write": "nothing of the micro-batch is written yet",
    "after-write": "the rows are written, out of sight",
    "before-decision": "the files have their names, out of sight",
    "after-decision": "the landing is decided, and no file is visible yet",
    "between-renames": "the first file is visible, the others are not",
    "before-cleaning": "all files are visible, and Spark has noted nothing",
    "before-new-generation": "a segment is compacted, out of sight",
    "after-new-generation": "a compacted segment is there, and the metastore still names the old one",
}


def die_at(settings: Settings) -> Path:
    """The file that holds the point at which the job is to die."""
    return settings.run / "die-at"


def reach(point: str) -> None:
    """Die here, as by `kill -9`, when that was ordered; Spark's JVM, this process's parent, dies too."""
    order = _order()
    if order.exists() and order.read_text().strip() == point:
        order.unlink()
        print(f"dies {point}", flush=True)
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def clock() -> float:
    """Seconds since 1970, as the API sees them."""
    return time.time() + float(os.environ.get("LAB_CLOCK_SHIFT", "0"))


@cache
def _order() -> Path:
    return die_at(Settings.from_env())
