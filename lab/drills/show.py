"""What a learner sees of a drill."""

from __future__ import annotations

from lab import console
from lab.drills import control, drills
from lab.drills.arena import Arena
from lab.drills.drills import DRILLS, Drill
from lab.errors import LabError
from lab.ledger import account
from lab.ledger.account import Check

CONTROL = "control"


def catalogue() -> None:
    """All drills, and how to run one."""
    rows = [(f"make drill-{drill.name}", drill.breaks) for drill in DRILLS]
    rows.append((f"make drill-{CONTROL}", "A job that appends plainly dies once: the same checks find what it does."))
    console.table(rows, ["drill", "what it breaks"])
    console.say("\nEach runs in a lab of its own, beside yours, under load; it takes a minute or two and removes it.")


def find(name: str) -> Drill | None:
    """The drill of this name; None for the control run. Raises LabError where there is none."""
    if name == CONTROL:
        return None
    for drill in DRILLS:
        if drill.name == name:
            return drill
    raise LabError(f"There is no drill {name}.", "make drill")


def run(arena: Arena, drill: Drill | None) -> None:
    """Run a drill in an arena that is not open yet, and show all of it. Raises LabError when a check fails."""
    console.title(f"Drill: {drill.name if drill else CONTROL}")
    if drill:
        console.say(f"What will be broken: {drill.breaks}")
        console.say(f"What should happen:  {drill.expected}")
    else:
        console.say("Two jobs land the same topic: the lab's stream, and one that appends each micro-batch to a folder")
        console.say("and begins at the topic's end. That one dies once, and is started again.")
    console.say("\nA lab of its own is started; then players, a producer of copies and rubbish, and a reader.")
    arena.open(drill.prepare if drill else None)
    arena.say("the lab runs")
    if drill is None:
        ours, theirs = control.run(arena)
        console.title("The job that appends plainly")
        _show(theirs)
        console.title("The lab's own stream, on the same topic")
        _show(ours)
        if all(check.ok for check in theirs):
            raise LabError("The checks found nothing wrong with the plain append: they prove nothing.", "make drill")
        failed = [check for check in ours if not check.ok]
    else:
        outcome = drills.run(arena, drill)
        console.title("What happened")
        console.table(
            [
                ("requests whose event was accepted", outcome.accepted),
                ("refused: certainly not logged", outcome.refused),
                ("of unknown outcome: no answer, or one that says so", outcome.unknown),
                ("counts that the reader was told", outcome.looks),
                ("and those that Presto could not answer", outcome.missed_looks),
            ],
            ["during the drill", ""],
        )
        console.say()
        _show(outcome.checks)
        failed = outcome.failed
    console.title("The ledger after it")
    taken = account.take(arena.settings)
    console.table(taken.rows(), ["hop", "what", "count"])
    console.say()
    _show(taken.checks())
    failed += [check for check in taken.checks() if not check.ok]
    if failed:
        raise LabError(
            "Not as promised: " + "; ".join(f"{check.what}: {check.found}" for check in failed), "make drill"
        )
    console.say("\nNothing was lost, nothing is there twice.")


def _show(checks: list[Check]) -> None:
    rows = [(check.what, check.expected, check.found, "yes" if check.ok else "NO") for check in checks]
    console.table(rows, ["check", "expected", "found", "holds"])
