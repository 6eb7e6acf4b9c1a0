"""The replay: runs a plan in a sandbox, command by command, on engines of the grader's own.

The engines are started by the code that was released, in a sandbox of their own, and are there for a submission from
the moment at which its history starts the stack. Before that there is nothing that its commands could speak to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import console
from lab.errors import LabError
from lab.grading import wire
from lab.grading.intake import Submission
from lab.grading.sandbox import Died, Done, Sandbox
from lab.grading.wire import Query
from lab.history.plan import REPLAYED, TRANSLATED, Plan, Planned, plan, steps_of
from lab.settings import LOOPBACK, ROOT, Settings

START_SECONDS = 300.0
EMPTY_SECONDS = 30.0
SECONDS = {"spark-submit": 300.0, "make": 600.0}
"""How long a command may take; others have a minute and a half."""
OTHER_SECONDS = 90.0
ENGINES = ("kafka", "hdfs", "metastore", "presto")
START = ("make", "step-1")
BATCH, STREAM = "lab/pipeline/batch_job.py", "lab/pipeline/stream_job.py"


@dataclass(frozen=True)
class Ran:
    """A command of the plan and what became of it; `done` is None where it was not run, and `why` says why."""

    planned: Planned
    done: Done | None = None
    why: str = ""


@dataclass
class Replayed:
    """What a replay did: each command, how many events its traffic left, and the queries that its step 8 asked."""

    plan: Plan
    ran: list[Ran] = field(default_factory=list)
    started: bool = False
    """Whether a line has started the stack."""
    streams: bool = False
    """Whether a line has started a stream."""
    asked_requests: int = 0
    """Requests that the history's traffic commands ask for."""
    grown: int = 0
    """By so many records the topic grew while they ran."""
    queries: list[Query] = field(default_factory=list)
    """Those that Presto was asked while commands of step 8 ran."""
    died: str = ""


class Engines:
    """Kafka, HDFS, the metastore and Presto for replays: started once, and emptied between submissions."""

    def __init__(
        self, work: Path, environment: Mapping[str, str], settings: Settings, progress: Callable[[str], None]
    ) -> None:
        self.settings, self.progress = settings, progress
        self.sandbox = Sandbox(work / "stack", environment)
        self.runs = False

    def start(self) -> None:
        """Start them, where they do not run. Raises LabError."""
        if self.runs:
            return
        self.progress("starting the grader's engines")
        try:
            done = self.sandbox.run(START, START_SECONDS)
        except Died as error:
            raise LabError(f"The grader's engines did not start: {error}.", "make doctor") from None
        if done.failed:
            raise LabError(f"The grader's engines did not start:\n{done.output[-1500:]}", "make doctor")
        self.runs = True

    def empty(self) -> None:
        """Take away what a submission has left in them. Raises LabError where something stays."""
        if not self.runs:
            return
        try:
            wire.drop_tables(self.settings, self.settings.schema)
            wire.delete_everything(self.settings)
            wire.delete_topics(self.settings, wire.topics(self.settings))
            deadline = time.monotonic() + EMPTY_SECONDS
            while left := wire.left(self.settings):
                if time.monotonic() > deadline:
                    raise LabError(f"The engines could not be emptied of {left}.", "make grade")
                time.sleep(0.2)  # between two looks
        except wire.Unreachable as error:
            raise LabError(f"The engines could not be emptied: {error}.", "make grade") from error

    def close(self) -> None:
        self.sandbox.close()


def environment(settings: Settings, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a sandbox's processes have of this one's environment, and this grader's ports."""
    kept = {name: base[name] for name in ("LANG", "LC_ALL", "TZ") if name in base}
    path = os.pathsep.join([str(ROOT / "scripts"), str(ROOT / ".venv" / "bin"), base.get("PATH", os.defpath)])
    ports = {name: value for name, value in settings.to_env().items() if name.endswith("_PORT")}
    return {
        **kept,
        **ports,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAB_CACHE": str(settings.cache),
        "NO_PROXY": f"{LOOPBACK},localhost",
    }


def elsewhere(settings: Settings) -> dict[str, str]:
    """The variables by which a lab uses engines that it did not start."""
    return {f"LAB_{name.upper()}": str(getattr(settings, name)) for name in ENGINES}


@contextmanager
def replaying(
    submission: Submission,
    pipeline: Path | None,
    engines: Engines,
    work: Path,
    seconds: float,
    progress: Callable[[str], None],
) -> Iterator[Replayed]:
    """Replay a submission's history; in the block all that it has started still runs. It never raises Died.

    `pipeline` stands in place of the released one.
    """
    settings = engines.settings
    replayed = Replayed(plan(settings, submission.history))
    around = {**environment(settings), **elsewhere(settings)}
    with Sandbox(work / "replay", around, pipeline) as sandbox:
        _Replay(replayed, engines, sandbox, time.monotonic() + seconds, progress).all()
        yield replayed


@dataclass
class _Replay:
    replayed: Replayed
    engines: Engines
    sandbox: Sandbox
    deadline: float
    progress: Callable[[str], None]
    stream: int = 0
    """The number of the stream that runs, as the sandbox counts commands; 0 where none does."""

    def all(self) -> None:
        wanted = [one for one in self.replayed.plan.commands if one.fate in (REPLAYED, TRANSLATED)]
        before: Planned | None = None
        for number, planned in enumerate(wanted, start=1):
            self.progress(f"replaying {number} of {len(wanted)}: {' '.join(planned.argv)[:70]}")
            try:
                again = before is not None and before.argv == planned.argv == START
                ran = Ran(planned, why="the line before has started the stack") if again else self.one(planned)
            except Died as died:
                self.replayed.died = str(died)
                self.replayed.ran.append(Ran(planned, why=f"here everything ended: {died}"))
                return
            self.replayed.ran.append(ran)
            before = planned

    def one(self, planned: Planned) -> Ran:
        steps = steps_of(planned)
        left = self.deadline - time.monotonic()
        if left < 0:
            return Ran(planned, why="the time for a whole history had passed")
        if not self.replayed.started and 1 not in steps:
            return Ran(planned, why="no line before it starts the stack")
        if not self.replayed.started:
            self.engines.start()
            self.replayed.started = True
        lands = planned.argv[-1] in (BATCH, STREAM) or (planned.argv[0] == "make" and steps & {5, 6})
        if lands and self.stream:  # one job lands at a time: by hand, the one before would be stopped here
            self.sandbox.end(self.stream)
            self.stream = 0
        records = self.end() if 4 in steps else None
        known = {query.query_id for query in self.queries()} if 8 in steps else set()
        self.replayed.streams |= 6 in steps
        endless = planned.argv[-1] == STREAM  # all others end by themselves, whether `&` follows them or not
        done = self.sandbox.run(planned.argv, min(left + 1, SECONDS.get(planned.argv[0], OTHER_SECONDS)), endless)
        if endless:
            self.stream = self.sandbox.number
        if records is not None and (now := self.end()) is not None:
            self.replayed.asked_requests += requests_of(planned)
            self.replayed.grown += max(0, now - records)
        if 8 in steps:
            self.replayed.queries += [query for query in self.queries() if query.query_id not in known]
        return Ran(planned, done)

    def end(self) -> int | None:
        """How many records the topic holds; None where nobody can say, and then a command's traffic is not judged."""
        try:
            return sum(wire.end_offsets(self.engines.settings, self.engines.settings.topic).values())
        except wire.Unreachable as error:
            console.problem(f"The topic's end could not be asked: {error}")
            return None

    def queries(self) -> list[Query]:
        try:
            return wire.queries(self.engines.settings)
        except wire.Unreachable as error:
            console.problem(f"Presto's memory could not be asked: {error}")
            return []


def requests_of(planned: Planned) -> int:
    """How many events a traffic command should leave."""
    argv = planned.argv
    if argv[0] == "ab":
        return int(argv[argv.index("-n") + 1])
    if argv[:2] == ("make", "traffic") and not any(word.startswith("WEEK=") for word in argv):
        return next((int(word[2:]) for word in argv if word.startswith("N=")), 100)
    return 1  # a step of the lab, or a week of the simulation: it sends what it sends
