"""`make bench-scale`: the rate from Kafka to table, with 1, 2 and 4 partitions and as many executors.

The batch job lands topics of 1, 2 and 4 partitions on a Spark master of its own, with executors of one core. A round
measures each pair once; the rate is that of the landings after the first, for the first warms Spark up. What each pair
reaches is compared with one partition and one executor in the same round.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from statistics import median
from typing import Any

import click
import psutil
import requests
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks import drain, result
from benchmarks.processes import Run, running
from lab import atomic, console
from lab.drills.arena import Arena, beside
from lab.engines import stack
from lab.errors import LabError
from lab.neighbour import free_ports
from lab.pipeline.landing import MOST_RECORDS
from lab.settings import LOOPBACK, ROOT, Settings
from lab.steps.context import one_at_a_time

SIZES = (1, 2, 4)
LANDINGS = 4
"""Of each run: the first warms up, the others are measured."""
WRITTEN, PLOT = result.HERE / "scale.json", result.HERE / "scale.svg"
COLOURS = ("#0072b2", "#d55e00", "#009e73")


@click.command()
@click.option("--rounds", default=2, help="how often each pair of partitions and executors is measured")
@click.option("--landings", default=LANDINGS, help=f"of {MOST_RECORDS:,} events each, in each run")
@click.option("--write/--no-write", default=True)
def main(rounds: int, landings: int, write: bool) -> None:
    """Measure the rate from Kafka to table, with 1, 2 and 4 partitions and executors."""
    logging.basicConfig(level=logging.CRITICAL)
    own = beside(Settings.from_env(), "scale")
    with one_at_a_time(own):
        arena = Arena(own, seed=1)
        arena.clear()
        measured = False
        try:
            console.say("A lab of its own is started.")
            arena.open()
            arena.registry.stop(["stream", "api"])
            with spark_cluster(arena.settings) as on_cluster:
                taken = measure(arena, on_cluster, rounds, landings)
            measured = True
        finally:
            arena.close(remove=measured)
    show(taken)
    if write:
        keep(taken, rounds, landings)


@contextmanager
def spark_cluster(settings: Settings) -> Iterator[Settings]:
    """A Spark master and a worker with room for four executors, while it lasts; the settings by which jobs use it."""
    port, page, worker_port, worker_page = free_ports(4)
    of_master = ("--host", LOOPBACK, "--port", str(port), "--webui-port", str(page))
    of_worker = ("--host", LOOPBACK, "--port", str(worker_port), "--webui-port", str(worker_page))
    size = ("--cores", str(max(SIZES)), "--memory", f"{max(SIZES)}g", "--work-dir", str(settings.home / "work"))
    master = ("spark-class", "org.apache.spark.deploy.master.Master", *of_master)
    address = f"spark://{LOOPBACK}:{port}"
    worker = ("spark-class", "org.apache.spark.deploy.worker.Worker", *of_worker, *size, address)
    on_cluster = replace(settings, spark_master=address)
    stack.configure(on_cluster)
    with running(settings, master, settings.logs / "spark-master.log"):
        with running(settings, worker, settings.logs / "spark-worker.log"):
            deadline = time.monotonic() + 60
            while not _workers(page):
                if time.monotonic() > deadline:
                    raise LabError(f"Spark's worker did not come up; logs: {settings.logs}", "make bench-scale")
                time.sleep(0.2)  # between two requests
            yield on_cluster


def _workers(page: int) -> int:
    try:
        return int(requests.get(f"http://{LOOPBACK}:{page}/json/", timeout=5).json()["aliveworkers"])
    except requests.RequestException:
        return 0


def measure(arena: Arena, settings: Settings, rounds: int, landings: int) -> list[dict[str, Any]]:
    """For each pair and round: events/s of the landings after the first, seconds of the whole, and cores in use."""
    events = landings * MOST_RECORDS
    topics = {size: replace(settings, topic=f"scale{size}", partitions=size) for size in SIZES}
    for topic in topics.values():
        drain.fill(topic, events)
    taken = []
    for number in range(rounds):
        for partitions, topic in topics.items():
            for executors in SIZES:
                name = f"scale{number}_{partitions}_{executors}"
                psutil.cpu_percent()
                options = ("--conf", f"spark.cores.max={executors}", "--conf", "spark.executor.cores=1")
                run = drain.land(topic, events, name, *options)
                cores = psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1)
                rate = warm_rate(run, events)
                arena.say(
                    f"{partitions} partitions, {executors} executors: {rate:,.0f} events/s, {cores:.1f} cores in use"
                )
                taken.append(
                    {
                        "partitions": partitions,
                        "executors": executors,
                        "round": number,
                        "rate": round(rate),
                        "seconds": round(run.seconds, 1),
                        "cores": round(cores, 2),
                    }
                )
    return taken


def warm_rate(run: Run, events: int) -> float:
    """Events/s of the landings after the first one, which are all of the same size."""
    ends = [at for at, line in zip(run.at, run.said.splitlines(), strict=True) if line.startswith("landed")]
    if len(ends) < 2:
        raise LabError(f"{len(ends)} landings are too few to tell a rate from.", "make bench-scale")
    return events * (len(ends) - 1) / len(ends) / (ends[-1] - ends[0])


def medians(taken: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each pair: medians of its rounds; `ratio` is of the same round's one partition and one executor."""
    alone = {one["round"]: one["rate"] for one in taken if (one["partitions"], one["executors"]) == (1, 1)}
    rows = []
    for partitions in SIZES:
        for executors in SIZES:
            own = [one for one in taken if (one["partitions"], one["executors"]) == (partitions, executors)]
            row = {what: median(one[what] for one in own) for what in ("rate", "seconds", "cores")}
            ratio = median(one["rate"] / alone[one["round"]] for one in own)
            rows.append({"partitions": partitions, "executors": executors, **row, "ratio": round(ratio, 2)})
    return rows


def show(taken: list[dict[str, Any]]) -> None:
    """Print the table."""
    console.title("From Kafka to table")
    names = ("partitions", "executors", "rate", "ratio", "seconds", "cores")
    console.table([tuple(row[name] for name in names) for row in medians(taken)], [*names[:2], "events/s", *names[3:]])


def keep(taken: list[dict[str, Any]], rounds: int, landings: int) -> None:
    """Write `scale.json` and the plot."""
    rows = medians(taken)
    whole = {
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": result.machine(),
        "rounds": rounds,
        "events": landings * MOST_RECORDS,
        "rows": rows,
        "runs": taken,
    }
    atomic.write_text(WRITTEN, json.dumps(whole, indent=1) + "\n")
    with rc_context({"svg.hashsalt": "lab", "font.size": 10}):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        figure.set_facecolor("white")
        axes = figure.subplots()
        for colour, partitions in zip(COLOURS, SIZES, strict=True):
            own = [row for row in rows if row["partitions"] == partitions]
            label = f"{partitions} partition{'s' * (partitions > 1)}"
            axes.plot(SIZES, [row["rate"] for row in own], marker="o", color=colour, label=label)
        axes.set_xticks(SIZES)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"executors of one core, on a machine with {psutil.cpu_count()} cores")
        axes.set_ylabel("events/s, Kafka to table")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(PLOT, format="svg", metadata={"Date": None})
    console.say(f"Written: {WRITTEN.relative_to(ROOT)}, {PLOT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
