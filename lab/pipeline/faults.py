"""Named points at which a job can be made to die, for the drills: the moments at which usual jobs lose or double rows.

LAB_DIE_AT=after-decision:3 spark-submit lab/pipeline/stream_job.py    dies when it is there for the third time
"""

from __future__ import annotations

import os
import signal
from collections import Counter

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

_reached: Counter[str] = Counter()


def reach(point: str) -> None:
    """Die here, as by `kill -9`, when LAB_DIE_AT says so; Spark's JVM, this process's parent, dies too."""
    wanted, _, times = os.environ.get("LAB_DIE_AT", "").partition(":")
    if wanted != point:
        return
    _reached[point] += 1
    if _reached[point] == int(times or 1):
        print(f"dies {point}", flush=True)
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
