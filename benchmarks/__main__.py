"""`make bench`: everything that is measured, in a lab of its own, one after another."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import replace
from typing import Any

import click

from benchmarks import api, drain, result, stream
from benchmarks.result import Row
from lab import console
from lab.drills.arena import Arena, beside
from lab.errors import LabError
from lab.settings import Settings
from lab.steps.context import one_at_a_time

PARTS = ("memory", "latency", "questions", "api", "drain")
"""In this order: latency and questions are measured after all those micro-batches."""


@click.command()
@click.option("--rounds", default=5, help="pairs that are measured in turn")
@click.option("--events", default=2_000_000, help="that the topic holds which is drained")
@click.option("--requests", default=3000, help="that ab sends to each API in each round")
@click.option("--batches", default=stream.LATE, help="micro-batches of the long run")
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="this part alone; nothing is written")
def main(rounds: int, events: int, requests: int, batches: int, only: tuple[str, ...]) -> None:
    """Measure the lab against the usual solution and against the limits."""
    logging.basicConfig(level=logging.CRITICAL)
    own = beside(Settings.from_env(), "bench")
    with one_at_a_time(own):
        measure(Arena(own, seed=1), rounds, events, requests, batches, only)


def measure(arena: Arena, rounds: int, events: int, requests: int, batches: int, only: tuple[str, ...]) -> None:
    """Measure what is wanted, in turn, in this arena."""
    rows: list[Row] = []
    details: dict[str, Any] = {}
    wanted = only or PARTS

    def part(name: str, measured: tuple[list[Row], dict[str, Any]]) -> None:
        rows.extend(measured[0])
        details[name] = measured[1]

    arena.clear()
    measured = False
    try:
        console.say("A lab of its own is started.")
        arena.open()
        if "memory" in wanted:
            console.title(f"{batches:,} micro-batches")
            part("memory", stream.memory(arena, batches))
        if "latency" in wanted:
            console.title("From 2xx to Presto")
            part("latency", stream.latency(arena, rounds))
        if "questions" in wanted:
            console.title("The questions")
            part("questions", stream.questions(arena, rounds))
        arena.registry.stop(["stream"])
        if "api" in wanted:
            console.title("Requests to the API")
            part("api", api.measure(arena, requests, rounds))
        arena.registry.stop(["api"])
        if "drain" in wanted:
            console.title("Draining a topic")
            drain.fill(replace(arena.settings, topic=drain.TOPIC), events)
            part("drain", drain.measure(arena, events, rounds))
        measured = True
    finally:
        arena.close(remove=measured)
    console.title("In all")
    result.show(rows)
    seconds = time.monotonic() - arena.begun
    console.say(f"\n{seconds / 60:.0f} minutes.")
    if not only:
        result.write(rows, seconds, details)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        console.problem(f"\n{error}")
        sys.exit(1)
