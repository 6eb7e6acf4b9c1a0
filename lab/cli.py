"""The commands. Nobody imports this module; it imports everything, and is the only one that exits."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from pathlib import Path

import click

from lab import console
from lab.errors import LabError
from lab.history.known import MOST_WEEKS
from lab.settings import LOOPBACK, Settings, shown_path
from lab.steps import walk
from lab.steps.context import Evidence, Lab, one_at_a_time


@click.group()
@click.pass_context
def cli(context: click.Context) -> None:
    """The lab's commands; `make help` lists the targets that call them."""
    # All servers of a lab are on loopback: a proxy in the environment is not for them.
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), LOOPBACK, "localhost"]))
    context.obj = Lab.at(Settings.from_env())


@cli.command("lab")
@click.pass_obj
def whole(lab: Lab) -> None:
    """All eight steps, then the report, then what runs where."""
    from lab.report import render

    with one_at_a_time(lab):
        seconds = {step.title: walk.take(lab, step.number, alone=False) for step in walk.STEPS}
        console.title("The report")
        render.render(lab.settings)
    closing_screen(lab, seconds)


@cli.command("step")
@click.argument("number", type=click.IntRange(1, len(walk.STEPS)))
@click.pass_obj
def step(lab: Lab, number: int) -> None:
    """One step."""
    with one_at_a_time(lab):
        walk.take(lab, number)


@cli.command("check")
@click.pass_obj
def check(lab: Lab) -> None:
    """Which steps are done."""
    sys.exit(walk.check(lab))


@cli.command("traffic")
@click.option("--requests", default=100, type=click.IntRange(1, 100_000))
@click.option("--every", default=0.0, type=click.FloatRange(0, 3600))
@click.option("--seed", default=1)
@click.option("--sample", is_flag=True, help="the course's 33 requests instead")
@click.option("--week", type=click.IntRange(1, MOST_WEEKS), help="that week of the simulation instead")
@click.pass_obj
def traffic(lab: Lab, requests: int, every: float, seed: int, sample: bool, week: int | None) -> None:
    """Send traffic with Apache Bench."""
    from lab.pipeline.traffic import SAMPLE
    from lab.steps import step_4_run_traffic

    lab.require_engines()
    lab.require("api", 3)
    if sample:
        step_4_run_traffic.send(lab, list(SAMPLE))
    elif week:
        step_4_run_traffic.send_week(lab, week)
    else:
        step_4_run_traffic.send_repeatedly(lab, requests, every, seed)
    found = step_4_run_traffic.evidence(lab)
    walk.show(found)
    if not all(one.ok for one in found):
        raise LabError("Not all that was sent has arrived as planned.", "make doctor")


@cli.command("status")
@click.pass_obj
def status(lab: Lab) -> None:
    """What runs."""
    from lab.status import show

    sys.exit(show(lab.settings))


@cli.command("logs")
@click.option("--name", default="")
@click.option("--lines", default=20)
@click.pass_obj
def logs(lab: Lab, name: str, lines: int) -> None:
    """The end of the logs."""
    from lab.status import logs as show_logs

    show_logs(lab.settings, name or None, lines)


@cli.command("watch")
@click.option("--seconds", default=0.0)
@click.pass_obj
def watch(lab: Lab, seconds: float) -> None:
    """The hops' counts, live."""
    from lab.watch import run

    run(lab.settings, seconds or None)


@cli.command("doctor")
@click.pass_obj
def doctor(lab: Lab) -> None:
    """Try every path, and say what to mend."""
    from lab.doctor import run

    sys.exit(run(lab.settings))


@cli.command("shell")
@click.pass_obj
def shell(lab: Lab) -> None:
    """A bash that knows this lab."""
    from lab.history import shell

    sys.exit(shell.run(lab.settings))


@cli.command("plan")
@click.argument("history", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def plan(lab: Lab, history: Path | None) -> None:
    """Say what would become of each line of a history, and run nothing."""
    from lab.history import plan

    source = history or lab.settings.history
    plan.show(plan.plan(lab.settings, source), shown_path(source.absolute()))


@cli.command("submit")
@click.pass_obj
def submit(lab: Lab) -> None:
    """Pack what is handed in."""
    from lab.history import plan, submission

    packed = submission.pack(lab.settings)
    console.table([(name, size) for name, size in packed.files.items()], ["file", "bytes"])
    console.say(f"\nWritten: {shown_path(packed.archive)}, {packed.archive.stat().st_size:,} bytes")
    if packed.missing:
        console.say(f"Not there, and so not in it: {', '.join(packed.missing)}")
    lacking = plan.plan(lab.settings, lab.settings.history).missing()
    if lacking:
        console.say(f"The history lacks steps: {', '.join(map(str, lacking))}. Try: make plan")


@cli.command("grade")
@click.option("--history", type=click.Path(path_type=Path), help="a history, with the report and scripts beside it")
@click.option("--submission", type=click.Path(path_type=Path), help="a folder, or an archive of make submit")
@click.option("--submissions", type=click.Path(path_type=Path), help="a folder of them: a class")
@click.option("--results", type=click.Path(path_type=Path), help="where grades go; by default grade/")
@click.pass_obj
def grade(
    lab: Lab, history: Path | None, submission: Path | None, submissions: Path | None, results: Path | None
) -> None:
    """Replay a history in isolation, and grade what it leaves."""
    from lab.grading import desk

    sys.exit(desk.run(lab.settings, history, submission, submissions, results))


@cli.command("autograder")
def autograder() -> None:
    """Make the bundle that Gradescope takes."""
    from lab.grading import autograder

    bundle = autograder.make()
    console.say(f"Written: {shown_path(bundle)}, {bundle.stat().st_size:,} bytes. Where it runs it needs:")
    console.table(autograder.NEEDS, ["what", "how much"])


@cli.group("cluster")
def cluster() -> None:
    """A small real cluster on this machine."""


@cluster.command("start")
@click.pass_obj
def cluster_start(lab: Lab) -> None:
    """Start it, and say how a lab uses it."""
    from lab.engines import cluster

    home = cluster.home_beside(lab.settings)
    console.say(f"Starting {len(cluster.names())} servers: {', '.join(cluster.names())}.")
    used = cluster.start(
        home, lab.settings.cache, lambda what, seconds: console.say(f"  {what}: ready after {seconds:.0f} s")
    )
    beside = shown_path(lab.settings.home.parent / f"{lab.settings.home.name}-on-cluster")
    console.say("\nA lab of its own uses it:")
    console.say(f"  env $(cat {shown_path(used)}) LAB_HOME=$PWD/{beside} make")
    console.say("make mini-cluster-stop ends it; what it holds stays.")


@cluster.command("stop")
@click.pass_obj
def cluster_stop(lab: Lab) -> None:
    """Stop it."""
    from lab.engines import cluster

    cluster.stop(cluster.home_beside(lab.settings))
    console.say("Nothing of the cluster runs any more.")


@cli.command("bundle")
@click.pass_obj
def bundle(lab: Lab) -> None:
    """Make an archive with all that a set-up downloads."""
    from lab.engines import bundle

    made = bundle.make(lab.settings)
    console.say(f"Written: {shown_path(made)}, {made.stat().st_size / 1e6:,.0f} MB.")
    console.say(f"Elsewhere, with no network: LAB_BUNDLE=/path/to/{made.name} make")


@cli.command("report")
@click.pass_obj
def report(lab: Lab) -> None:
    """Render report.md."""
    from lab.report import render

    lab.require_engines()
    render.render(lab.settings)


@cli.command("report-check")
@click.pass_obj
def report_check(lab: Lab) -> None:
    """Make the report again, and say what of the one that stands there is stale or was written by hand."""
    from lab.report import check

    lab.require_engines()
    found = check.check(lab.settings)
    if found:
        console.table([(one.cell or "", one.begins, one.why) for one in found], ["cell", "begins with", "why"])
        raise LabError(f"{shown_path(lab.settings.report)} is not what a run gives now: see above.", "make report")
    console.say(f"{shown_path(lab.settings.report)} is, to the byte, what a run gives now.")


@cli.command("ledger")
@click.option("--json", "as_json", is_flag=True, help="for machines")
@click.pass_obj
def ledger(lab: Lab, as_json: bool) -> None:
    """Count at each hop, and say where the numbers part."""
    from lab.ledger import account

    lab.require_engines()
    taken = account.take(lab.settings)
    difference = taken.first_difference()
    if as_json:
        console.output(taken.as_json())
    else:
        console.table(taken.rows(), ["hop", "what", "count"])
        console.say()
        lines = [
            (line.event_type, line.acknowledged, line.landed, line.of_others, line.repeats) for line in taken.types
        ]
        console.table(lines, ["event type", "acknowledged by the API", "landed", "of these not the API's", "repeats"])
        walk.show([Evidence(check.what, check.found, check.ok) for check in taken.checks()])
    if difference:
        raise LabError(difference, "make doctor")


@cli.command("land-quarantine")
@click.pass_obj
def land_quarantine(lab: Lab) -> None:
    """Land what the quarantine holds and the contract can read by now."""
    from lab.steps import step_6_spark_stream

    lab.require_engines()
    with one_at_a_time(lab):
        with step_6_spark_stream.resting(lab):
            lab.run(["spark-submit", "lab/pipeline/quarantine_job.py"], 300, log=lab.log("quarantine"))


@cli.command("drill")
@click.argument("name", required=False)
@click.option("--seed", default=1, help="of the load")
@click.pass_obj
def drill(lab: Lab, name: str | None, seed: int) -> None:
    """Break something in a lab of its own, and see what becomes of the events."""
    from lab.drills import show
    from lab.drills.arena import Arena, beside

    if name is None:
        show.catalogue()
        return
    chosen = show.find(name)
    own = beside(lab.settings, "drill")
    with one_at_a_time(own):
        arena = Arena(own, seed)
        arena.clear()
        passed = False
        try:
            show.run(arena, chosen)
            passed = True
        except KeyboardInterrupt:
            console.problem("\nInterrupted.")
            sys.exit(130)
        finally:
            arena.close(remove=passed)
            if not passed:
                console.say(f"Nothing of it runs any more; its logs are kept: {shown_path(own.settings.logs)}")


@cli.command("stop")
@click.pass_obj
def stop(lab: Lab) -> None:
    """Stop all that this lab runs; its data stays."""
    with one_at_a_time(lab):
        stop_all(lab)


@cli.command("clean")
@click.pass_obj
def clean(lab: Lab) -> None:
    """Stop all, and remove this lab's data."""
    home = lab.settings.home
    if not home.exists():
        console.say(f"There is no lab at {shown_path(home)}.")
        return
    with one_at_a_time(lab):
        stop_all(lab)
        shutil.rmtree(home)
    console.say(f"Removed {shown_path(home)}. Downloads are kept; make distclean removes them too.")


def stop_all(lab: Lab) -> None:
    from lab.engines import stack

    begun = time.monotonic()
    lab.registry.stop(walk.SERVICES)
    stack.stop(lab.settings)
    console.say(f"Nothing of this lab runs any more ({time.monotonic() - begun:.1f} s). make brings it back.")


def closing_screen(lab: Lab, seconds: dict[str, float]) -> None:
    """What runs where, the numbers at each hop, where the seconds went, and what to type next."""
    from lab.ledger import account

    settings = lab.settings
    console.title("The lab is up")
    console.table(
        [
            ("game API", f"{settings.api}/purchase_a_sword/sabre"),
            ("Kafka", settings.kafka),
            ("HDFS", f"hdfs://{settings.hdfs}{settings.tables}  (http://{LOOPBACK}:{settings.namenode_http_port})"),
            ("Hive metastore", settings.metastore),
            ("Presto", f"http://{settings.presto}  (catalog hive, schema {settings.schema})"),
            ("logs", shown_path(settings.logs)),
        ],
        ["what", "where"],
    )
    console.say()
    console.table(account.take(settings).rows(), ["hop", "what", "count"])
    console.say()
    rows = [(number, title, f"{taken:.1f}") for number, (title, taken) in enumerate(seconds.items(), start=1)]
    console.table([*rows, ("", "in all", f"{sum(seconds.values()):.1f}")], ["step", "", "seconds"])
    what, memory = "What runs here" if settings.external else "All of it", walk.memory(lab) / 2**30
    console.say(f"\n{what} takes {memory:.1f} GiB of memory. Nothing sends events now; the stream waits.")
    console.table(
        [
            ("make traffic N=200 EVERY=2", "send more events"),
            ("make watch", "see them travel"),
            ("make shell", "type the engines' own commands"),
            ("make step-1", "walk the eight steps, slowly"),
            ("make grade", "replay your history in isolation, and grade what it leaves"),
            ("make stop", "stop everything; the data stays"),
        ],
        ["next", ""],
    )


def main() -> None:
    """Run a command. What a person can act on is said in a sentence; tracebacks are for programming mistakes."""
    # What a library says of a failure is said by us, in a sentence, once it is known to be one.
    logging.basicConfig(level=logging.CRITICAL)
    try:
        cli(standalone_mode=False)
    except LabError as error:
        console.problem(f"\n{error}")
        sys.exit(1)
    except click.exceptions.Abort:
        console.problem("\nInterrupted. What was started goes on: make status shows it, make stop ends it.")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PermissionError as error:
        console.problem(
            f"\n{error.filename} may not be written: {error.strerror}.\n  try: LAB_HOME=… make, with a folder of yours"
        )
        sys.exit(1)
