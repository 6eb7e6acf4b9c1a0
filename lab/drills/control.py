"""The control run: the same load and the same checks, for a job that appends plainly. A checker that finds nothing
wrong there would prove nothing anywhere else."""

from __future__ import annotations

from dataclasses import replace

from lab import atomic, console
from lab.drills.arena import Arena
from lab.drills.control_job import POINT, folder
from lab.drills.load import Load
from lab.drills.verdict import judge
from lab.ledger.account import Check
from lab.pipeline import event_log, faults, queries

BEFORE, BETWEEN, AFTER = 60, 60, 120

TABLE = """
CREATE TABLE IF NOT EXISTS control (
  table_name varchar, kafka_topic_id varchar, kafka_partition integer, kafka_offset bigint, event_id varchar,
  "user-agent" varchar
) WITH (external_location = '{folder}', format = 'PARQUET')
"""
ROWS = 'SELECT table_name, kafka_topic_id, kafka_partition, kafka_offset, event_id, "user-agent" FROM control'
REACHED = "SELECT kafka_partition, max(kafka_offset) + 1 FROM control GROUP BY kafka_partition"


def run(arena: Arena) -> tuple[list[Check], list[Check]]:
    """Let both jobs land the same topic, and the control die once: the checks of the lab's tables, and of its own."""
    settings, log = arena.settings, arena.lab.log("control")
    load = Load(settings, f"control/{len(arena.answers)}", arena.seed + len(arena.answers))

    def appended() -> int:
        return log.read_text().count("appended") if log.exists() else 0

    try:
        with load:
            load.await_accepted(BEFORE)
            with console.quietly():
                arena.lab.start("control", ["spark-submit", "lab/drills/control_job.py"], grace=15.0)
            arena.until(lambda: appended() > 2, "the control landed something")
            queries.ask(settings, TABLE.format(folder=folder(settings)))
            load.await_accepted(BETWEEN)
            order = faults.die_at(settings)
            atomic.write_text(order, POINT)
            arena.until(lambda: not order.exists(), f"the control reached the point {POINT}")
            arena.say("the control died after it had appended, and before Spark had noted it")
            done = appended()
            arena.until(lambda: appended() > done + 1, "the control went on")
            load.await_accepted(AFTER)
    finally:
        arena.answers += load.answers
    arena.await_landed()
    ends = event_log.end_offsets(settings)
    arena.until(lambda: dict(queries.ask(settings, REACHED).rows) == ends, "the control reached the topic's end")
    arena.registry.stop(["control"])
    seen = arena.seen(load.counts)
    return judge(seen), judge(replace(seen, rows=arena.rows(ROWS)))
