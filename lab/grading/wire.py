"""The examiner's own eyes: clients of Kafka, HDFS, the metastore and Presto, with nothing of the pipeline in them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from pyhive import presto
from pyhive.exc import DatabaseError
from pymetastore.hive_metastore import ThriftHiveMetastore
from pymetastore.hive_metastore.ttypes import NoSuchObjectException
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport

from lab.settings import Settings

ANSWER_SECONDS = 20.0
READ_SECONDS = 60.0
MOST_RECORDS = 500_000
EXAMINER = "examiner"
"""As whom Presto knows this grader: its own queries are told from a student's by it."""


class Unreachable(Exception):
    """An engine that did not answer, or not with what was asked for; a sentence."""


@dataclass(frozen=True)
class Record:
    """A record of the topic: its place, and its bytes."""

    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True)
class File:
    """A file on HDFS: its path, its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Table:
    """A table that the metastore knows: its columns, its folder, and the folder of each of its partitions."""

    name: str
    columns: tuple[str, ...]
    location: str
    partitions: tuple[str, ...] = ()
    is_view: bool = False


@dataclass(frozen=True)
class Query:
    """A query that Presto remembers."""

    query_id: str
    user: str
    state: str
    sql: str


# --- Kafka ---


@contextlib.contextmanager
def _kafka(what: str) -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError, ValueError, AssertionError) as error:
        raise Unreachable(f"Kafka: {what}: {type(error).__name__} {error}") from error


def topics(settings: Settings) -> list[str]:
    """The topics that there are, without Kafka's own."""
    with _kafka("the list of topics"):
        admin = KafkaAdminClient(bootstrap_servers=settings.kafka, request_timeout_ms=int(ANSWER_SECONDS * 1000))
        try:
            return sorted(name for name in admin.list_topics() if not name.startswith("__"))
        finally:
            admin.close()


def delete_topics(settings: Settings, names: list[str]) -> None:
    with _kafka("the deletion of topics"):
        admin = KafkaAdminClient(bootstrap_servers=settings.kafka, request_timeout_ms=int(ANSWER_SECONDS * 1000))
        try:
            admin.delete_topics(names)
        finally:
            admin.close()


@contextlib.contextmanager
def _consumer(settings: Settings) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        consumer_timeout_ms=5_000,
        request_timeout_ms=int(ANSWER_SECONDS * 1000),
    )
    try:
        yield consumer
    finally:
        consumer.close()


def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """By partition, the offset that the next record will get; empty where there is no such topic."""
    with _kafka(f"the end of {topic}"), _consumer(settings) as consumer:
        if topic not in consumer.topics():
            return {}
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        return {place.partition: end for place, end in consumer.end_offsets(places).items()}


def records(settings: Settings, topic: str) -> list[Record]:
    """All that the topic holds now. Raises Unreachable where that is more than is looked at."""
    ends = end_offsets(settings, topic)
    if sum(ends.values()) > MOST_RECORDS:
        raise Unreachable(f"Kafka: {topic} holds more than {MOST_RECORDS:,} records")
    found: list[Record] = []
    with _kafka(f"the records of {topic}"), _consumer(settings) as consumer:
        places = [TopicPartition(topic, number) for number, end in ends.items() if end]
        if not places:
            return []
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        while any(consumer.position(place) < ends[place.partition] for place in places):
            polled = consumer.poll(timeout_ms=5_000)
            if not polled:
                raise Unreachable(f"Kafka: {topic} ends before the offset that it names as its end")
            for some in polled.values():
                found += [Record(one.partition, one.offset, one.value or b"") for one in some]
    return [one for one in found if one.offset < ends[one.partition]]


# --- HDFS ---


def _webhdfs(settings: Settings, method: str, path: str, **asked: str) -> requests.Response:
    host = settings.hdfs.partition(":")[0]
    url = f"http://{host}:{settings.namenode_http_port}/webhdfs/v1{quote(path)}"
    try:
        return requests.request(method, url, params={"user.name": "lab", **asked}, timeout=ANSWER_SECONDS)
    except requests.RequestException as error:
        raise Unreachable(f"HDFS does not answer: {type(error).__name__}") from error


def files(settings: Settings, folder: str, most: int = 20_000) -> list[File]:
    """The files below a folder, in the order of their paths; none where there is no such folder."""
    found: list[File] = []
    waiting = [folder.rstrip("/")]
    while waiting:
        here = waiting.pop()
        answer = _webhdfs(settings, "GET", here, op="LISTSTATUS")
        if answer.status_code == 404:
            continue
        if not answer.ok:
            raise Unreachable(f"HDFS: {here} cannot be listed: {answer.status_code}")
        for one in answer.json()["FileStatuses"]["FileStatus"]:
            path = f"{here}/{one['pathSuffix']}"
            if one["type"] == "DIRECTORY":
                waiting.append(path)
            else:
                found.append(File(path, one["length"]))
        if len(found) + len(waiting) > most:
            raise Unreachable(f"HDFS: {folder} holds more than {most:,} files")
    return sorted(found, key=lambda file: file.path)


def content(settings: Settings, file: File) -> bytes:
    """A file's bytes. Raises Unreachable where it is gone."""
    answer = _webhdfs(settings, "GET", file.path, op="OPEN")
    if not answer.ok:
        raise Unreachable(f"HDFS: {file.path} cannot be read: {answer.status_code}")
    return answer.content


def folders(settings: Settings) -> list[str]:
    """What stands at the root of HDFS."""
    answer = _webhdfs(settings, "GET", "/", op="LISTSTATUS")
    if not answer.ok:
        raise Unreachable(f"HDFS: / cannot be listed: {answer.status_code}")
    return sorted(one["pathSuffix"] for one in answer.json()["FileStatuses"]["FileStatus"])


def delete_everything(settings: Settings) -> None:
    """Delete all that is on HDFS."""
    for name in folders(settings):
        answer = _webhdfs(settings, "DELETE", f"/{name}", op="DELETE", recursive="true")
        if not answer.ok:
            raise Unreachable(f"HDFS: /{name} cannot be deleted: {answer.status_code}")


# --- the metastore ---


@contextlib.contextmanager
def _metastore(settings: Settings) -> Iterator[Any]:
    host, _, port = settings.metastore.partition(":")
    socket = TSocket(host, int(port))
    socket.setTimeout(ANSWER_SECONDS * 1000)
    transport = TBufferedTransport(socket)
    try:
        transport.open()
        yield ThriftHiveMetastore.Client(TBinaryProtocol(transport))
    except (TException, OSError) as error:
        raise Unreachable(f"The metastore: {type(error).__name__} {error}") from error
    finally:
        transport.close()


def tables(settings: Settings, schema: str) -> dict[str, Table]:
    """The tables and views of a schema, by name."""
    with _metastore(settings) as client:
        found = {}
        for name in client.get_all_tables(schema):
            try:
                table = client.get_table(schema, name)
                partitions = client.get_partitions(schema, name, -1) if table.partitionKeys else []
            except NoSuchObjectException:
                continue  # it was dropped meanwhile
            columns = [column.name for column in [*table.sd.cols, *table.partitionKeys]]
            location = _path(table.sd.location)
            where = tuple(sorted(_path(one.sd.location) for one in partitions))
            found[name] = Table(name, tuple(columns), location, where, table.tableType == "VIRTUAL_VIEW")
        return found


def drop_tables(settings: Settings, schema: str) -> None:
    """Drop every table and view of a schema, and every other schema; files stay."""
    with _metastore(settings) as client:
        for name in client.get_all_tables(schema):
            client.drop_table(schema, name, False)
        for other in client.get_all_databases():
            if other != schema:
                client.drop_database(other, False, True)


def left(settings: Settings) -> list[str]:
    """What there still is in engines that were emptied: topics, folders, tables, schemas."""
    with _metastore(settings) as client:
        named = [*client.get_all_tables(settings.schema), *client.get_all_databases()]
    return [*topics(settings), *folders(settings), *(name for name in named if name != settings.schema)]


def _path(location: str | None) -> str:
    return re.sub(r"^[a-z]+://[^/]*", "", location or "").rstrip("/")


# --- Presto ---


def ask(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query, asked as the examiner."""
    host, _, port = settings.presto.partition(":")
    session = requests.Session()
    try:
        connection = presto.connect(
            host,
            port=int(port),
            username=EXAMINER,
            catalog="hive",
            schema=settings.schema,
            poll_interval=0.05,
            requests_session=session,
            requests_kwargs={"timeout": ANSWER_SECONDS},
        )
        cursor = connection.cursor()
        cursor.execute(sql)
        return [tuple(row) for row in cursor.fetchall()]
    except requests.RequestException as error:
        raise Unreachable(f"Presto does not answer: {type(error).__name__}") from error
    except DatabaseError as error:
        cause = error.args[0] if error.args else error
        said = cause.get("message", cause) if isinstance(cause, dict) else cause
        raise Unreachable(f"Presto refused a query of the examiner's: {said}") from error
    finally:
        session.close()


def queries(settings: Settings) -> list[Query]:
    """The queries of others that Presto remembers, in the order in which they were asked."""
    rows = ask(
        settings,
        'SELECT query_id, "user", state, query FROM system.runtime.queries '
        f"WHERE \"user\" <> '{EXAMINER}' ORDER BY created, query_id",
    )
    return [Query(*map(str, row)) for row in rows]


# --- the API ---


@dataclass(frozen=True)
class Answered:
    """What the API answered to one request: its status, and its body where that is JSON."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)


def request(settings: Settings, path: str, headers: dict[str, str]) -> Answered:
    """Ask the API. Raises Unreachable where nothing answers."""
    session = requests.Session()
    session.trust_env = False
    try:
        answer = session.get(f"{settings.api}{path}", headers=headers, timeout=ANSWER_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise Unreachable(f"The API does not answer at {settings.api}: {type(error).__name__}") from error
    finally:
        session.close()
    body: Any = None
    with contextlib.suppress(ValueError):
        body = answer.json()
    return Answered(answer.status_code, body if isinstance(body, dict) else {})
