from __future__ import annotations

import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from lab.errors import LabError
from lab.pipeline import event_log
from lab.pipeline.event_log import EventLog, NotLogged, Position, Unknown
from lab.settings import Settings

EVENT = {"event_id": "1", "said": "grüß dich"}


def at(kafka: str) -> Settings:
    return Settings(kafka=kafka)


class FakeFuture:
    def __init__(self, result):
        self.result = result

    def get(self, timeout):
        assert timeout <= event_log.APPEND_SECONDS
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class FakeProducer:
    """Answers each send with the next of `results`: an exception of Kafka's, or a stored record."""

    def __init__(self, *results):
        self.results = list(results)
        self.sent = []
        self.closed = threading.Event()

    def send(self, topic, value, key):
        self.sent.append((topic, value, key))
        result = self.results.pop(0)
        if isinstance(result, Refused):
            raise result.error
        return FakeFuture(result)

    def close(self, timeout):
        self.closed.set()


class Refused(SimpleNamespace):
    """An error that `send` itself raises."""


STORED = SimpleNamespace(partition=1, offset=41)


@pytest.fixture
def kafka(monkeypatch):
    """A list of what each attempt to connect gives: a producer, or an exception."""
    attempts: list[object] = []

    def connect(bootstrap):
        attempt = attempts.pop(0)
        if isinstance(attempt, Exception):
            raise attempt
        return attempt

    monkeypatch.setattr(event_log, "_producer", connect)
    return attempts


def test_nothing_connects_before_the_first_event(kafka):
    EventLog(at("127.0.0.1:1")).close()


def test_an_acknowledged_event_has_a_position(kafka):
    producer = FakeProducer(STORED)
    kafka.append(producer)
    assert EventLog(at("here:1")).append(EVENT, "grubs") == Position(partition=1, offset=41)
    assert producer.sent == [("events", '{"event_id":"1","said":"grüß dich"}'.encode(), b"grubs")]


def test_a_kafka_that_is_down_means_not_logged_and_one_that_comes_back_is_found(kafka, monkeypatch):
    monkeypatch.setattr(event_log, "RECONNECT_SECONDS", 0)
    kafka += [KafkaTimeoutError("Unable to bootstrap"), FakeProducer(STORED)]
    log = EventLog(at("here:1"))
    with pytest.raises(NotLogged, match="Kafka did not answer on here:1"):
        log.append(EVENT)
    assert log.append(EVENT) == Position(1, 41)


def test_after_a_failed_attempt_others_are_told_so_instead_of_trying_themselves(kafka):
    kafka.append(KafkaTimeoutError("Unable to bootstrap"))  # a second attempt would find the list empty
    log = EventLog(at("here:1"))

    def refused():
        with pytest.raises(NotLogged):
            log.append(EVENT)
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: refused(), range(16)))


def test_an_event_that_was_never_handed_over_is_not_logged(kafka):
    kafka.append(FakeProducer(Refused(error=KafkaTimeoutError("no metadata"))))
    with pytest.raises(NotLogged, match="did not offer the topic events"):
        EventLog(at("here:1")).append(EVENT)


def test_an_event_that_kafka_refuses_is_not_logged(kafka):
    kafka.append(FakeProducer(MessageSizeTooLargeError("too large")))
    with pytest.raises(NotLogged, match="refused the event"):
        EventLog(at("here:1")).append(EVENT)


def test_an_event_that_is_not_acknowledged_in_time_is_unknown_and_its_producer_is_not_used_again(kafka):
    failed, fresh = FakeProducer(KafkaTimeoutError("expired")), FakeProducer(STORED)
    kafka += [failed, fresh]
    log = EventLog(at("here:1"))
    with pytest.raises(Unknown, match="did not acknowledge"):
        log.append(EVENT)
    assert failed.closed.wait(5)
    log.append(EVENT)
    assert len(fresh.sent) == 1


def test_a_producer_that_cannot_flush_is_stopped_all_the_same():
    stopped = threading.Event()

    class Stuck(FakeProducer):
        _sender = SimpleNamespace(force_close=stopped.set)

        def close(self, timeout):
            raise KafkaTimeoutError("Timeout waiting for future")

    event_log._close(Stuck(), timeout=0)
    assert stopped.is_set()


def test_the_longest_append_leaves_time_for_an_answer_within_ten_seconds():
    assert event_log.APPEND_SECONDS < 8
    assert event_log.METADATA_SECONDS + event_log.DELIVERY_SECONDS <= event_log.APPEND_SECONDS
    assert event_log.REQUEST_SECONDS < event_log.DELIVERY_SECONDS / 2


@pytest.fixture
def silent_port():
    """A port on which connections are accepted, and nothing is ever said: a Kafka that is stopped with SIGSTOP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_kafka_that_accepts_but_is_silent_means_not_logged_within_the_time(silent_port, monkeypatch):
    monkeypatch.setattr(event_log, "CONNECT_SECONDS", 0.5)
    begun = time.monotonic()
    with pytest.raises(NotLogged):
        EventLog(at(f"127.0.0.1:{silent_port}")).append(EVENT)
    assert time.monotonic() - begun < 3


def test_a_reader_says_where_kafka_did_not_answer_and_what_to_type(silent_port):
    with pytest.raises(LabError, match=rf"did not answer on 127.0.0.1:{silent_port} within 1 s") as failure:
        event_log.end_offsets(at(f"127.0.0.1:{silent_port}"), timeout=1)
    assert failure.value.try_next == "make step-1"


class FakeAdmin:
    def __init__(self, **described):
        self.described = described

    def describe_topics(self, topics):
        return [self.described]

    def close(self):
        pass


def test_a_topic_id_is_written_as_kafkas_own_tools_write_it(monkeypatch):
    described = FakeAdmin(error_code=0, topic_id=uuid.UUID("08fbef5126694a5ab450154492825cef"))
    monkeypatch.setattr(event_log, "KafkaAdminClient", lambda **options: described)
    assert event_log.topic_id(at("here:1")) == "CPvvUSZpSlq0UBVEkoJc7w"


def test_a_topic_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(event_log, "KafkaAdminClient", lambda **options: FakeAdmin(error_code=3))
    with pytest.raises(LabError, match="has no topic events") as failure:
        event_log.topic_id(at("here:1"))
    assert failure.value.try_next == "make step-2"


def test_health_asks_kafka_only_when_nothing_was_heard_lately(kafka, monkeypatch):
    asked = []
    monkeypatch.setattr(event_log, "end_offsets", lambda *args, **kwargs: asked.append(args) or {0: 0})
    kafka.append(FakeProducer(STORED))
    log = EventLog(at("here:1"))
    log.append(EVENT)
    assert log.answers(within=60)
    assert asked == []
    log.answers(within=0)
    assert asked == [(at("here:1"),)]


def test_health_says_when_kafka_does_not_answer(monkeypatch):
    def silent(*args, **kwargs):
        raise LabError("Kafka did not answer")

    monkeypatch.setattr(event_log, "end_offsets", silent)
    assert EventLog(at("here:1")).answers() is False
