"""The drills: each breaks one thing in a lab that is under load, and says before what should happen."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from lab import atomic, console
from lab.drills.arena import Arena
from lab.drills.load import Load
from lab.drills.verdict import judge
from lab.engines.services import family
from lab.errors import LabError
from lab.ledger.account import Check
from lab.pipeline import event_log, faults
from lab.steps import step_2_create_topic

FROZEN_SECONDS = 6.0
AWAY_SECONDS = 90.0
BEFORE, AFTER = 60, 60
"""Events that are accepted before the fault, and after everything has recovered."""

Break = Callable[[Arena, Load], None]


@dataclass(frozen=True)
class Drill:
    """`breaks` and `expected` are for the learner; `inject` breaks it and returns when the fault is over.

    A drill that has to `prepare` its lab before anything has landed gets one of its own.
    """

    name: str
    breaks: str
    expected: str
    inject: Break
    prepare: Callable[[Arena], None] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a drill came to."""

    checks: list[Check]
    accepted: int
    refused: int
    unknown: int
    looks: int
    missed_looks: int
    seconds: float

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.ok]


def run(arena: Arena, drill: Drill) -> Outcome:
    """Break, wait until all has recovered, and compare players' answers, topic and tables. Raises LabError."""
    begun = time.monotonic()
    arena.forgive()
    load = Load(arena.settings, f"{drill.name}/{len(arena.answers)}", arena.seed + len(arena.answers))
    try:
        with load:
            load.await_accepted(BEFORE)
            arena.await_landed()
            arena.say(f"{load.accepted} events accepted; now the fault")
            drill.inject(arena, load)
            arena.say("the fault is over; waiting until everything answers and has landed")
            arena.await_healing()
            arena.await_recovery()
            load.await_accepted(AFTER)
            arena.say("all is back, and traffic flows")
    finally:
        arena.answers += load.answers
    arena.await_landed()
    kinds = [answer.logged for answer in load.answers]
    return Outcome(
        judge(arena.seen(load.counts)),
        accepted=kinds.count("yes"),
        refused=kinds.count("no"),
        unknown=len(kinds) - kinds.count("yes") - kinds.count("no"),
        looks=sum(map(len, load.counts.values())),
        missed_looks=load.missed_looks,
        seconds=time.monotonic() - begun,
    )


# --- what can be broken ---


def kill(name: str, arena: Arena, load: Load) -> None:
    """End a process, as by `kill -9`; the supervisor starts it again."""
    dead = arena.process(name)
    dead.kill()
    arena.say(f"kill -9 {dead.pid}")
    arena.until(lambda: (p := arena.registry.process(name)) and p.pid != dead.pid, f"{name} was started again")


def take_away(name: str, arena: Arena, load: Load) -> None:
    """Stop an engine for longer than anybody's patience with one request."""
    service = arena.registry.wanted()[name]
    arena.registry.stop([name])
    arena.say(f"{name} is stopped for {AWAY_SECONDS:.0f} s")
    time.sleep(AWAY_SECONDS)  # the fault has this length
    arena.registry.start(service)
    arena.say(f"{name} is started again")


def freeze(name: str, arena: Arena, load: Load) -> None:
    """Stop a process for a while: it neither answers nor dies, as on an overloaded machine."""
    _freeze(arena, arena.process(name))


def _freeze(arena: Arena, process: psutil.Process) -> None:
    process.suspend()
    arena.say(f"kill -STOP {process.pid}")
    try:
        time.sleep(FROZEN_SECONDS)  # the fault has this length
    finally:
        process.resume()
        arena.say(f"kill -CONT {process.pid}")


def kill_worker(arena: Arena, load: Load) -> None:
    worker = family(arena.process("api"))[1]
    worker.kill()
    arena.say(f"kill -9 {worker.pid}, one of the API's two processes")
    arena.until(lambda: len(family(arena.process("api"))) == 3, "the API has two workers again")


def freeze_worker(arena: Arena, load: Load) -> None:
    _freeze(arena, family(arena.process("api"))[1])


def die_at(point: str, arena: Arena, load: Load) -> None:
    order = faults.die_at(arena.settings)
    atomic.write_text(order, point)
    arena.until(lambda: not order.exists(), f"the stream reached the point {point}")
    arena.say(f"the stream died {point}")


def kill_everything(arena: Arena, load: Load) -> None:
    supervisor = arena.registry.supervisor()
    services = [name for name, service in arena.registry.wanted().items() if service.up]
    doomed = [process for name in services for process in family(arena.process(name))]
    if supervisor:
        supervisor.kill()
        supervisor.wait(10)
    for process in doomed:
        process.kill()
    arena.say(f"kill -9 of {len(doomed) + 1} processes: {', '.join(services)} and the supervisor")


def remake_topic(arena: Arena, load: Load) -> None:
    settings, tool = arena.settings, ["kafka-topics", "--bootstrap-server", arena.settings.kafka]
    with load.resting():
        arena.await_landed()
        arena.of_deleted_topics += arena.topic_now()
        before = event_log.topic_id(settings)
        arena.lab.run([*tool, "--delete", "--topic", settings.topic], 60, quiet=True)
        with console.quietly():
            step_2_create_topic.do(arena.lab)
        after = event_log.topic_id(settings)
    arena.say(f"the topic {before} was deleted, and made again as {after}")


def remove_checkpoint(arena: Arena, load: Load) -> None:
    checkpoint, away = arena.settings.run / "checkpoint", arena.settings.run / "removed"
    checkpoint.rename(away)  # in one step, though the stream writes there
    shutil.rmtree(away)
    arena.say("the checkpoint is removed under the running stream")
    load.await_accepted(60)


def set_clock(seconds: int, wrong: str, arena: Arena, load: Load) -> None:
    """Let the API's clock be wrong by so many seconds, and then right again."""
    service = arena.registry.wanted()["api"]
    arena.registry.start(replace(service, env={**service.env, "LAB_CLOCK_SHIFT": str(seconds)}))
    arena.say(f"the API runs with a clock that is {wrong}")
    load.await_accepted(200)
    arena.registry.start(service)
    arena.say("the API runs with the right clock again")


def write_copies_and_rubbish(arena: Arena, load: Load) -> None:
    arena.say("copies of events and rubbish go on arriving: every load has them")
    load.await_accepted(200)


def put_datanode_on_small_disk(arena: Arena) -> None:
    """Let the DataNode keep its blocks on a tmpfs, in a mount namespace of its own."""
    service = arena.registry.wanted()["datanode"]
    arena.registry.stop(["datanode"])
    become_root = () if os.getuid() == 0 else ("--map-root-user",)
    script = 'mount -t tmpfs -o size=512m tmpfs "$1" && shift && exec "$@"'
    folder = str(arena.settings.data / "datanode")
    to_the_last = ("-D", "dfs.datanode.round-robin-volume-choosing-policy.additional-available-space=0")  # 1 GB else
    argv = ("unshare", "--mount", *become_root, "sh", "-c", script, "sh", folder, *service.argv, *to_the_last)
    arena.registry.start(replace(service, argv=argv))


def fill_disk(arena: Arena, load: Load) -> None:
    datanode = arena.process("datanode")
    folder = arena.settings.data / "datanode"
    disk = Path(f"/proc/{datanode.pid}/root") / folder.relative_to("/")
    if disk.stat().st_dev == arena.settings.data.stat().st_dev:
        raise LabError("The DataNode does not run on its small disk: nothing was filled.", "make drill-full-disk")
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**20))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    arena.say(f"the DataNode's disk is full: {ballast.stat().st_size // 2**20} MB of ballast")
    failures = _failures(arena)
    arena.until(lambda: _failures(arena) > failures, "the stream could not write")
    arena.say("the stream could not write, and tries again; the API goes on accepting")
    load.await_accepted(100)
    ballast.unlink()
    arena.say("the ballast is gone")


def _failures(arena: Arena) -> int:
    return arena.lab.log("stream").read_text().count("failed, tried again in")


# --- the list ---

ENGINES = {
    "kafka": (
        "the log of events",
        "The API cannot log: it answers 503, and says whether the event may have arrived.",
    ),
    "namenode": ("the names of all files on HDFS", "Landing and queries wait, or fail and are repeated."),
    "datanode": ("the files' bytes", "Landing and queries wait, or fail and are repeated."),
    "metastore": ("the tables' names", "Landing goes on; new segments are named when it is back."),
    "presto": ("the queries", "Events go on landing; a reader gets errors until it is back."),
}
"""What each engine keeps, and what should happen while it is away."""
STREAM = "The supervisor starts the job again; it ends a landing that was decided, and throws away one that was not"

DRILLS = (
    Drill("api-worker-kill", "One of the API's processes is killed while it answers.",
          "Its players get no answer; gunicorn starts another. What was accepted before is in the topic.", kill_worker),
    Drill("api-worker-freeze", f"One of the API's processes is stopped for {FROZEN_SECONDS:.0f} s.",
          "Its players wait; the other process goes on.", freeze_worker),
    *(Drill(f"{name}-kill", f"{name} is killed. It keeps {keeps}.",
            f"{expected} The supervisor starts it again, with its data.", partial(kill, name))
      for name, (keeps, expected) in ENGINES.items()),
    *(Drill(f"{name}-freeze", f"{name} is stopped for {FROZEN_SECONDS:.0f} s. It keeps {keeps}.",
            expected, partial(freeze, name))
      for name, (keeps, expected) in ENGINES.items()),
    *(Drill(f"{name}-away", f"{name} is stopped for {AWAY_SECONDS:.0f} s.",
            f"{expected} The stream fails again and again, and goes on when {name} is back.", partial(take_away, name))
      for name, (_, expected) in ENGINES.items() if name in ("kafka", "namenode", "datanode")),
    Drill("stream-kill", "The Spark driver is killed at any moment.", f"{STREAM}.", partial(kill, "stream")),
    Drill("stream-freeze", f"The Spark driver is stopped for {FROZEN_SECONDS:.0f} s.",
          "Events gather in the topic, and land when it goes on.", partial(freeze, "stream")),
    *(Drill(f"stream-dies-{point}", f"The Spark driver dies when {where}.", f"{STREAM}.", partial(die_at, point))
      for point, where in faults.POINTS.items()),
    Drill("everything-kill", "All processes of the lab are killed at once, the supervisor too.",
          "make step-1 would bring them back, and so does the drill. All that was accepted is there.", kill_everything),
    Drill("topic-remade", "The topic is deleted and made again under the running stream, while nobody writes.",
          "Offsets begin at 0 again. The files' names carry the topic's id, so old and new offsets are not confused.",
          remake_topic),
    Drill("checkpoint-removed", "Spark's checkpoint is removed under the running stream.",
          "Spark misses it or not; where to go on follows from the names of the landed files.", remove_checkpoint),
    Drill("copies-and-rubbish", "Another producer writes copies of events, and what is no event.",
          "Copies go to repeats, rubbish to quarantine, and the stream goes on.", write_copies_and_rubbish),
    Drill("clock-set-back", "The API's clock is set back by 25 hours for a while.",
          "Events land in the day that they name. None is taken for a copy, none is missed.",
          partial(set_clock, -90_000, "25 hours behind")),
    Drill("clock-set-ahead", "The API's clock is set ahead by 12 seconds for a while.",
          "Its times are later than Kafka's. Copies that come when Kafka's have caught up are still known as copies.",
          partial(set_clock, 12, "12 seconds ahead")),
    Drill("full-disk", "The DataNode's disk, a small one for this drill, is filled to the last byte.",
          "The API goes on accepting, since Kafka's disk is another. Landing fails, and catches up when there is room.",
          fill_disk, put_datanode_on_small_disk),
)  # fmt: skip
