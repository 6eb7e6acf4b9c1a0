"""The arena: a lab of the drills' own, with free ports and a home that is thrown away, and what can be done to it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable

import psutil

from lab import console
from lab.drills.verdict import Answer, Place, Record, Row, Seen
from lab.engines import stack
from lab.errors import LabError
from lab.ledger.account import await_landed
from lab.neighbour import neighbour
from lab.pipeline import event_log, queries
from lab.pipeline.events import QUARANTINE, tables
from lab.settings import Settings
from lab.steps import step_1_start_stack, step_2_create_topic, step_3_run_api, step_6_spark_stream, step_7_create_tables
from lab.steps.context import Lab

RECOVERY_SECONDS = 180.0


class Arena:
    """A whole lab that runs, and all that was seen in it so far."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab, self.settings, self.registry = lab, lab.settings, lab.registry
        self.seed = seed
        self.answers: list[Answer] = []
        self.of_deleted_topics: list[Record] = []
        self.begun = time.monotonic()

    def clear(self) -> None:
        """Stop what an earlier arena in this home left running, and remove its data."""
        self.close(remove=False)
        for folder in ("conf", "data", "logs", "run", "tmp"):
            shutil.rmtree(self.settings.home / folder, ignore_errors=True)

    def open(self, prepare: Callable[[Arena], None] | None = None) -> None:
        """Start everything; `prepare` is called when the engines run and nothing has landed."""
        with console.quietly():
            step_1_start_stack.do(self.lab)
            if prepare:
                prepare(self)
                self.await_engines()
            step_2_create_topic.do(self.lab)
            step_3_run_api.do(self.lab)
            step_7_create_tables.do(self.lab)
            step_6_spark_stream.start(self.lab)

    def close(self, remove: bool = True) -> None:
        """Stop everything, and remove the home."""
        try:
            self.registry.stop(("api", "stream", "control"))
        finally:
            stack.stop(self.settings)
        if remove:
            shutil.rmtree(self.settings.home)

    def say(self, text: str) -> None:
        """Say what happens, with the time in seconds since the arena was made."""
        console.say(f"  {time.monotonic() - self.begun:6.1f} s  {text}")

    def process(self, name: str) -> psutil.Process:
        process = self.registry.process(name)
        if process is None:
            raise LabError(f"{name} does not run, so it cannot be broken.", "make drill")
        return process

    def until(self, condition: Callable[[], object], what: str, seconds: float = 90.0) -> None:
        """Wait for `condition`. Raises LabError when it does not come true in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(f"After {seconds:.0f} s still not: {what}. Logs: {self.settings.logs}", "make drill")
            time.sleep(0.05)  # between two looks

    def await_engines(self) -> None:
        """Return when every engine answers; one that was given up is started again."""
        self.registry.ensure_supervisor()
        self.forgive()
        stack.start(self.settings, lambda argv, background: None, lambda name, seconds, said: None)

    def forgive(self) -> None:
        """Let the supervisor forget earlier deaths: those of the next drill count anew."""
        for service in self.registry.wanted().values():
            if service.up:
                self.registry.start(service)

    def await_healing(self) -> None:
        """Return when all that should run does and the topic has landed, without any help but a supervisor.

        Raises LabError when that takes too long, or when the supervisor has given something up.
        """
        self.registry.ensure_supervisor()

        def healed() -> bool:
            names = [name for name, service in self.registry.wanted().items() if service.up]
            states = {name: state.status for name in names if (state := self.registry.state(name))}
            given_up = [name for name, status in states.items() if status == "failed"]
            if given_up:
                raise LabError(f"The supervisor gave up: {', '.join(given_up)}.", f"ls {self.settings.logs}")
            if set(states.values()) != {"running"}:
                return False
            try:
                self.await_landed(seconds=30.0)  # what comes meanwhile does not count
            except LabError:
                return False
            return True

        self.until(healed, "everything runs again and the topic has landed", RECOVERY_SECONDS)

    def await_recovery(self) -> None:
        """Return when everything answers, and what the topic holds now has landed."""
        self.await_engines()
        with console.quietly():
            step_3_run_api.do(self.lab)
        self.await_landed()

    def await_landed(self, seconds: float = RECOVERY_SECONDS) -> None:
        topic_id = event_log.topic_id(self.settings)
        ends = event_log.end_offsets(self.settings)
        await_landed(self.settings, topic_id, ends, seconds)

    def topic_now(self) -> list[Record]:
        """All records that the topic holds."""
        topic_id = event_log.topic_id(self.settings)
        found = []
        for record in event_log.read(self.settings):
            place = Place(topic_id, record.partition, record.offset)
            try:
                event = json.loads(record.value)
                found.append(Record(place, event["event_id"], event.get("User-Agent")))
            except (ValueError, KeyError, TypeError):
                found.append(Record(place, None, None))
        return found

    def rows(self, sql: str) -> list[Row]:
        """Rows (table, topic id, partition, offset, event id, User-Agent)."""
        answer = queries.ask(self.settings, sql)
        return [
            Row(table, Place(topic_id, partition, offset), event_id, tag)
            for table, topic_id, partition, offset, event_id, tag in answer.rows
        ]

    def seen(self, counts: dict[str, list[tuple[int, int]]]) -> Seen:
        """What there is now in the topic and in the tables, and what was answered since the arena was opened."""
        place = "kafka_topic_id, kafka_partition, kafka_offset"
        each = [
            f"SELECT '{table}', {place}, "
            + ("NULL, NULL" if table == QUARANTINE else 'event_id, "user-agent"')
            + f" FROM {table}"
            for table in tables()
        ]
        topic = [*self.of_deleted_topics, *self.topic_now()]
        return Seen(self.answers, topic, self.rows(" UNION ALL ".join(each)), counts)


def beside(settings: Settings, purpose: str) -> Lab:
    """Another lab beside this one, in a home that is named for its purpose; nothing of this one reaches it."""
    environment = neighbour(settings.home.parent / f"{settings.home.name}-{purpose}", os.environ)
    for variable in [variable for variable in os.environ if variable.startswith("LAB_")]:
        del os.environ[variable]
    return Lab.at(Settings.from_env(environment))
