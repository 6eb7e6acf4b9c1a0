"""Draining a topic: the lab's batch job, with all its guarantees on, against the usual solution and against two limits.

The limits are a bare parse of each event, which is the least that a landing has to do, and a raw copy. Each is a
process of its own, from its start to its exit, on the same topic, with the same Spark settings; they take turns, and
each writes to a folder of its own, which is removed afterwards.
"""

from __future__ import annotations

from dataclasses import replace

import requests

from benchmarks.processes import Run, submit
from benchmarks.result import Row, row
from lab import console
from lab.drills.arena import Arena
from lab.errors import LabError
from lab.ledger import files
from lab.pipeline import event_log, queries
from lab.settings import Settings
from lab.steps import step_2_create_topic, step_7_create_tables
from lab.steps.context import Lab

TOPIC = "drain"
OURS, COURSE, PASS, COPY = "ours", "the usual solution", "one bare pass", "a raw copy"


def fill(settings: Settings, events: int) -> None:
    """Make the topic that these settings name, and fill it."""
    with console.quietly():
        step_2_create_topic.do(Lab.at(settings))
    submit(settings, "benchmarks/rivals/fill_job.py", str(events))
    held = sum(event_log.end_offsets(settings).values())
    if held != events:
        raise LabError(f"The topic holds {held} records instead of {events}.", "make bench")


def remove(settings: Settings, folder: str) -> None:
    """Remove a folder of HDFS."""
    url = f"http://{settings.hdfs.partition(':')[0]}:{settings.namenode_http_port}/webhdfs/v1{folder}"
    requests.delete(url, params={"op": "DELETE", "recursive": "true"}, timeout=60).raise_for_status()


def land(settings: Settings, events: int, name: str, *options: str) -> Run:
    """Land the topic, by `spark-submit` with these options, in tables of a schema `name` that is removed afterwards.

    Raises LabError where not every event has landed, or where Presto does not show it.
    """
    settings = replace(settings, tables=f"/bench/{name}", schema=name)
    with console.quietly():
        step_7_create_tables.do(Lab.at(settings))
    run = submit(settings, *options, "lab/pipeline/batch_job.py")
    landed = files.landed_ends(settings, event_log.topic_id(settings))
    if sum(landed.values()) != events:
        raise LabError(f"{sum(landed.values())} of {events} events have landed.", "make bench")
    shown = queries.ask(settings, "SELECT count(*) FROM purchases").value
    if shown != events * 6 // 10:
        raise LabError(f"Presto shows {shown} purchases of {events * 6 // 10}.", "make bench")
    remove(settings, settings.tables)
    return run


def theirs(arena: Arena, events: int, number: int, job: str) -> float:
    settings, folder = replace(arena.settings, topic=TOPIC), f"/bench/{job}{number}"
    run = submit(settings, f"benchmarks/rivals/{job}.py", folder)
    if f"read {events}" not in run.said:
        raise LabError(f"{job} did not read {events} records: {run.said[-200:]}", "make bench")
    remove(settings, folder)
    return run.seconds


def measure(arena: Arena, events: int, rounds: int) -> tuple[list[Row], dict[str, list[float]]]:
    """The rows, and the seconds of each run."""
    settings = replace(arena.settings, topic=TOPIC)
    taken: dict[str, list[float]] = {OURS: [], COURSE: [], PASS: [], COPY: []}
    for number in range(rounds):
        taken[OURS].append(land(settings, events, f"drain{number}").seconds)
        taken[COURSE].append(theirs(arena, events, number, "course_job"))
        taken[PASS].append(theirs(arena, events, number, "one_pass_job"))
        taken[COPY].append(theirs(arena, events, number, "raw_copy_job"))
        arena.say(f"round {number + 1}: " + ", ".join(f"{name} {times[-1]:.1f} s" for name, times in taken.items()))
    name = f"draining {events:,} events"
    return [
        row(f"{name}, against the usual solution", taken[OURS], taken[COURSE], "s", 1, 3),
        row(f"{name}, against one bare pass", taken[OURS], taken[PASS], "s", 0.5, 0.75),
        row(f"{name}, against a raw copy", taken[OURS], taken[COPY], "s", None, None),
    ], taken
