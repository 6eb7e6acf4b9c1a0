"""The data that a report has seen: enough to tell whether it is still the same, and what has changed if it is not."""

from __future__ import annotations

import json
from typing import Any

from lab import atomic
from lab.ledger import account, files
from lab.pipeline import event_log, queries
from lab.pipeline.events import tables
from lab.report.regions import hash_of
from lab.settings import Settings

Data = dict[str, Any]
"""`topic` (its id), and numbers by name: `offsets` by partition, `rows` by table, `files`, `answers` of the API, and
`steps`, the tenths of a second that each took."""


def seen(settings: Settings) -> Data:
    """What the lab holds now, once all that the topic holds has landed. Raises LabError."""
    topic_id = event_log.topic_id(settings)
    answered = account.read_journal(settings.logs / "api-journal.log").answered
    ends = event_log.end_offsets(settings)
    account.await_landed(settings, topic_id, ends)
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in tables())
    landed = files.landed_files(settings)
    steps = atomic.read_json(settings.home / "steps.json") or {}
    return {
        "topic": topic_id,
        "offsets": {str(partition): end for partition, end in sorted(ends.items())},
        "rows": dict(sorted(queries.ask(settings, counts).rows)),
        "files": {"files": len(landed), "bytes": sum(file.size for file in landed)},
        "answers": dict(sorted(answered.items())),
        "steps": {number: round(10 * one["seconds"]) for number, one in sorted(steps.items())},
    }


def digest(data: Data) -> str:
    """Twelve hexadecimal digits that stand for `data`."""
    return hash_of(json.dumps(data, sort_keys=True))


def difference(before: Data, now: Data) -> str:
    """What has changed, for a person; the first of it, in the order of the data."""
    if before["topic"] != now["topic"]:
        return "the topic has been made anew"
    words = {
        "answers": "the API had given {} of {name}, and now {}",
        "offsets": "partition {name} of the topic had {} records, and now {}",
        "rows": "the table {name} had {} rows, and now {}",
        "files": "HDFS had {} {name}, and now {}",
        "steps": "step {name} had taken {} tenths of a second, and now {}",
    }
    for part, sentence in words.items():
        for name in sorted({*before[part], *now[part]}):
            then, later = before[part].get(name, 0), now[part].get(name, 0)
            if then != later:
                return sentence.format(f"{then:,}", f"{later:,}", name=name)
    return "nothing"
