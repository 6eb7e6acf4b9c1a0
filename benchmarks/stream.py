"""The stream: how soon an event is visible in Presto, and what many micro-batches do to questions and memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.processes import running, submit
from benchmarks.result import Row, row
from lab import console
from lab.drills.arena import Arena
from lab.engines import stack
from lab.engines.services import family, resident_bytes
from lab.errors import LabError
from lab.pipeline import queries
from lab.pipeline.events import tables
from lab.pipeline.tables import VIEW_FILES

RATE = 200.0
WINDOW_SECONDS, COURSE_WINDOW_SECONDS = 15.0, 25.0
WARM_SECONDS = 90.0
COURSE_TRIGGER = "10"
LOOK_SECONDS = 0.1
"""What the observer waits between two queries."""
EARLY, LATE = 600, 3600
"""The micro-batches between which memory must not grow."""
LONG_RATE = 20.0

Look = Callable[[], set[str]]


def pace(arena: Arena, rate: float, seconds: float, seed: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Players in a process of their own; `paced` reads what they noted when they have ended by themselves."""
    argv = [sys.executable, "-m", "benchmarks.pace", str(rate), str(seconds), str(seed), str(noted(arena, seed))]
    return running(arena.settings, argv, arena.settings.logs / "pace.log")


def noted(arena: Arena, seed: int) -> Path:
    return arena.settings.run / f"pace-{seed}"


def paced(arena: Arena, rate: float, seed: int, status: int) -> dict[str, float]:
    """When each sword was bought, by event id, in seconds since 1970. Raises LabError when the pace was not kept."""
    if status != 0:
        raise LabError(f"The players failed; their log: {arena.settings.logs / 'pace.log'}", "make bench")
    found = json.loads(noted(arena, seed).read_text())
    kept = found["requests"] / found["seconds"]
    if kept < 0.95 * rate or found["failed"]:
        raise LabError(
            f"{kept:.0f} requests/s instead of {rate:.0f} were sent, {found['failed']} of them failed.", "make bench"
        )
    swords: dict[str, float] = found["swords"]
    return swords


@dataclass
class NewSwords:
    """Asks for the swords that were not there at the last look."""

    arena: Arena
    start: dict[int, int]

    def __call__(self) -> set[str]:
        newer = " OR ".join(f"(kafka_partition = {p} AND kafka_offset > {offset})" for p, offset in self.start.items())
        sql = f"SELECT kafka_partition, kafka_offset, event_id FROM sword_purchases WHERE {newer}"
        rows = queries.ask(self.arena.settings, sql).rows
        for partition, offset, _ in rows:
            self.start[partition] = max(self.start[partition], offset)
        return {event_id for _, _, event_id in rows}


@dataclass
class NewOfCourse:
    """The same, of the usual solution's table.

    Its micro-batch becomes visible a file at a time, and what is later visible may be older: so each look begins at
    where a `calm` has ended, `since`.
    """

    arena: Arena
    since: str = ""
    newest: str = ""
    refusals: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def __call__(self) -> set[str]:
        sql = "SELECT timestamp, json_extract_scalar(raw_event, '$.event_id') FROM course_swords"
        try:
            rows = queries.ask(self.arena.settings, f"{sql} WHERE timestamp >= '{self.since}'").rows
        except LabError as error:
            self.refusals.append(str(error))  # Presto met a file that was half written: they are in the table's folder
            return set()
        self.newest = max([self.newest, *(when for when, _ in rows)])
        new = {event_id for _, event_id in rows} - self.known
        self.known |= new
        return new

    def forget(self) -> None:
        """All that was sent is visible: nothing older is looked for any more."""
        self.since = self.newest


def window(arena: Arena, look: Look, seconds: float, seed: int) -> list[float]:
    """Seconds from each 2xx to the end of the first query that showed the event."""
    visible: dict[str, float] = {}
    answered: dict[str, float] = {}
    deadline = time.monotonic() + seconds + 60
    with pace(arena, RATE, seconds, seed) as playing:
        while not answered or answered.keys() - visible.keys():
            for event_id in look():
                visible.setdefault(event_id, time.time())
            if not answered and playing.poll() is not None:
                answered = paced(arena, RATE, seed, playing.returncode)
            if time.monotonic() > deadline:
                unseen = len(answered.keys() - visible.keys())
                raise LabError(f"{unseen} of {len(answered)} events did not become visible to {look}.", "make bench")
            time.sleep(LOOK_SECONDS)  # the rhythm of the looks
    return [visible[event_id] - when for event_id, when in answered.items()]


def warm(arena: Arena, looks: Sequence[Look], seed: int) -> None:
    """Traffic, until each of these has shown new events for a while."""
    with pace(arena, RATE, WARM_SECONDS, seed) as playing:
        while playing.poll() is None:
            for look in looks:
                look()
            time.sleep(1)  # the rhythm of the looks
    calm(arena, looks)


def calm(arena: Arena, looks: Sequence[Look]) -> None:
    """Return when nothing new has become visible for longer than the usual solution's trigger.

    So that nobody is suspended while it writes: the usual solution's file would stay half-written in its table, and
    HDFS would give up on it.
    """
    quiet_since = time.monotonic()

    def quiet() -> bool:
        nonlocal quiet_since
        new = [look() for look in looks]
        if any(new):
            quiet_since = time.monotonic()
        return time.monotonic() - quiet_since > float(COURSE_TRIGGER) + 2

    arena.until(quiet, "all that was sent is visible", 180)


def suspend(arena: Arena, name: str) -> None:
    for process in family(arena.process(name)):
        process.suspend()


def resume(arena: Arena, name: str) -> None:
    for process in family(arena.process(name)):
        process.resume()


def latency(arena: Arena, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """Windows of traffic, in turn for the lab's stream and for the usual one; who is not measured is suspended."""
    settings = arena.settings
    folder = "/bench/course-stream"
    with console.quietly():
        arena.lab.run(["hdfs", "dfs", "-mkdir", "-p", f"{folder}/purchase_sword"], 60)
    queries.ask(
        settings,
        "CREATE TABLE course_swords (raw_event varchar, timestamp varchar) "
        f"WITH (external_location = 'hdfs://{settings.hdfs}{folder}/purchase_sword', format = 'PARQUET')",
    )
    log = arena.lab.log("control")
    with console.quietly():
        arena.lab.start("control", ["spark-submit", "benchmarks/rivals/course_job.py", folder, COURSE_TRIGGER], 15.0)
    arena.until(lambda: "streaming" in log.read_text(), "the usual solution streams")
    course = NewOfCourse(arena)
    ours = NewSwords(arena, dict.fromkeys(range(settings.partitions), -1))
    looks: dict[str, Look] = {"ours": ours, "theirs": course}
    warm(arena, list(looks.values()), seed=1)
    if not course.known:
        raise LabError(f"The usual solution shows nothing; its log: {log}. {course.refusals[-1:]}", "make bench")
    arena.say("both are warm")
    found: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    for number in range(rounds):
        for name, seconds, other in (("ours", WINDOW_SECONDS, "control"), ("theirs", COURSE_WINDOW_SECONDS, "stream")):
            calm(arena, list(looks.values()))
            course.forget()
            suspend(arena, other)
            try:
                found[name].append(window(arena, looks[name], seconds, seed=10 + 2 * number + (name == "ours")))
            finally:
                resume(arena, other)
        arena.say(
            f"round {number + 1}: "
            + ", ".join(f"{name} p50 {median(w[-1]):.2f} s, p99 {p99(w[-1]):.2f} s" for name, w in found.items())
        )
    arena.registry.stop(["control"])
    p50s = {name: [median(one) for one in windows] for name, windows in found.items()}
    p99s = {name: [p99(one) for one in windows] for name, windows in found.items()}
    name = f"2xx to Presto at {RATE:.0f} events/s"
    return [
        row(f"{name}, p50", p50s["ours"], p50s["theirs"], "s", 1, 0.5, judged="ours"),
        row(f"{name}, p99", p99s["ours"], p99s["theirs"], "s", 2.5, 2.5, judged="ours"),
    ], {"p50": p50s, "p99": p99s, "queries that met a half-written file of the usual solution": len(course.refusals)}


def p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98]


def memory(arena: Arena, late: int) -> tuple[list[Row], dict[str, Any]]:
    """Let the stream run under steady traffic, and weigh it early and late."""
    early = late * EARLY // LATE
    log = arena.lab.log("stream")
    names = [*(engine.name for engine in stack.engines(arena.settings)), "api", "stream"]
    weighed: dict[int, list[tuple[float, float]]] = {early: [], late: []}
    begun, last_said = time.monotonic(), 0
    with pace(arena, LONG_RATE, 1.2 * late, seed=1000) as playing:
        while (reached := micro_batches(log)) < late:
            for at, sizes in weighed.items():
                if at - late // 60 <= reached <= at:
                    sizes.append(weight(arena, names))
            if reached >= last_said + late // 6:
                last_said = reached
                arena.say(f"micro-batch {reached} of {late}: {weight(arena, names)[0]:.0f} MiB")
            if playing.poll() is not None:
                raise LabError(f"Only {reached} micro-batches in {time.monotonic() - begun:.0f} s.", "make bench")
            time.sleep(0.3)  # the rhythm of the weighing
    seconds = time.monotonic() - begun
    arena.await_landed()
    before, after = ([stream for stream, _ in sizes] for sizes in weighed.values())
    # The median: a process that was forked just now is counted with its parent's memory, which it shares.
    whole = max(median(total for _, total in sizes) for sizes in weighed.values())
    return [
        Row(
            f"the stream's memory at micro-batch {late:,}, against {early:,}",
            median(after),
            median(before),
            "MiB",
            median(before) / median(after),
            round(1 / 1.1, 3),
            1.0,
            pairs=len(after),
        ),
        Row("memory of the whole lab, against its limit", whole, 3072, "MiB", 3072 / whole, 3072, 3072, "ours", 1),
    ], {"seconds": seconds, "weighed": {str(at): sizes for at, sizes in weighed.items()}}


def micro_batches(log: Any) -> int:
    found = re.findall(r"micro-batch (\d+):", log.read_text()[-4000:])
    return int(found[-1]) if found else 0


def weight(arena: Arena, names: list[str]) -> tuple[float, float]:
    """MiB of the stream, and of the whole lab."""
    total = sum(stack.resident(arena.settings, names).values())
    return resident_bytes(arena.process("stream")) / 2**20, total / 2**20


def questions(arena: Arena, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """All questions of the assignment, asked of the tables as the stream left them and of the same rows in one file."""
    settings, folder = arena.settings, "/bench/one-file"
    arena.registry.stop(["stream"])
    submit(settings, "benchmarks/rivals/one_file_job.py", folder)
    location = f"hdfs://{settings.hdfs}{folder}"
    queries.ask(settings, f"CREATE SCHEMA one_file WITH (location = '{location}/schema')")
    other = replace(settings, schema="one_file")
    for table in tables():
        (definition,) = queries.ask(settings, f"SHOW CREATE TABLE {table}").rows[0]
        columns = definition[definition.index("(") : definition.index("\n)")]
        queries.ask(
            other,
            f"CREATE TABLE {table} {columns}\n) WITH (format = 'PARQUET', external_location = '{location}/{table}')",
        )
    queries.ask(other, "CREATE VIEW sword_purchases AS SELECT * FROM purchases WHERE event_type = 'purchase_sword'")
    for path in sorted(VIEW_FILES.glob("*.sql")):
        queries.ask(other, f"CREATE VIEW {path.stem} AS {path.read_text()}")

    def ask_all(of: Any) -> float:
        begun = time.monotonic()
        for question in queries.questions():
            queries.ask(of, question.sql)
        return time.monotonic() - begun

    counts = [queries.ask(of, "SELECT count(*) FROM purchases").value for of in (settings, other)]
    if counts[0] != counts[1]:
        raise LabError(f"The one file holds {counts[1]} purchases, the table {counts[0]}.", "make bench")
    ours: list[float] = []
    theirs: list[float] = []
    ask_all(settings), ask_all(other)
    for number in range(rounds):
        ours.append(ask_all(settings))
        theirs.append(ask_all(other))
        arena.say(f"round {number + 1}: ours {ours[-1]:.2f} s, one file {theirs[-1]:.2f} s")
    name = f"all {len(queries.questions())} questions after thousands of micro-batches, against one file"
    return [row(name, ours, theirs, "s", round(1 / 1.5, 3), round(1 / 1.1, 3))], {"ours": ours, "one file": theirs}
