"""The closing account: what the API answered, what the topic holds, and in which table each record stands."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError
from lab.ledger.files import landed_ends
from lab.pipeline import event_log, queries
from lab.pipeline.events import tables
from lab.settings import Settings

LANDING_SECONDS = 90.0


@dataclass(frozen=True)
class Check:
    """Two numbers that must agree, and whether they do."""

    what: str
    expected: str
    found: str
    ok: bool


@dataclass
class Account:
    """The numbers of each hop, up to the same offsets."""

    answered: dict[str, int] = field(default_factory=dict)
    topic: dict[int, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    swords: int = 0
    swords_in_purchases: int = 0
    places: int = 0

    @property
    def records(self) -> int:
        return sum(self.topic.values())

    def rows(self) -> list[tuple[str, str, int]]:
        """(hop, what, count), in the order of the data."""
        lines = [("API", what, count) for what, count in self.answered.items()]
        lines += [("topic", f"records in partition {p}", count) for p, count in sorted(self.topic.items())]
        lines += [("tables", name, count) for name, count in self.tables.items()]
        return [*lines, ("view", "sword_purchases", self.swords)]

    def checks(self) -> list[Check]:
        """What must hold. Records that others wrote to the topic, past the API, may come on top of the API's."""
        landed = sum(self.tables.values())
        acknowledged = self.answered.get("events acknowledged", 0)
        open_ends = self.answered.get("503: not known whether logged", 0)
        return [
            Check(
                "each acknowledged event is in the topic",
                f"{acknowledged} to {acknowledged + open_ends}, and what others wrote",
                str(self.records),
                self.records >= acknowledged,
            ),
            Check("each record of the topic is in a table", str(self.records), str(landed), landed == self.records),
            Check("and in no second one", str(self.records), str(self.places), self.places == self.records),
            Check(
                "sword_purchases holds the swords of purchases",
                str(self.swords_in_purchases),
                str(self.swords),
                self.swords == self.swords_in_purchases,
            ),
        ]


def read_journal(journal: Path) -> dict[str, int]:
    """What the API answered, by kind. An event that was answered twice (an Idempotency-Key) counts as one event."""
    kinds: Counter[str] = Counter()
    acknowledged: set[str] = set()
    if journal.exists():
        for line in journal.read_text(errors="replace").splitlines():
            words = line.split(" ")
            if len(words) != 7:
                continue  # the last line of a worker that was killed
            status, event_id, logged = words[3:6]
            if logged == "yes":
                acknowledged.add(event_id)
            kinds[_kind(status, logged)] += 1
    answers = {"requests answered": sum(kinds.values()), **dict(sorted(kinds.items()))}
    return {**answers, "events acknowledged": len(acknowledged)}


def _kind(status: str, logged: str) -> str:
    if status.startswith("2"):
        return "2xx: done and logged"
    if status == "404" and logged == "yes":
        return "404: rejected, and logged as such"
    if status == "503":
        return "503: not known whether logged" if logged != "no" else "503: not logged"
    return f"{status}: not logged"


def await_landed(settings: Settings, topic_id: str, ends: dict[int, int], seconds: float = LANDING_SECONDS) -> None:
    """Return when the topic has landed up to `ends`. Raises LabError when that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        landed = landed_ends(settings, topic_id)
        missing = {p: end - landed.get(p, 0) for p, end in ends.items() if landed.get(p, 0) < end}
        if not missing:
            return
        if time.monotonic() > deadline:
            raise LabError(
                f"{sum(missing.values())} records of the topic have not landed after {seconds:.0f} s.",
                "make step-6, which starts the stream; its log: make logs NAME=stream",
            )
        time.sleep(0.3)  # between two looks at HDFS


def take(settings: Settings) -> Account:
    """The account up to where the topic ends now; waits until all of that has landed."""
    topic_id = event_log.topic_id(settings.kafka, settings.topic)
    answered = read_journal(settings.logs / "api-journal.log")
    ends = event_log.end_offsets(settings.kafka, settings.topic)
    await_landed(settings, topic_id, ends)
    up_to = " OR ".join(f"(kafka_partition = {p} AND kafka_offset < {end})" for p, end in ends.items())
    here = f"kafka_topic_id = '{topic_id}' AND ({up_to})"
    each = " UNION ALL ".join(
        f"SELECT '{table}' AS name, kafka_partition, kafka_offset FROM {table} WHERE {here}" for table in tables()
    )
    counts = dict(queries.ask(settings, f"SELECT name, count(*) FROM ({each}) GROUP BY name").rows)
    places = queries.ask(
        settings, f"SELECT count(*) FROM (SELECT DISTINCT kafka_partition, kafka_offset FROM ({each}))"
    )
    swords = queries.ask(settings, f"SELECT count(*) FROM sword_purchases WHERE {here}").value
    bought = queries.ask(
        settings, f"SELECT count(*) FROM purchases WHERE event_type = 'purchase_sword' AND {here}"
    ).value
    return Account(
        answered=answered,
        topic=dict(ends),
        tables={table: counts.get(table, 0) for table in tables()},
        swords=swords,
        swords_in_purchases=bought,
        places=places.value,
    )
