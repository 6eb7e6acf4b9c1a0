"""The walk: the eight steps in their order, how one is taken, and what shows that it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from lab import atomic, console
from lab.engines import stack
from lab.errors import LabError
from lab.steps import (
    step_1_start_stack,
    step_2_create_topic,
    step_3_run_api,
    step_4_run_traffic,
    step_5_spark_batch,
    step_6_spark_stream,
    step_7_create_tables,
    step_8_query_presto,
)
from lab.steps.context import Evidence, Lab

MODULES: tuple[ModuleType, ...] = (
    step_1_start_stack,
    step_2_create_topic,
    step_3_run_api,
    step_4_run_traffic,
    step_5_spark_batch,
    step_6_spark_stream,
    step_7_create_tables,
    step_8_query_presto,
)


SERVICES = ("api", "stream")
"""What the steps run beside the engines, in the order in which it is stopped."""


@dataclass(frozen=True)
class Step:
    """`do` does the step; `evidence` measures, at any time, whether it was done."""

    number: int
    title: str
    why: str
    do: Callable[[Lab], None]
    evidence: Callable[[Lab], list[Evidence]]


STEPS = tuple(
    Step(number, module.TITLE, " ".join(module.WHY.split()), module.do, module.evidence)
    for number, module in enumerate(MODULES, start=1)
)


def take(lab: Lab, number: int, alone: bool = True) -> float:
    """Take one step and show its evidence; seconds taken. Raises LabError when the evidence is not there."""
    step = STEPS[number - 1]
    begun = time.monotonic()
    console.title(f"Step {number} of {len(STEPS)}: {step.title}")
    console.say(step.why)
    step.do(lab)
    found = step.evidence(lab)
    show(found)
    failed = [one for one in found if not one.ok]
    seconds = time.monotonic() - begun
    if failed:
        hints = "; ".join(one.hint for one in failed if one.hint) or "make doctor"
        raise LabError(f"Step {number} is not done: " + "; ".join(f"{one.what}: {one.found}" for one in failed), hints)
    note(lab, step, seconds)
    if alone:
        following = f"make step-{number + 1}" if number < len(STEPS) else "make watch, or make report"
        console.say(f"\nStep {number} is done ({seconds:.1f} s). Next: {following}")
    return seconds


def note(lab: Lab, step: Step, seconds: float) -> None:
    """Keep in the lab's home how long a step took and how many bytes of memory the lab has now, for the report."""
    path = lab.settings.home / "steps.json"
    noted = atomic.read_json(path) or {}
    noted[str(step.number)] = {"title": step.title, "seconds": round(seconds, 1), "memory": memory(lab)}
    atomic.write_json(path, noted)


def memory(lab: Lab) -> int:
    """Resident memory, in bytes, of all that runs of this lab: the engines, and what the steps run beside them."""
    names = [engine.name for engine in stack.engines(lab.settings)] + list(SERVICES)
    return sum(stack.resident(lab.settings, names).values())


def show(found: list[Evidence]) -> None:
    """Print what was measured, and whether it is as expected."""
    rows = [(one.what, one.found, "yes" if one.ok else "NO") for one in found]
    console.say()
    console.table(rows, ["evidence", "measured", "as expected"])


def check(lab: Lab) -> int:
    """Print for each step whether it is done, not yet or broken; 0 when all are done."""
    rows, all_done = [], True
    for step in STEPS:
        try:
            found = step.evidence(lab)
        except LabError as error:
            rows.append((step.number, step.title, "not yet", f"{error.what.splitlines()[0]}  try: {error.try_next}"))
            all_done = False
            continue
        failed = [one for one in found if not one.ok]
        # Evidence that is not there at all, as before the first traffic, is no damage.
        state = "done" if not failed else "not yet" if len(failed) == len(found) else "broken"
        hint = "; ".join(f"{one.what}: {one.found}" for one in failed)
        rows.append((step.number, step.title, state, f"{hint}  try: make step-{step.number}" if failed else ""))
        all_done &= not failed
    console.table(rows, ["step", "what", "state", "hint"])
    return 0 if all_done else 1
