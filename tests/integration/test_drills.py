"""The fault grid: the drills, one after another in one lab that is under load; and the control run.

A dozen by default; `FAULTS=long` runs every drill, and seeded pairs of them.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from lab import console
from lab.drills import control, drills
from lab.drills.arena import Arena
from lab.drills.drills import DRILLS, Drill
from lab.ledger import account, files
from lab.pipeline import queries
from lab.pipeline.compaction import MOST_FILES
from lab.pipeline.layout import Segment
from lab.settings import LOOPBACK
from lab.steps import step_6_spark_stream
from lab.steps.context import Lab
from tests.integration.conftest import new_lab

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SEED = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))
LONG = os.environ.get("FAULTS") == "long"
PAIRS = 16
SHORT = (
    "kafka-kill",
    "kafka-freeze",
    "api-worker-kill",
    "namenode-kill",
    "datanode-kill",
    "metastore-kill",
    "presto-kill",
    "stream-dies-after-write",
    "stream-dies-after-decision",
    "stream-dies-between-renames",
    "stream-dies-after-new-generation",
    "clock-set-back",
    "topic-remade",
)


def pair(one: Drill, other: Drill) -> Drill:
    """The one fault, and then the other while the first may not have healed."""

    def inject(arena: Arena, load: drills.Load) -> None:
        one.inject(arena, load)
        other.inject(arena, load)

    return replace(one, name=f"{one.name}+{other.name}", inject=inject)


def grid() -> list[Drill]:
    shared = [drill for drill in DRILLS if drill.prepare is None]
    if not LONG:
        return [drill for drill in shared if drill.name in SHORT]
    chance = random.Random(SEED)
    engines = [drill for drill in shared if drill.name.endswith(("-kill", "-freeze"))]
    pairs = [chance.sample(engines, 2) for _ in range(PAIRS)]
    # After everything nothing is left that could be broken.
    return shared + [pair(*sorted(two, key=lambda drill: drill.name == "everything-kill")) for two in pairs]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    print(f"FAULTS_SEED={SEED}")
    made = Arena(Lab.at(new_lab(tmp_path_factory.mktemp("drills") / "lab").settings), SEED)
    try:
        made.open()
        yield made
    finally:
        made.close(remove=False)


def test_the_short_grid_names_drills_that_are_there() -> None:
    assert set(SHORT) <= {drill.name for drill in DRILLS}
    assert len(SHORT) >= 12


def close_account(arena: Arena) -> None:
    taken = account.take(arena.settings)
    assert all(check.ok for check in taken.checks()), taken.checks()


def test_the_control_run_fails_the_checks_that_the_lab_passes(arena: Arena) -> None:
    ours, theirs = control.run(arena)
    assert all(check.ok for check in ours), ours
    failed = {check.what for check in theirs if not check.ok}
    assert {
        "records of the topic that are in no table",
        "records that are in two rows",
        "events that were accepted and are in no table",
        "events that are in two rows",
    } <= failed


@pytest.mark.parametrize("drill", grid(), ids=lambda drill: drill.name)
def test_a_fault_loses_and_doubles_nothing(arena: Arena, drill: Drill) -> None:
    print(f"FAULTS_SEED={SEED}")
    arena.await_recovery()  # from what a drill that failed has left
    outcome = drills.run(arena, drill)
    print(replace(outcome, checks=[]))
    assert not outcome.failed
    assert outcome.accepted > 100
    assert outcome.looks > 5
    close_account(arena)


def test_the_files_of_a_segment_stay_few(arena: Arena) -> None:
    shown = Counter(entry.segment for entry in files.landed_files(arena.settings))
    assert max(shown.values()) <= MOST_FILES + 4
    assert any(entry.landed and entry.landed.landed_by == "compaction" for entry in files.landed_files(arena.settings))


def test_files_that_no_query_can_need_any_more_are_removed(arena: Arena) -> None:
    settings = arena.settings
    webhdfs = f"http://{LOOPBACK}:{settings.namenode_http_port}/webhdfs/v1{settings.tables}/tables"

    def there(segment: Segment) -> bool:
        return requests.get(f"{webhdfs}/{segment.folder}?op=GETFILESTATUS", timeout=10).ok

    compacted = [segment for segment in files.segments(settings) if segment.generation]
    old = [replace(segment, generation=segment.generation - 1) for segment in compacted]
    kept = [segment for segment in old if there(segment)]
    assert kept, "files that queries may still read are there"
    counts = queries.ask(settings, "SELECT count(*) FROM purchases").value
    long_ago = {"op": "SETTIMES", "modificationtime": "1000", "user.name": "lab"}
    for segment in kept:
        folder = segment.folder.rpartition("/")[0]
        requests.put(f"{webhdfs}/{folder}", params=long_ago, timeout=10).raise_for_status()
    arena.registry.stop(["stream"])
    with console.quietly():
        step_6_spark_stream.start(arena.lab)
    arena.until(lambda: not any(map(there, kept)), "old files are gone")
    assert all(map(there, compacted))
    assert queries.ask(settings, "SELECT count(*) FROM purchases").value == counts
    close_account(arena)


@pytest.mark.skipif(not LONG, reason="needs a lab of its own: FAULTS=long runs it")
@pytest.mark.parametrize("drill", [drill for drill in DRILLS if drill.prepare], ids=lambda drill: drill.name)
def test_a_fault_that_needs_a_lab_of_its_own(tmp_path: Path, drill: Drill) -> None:
    own = Arena(Lab.at(new_lab(tmp_path / "lab").settings), SEED)
    try:
        own.open(drill.prepare)
        outcome = drills.run(own, drill)
        print(outcome)
        assert not outcome.failed
        close_account(own)
    finally:
        own.close()
