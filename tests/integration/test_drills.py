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

from lab import atomic, console
from lab.drills import control, drills
from lab.drills.arena import Arena
from lab.drills.drills import DRILLS, Drill
from lab.drills.load import Load
from lab.drills.verdict import judge
from lab.errors import LabError
from lab.ledger import account, files
from lab.pipeline import event_log, faults, metastore, queries
from lab.pipeline.compaction import MOST_FILES
from lab.pipeline.events import REPEATS
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
    "kafka-away",
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
    assert len(kept) > 1, "files that queries may still read are there"
    counts = queries.ask(settings, "SELECT count(*) FROM purchases").value
    long_ago = {"op": "SETTIMES", "modificationtime": "1000", "user.name": "lab"}
    for segment in kept:
        folder = segment.folder.rpartition("/")[0]
        requests.put(f"{webhdfs}/{folder}", params=long_ago, timeout=10).raise_for_status()
    arena.registry.stop(["stream"])
    still_named, *unnamed = kept
    metastore.name(settings, [still_named])  # as if it died before the metastore knew
    assert queries.ask(settings, "SELECT count(*) FROM purchases").value <= counts
    with console.quietly():
        step_6_spark_stream.start(arena.lab)
    arena.until(lambda: not any(map(there, unnamed)), "old files are gone")
    assert there(still_named)
    assert all(map(there, compacted))
    assert queries.ask(settings, "SELECT count(*) FROM purchases").value == counts
    close_account(arena)


def test_a_batch_that_dies_ends_its_landing_when_it_is_run_again(arena: Arena) -> None:
    arena.registry.stop(["stream"])
    load = Load(arena.settings, "batch", SEED)
    with load:
        load.await_accepted(60)
    arena.answers += load.answers
    order = faults.die_at(arena.settings)
    atomic.write_text(order, "between-renames")
    batch = ["spark-submit", "lab/pipeline/batch_job.py"]
    with console.quietly():
        with pytest.raises(LabError, match="failed"):
            arena.lab.run(batch, 120)
        assert not order.exists()
        arena.lab.run(batch, 120)
        assert not [check for check in judge(arena.seen(load.counts)) if not check.ok]
        close_account(arena)
        step_6_spark_stream.start(arena.lab)


@pytest.mark.parametrize(
    ("shelf", "what"),
    [
        (REPEATS, "events that the API acknowledged, in the topic and in a table"),
        ("defaults", "events that stand in the table of another type"),
    ],
)
def test_the_ledger_finds_events_that_stand_in_a_wrong_table(arena: Arena, shelf: str, what: str) -> None:
    settings = arena.settings
    arena.await_landed()
    arena.registry.stop(["stream"])
    topic_id = event_log.topic_id(settings)
    entries = [entry for entry in files.landed_files(settings) if entry.landed and entry.landed.topic_id == topic_id]
    target = max(entry.segment for entry in entries if entry.segment.table == shelf)
    # One landing gives the same name to its files in every table: such a file could not be moved there.
    taken = {entry.name for entry in entries if entry.segment == target}
    entry = next(entry for entry in entries if entry.segment.table == "guilds" and entry.name not in taken)
    webhdfs = f"http://{LOOPBACK}:{settings.namenode_http_port}/webhdfs/v1{settings.tables}/tables"
    here, astray = f"{entry.segment.folder}/{entry.name}", f"{target.folder}/{entry.name}"

    def move(source: str, destination: str) -> None:
        asked = {"op": "RENAME", "destination": f"{settings.tables}/tables/{destination}", "user.name": "lab"}
        moved = requests.put(f"{webhdfs}/{source}", params=asked, timeout=10)
        assert moved.json() == {"boolean": True}, moved.text

    move(here, astray)
    try:
        failed = [check.what for check in account.take(settings).checks() if not check.ok]
    finally:
        move(astray, here)
    assert what in failed
    close_account(arena)
    with console.quietly():
        step_6_spark_stream.start(arena.lab)


def test_a_topic_that_is_given_more_partitions_goes_on_landing(arena: Arena) -> None:
    settings = arena.settings
    more = settings.partitions + 1
    tool = ["kafka-topics", "--bootstrap-server", settings.kafka, "--alter", "--topic", settings.topic]
    arena.await_landed()
    arena.lab.run([*tool, "--partitions", str(more)], 60, quiet=True)
    load = Load(settings, "partitions", SEED)
    with load:
        arena.until(
            lambda: event_log.end_offsets(settings).get(more - 1, 0) > 3,
            "the new partition holds records",
            120,
        )
    arena.answers += load.answers
    arena.await_landed()
    assert not [check for check in judge(arena.seen(load.counts)) if not check.ok]
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
        own.close(remove=False)
