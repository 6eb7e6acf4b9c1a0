"""The event log: the only place that speaks to Kafka.

`EventLog` writes; `end_offsets`, `topic_id` and `last_events` read what the steps show as evidence.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)

from lab.errors import LabError
from lab.kafka_client import for_python
from lab.settings import Settings

APPEND_SECONDS = 6.5
"""The longest that `append` takes to write or to give up, so that an HTTP answer comes within 10 s."""
CONNECT_SECONDS = 3.0
METADATA_SECONDS = 2.0
DELIVERY_SECONDS = 4.5
REQUEST_SECONDS = 2.0
RECONNECT_SECONDS = 0.5
"""For this long after a failed attempt to connect, other threads are told so instead of trying themselves."""
ASK_SECONDS = 5.0
"""How long the reading functions wait for each answer."""

REFUSALS = (MessageSizeTooLargeError, InvalidTopicError, TopicAuthorizationFailedError)
"""Kafka's own words for `I have not stored this, and never will`."""


class Position(NamedTuple):
    """Where an event stands in the topic."""

    partition: int
    offset: int


class NotLogged(Exception):
    """The event is certainly not in the topic."""


class Unknown(Exception):
    """The event was handed to Kafka, and whether it is in the topic, or will yet be, cannot be known."""


class EventLog:
    """Appends events to one topic. One object for each process; every thread may use it.

    It connects on first use, and again after a failure: Kafka may be down at the start, die and come back. A
    producer that has failed is never used again, because its own account of what was sent can no longer be trusted.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bootstrap = settings.kafka
        self.topic = settings.topic
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._refused_at = self._answered_at = float("-inf")

    def append(self, event: dict[str, Any], key: str | None = None) -> Position:
        """Write `event`, and return once Kafka has acknowledged it.

        Events of one `key` share a partition and keep their order there. Raises NotLogged or Unknown, within
        `APPEND_SECONDS`.
        """
        deadline = time.monotonic() + APPEND_SECONDS
        value = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        producer = self._connected()
        try:
            sending = producer.send(self.topic, value, key=None if key is None else key.encode())
        except (KafkaError, ValueError) as error:  # ValueError: the topic has vanished from Kafka's metadata
            self._retire(producer)
            raise NotLogged(f"Kafka on {self.bootstrap} did not offer the topic {self.topic}: {error}") from error
        try:
            stored = sending.get(timeout=max(0.0, deadline - time.monotonic()))
        except REFUSALS as error:
            raise NotLogged(f"Kafka on {self.bootstrap} refused the event: {error}") from error
        except KafkaError as error:
            self._retire(producer)
            raise Unknown(f"Kafka on {self.bootstrap} did not acknowledge the event: {error}") from error
        self._answered_at = time.monotonic()
        return Position(stored.partition, stored.offset)

    def answers(self, within: float = 2.0) -> bool:
        """Whether Kafka has answered in the last `within` seconds; asks it if there was nothing to see that by.

        One thread asks at a time; the others are told what was last known.
        """
        if time.monotonic() - self._answered_at > within and self._asking.acquire(blocking=False):
            try:
                end_offsets(self.settings, timeout=within)
                self._answered_at = time.monotonic()
            except LabError:
                return False
            finally:
                self._asking.release()
        return time.monotonic() - self._answered_at <= 2 * within

    def close(self, timeout: float = APPEND_SECONDS) -> None:
        """Deliver what is still under way, for at most `timeout` seconds, and disconnect."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            _close(producer, timeout)

    def _connected(self) -> KafkaProducer:
        producer = self._producer
        if producer is not None:
            return producer
        with self._lock:
            if self._producer is None:
                if time.monotonic() - self._refused_at < RECONNECT_SECONDS:
                    raise NotLogged(f"Kafka did not answer on {self.bootstrap}.")
                try:
                    self._producer = _producer(self.settings)
                except KafkaError as error:
                    self._refused_at = time.monotonic()
                    raise NotLogged(f"Kafka did not answer on {self.bootstrap}: {error}") from error
                self._answered_at = time.monotonic()
            return self._producer

    def _retire(self, producer: KafkaProducer) -> None:
        """Have the next `append` connect anew; other threads' events in `producer` keep their chance to arrive."""
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        threading.Thread(target=_close, args=(producer, APPEND_SECONDS), name="retire-producer", daemon=True).start()


def _producer(settings: Settings) -> KafkaProducer:
    return KafkaProducer(
        **for_python(settings),
        # a 2xx means that the event survives: every in-sync replica has it
        acks="all",
        # the producer's own retries must not write an event twice
        enable_idempotence=True,
        # how often it retries is left alone (for ever): the delivery timeout is what ends it
        delivery_timeout_ms=int(DELIVERY_SECONDS * 1000),
        # less than half of the delivery timeout, so that a connection that hangs is given up and a second one tried
        request_timeout_ms=int(REQUEST_SECONDS * 1000),
        # the default, 60 s, would hold a thread far beyond the 10 s in which an HTTP answer is due
        max_block_ms=int(METADATA_SECONDS * 1000),
        bootstrap_timeout_ms=int(CONNECT_SECONDS * 1000),
        # events of requests that arrive together share a message to Kafka, which costs more than they do
        linger_ms=5,
        # the default, 30 s, would leave a Kafka that is back unnoticed for too long
        reconnect_backoff_max_ms=500,
        # a topic made by accident would have the wrong number of partitions; step 2 makes it
        allow_auto_create_topics=False,
        # nobody reads them, and they cost a tenth of each send
        metrics_enabled=False,
    )


def _close(producer: KafkaProducer, timeout: float) -> None:
    try:
        producer.close(timeout=timeout)
    except KafkaError:
        # close() gives up at the first event that cannot be flushed and leaves its thread running, which would
        # deliver that event whenever Kafka comes back, long after its sender was told otherwise
        producer._sender.force_close()


@dataclass(frozen=True)
class Record:
    """One message as it stands in the topic; `timestamp` is Kafka's, in milliseconds since 1970."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes


def end_offsets(settings: Settings, timeout: float = ASK_SECONDS) -> dict[int, int]:
    """By partition, the offset that the next event will get. Raises LabError when Kafka or the topic is not there."""
    with _consumer(settings, timeout) as consumer:
        return _end_offsets(consumer, settings.topic, timeout)


def last_events(settings: Settings, n: int) -> list[Record]:
    """The newest `n` messages of the topic, oldest first. Raises LabError when Kafka or the topic is not there."""
    records = list(read(settings, n))
    records.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    return records[-n:] if n > 0 else []


def read(settings: Settings, newest: int | None = None) -> Iterator[Record]:
    """What the topic holds at this moment, of each partition the `newest` messages or all, in order of their offsets.

    Raises LabError when Kafka or the topic is not there, or when nothing comes for `ASK_SECONDS`.
    """
    bootstrap, topic = settings.kafka, settings.topic
    with _consumer(settings, ASK_SECONDS) as consumer:
        ends = _end_offsets(consumer, topic, ASK_SECONDS)
        partitions = [TopicPartition(topic, partition) for partition in ends]
        starts = consumer.beginning_offsets(partitions)
        consumer.assign(partitions)
        for partition in partitions:
            first = 0 if newest is None else ends[partition.partition] - newest
            consumer.seek(partition, max(starts[partition], first))
        heard = time.monotonic()
        while any(consumer.position(partition) < ends[partition.partition] for partition in partitions):
            if time.monotonic() - heard > ASK_SECONDS:
                raise LabError(f"Kafka on {bootstrap} did not hand out the topic {topic} for {ASK_SECONDS:.0f} s.")
            for batch in consumer.poll(timeout_ms=200).values():
                heard = time.monotonic()
                for message in batch:
                    if message.offset < ends[message.partition]:
                        yield Record(message.partition, message.offset, message.timestamp, message.key, message.value)


def topic_id(settings: Settings) -> str:
    """The TopicId that `kafka-topics --describe` prints; its characters are safe in a file's name.

    A topic that is deleted and made again has another. Raises LabError when Kafka or the topic is not there.
    """
    with TopicIdentity(settings) as identity:
        return identity.now()


class TopicIdentity:
    """Asks for a topic's id again and again, over one connection; `topic_id` says what that is."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: KafkaAdminClient | None = None

    def __enter__(self) -> TopicIdentity:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._admin:
            self._admin.close()

    def now(self) -> str:
        """Raises LabError when Kafka or the topic is not there."""
        milliseconds = int(ASK_SECONDS * 1000)
        with _translated(self._settings, ASK_SECONDS):
            if self._admin is None:
                self._admin = KafkaAdminClient(
                    **for_python(self._settings),
                    bootstrap_timeout_ms=milliseconds,
                    request_timeout_ms=milliseconds,
                )
            (described,) = self._admin.describe_topics([self._settings.topic])
        if described["error_code"]:
            raise _no_topic(self._settings.kafka, self._settings.topic)
        return base64.urlsafe_b64encode(uuid.UUID(str(described["topic_id"])).bytes).rstrip(b"=").decode()


def _end_offsets(consumer: KafkaConsumer, topic: str, timeout: float) -> dict[int, int]:
    partitions = consumer.partitions_for_topic(topic)
    if not partitions:
        raise _no_topic(consumer.config["bootstrap_servers"], topic)
    wanted = [TopicPartition(topic, partition) for partition in sorted(partitions)]
    ends = consumer.end_offsets(wanted, timeout_ms=int(timeout * 1000))
    return {partition.partition: ends[partition] for partition in wanted}


@contextmanager
def _consumer(settings: Settings, timeout: float) -> Iterator[KafkaConsumer]:
    with _translated(settings, timeout):
        consumer = KafkaConsumer(
            **for_python(settings),
            bootstrap_timeout_ms=int(timeout * 1000),
            request_timeout_ms=int(timeout * 1000),
            # it only looks: no group, and nothing remembered in Kafka
            group_id=None,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
        )
        try:
            yield consumer
        finally:
            consumer.close(autocommit=False)


@contextmanager
def _translated(settings: Settings, timeout: float) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        # The client says no more where Kafka has refused its password, or it Kafka's certificate.
        refused = f", or did not accept what {settings.kafka_client} says," if settings.kafka_client else ""
        raise LabError(
            f"Kafka did not answer on {settings.kafka}{refused} within {timeout:.0f} s: {error}", "make step-1"
        ) from error


def _no_topic(bootstrap: str, topic: str) -> LabError:
    return LabError(f"Kafka on {bootstrap} has no topic {topic}.", "make step-2")
