"""The load of a drill: players on the API, another producer that copies events and writes rubbish, and a reader."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import quote

import requests
from kafka import KafkaProducer
from kafka.errors import KafkaError

from lab.drills.verdict import Answer
from lab.errors import LabError
from lab.kafka_client import for_python
from lab.pipeline import event_log, queries, traffic
from lab.settings import Settings

PLAYERS = 3
PAUSE_SECONDS = 0.1
"""What a player waits between two requests."""
COPY_SECONDS = 1.0
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 15.0
"""The API answers within 10; who gets nothing until then does not know what became of the request."""
WATCHED = ("defaults", "purchases", "guilds")
LOOK = """
SELECT count(*), count(DISTINCT concat(kafka_topic_id, ':', CAST(kafka_partition AS varchar), ':',
  CAST(kafka_offset AS varchar)))
FROM {table}
"""
RUBBISH = (b"", b"not json", b'{"half', b"[1]", b'{"event_type": "purchase_sword", "cost": "many"}', b"\xff\xfe\x00")


class Load:
    """Runs from `with` to its end; `answers`, `counts` and `missed_looks` are what it has seen."""

    def __init__(self, settings: Settings, name: str, seed: int) -> None:
        self.answers: list[Answer] = []
        self.counts: dict[str, list[tuple[int, int]]] = {table: [] for table in WATCHED}
        self.missed_looks = 0
        self._settings, self._name, self._seed = settings, name, seed
        self._ended = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._busy = [threading.Lock() for _ in range(PLAYERS + 1)]
        self._pool = ThreadPoolExecutor(PLAYERS + 2)
        self._threads: list[Future[None]] = []

    def __enter__(self) -> Load:
        self._threads = [self._pool.submit(self._play, number) for number in range(PLAYERS)]
        self._threads += [self._pool.submit(self._copy), self._pool.submit(self._look)]
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._going.set()
        self._pool.shutdown()
        if exception[0] is None:
            for thread in self._threads:
                thread.result()

    @property
    def accepted(self) -> int:
        return sum(answer.logged == "yes" for answer in self.answers)

    def await_accepted(self, more: int, seconds: float = 60.0) -> None:
        """Return when this many more events have been accepted. Raises LabError when that takes too long."""
        wanted, deadline = self.accepted + more, time.monotonic() + seconds
        while self.accepted < wanted:
            for thread in self._threads:
                if thread.done():
                    thread.result()
            if time.monotonic() > deadline:
                raise LabError(f"The API accepted fewer than {more} events in {seconds:.0f} s.", "make drill")
            self._ended.wait(0.05)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Nobody writes meanwhile; what was under way has been answered."""
        self._going.clear()
        for lock in self._busy:
            with lock:
                pass
        try:
            yield
        finally:
            self._going.set()

    def _play(self, number: int) -> None:
        seed = self._seed * 1000 + number
        count = 0
        with requests.Session() as session:
            while not self._ended.is_set():
                for line in traffic.mix(200, seed + count):
                    for _ in range(line.requests):
                        if self._ended.wait(PAUSE_SECONDS):
                            return
                        self._going.wait()
                        with self._busy[number]:
                            self.answers.append(self._request(session, line, f"{self._name}/{number}/{count}"))
                        count += 1

    def _request(self, session: requests.Session, line: traffic.Line, tag: str) -> Answer:
        headers = {"Host": line.player, "User-Agent": tag}
        try:
            answer = session.get(self._settings.api + quote(line.path), headers=headers, timeout=ANSWER_SECONDS)
        except requests.RequestException:
            return Answer(tag)
        return Answer(tag, answer.headers.get("X-Event-Id", ""), answer.headers.get("X-Event-Logged", ""))

    def _copy(self) -> None:
        """Now and then copy an event that the topic holds, and write what is no event."""
        chance = random.Random(self._seed)
        producer: KafkaProducer | None = None
        while not self._ended.wait(COPY_SECONDS):
            self._going.wait()
            with self._busy[PLAYERS]:
                try:
                    producer = producer or KafkaProducer(
                        **for_python(self._settings),
                        bootstrap_timeout_ms=3000,
                        delivery_timeout_ms=5000,
                        request_timeout_ms=2000,
                        max_block_ms=2000,
                    )
                    records = event_log.last_events(self._settings, 100)
                    values = [record.value for record in records]
                    for value in (*chance.sample(values, min(2, len(values))), chance.choice(RUBBISH)):
                        producer.send(self._settings.topic, value).get(6)
                except (KafkaError, LabError, ValueError):
                    # Kafka or the topic is away; what it took before that is in the topic, where it is read later
                    if producer:
                        producer.close(timeout=0.1)
                    producer = None
        if producer:
            producer.close(timeout=5)

    def _look(self) -> None:
        """Ask Presto how many rows the tables have, and how many records these come from."""
        while not self._ended.wait(LOOK_SECONDS):
            for table in WATCHED:
                try:
                    ((rows, places),) = queries.ask(self._settings, LOOK.format(table=table)).rows
                    self.counts[table].append((rows, places))
                except LabError:
                    self.missed_looks += 1
