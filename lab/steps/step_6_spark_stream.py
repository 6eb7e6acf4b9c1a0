"""Step 6: land events as they come, with a running Spark query."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import console
from lab.engines import stack
from lab.errors import LabError
from lab.ledger import files
from lab.ledger.account import await_landed
from lab.pipeline import event_log, traffic
from lab.steps.context import Evidence, Lab

TITLE = "Spark streaming"
WHY = """
The same transformation as a query that never ends: a micro-batch at a time, from where the batch ended, so that no
event is lost or lands twice. Traffic flows meanwhile, and the landed rows follow it.
"""

READY_SECONDS = 120.0
MORE = 40


def do(lab: Lab) -> None:
    lab.require_engines()
    event_log.end_offsets(lab.settings)  # says so when step 2 is missing
    lab.require("api", 3)
    log = start(lab)
    settings = lab.settings
    topic_id = event_log.topic_id(settings)
    _await_query(lab)
    console.say(f"Sending {MORE} requests in bursts while the stream runs:")
    for lines in traffic.bursts(traffic.mix(MORE, traffic.SAMPLE_SEED), 10):
        for line in lines:
            argv = line.command(settings.api)
            console.command(argv)
            traffic.read_report(lab.run(argv, 60 + line.requests, quiet=True))
        ends = event_log.end_offsets(settings)
        landed = files.landed_ends(settings, topic_id)
        console.say(f"  the topic holds {sum(ends.values())} records, {sum(landed.values())} have landed")
    await_landed(settings, topic_id, event_log.end_offsets(settings))
    console.say("What the stream says:")
    console.output("\n".join(line for line in stack.last_lines(log, 40).splitlines() if "micro-batch" in line))


def start(lab: Lab) -> Path:
    """Start the streaming job, where it does not run yet; its log."""
    return lab.start("stream", ["spark-submit", "lab/pipeline/stream_job.py"], grace=30.0)


@contextmanager
def resting(lab: Lab) -> Iterator[None]:
    """The stream rests meanwhile, where it runs: who does this changes what else only a job that lands may change."""
    streaming = lab.registry.process("stream") is not None
    if streaming:
        console.say("The stream rests meanwhile: only one job may land.")
        lab.registry.stop(["stream"])
    try:
        yield
    finally:
        if streaming:
            start(lab)


def _await_query(lab: Lab) -> None:
    """Return when the stream has landed what the topic holds already."""
    settings = lab.settings
    topic_id = event_log.topic_id(settings)
    ends = event_log.end_offsets(settings)
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            await_landed(settings, topic_id, ends, seconds=1.0)
            return
        except LabError:
            state = lab.registry.state("stream")
            if time.monotonic() > deadline or (state and state.status == "failed"):
                log = lab.log("stream")
                raise LabError(f"The stream landed nothing; its log: {log}\n{stack.last_lines(log)}") from None


def evidence(lab: Lab) -> list[Evidence]:
    lab.require("stream", 6)
    settings = lab.settings
    topic_id = event_log.topic_id(settings)
    ends = event_log.end_offsets(settings)
    await_landed(settings, topic_id, ends)
    by_stream = [
        entry.landed
        for entry in files.landed_files(settings)
        if entry.landed and entry.landed.topic_id == topic_id and entry.landed.landed_by == "stream"
    ]
    process = lab.registry.process("stream")
    return [
        Evidence("the query runs", f"pid {process.pid}" if process else "no", process is not None, "make step-6"),
        Evidence("records in the topic, all landed", str(sum(ends.values()))),
        Evidence("files that the stream has landed", str(len(by_stream)), bool(by_stream), "make step-6"),
    ]
